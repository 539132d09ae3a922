"""Unusual and wrong arguments of proto_geo_loss: the native kernels do what the reference does."""

import numpy as np
import pytest
import torch

from neurogaze_fast import ops, reference
from neurogaze_fast.errors import OperatorError
from tests.ops.changes import (
    cast,
    every,
    filled,
    mapped,
    option,
    several,
    shifted,
    strided,
    transposed,
)
from tests.ops.exactness import PROTO_OPTIONS, proto_inputs
from tests.ops.outcomes import assert_same_outcome, outcome

B, D, K = 9, 6, 5
NAN, INF = float("nan"), float("inf")
NAMES = ("features", "prototypes", "target_cells", "labels")


def base(dtype=torch.float32, shape=(B, D, K, 8)):
    tensors = dict(zip(NAMES, proto_inputs(shape, dtype), strict=True))
    tensors["labels"] = torch.arange(shape[0]) % 3  # classes 0 to 2 have three members
    return tensors | PROTO_OPTIONS


def labels(*values, dtype=torch.int64):
    return lambda arguments: {"labels": torch.tensor(values, dtype=dtype)}


def resized(**shape):
    sizes = {"batch": B, "width": D, "cells": K} | shape
    return lambda arguments: base(shape=(*sizes.values(), 8))


