"""Where the native operators come from, and what runs where there are none.

Schemas and fake kernels (what torch.compile needs to know) are declared here in Python; the
kernels register themselves when ``_C`` (CPU) and ``_C_cuda`` are loaded. Both use only PyTorch's
stable ABI, so one build serves torch 2.11 and later.
"""

from __future__ import annotations

import importlib.machinery
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurogaze_fast.errors import OperatorError

NAMESPACE = "neurogaze_fast"
LEVELS = ("baseline", "AVX2", "AVX-512")

_PACKAGE = Path(__file__).resolve().parent.parent
_SUFFIXES = (".abi3.so", ".pyd", *importlib.machinery.EXTENSION_SUFFIXES)
_declared: dict[str, tuple[str, Callable[..., Any] | None]] = {}
_libraries: list[torch.library.Library] = []


def declare(schema: str, fake: Callable[..., Any] | None = None) -> None:
    """Declare an operator by its schema, with the function that gives its outputs' shapes."""
    name = schema.partition("(")[0]
    _declared[name] = (schema, fake)
    _define(NAMESPACE, name)


def define(namespace: str) -> None:
    """Declare every operator in another namespace too (tests of other builds of the kernels)."""
    for name in _declared:
        _define(namespace, name)


def _define(namespace: str, name: str) -> None:
    schema, fake = _declared[name]
    library = torch.library.Library(namespace, "FRAGMENT")
    _libraries.append(library)  # an operator lives as long as its Library
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    if fake is not None:
        torch.library.register_fake(f"{namespace}::{name}", fake, lib=library)


declare("cpu_level() -> int")
declare("conv3x3_available() -> bool")


def once(gradient: Tensor, leaf: Tensor) -> Tensor:
    """`gradient` with respect to `leaf`, which raises where it is differentiated again.

    Without this a second derivative through kernels would silently be zero. torch's own
    once_differentiable raises only where the upstream gradient asks for a derivative.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Once.apply(gradient, leaf)
    return gradient


def readable(error: RuntimeError, words: str) -> Exception:
    """A kernel's own complaint, from `words` on, as a typed error; anything else as it is."""
    _, found, message = str(error).partition(words)
    return OperatorError(found + message.partition("\n")[0]) if found else error


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, leaf: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        raise OperatorError(
            "A native operator can be differentiated only once. For second derivatives call the "
            "function of the same name in neurogaze_fast.reference."
        )


def operators() -> Any:
    """The namespace of native operators."""
    return torch.ops.neurogaze_fast


def native(device: str) -> bool:
    """Whether native operators for "cpu" or "cuda" tensors are loaded."""
    return status(device)[0]


# torch.compile must not trace how libraries are loaded. This is all that
# torch.compiler.assume_constant_result does, but that loads the compiler, which takes longer than
# everything else a start imports.
native._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def status(device: str) -> tuple[bool, str]:
    """(loaded, one line saying which, or why not)."""
    if device not in ("cpu", "cuda"):
        return False, f"there is no native operator for {device!r} tensors"
    if os.environ.get("NEUROGAZE_NATIVE") == "0":
        return False, "NEUROGAZE_NATIVE=0 asks for plain torch"
    if device == "cuda" and torch.version.cuda is None:
        return False, "this torch was built without CUDA"
    found, detail = _load("_C" if device == "cpu" else "_C_cuda")
    if found and device == "cpu":
        detail = f"C++, {LEVELS[torch.ops.neurogaze_fast.cpu_level()]}"
        if torch.ops.neurogaze_fast.conv3x3_available():
            detail += " with bfloat16 products"
    elif not found and (device == "cpu" or torch.cuda.is_available()):
        warnings.warn(
            f"native {device} operators are not in use ({detail}): plain torch runs instead, more "
            "slowly; `neurogaze-fast doctor` says more",
            RuntimeWarning,
            stacklevel=3,
        )
    return found, detail


def _load(stem: str) -> tuple[bool, str]:
    paths = [path for suffix in _SUFFIXES if (path := _PACKAGE / (stem + suffix)).exists()]
    if not paths:
        return False, f"{stem} was not built: reinstall where there is a compiler"
    try:
        torch.ops.load_library(paths[0])
    except OSError as error:
        return False, f"{paths[0].name} does not load: {error}"
    gpu = "" if torch.cuda.is_available() else "; there is no GPU here to run them on"
    return True, f"CUDA {torch.version.cuda}{gpu}"
