"""Batches of an encoded set, decoded as training goes; a damaged image never ends a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.encoded import EncodedSplit, refuse_many_damaged
from neurogaze_fast.pictures import CorruptImage

STUCK = 8
"""Batches in a row a decoder may refuse although no image of theirs is damaged."""


class DecodeFailed(Exception):
    """A decoder cannot give the batch that is due. Says nothing about which image is to blame."""


class Decoder(Protocol):
    """Turns rows into pixels; every decoder gives the same ones but for rounding."""

    name: str
    """For people: "dali (cpu)", "torch, 2 workers"."""

    def batches(self, faces: EncodedSplit, plan: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """uint8 [b, side, side] on the training device for each entry of `plan`, in its order.

        An iterator that is closed early frees what it holds.

        Args:
            plan: int64 [b] on the CPU, the rows of each batch to come.

        Raises:
            DecodeFailed: instead of a batch; the iterator has ended then.
        """

    def close(self) -> None:
        """Free what is kept between epochs, such as worker processes."""


class Order(Protocol):
    """Which rows each batch holds; :class:`~neurogaze_fast.faces.order.EpochOrder` is one."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def batch_rows(self, epoch: int, batch: int) -> Tensor:
        """int64 [b] on the CPU."""


class DecodedStream:
    """Epochs of decoded batches in a given order.

    Rows found damaged are named once, kept in :attr:`bad`, and from then on replaced by the next
    row that is not, cyclically. So what a batch shows follows from its (seed, epoch, number), also
    in a run that was resumed with :attr:`bad`.
    """

    def __init__(
        self,
        faces: EncodedSplit,
        order: Order,
        *,
        device: torch.device,
        decoder: Decoder,
        console_line: Callable[[str], None],
    ) -> None:
        """`console_line` prints one line for people."""
        self.bad: dict[int, str] = {}
        """Row of `faces` -> why it cannot be used."""
        self._faces, self._order, self._device = faces, order, torch.device(device)
        self._decoder, self._say = decoder, console_line

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels uint8 [b, side, side] on the device, rows int64 [b] on the CPU) from batch
        `start` on; `rows` are those really shown.

        Raises:
            DataError: more rows are damaged than may be (see
                :func:`~neurogaze_fast.faces.encoded.refuse_many_damaged`), or the decoder refuses
                one batch after another for no visible reason.
        """
        stuck = 0
        while start < len(self._order):
            plan = [
                self._replaced(self._order.batch_rows(epoch, batch))
                for batch in range(start, len(self._order))
            ]
            stream = self._decoder.batches(self._faces, plan)
            try:
                for rows in plan:
                    pixels = next(stream)
                    start, stuck = start + 1, 0
                    yield pixels, rows
                return
            except DecodeFailed as failure:
                # The batch that is due need not be the one to blame: decoders work ahead. Decoding
                # it here and starting again after it gets past the culprit in any case.
                known = len(self.bad)
                rows, pixels = self._by_pillow(plan[-(len(self._order) - start)])
                stuck = stuck + 1 if len(self.bad) == known else 0
                if stuck > STUCK:
                    raise DataError(
                        f"The decoder {self._decoder.name} refused {stuck} batches in a row, but "
                        f"Pillow reads every image of theirs: {failure}. Use --loader torch, or "
                        "let `neurogaze-fast prepare shards --side N` convert the images."
                    ) from failure
            finally:
                stream.close()
            start += 1
            yield pixels, rows

    def state_dict(self) -> dict[str, Any]:
        """The damaged rows; all else follows from (seed, epoch, batch). JSON can hold it."""
        return {"bad": {str(row): reason for row, reason in sorted(self.bad.items())}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over :meth:`state_dict` of an earlier process."""
        self.bad = {int(row): str(reason) for row, reason in state["bad"].items()}

    def close(self) -> None:
        """End the decoder's worker processes, if it has any."""
        self._decoder.close()

    def _replaced(self, rows: Tensor) -> Tensor:
        if not self.bad:
            return rows
        return torch.tensor([self._good_row(row) for row in rows.tolist()], dtype=torch.int64)

    def _good_row(self, row: int) -> int:
        while row in self.bad:  # ends: _mark refuses to call every row bad
            row = (row + 1) % len(self._faces)
        return row

    def _by_pillow(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(rows shown, pixels) of one batch, its damaged rows found and replaced."""
        shown, images = [], []
        for row in rows.tolist():
            while True:
                row = self._good_row(row)
                try:
                    images.append(self._faces.decode(row))
                    break
                except CorruptImage as cause:
                    self._mark(row, str(cause))
            shown.append(row)
        pixels = torch.from_numpy(np.stack(images)).to(self._device)
        return torch.tensor(shown, dtype=torch.int64), pixels

    def _mark(self, row: int, reason: str) -> None:
        faces = self._faces
        self.bad[row] = reason
        self._say(f"Left out {faces.describe(row)}: {reason}. Another image takes its place.")
        refuse_many_damaged(
            [f"{faces.describe(r)}: {why}" for r, why in self.bad.items()],
            len(faces),
            "training images read so far",
        )
