"""Reads pickles that hold arrays of numbers, and nothing else.

A pickle is a program. Here it may name six things, each of which stands for a class of this module:
numpy's own constructors are never called, so that no byte of the file reaches them unchecked.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.errors import DataError

_DTYPES = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}


class _Refused(Exception):
    """Carries what a pickle holds that is no array of numbers."""


class _Dtype:
    def __init__(self, name: Any, *_ignored: Any) -> None:
        self.name = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = {b"<": "<", b">": ">"}.get(state[1], str(state[1]))

    def real(self) -> np.dtype:
        kind, order = self.name.lstrip("<>=|"), self.order if self.order in "<>" else "="
        if kind not in _DTYPES:
            raise _Refused(f"an array of type {self.name!r}")
        return np.dtype(order + kind)


class _Array:
    """What numpy's ndarray is in a pickle: made empty, then given its state."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, by_columns, data = state
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("latin-1")
        self.value = _array(data, dtype, shape, "F" if by_columns else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise _Refused("an array that is no block of numbers")
    if not isinstance(shape, tuple) or order not in ("C", "F", b"C", b"F"):
        raise _Refused("an array without a shape")
    flat = np.frombuffer(bytes(data), dtype.real())
    return flat.reshape(shape, order="F" if order in ("F", b"F") else "C")


def _empty(*_ignored: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    data = data.encode("latin-1") if isinstance(data, str) else data
    return _array(data, dtype, ())[()]


def _latin_1(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes into the older protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"bytes in the encoding {encoding!r}")
    return text.encode("latin-1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin_1,
}
for _package in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_package}.multiarray", "_reconstruct"] = _empty
    _ADMITTED[f"{_package}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_package}.numeric", "_frombuffer"] = _array


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a reference to something outside the file")


def read_pickle(path: Path) -> Any:
    """Arrays, numbers, texts, and lists, tuples and dictionaries of them; also of Python 2.

    Raises:
        DataError: the file cannot be read, is damaged, or holds anything else; nothing of it is
            run.
    """
    try:
        with open(path, "rb") as file:
            return _values(_Reader(file, encoding="latin-1").load())
    except _Refused as cause:
        raise DataError(
            f"{path} is a pickle with {cause} in it. Only arrays of numbers, and dictionaries and "
            "lists of them, are read, because anything else could run a program on this machine. "
            "Save the arrays as .mat or .npz from a place where you trust the file."
        ) from cause
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}).") from cause
    except Exception as cause:  # a pickle breaks in as many ways as a program
        raise DataError(
            f"{path} is no pickle of arrays, or is damaged ({type(cause).__name__}: {cause}). "
            "Download it again."
        ) from cause


def _values(found: Any) -> Any:
    """The same with arrays for their stand-ins."""
    if isinstance(found, _Array):
        return found.value
    if isinstance(found, dict):
        return {_values(key): _values(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_values(value) for value in found]
    if isinstance(found, np.ndarray | np.generic | int | float | str | bytes | None):
        return found
    raise _Refused(f"a {type(found).__name__.lstrip('_')}")
