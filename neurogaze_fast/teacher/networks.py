"""Published networks over signals, in the place of our own over maps; braindecode has them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.montage import head_info
from neurogaze_fast.errors import ConfigError, OperatorError
from neurogaze_fast.teacher.inputs import TOPOMAP
from neurogaze_fast.teacher.model import TeacherNet


class SignalNet(nn.Module):
    """A network of braindecode whose outputs are the embedding, and our read-out behind it.

    The embedding gets the layer normalisation and the read-out the tanh of our own teacher, so that
    banks are made of it in the same way.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        samples: int,
        sfreq: float,
        width: int,
        names: Sequence[str] | None = None,
    ) -> None:
        """`name` as braindecode.models spells it, such as EEGNet.

        Args:
            name: of the network.
            channels: how many; samples: of a window; sfreq: Hz.
            width: of the embedding.
            names: the sites, for networks that ask where they are (DGCNN, EEGSym, ...). None: such
                networks cannot be made.

        Raises:
            ConfigError: braindecode is missing, has no such network, or refuses this input.
        """
        super().__init__()
        self.name, self.bands, self.width = name, channels, width
        self.samples, self.sfreq = samples, sfreq
        self.names = None if names is None else list(names)
        self.body = _body(name, channels, samples, sfreq, width, self.names)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)
        self._try_out()

    @property
    def description(self) -> dict[str, Any]:
        """What is needed to make it again."""
        return {
            "name": self.name, "channels": self.bands, "samples": self.samples, "sfreq": self.sfreq,
            "names": self.names,
        }  # fmt: skip

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """float [N, C, 1, L] -> (embedding [N, width], (valence, arousal) [N, 2] in (-1, 1)).

        Raises:
            OperatorError: another number of channels or samples.
        """
        if signals.ndim != 4 or signals.shape[1:] != (self.bands, 1, self.samples):
            raise OperatorError(
                f"{self.name} takes signals [N, {self.bands}, 1, {self.samples}], not "
                f"{list(signals.shape)}."
            )
        found = self.body(signals.squeeze(2))
        if found.ndim != 2 or found.shape[1] != self.width:
            raise OperatorError(
                f"{self.name} answers {list(found.shape)} where [N, {self.width}] is needed: it is "
                "no network with one output per window."
            )
        embedding = self.norm(found)
        return embedding, self.head(embedding).tanh()

    def _try_out(self) -> None:
        """Some networks are made for any window, and refuse it when they see it."""
        self.eval()
        try:
            with torch.no_grad():  # and no inference_mode: some keep a tensor for later
                self(torch.zeros(2, self.bands, 1, self.samples))
        except OperatorError as cause:  # another shape of answer
            raise ConfigError(f"{cause} Use another --model.") from cause
        except Exception as cause:
            raise _refusal(self.name, self.bands, self.samples, self.sfreq, cause) from cause
        self.train()


TeacherModel = TeacherNet | SignalNet


def make_network(name: str, maps: MapSet, width: int) -> TeacherModel:
    """The network called `name` ("topomap": our own) for the windows of `maps`."""
    if name == TOPOMAP:
        return TeacherNet(len(maps.bands), width)
    assert maps.signals is not None  # InputMaker has refused maps without
    channels, samples = maps.signals.shape[1:]
    return SignalNet(name, channels, samples, maps.sfreq, width, maps.names)


def network_versions(model: TeacherModel) -> dict[str, str]:
    """What a network came with, for a run's environment; empty for our own."""
    if isinstance(model, TeacherNet):
        return {}
    import braindecode

    return {"braindecode": braindecode.__version__}


def _body(
    name: str,
    channels: int,
    samples: int,
    sfreq: float,
    width: int,
    names: Sequence[str] | None,
) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from braindecode import models
    except ImportError as cause:
        raise ConfigError(
            f"The network {name} needs braindecode, and it cannot be loaded ({cause}). Run: pip "
            "install 'neurogaze_fast[braindecode]'; --model topomap needs nothing."
        ) from cause
    kind = getattr(models, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        found = ((n, getattr(models, n)) for n in dir(models))
        known = [n for n, k in found if isinstance(k, type) and issubclass(k, nn.Module)]
        raise ConfigError(f"braindecode has no model {name!r}. It has {', '.join(known)}.")
    places = {} if names is None else {"chs_info": head_info(names, sfreq)["chs"]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(n_chans=channels, n_outputs=width, n_times=samples, sfreq=sfreq, **places)
    except Exception as cause:  # each network has its own least size
        raise _refusal(name, channels, samples, sfreq, cause) from cause


def _refusal(name: str, channels: int, samples: int, sfreq: float, cause: Exception) -> ConfigError:
    said = " ".join(str(cause).split())[:200].rstrip(".")
    return ConfigError(
        f"braindecode's {name} cannot be used for {channels} channels of {samples} samples at "
        f"{sfreq:g} Hz: {type(cause).__name__}: {said}. Use another --model, or windows of "
        "another length (prepare eeg --window)."
    )
