"""Maps of a recording of any length, written to one .npy file as they are made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast import ops
from neurogaze_fast.artifacts import atomic_file
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.errors import OperatorError

BUFFER_BYTES = 8 << 20
"""Of maps at a time. They are made in the same memory again and again: no page is fresh."""
_NUMPY = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}


def write_maps(
    path: Path,
    blocks: Iterable[Tensor | np.ndarray],
    operator: TopomapOperator,
    *,
    normalise: str = "none",
    dtype: torch.dtype = torch.float16,
) -> int:
    """Interpolate electrode values block by block; return the number of windows written.

    The file appears once it is whole, and takes the place of an older one.

    Args:
        path: of the .npy file: maps [N, F, H, W], as :func:`neurogaze_fast.ops.topomap` makes
            them; ``np.load(path, mmap_mode="r")`` reads it without loading it.
        blocks: values [n, F, C] of any n each, in order: of a file too large for memory, say.
        dtype: float16, float32 or float64.

    Raises:
        OperatorError: the values do not fit the operator or each other, there are none, or `dtype`
            is none of the three.
    """
    if dtype not in _NUMPY:
        raise OperatorError(f"A .npy file cannot hold {dtype}: choose float16, float32 or float64.")
    with atomic_file(Path(path)) as file:
        return _write(file, blocks, operator, normalise, dtype)


def _write(
    file: BinaryIO,
    blocks: Iterable[Tensor | np.ndarray],
    operator: TopomapOperator,
    normalise: str,
    dtype: torch.dtype,
) -> int:
    buffer, windows = torch.empty(0), 0
    for block in blocks:
        values = torch.as_tensor(block)
        shape = (values.shape[1] if values.ndim == 3 else 0, *operator.shape)
        if windows == 0 and buffer.numel() == 0 and values.ndim == 3:
            each = max(1, dtype.itemsize * int(np.prod(shape)))
            buffer = torch.empty((max(1, BUFFER_BYTES // each), *shape), dtype=dtype)
            start = _header(file, 0, buffer)
        elif shape != buffer.shape[1:]:
            raise OperatorError(
                f"Blocks must be [n, F, C] with the same F, got {tuple(values.shape)} after "
                f"{windows} windows of F = {buffer.shape[1] if buffer.ndim == 4 else 'none'}."
            )
        for part in values.split(len(buffer)):
            made = ops.topomap(part, operator, normalise=normalise, out=buffer[: len(part)])
            file.write(made.numpy().data)
            windows += len(part)
    if buffer.ndim != 4:
        raise OperatorError("There is no block of values: no maps were written.")
    file.seek(0)
    if _header(file, windows, buffer) != start:
        raise OperatorError("The header of the .npy file has no room for the number of windows.")
    return windows


def _header(file: BinaryIO, windows: int, buffer: Tensor) -> int:
    """Write the header of a .npy file, in which NumPy leaves room for more rows; its length."""
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(_NUMPY[buffer.dtype])),
        "fortran_order": False,
        "shape": (windows, *buffer.shape[1:]),
    }
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()