VALUES = {
    "usual": option(),
    "zero row": filled("features", 0, 2),
    "zero features": filled("features", 0),
    "tiny row": filled("features", 1e-14, 2),
    "row at the guard of the norm": filled("features", 1e-12 / D**0.5, 2),
    "subnormal row": filled("features", 1e-40, 2),
    "row of 1e15": filled("features", 1e15, 2),
    "row whose square overflows": filled("features", 1e25, 2),
    "nan in a feature": filled("features", NAN, (2, 3)),
    "nan features": filled("features", NAN),
    "nan in a class of one": several(labels(0, 0, 1, 1, 2, 2, 3, 0, 1), filled("features", NAN, 6)),
    "nan in a class without cap": several(
        labels(0, 0, 1, 1, 2, 2, 3, 3, 1), filled("features", NAN, 6)
    ),
    "inf in a feature": filled("features", INF, (2, 3)),
    "-inf row": filled("features", -INF, 2),
    "zero prototype": filled("prototypes", 0, 2),
    "zero prototypes": filled("prototypes", 0),
    "nan in a prototype": filled("prototypes", NAN, (2, 3)),
    "inf in a prototype": filled("prototypes", INF, (2, 3)),
    "tiny prototype": filled("prototypes", 1e-14, 1),
    "equal prototypes": lambda a: {"prototypes": a["prototypes"][:1].expand(K, D)},
    "features equal to prototypes": several(
        resized(batch=K), lambda a: {"features": a["prototypes"].clone()}
    ),
    "equal features": mapped("features", lambda x: x[:1].expand(B, D)),
    "opposite features": several(
        mapped("features", lambda x: torch.cat([x[:4], -x[:4], x[:1]])),
        labels(0, 1, 2, 3, 0, 1, 2, 3, 0),
    ),
    "zero targets": filled("target_cells", 0),
    "targets of sum 3": mapped("target_cells", lambda q: 3 * q),
    "certain targets": lambda a: {"target_cells": torch.eye(K)[torch.arange(B) % K]},
    "negative target": filled("target_cells", -0.1, (1, 1)),
    "negative zero target": filled("target_cells", -0.0, (1, 1)),
    "nan target": filled("target_cells", NAN, (1, 1)),
    "inf target": filled("target_cells", INF, (1, 1)),
    "subnormal target": filled("target_cells", 1e-42, (1, 1)),
    "empty batch": resized(batch=0),
    "one sample": resized(batch=1),
    "two samples": resized(batch=2),
    "one column": resized(width=1),
    "one cell": resized(cells=1),
    "256 cells": resized(cells=256),
    "257 cells": resized(cells=257),
    "every class single": several(resized(batch=8), labels(*range(8))),
    "one class": labels(*[2] * B),
    "last class only": labels(*[7] * B),
    "no class with a cap": labels(*[5, 6, 7] * 3),
    "int32 labels": cast(labels=torch.int32),
    "int16 labels": cast(labels=torch.int16),
    "int8 labels": cast(labels=torch.int8),
    "uint8 labels": cast(labels=torch.uint8),
    "two samples of one class": several(resized(batch=2), labels(1, 1)),
    "no caps": option(high_valence=()),
    "all caps": option(high_valence=range(8)),
    "the same cap twice": option(high_valence=[1, 1, 2]),
    "caps as numpy integers": option(high_valence=list(np.array([1, 2]))),
    "caps as a set": option(high_valence={1, 2}),
    "one class of one": several(labels(*[0] * B), option(num_classes=1, high_valence=(0,))),
    "3 classes": option(num_classes=3),
    "32 classes": option(num_classes=32, high_valence=(0, 31)),
    "33 classes": option(num_classes=33, high_valence=(0, 32)),
    "64 classes": option(num_classes=64, high_valence=(0, 63)),
    "tau 0.001": option(tau=0.001),
    "tau 1000": option(tau=1000.0),
    "tau an integer": option(tau=1),
    "no variance allowed": option(variance_cap=0.0),
    "any variance allowed": option(variance_cap=1.0),
    "negative cap": option(variance_cap=-1.0),
    "margin 0": option(margin=0.0),
    "margin 2": option(margin=2.0),
    "margin 3": option(margin=3.0),
    "margin negative": option(margin=-1.0),
    "transposed": every(transposed, NAMES[:3]),
    "strided": every(strided, NAMES),
    "features expanded": mapped("features", lambda x: x[:, :1].expand(B, D)),
    "features of a wider tensor": mapped("features", lambda x: torch.cat([x, x], 1)[:, :D]),
    "every second row": several(
        resized(batch=2 * B), every(lambda x: x[::2], ("features", "target_cells", "labels"))
    ),
    "backwards": every(lambda x: x.flip(0), ("features", "target_cells", "labels")),
    "misaligned": every(shifted, NAMES),
    "misaligned, wide": several(
        resized(width=64, cells=32), every(shifted, ("features", "prototypes"))
    ),
    "prototypes alone misaligned": several(resized(width=64), every(shifted, ("prototypes",))),
    "channels last": mapped(
        "features",
        lambda x: x.view(B, D, 1, 1).contiguous(memory_format=torch.channels_last)[:, :, 0, 0],
    ),
    "half features": cast(features=torch.float16),
    "bfloat16 features": cast(features=torch.bfloat16),
    "double features": cast(features=torch.float64),
    "half prototypes": cast(prototypes=torch.float16),
    "double prototypes": cast(prototypes=torch.float64),
    "double targets": cast(target_cells=torch.float64),
    "bfloat16 targets": cast(target_cells=torch.bfloat16),
    "everything of another dtype": cast(
        features=torch.float64, prototypes=torch.bfloat16, target_cells=torch.float16
    ),
    "bfloat16 features misaligned": several(
        resized(width=64), cast(features=torch.bfloat16), every(shifted, ("features",))
    ),
    "half features that overflow": several(
        cast(features=torch.float16), filled("features", 65504, 2)
    ),
}
ERRORS = {
    "features [B]": mapped("features", lambda x: x[:, 0]),
    "features [B, D, 1]": mapped("features", lambda x: x[..., None]),
    "features with a column more": mapped("features", lambda x: torch.cat([x, x[:, :1]], 1)),
    "features with a row less": mapped("features", lambda x: x[1:]),
    "prototypes [D]": mapped("prototypes", lambda x: x[0]),
    "prototypes with a cell more": mapped("prototypes", lambda x: torch.cat([x, x[:1]])),
    "prototypes [1, K, D]": mapped("prototypes", lambda x: x[None]),
    "targets turned": mapped("target_cells", lambda x: x.T),
    "targets [K]": mapped("target_cells", lambda x: x[0]),
    "targets with a row less": mapped("target_cells", lambda x: x[1:]),
    "labels [B, 1]": mapped("labels", lambda x: x[:, None]),
    "labels with one less": mapped("labels", lambda x: x[1:]),
    "one label": mapped("labels", lambda x: x[0]),
    "integer features": cast(features=torch.int64),
    "boolean features": cast(features=torch.bool),
    "complex features": cast(features=torch.complex64),
    "integer prototypes": cast(prototypes=torch.int32),
    "integer targets": cast(target_cells=torch.int64),
    "float labels": cast(labels=torch.float32),
    "boolean labels": cast(labels=torch.bool),
    "complex labels": cast(labels=torch.complex64),
    "tau 0": option(tau=0.0),
    "tau inf": option(tau=INF),
    "cap nan": option(variance_cap=NAN),
    "margin inf": option(margin=INF),
    "tau negative": option(tau=-0.9),
    "tau nan": option(tau=NAN),
    "cap on class 8": option(high_valence=(8,)),
    "cap on class -1": option(high_valence=(-1,)),
    "prototypes elsewhere": mapped("prototypes", lambda x: x.to("meta")),
    "labels elsewhere": mapped("labels", lambda x: x.to("meta")),
    "no columns": resized(width=0),
    "no cells": resized(cells=0),
    "no classes": option(num_classes=0, high_valence=()),
    "-1 classes": option(num_classes=-1, high_valence=()),
}
BAD_LABELS = {
    "label 8": labels(*range(B)),
    "label -1": labels(*range(-1, B - 1)),
    "label of the largest int64": labels(*[0] * (B - 1), 2**63 - 1),
    "label of the smallest int64": labels(*[0] * (B - 1), -(2**63)),
    "label 255 in uint8": labels(*[0] * (B - 1), 255, dtype=torch.uint8),
    "a class too few": option(num_classes=2, high_valence=(0,)),
}


