"""The networks a student can be, by the names of --model."""

from __future__ import annotations

import torch
from torch import Tensor

from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.student.compact import SHAPES, CompactNet
from neurogaze_fast.student.resnet import DEPTHS, ResNet

Student = ResNet | CompactNet
ARCHITECTURES = (*DEPTHS, *SHAPES)


def build_student(architecture: str, *, stem: str = "small", channels: int = 1) -> Student:
    """A network with random weights, features beside logits.

    Raises:
        ConfigError: a stem the network does not have.
    """
    if architecture in DEPTHS:
        return ResNet(architecture, stem=stem, channels=channels)
    if stem != CompactNet.stem:
        raise ConfigError(
            f"--stem {stem} belongs to the ResNets; --model {architecture} has a stem of its own. "
            "Leave --stem out."
        )
    return CompactNet(architecture, channels=channels)


def load_weights(
    model: Student, state: dict[str, Tensor], source: str, *, strict: bool = True
) -> None:
    """Load a state_dict of ours or of torchvision's into `model`.

    A three-channel first convolution is summed over its channels for a one-channel model, which is
    exact for grey images repeated over three channels. Without `strict` (for --init) a missing or
    resized classifier (``fc``) is left as it is.

    Raises:
        CheckpointError: the weights belong to another architecture or stem.
    """
    state = dict(state)
    own = model.state_dict()
    first = state.get("conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 3 and model.channels == 1:
        state["conv1.weight"] = first.sum(1, keepdim=True)
    if not strict:
        for key in ("fc.weight", "fc.bias"):
            if key in state and state[key].shape != own[key].shape:
                state.pop(key)
            state.setdefault(key, own[key])
    missing = sorted(own.keys() - state.keys())
    extra = sorted(state.keys() - own.keys())
    shared = sorted(own.keys() & state.keys())
    shaped = [k for k in shared if own[k].shape != state[k].shape]
    typed = [k for k in shared if own[k].is_floating_point() != state[k].is_floating_point()]
    if missing or extra or shaped or typed:
        found = "; ".join(
            f"{what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}"
            for what, keys in (
                ("missing", missing),
                ("unknown", extra),
                ("other shape", shaped),
                ("other type", typed),
            )
            if keys
        )
        raise CheckpointError(
            f"{source} does not fit {model.architecture} with the {model.stem!r} stem and "
            f"{model.channels} channel(s) ({found}). Choose the --model and --stem it was "
            "trained with."
        )
    with torch.no_grad():
        model.load_state_dict(state)
