"""The teacher network, its verified file, and its answers for a whole map set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from neurogaze_fast.artifacts import check_fields, verified_open, write_artifact
from neurogaze_fast.errors import CheckpointError, OperatorError
from neurogaze_fast.training.conv3x3 import Conv3x3
from neurogaze_fast.training.run_folder import CHECKPOINTS, CONFIG_FILE

if TYPE_CHECKING:
    from neurogaze_fast.teacher.networks import TeacherModel

KIND = "teacher"
TEACHER_FILE = "teacher.safetensors"
FILMS_OUT_FILE = "films_out.safetensors"
STAGES = (16, 32, 64, 128)
DROPOUT = 0.5
_FIELDS = {
    "bands": int,
    "width": int,
    "synthetic": bool,
    "network?": {"name": str, "channels": int, "samples": int, "sfreq": float,
                 "names?": list},
}  # fmt: skip


class TeacherNet(nn.Module):
    """Four convolutions over a topographic map, any H x W, to an embedding and (valence, arousal).

    The paper names no network. Ours is small, because there are few people to learn from: 3x3
    convolutions of 16, 32, 64 and 128 channels, batch normalisation, GELU, the mean over the map,
    dropout of a half, a linear embedding with layer normalisation, and a linear read-out with
    tanh. Every convolution has stride 2, the first too: a map interpolated from a few electrodes
    is smooth. Batch normalisation, not group normalisation: the latter would take out the overall
    power of a window, which is part of the signal. A clip is rated once, so there are far fewer
    ratings than windows: without the dropout the network learns the training clips by heart. The
    embedding is signed, so that prototypes can point in opposite directions; after a ReLU they
    all would be alike.
    """

    def __init__(self, bands: int = 4, width: int = 512) -> None:
        """`bands` maps a window, `width` numbers in the embedding."""
        super().__init__()
        self.bands, self.width = bands, width
        layers: list[nn.Module] = []
        channels = bands
        for stage in STAGES:
            layers += [
                # Not nn.Conv2d: on a CPU the library's bfloat16 weight gradient of a 1x1 map reads
                # memory nobody wrote, so now and then it is NaN (seen with torch 2.14 on AVX-512).
                Conv3x3(channels, stage, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(stage),
                nn.GELU(),
            ]
            channels = stage
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(DROPOUT)
        self.embedding = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
        self.head = nn.Linear(width, 2)
        # 1.7 times faster on a CPU; the maps follow the weights' layout.
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """float [N, F, H, W] -> (embedding [N, width], (valence, arousal) [N, 2] in (-1, 1)).

        Raises:
            OperatorError: another number of bands or dimensions.
        """
        if maps.ndim != 4 or maps.shape[1] != self.bands:
            raise OperatorError(
                f"The teacher takes maps [N, {self.bands}, H, W], not {list(maps.shape)}: it was "
                f"made for {self.bands} bands."
            )
        embedding = self.embedding(self.dropout(self.features(maps).mean((2, 3))))
        return embedding, torch.tanh(self.head(embedding))


def embed(
    model: TeacherModel,
    maps: Tensor,
    rows: np.ndarray,
    *,
    device: torch.device,
    batch_size: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """(embedding float32 [n, D], va float32 [n, 2]) of `rows` of `maps` [N, F, H, W].

    In evaluation mode and in float32, however it was trained; the model's mode is put back.
    """
    was_training = model.training
    model.eval()
    index = torch.from_numpy(np.asarray(rows, np.int64)).to(maps.device)
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        for chosen in index.split(batch_size):
            embedding, va = model(maps.index_select(0, chosen).to(device, torch.float32))
            parts.append((embedding.cpu(), va.cpu()))
    model.train(was_training)
    if not parts:
        return np.zeros((0, model.width), np.float32), np.zeros((0, 2), np.float32)
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()


def save_teacher(path: Path, model: TeacherModel, metadata: dict[str, Any]) -> str:
    """Write a teacher's weights with a manifest saying what they are; return their SHA-256.

    `metadata` must hold ``maps``, ``split`` and ``synthetic``; the architecture is added here.
    """
    from safetensors.torch import save

    provenance = {"kind": KIND, "bands": model.bands, "width": model.width, **metadata}
    if not isinstance(model, TeacherNet):
        provenance["network"] = model.description
    state = model.state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return write_artifact(path, save(tensors), provenance)


def teacher_path(run: Path) -> Path:
    """The model file of a teacher's folder (or the file itself).

    Raises:
        CheckpointError: there is none.
    """
    run = Path(run)
    path = run / TEACHER_FILE if run.is_dir() else run
    if not path.exists():
        unfinished = (run / CHECKPOINTS).is_dir() or (run / CONFIG_FILE).exists()
        hint = (
            f"Its training was interrupted: continue it with train-teacher --resume {run}."
            if unfinished
            else f"Name a folder that train-teacher finished, or its {TEACHER_FILE}."
        )
        raise CheckpointError(f"{path} does not exist. {hint}")
    return path


def load_teacher(run: Path) -> tuple[TeacherModel, dict[str, Any]]:
    """A verified teacher in evaluation mode, and its provenance.

    Raises:
        CheckpointError: missing, altered, not a teacher, or of another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = teacher_path(run)
    data, provenance = verified_open(path, CheckpointError)
    if provenance.get("kind") != KIND:
        kind = provenance.get("kind", "file of unknown kind")
        raise CheckpointError(f"{path} is a {kind!r}, not a teacher of train-teacher.")
    check_fields(provenance, _FIELDS, path, CheckpointError)
    try:
        state = load(data)
        if any(value.dtype.is_complex for value in state.values()):
            raise ValueError("it holds complex numbers")
        model = _network_of(provenance, state)
        model.load_state_dict(state)
    except (SafetensorError, LookupError, ValueError, RuntimeError) as cause:
        raise CheckpointError(
            f"{path} does not hold this version's teacher ({cause}). Train it again."
        ) from cause
    return model.eval(), provenance


def _network_of(provenance: dict[str, Any], state: dict[str, Tensor]) -> TeacherModel:
    """The network that a verified manifest describes.

    Raises:
        ValueError: its weights are of another size, found before a network of that size is made.
    """
    stated = provenance["bands"], provenance["width"]
    network = provenance.get("network")
    if network:
        from neurogaze_fast.teacher.networks import SignalNet

        found = network["channels"], state["norm.weight"].shape[0]
    else:
        found = state["features.0.weight"].shape[1], state["embedding.0.weight"].shape[0]
    if stated != found:
        raise ValueError(f"its manifest says bands and width {stated}, it has {found}")
    if not network:
        return TeacherNet(*stated)
    about = network["name"], network["channels"], network["samples"], network["sfreq"]
    return SignalNet(*about, stated[1], network.get("names"))
