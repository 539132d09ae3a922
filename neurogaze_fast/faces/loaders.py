"""Which way images come into the loop, and why: resident memory, DALI, or torch's workers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.resident import Batch, ResidentLoader
from neurogaze_fast.faces.stream import DecodedStream, Decoder

SHARE = 0.5
"""Share of the free memory a resident set may take."""
AT_ONCE = 512
"""Images decoded at a time while a set is made resident."""
MOST_WORKERS = 8


class Loader(Protocol):
    """One interface for every way in: batches that follow from (seed, epoch, batch) alone."""

    reason: str
    """What was chosen and why, for people."""

    @property
    def source(self) -> tuple[int, int]:
        """(H, W) of the images before augmentation."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch `start` on."""

    def state_dict(self) -> dict[str, Any]:
        """What does not follow from the seed: images found damaged on the way."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""

    def close(self) -> None:
        """Free what is kept between epochs, such as worker processes."""


def open_loader(
    kind: str,
    images: np.ndarray | EncodedSplit,
    order: EpochOrder,
    device: torch.device,
    say: Callable[[str], None],
    *,
    workers: int = 0,
) -> Loader:
    """The loader --loader asks for; `say` gets a line for each image found damaged.

    Args:
        kind: auto, resident, dali or torch.
        workers: processes or threads that decode; 0: as many as there are cores, at most 8.

    Raises:
        ConfigError: --loader dali or torch for a set that holds pixels, not encoded images, or DALI
            is asked for and not installed.
    """
    if not isinstance(images, EncodedSplit):
        if kind in ("dali", "torch"):
            raise ConfigError(
                f"--loader {kind} decodes images while training, but this set holds "
                "pixels, which are resident already. Use --loader auto, or write shards first: "
                "neurogaze-fast prepare shards --faces FACES --data PATH --out SHARDS."
            )
        loader: Loader = ResidentLoader(images, order, device)
        loader.reason = f"resident (pixels, {_size(images.nbytes)} on {device})"
        return loader
    needed, free = len(images) * images.side**2, free_memory(device)
    fits = needed <= SHARE * free
    if kind == "resident" or (kind == "auto" and fits):
        loader = _made_resident(images, order, _decoder(kind, workers, device), device, say)
        why = "fit" if fits else "were asked for, and may not fit,"
        loader.reason = f"resident ({_size(needed)} {why} in {_size(free)} of {device})"
        return loader
    decoder = _decoder(kind, workers, device)
    loader = StreamedLoader(images, order, device, decoder, say)
    big = f"{_size(needed)} are more than half of the {_size(free)} free on {device}"
    loader.reason = f"{decoder.name} ({big if kind == 'auto' else 'asked for'})"
    return loader


class StreamedLoader:
    """Batches decoded as they are wanted."""

    def __init__(
        self,
        images: EncodedSplit,
        order: EpochOrder,
        device: torch.device,
        decoder: Decoder,
        say: Callable[[str], None],
    ) -> None:
        self._stream = DecodedStream(
            images, order, device=device, decoder=decoder, console_line=say
        )
        self._device = device
        self._index = torch.arange(order.local_batch, device=device)
        self.source = (images.side, images.side)
        self.reason = ""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from `start` on."""
        for pixels, rows in self._stream.epoch(epoch, start):
            yield Batch(pixels, self._index, rows.to(self._device, non_blocking=True))

    def state_dict(self) -> dict[str, Any]:
        """The images found damaged."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        if state:
            self._stream.load_state_dict(state)

    def close(self) -> None:
        """End the decoder."""
        self._stream.close()


class _InOrder:
    """Every row once, in order: what making a set resident asks of a stream."""

    def __init__(self, count: int) -> None:
        self.parts = torch.arange(count).split(AT_ONCE)

    def __len__(self) -> int:
        return len(self.parts)

    def batch_rows(self, epoch: int, batch: int) -> Tensor:
        return self.parts[batch]


def _made_resident(
    images: EncodedSplit,
    order: EpochOrder,
    decoder: Decoder,
    device: torch.device,
    say: Callable[[str], None],
) -> ResidentLoader:
    plan = _InOrder(len(images))
    stream = DecodedStream(images, plan, device=device, decoder=decoder, console_line=say)
    store = torch.empty((len(images), images.side, images.side), dtype=torch.uint8, device=device)
    instead = torch.arange(len(images))
    for wanted, (pixels, rows) in zip(plan.parts, stream.epoch(0), strict=True):
        store[wanted.to(device)] = pixels
        instead[wanted] = rows
    stream.close()
    return ResidentLoader(store, order, device, instead)


def _decoder(kind: str, workers: int, device: torch.device) -> Decoder:
    from neurogaze_fast.faces.dali_decoder import DaliDecoder
    from neurogaze_fast.faces.torch_decoder import TorchDecoder

    workers = workers or min(MOST_WORKERS, usable_cores().usable)
    if kind == "dali" or (kind != "torch" and _dali_installed()):
        return DaliDecoder(device, threads=workers)
    return TorchDecoder(device, workers=workers)


def _dali_installed() -> bool:
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # no package of NVIDIA's at all
        return False


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = os.sysconf_names
    if "SC_AVPHYS_PAGES" in known:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # macOS tells the whole memory only; half of it is a guess.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
