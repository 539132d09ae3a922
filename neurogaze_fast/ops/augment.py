"""Faces from the resident store to a batch, in one native pass over the output."""

from __future__ import annotations

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.reference.augment import check_arguments


def augment(
    store: Tensor,
    index: Tensor,
    params: Tensor,
    *,
    size: int,
    channels: int,
    dtype: torch.dtype,
) -> Tensor:
    """Gather rows of `store` and bring each to [channels, S, S] under its own parameters.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.augment`. Parameters that are not
    finite read nothing outside the image: a NaN coordinate is 0, a cutout box with a NaN edge is
    empty, a NaN gain or bias gives NaN outside the box. An index out of range raises on the CPU; on
    CUDA, where nothing is read on the host, it makes its image NaN.

    Native kernels are not differentiable; where `params` asks for a gradient, the reference runs.
    A store that is not contiguous is copied whole on each call.

    Args:
        store: uint8 [M, H, W] grey or [M, H, W, 3].
        index: int64 [B]; params: float32 [B, 12].
        size: S; channels: 1 or 3 (3 for colour); dtype: floating dtype of the result.

    Returns:
        [B, channels, S, S] in channels_last memory format.

    Raises:
        OperatorError: shapes, dtypes, devices, options or indices that do not fit.
    """
    check_arguments(store, index, params, size, channels, dtype)
    gradient = params.requires_grad and torch.is_grad_enabled()
    if gradient or not _library.native(store.device.type):
        return reference.augment(store, index, params, size=size, channels=channels, dtype=dtype)
    try:
        return _library.operators().augment(store, index, params, size, channels, dtype)
    except RuntimeError as error:
        raise _library.readable(error, "index must lie in") from None


def _fake(
    store: Tensor, index: Tensor, _params: Tensor, size: int, channels: int, dtype: torch.dtype
) -> Tensor:
    shape = (index.shape[0], channels, size, size)
    return torch.empty(shape, dtype=dtype, device=store.device, memory_format=torch.channels_last)


_library.declare(
    "augment(Tensor store, Tensor index, Tensor params, int size, int channels, "
    "ScalarType dtype) -> Tensor",
    _fake,
)