@pytest.mark.parametrize("name", VALUES)
def test_unusual_arguments_give_the_references_values(backend, name):
    arguments = base()
    arguments |= VALUES[name](arguments)
    arguments = {
        key: value.to(backend.device) if torch.is_tensor(value) else value
        for key, value in arguments.items()
    }
    assert outcome(reference.proto_geo_loss, arguments, "features")[0] is None
    assert_same_outcome(ops.proto_geo_loss, reference.proto_geo_loss, arguments, "features")


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit_is_refused_as_the_reference_refuses_it(backend, name):
    arguments = base()
    arguments |= ERRORS[name](arguments)
    for function in (ops.proto_geo_loss, reference.proto_geo_loss):
        assert outcome(function, arguments, "features") == (OperatorError, None)


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("name", BAD_LABELS)
def test_a_bad_label_is_an_error_on_the_cpu_and_nan_on_cuda(backend, name, reduced):
    arguments = base() | ({"reduce": lambda s, c: (s, c)} if reduced else {})
    arguments |= BAD_LABELS[name](arguments)
    arguments = {k: v.to(backend.device) if torch.is_tensor(v) else v for k, v in arguments.items()}
    error, result = outcome(ops.proto_geo_loss, arguments, "features")
    if backend.name == "cpu":
        assert error is OperatorError
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.\d+, found -?\d+"):
            ops.proto_geo_loss(**arguments)
    else:
        assert error is None
        assert all(x.isnan() for x in result[0])


@pytest.mark.parametrize("name", ["prototypes", "target_cells"])
def test_a_gradient_of_another_argument_is_the_references(backend, name):
    gradients = []
    for function in (ops.proto_geo_loss, reference.proto_geo_loss):
        arguments = base(torch.float64)
        leaf = arguments[name].requires_grad_()
        sum(function(**arguments)).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_a_hook_is_called_for_an_empty_batch_too(backend):
    called = []
    arguments = base() | {"reduce": lambda s, c: (called.append(c), (s, c))[1]}
    arguments |= resized(batch=0)(arguments)
    ops.proto_geo_loss(**arguments)
    assert len(called) == 1
