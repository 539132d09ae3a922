"""Unusual and wrong arguments of logit_loss: the native kernels do what the reference does."""

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
from tests.ops.exactness import LOGIT_OPTIONS, logit_inputs
from tests.ops.outcomes import assert_same_outcome, outcome

B, C = 19, 8
NAN, INF = float("nan"), float("inf")
NAMES = ("logits", "targets", "class_weights", "teacher_logits")


def base(dtype=torch.float32, batch=B, classes=C):
    return dict(zip(NAMES, logit_inputs((batch, classes), dtype), strict=True)) | LOGIT_OPTIONS


def resized(batch=B, classes=C):
    return lambda arguments: base(batch=batch, classes=classes)


VALUES = {
    "usual": option(),
    "no teacher": option(teacher_logits=None),
    "no smoothing": option(label_smoothing=0.0),
    "smoothing an integer": option(label_smoothing=0),
    "nearly all smoothing": option(label_smoothing=0.999),
    "temperature 1": option(temperature=1.0),
    "temperature an integer": option(temperature=3),
    "temperature 0.01": option(temperature=0.01),
    "empty batch": resized(batch=0),
    "empty batch without a teacher": several(resized(batch=0), option(teacher_logits=None)),
    "one sample": resized(batch=1),
    "one class": resized(classes=1),
    "one sample of one class": resized(1, 1),
    "33 classes": resized(classes=33),
    "500 classes": resized(3, 500),
    "15 samples": resized(batch=15),
    "16 samples": resized(batch=16),
    "17 samples": resized(batch=17),
    "64 samples": resized(batch=64),
    "65 samples": resized(batch=65),
    "zero logits": filled("logits", 0),
    "equal logits": filled("logits", 2.5),
    "logits as the teacher's": lambda a: {"teacher_logits": a["logits"].clone()},
    "logits of 1e4": mapped("logits", lambda z: 1e4 * z.sign()),
    "a logit of 1e4": filled("logits", 1e4, (2, 3)),
    "a logit of -1e4": filled("logits", -1e4, (2, 3)),
    "a logit of 1e30": filled("logits", 1e30, (2, 3)),
    "a logit of -1e30": filled("logits", -1e30, (2, 3)),
    "a very large and a very small logit": several(
        filled("logits", 1e38, (2, 3)), filled("logits", -1e38, (2, 4))
    ),
    "tiny logits": mapped("logits", lambda z: z * 1e-40),
    "nan logit": filled("logits", NAN, (2, 3)),
    "nan first logit": filled("logits", NAN, (2, 0)),
    "nan last logit of all": filled("logits", NAN, (-1, -1)),
    "nan logits": filled("logits", NAN),
    "inf logit": filled("logits", INF, (2, 3)),
    "-inf logit": filled("logits", -INF, (2, 3)),
    "-inf logit where the target is 0": several(
        filled("targets", 0, (2, 3)), filled("logits", -INF, (2, 3))
    ),
    "-inf logit, no smoothing, target 0": several(
        option(label_smoothing=0.0),
        filled("targets", 0, (2, 3)),
        filled("logits", -INF, (2, 3)),
    ),
    "-inf logits": filled("logits", -INF, 2),
    "inf logits": filled("logits", INF, 2),
    "nan teacher": filled("teacher_logits", NAN, (2, 3)),
    "inf teacher": filled("teacher_logits", INF, (2, 3)),
    "-inf teacher": filled("teacher_logits", -INF, (2, 3)),
    "-inf teacher's row": filled("teacher_logits", -INF, 2),
    "-inf logit and teacher": several(
        filled("teacher_logits", -INF, (2, 3)), filled("logits", -INF, (2, 3))
    ),
    "teacher of 1e4": mapped("teacher_logits", lambda z: 1e4 * z.sign()),
    "teacher of 1e30": filled("teacher_logits", 1e30, (2, 3)),
    "zero targets": filled("targets", 0),
    "targets of sum 5": mapped("targets", lambda y: 5 * y),
    "negative target": filled("targets", -0.5, (2, 3)),
    "nan target": filled("targets", NAN, (2, 3)),
    "inf target": filled("targets", INF, (2, 3)),
    "certain targets": lambda a: {"targets": torch.eye(C)[torch.arange(B) % C]},
    "zero weights": filled("class_weights", 0),
    "a zero weight": filled("class_weights", 0, 3),
    "a negative weight": filled("class_weights", -1, 3),
    "a nan weight": filled("class_weights", NAN, 3),
    "an inf weight": filled("class_weights", INF, 3),
    "a weight of 1e30": filled("class_weights", 1e30, 3),
    "transposed": every(transposed, ("logits", "targets", "teacher_logits")),
    "strided": every(strided, NAMES),
    "misaligned": every(shifted, NAMES),
    "one row for all": every(lambda x: x[:1].expand(B, C), ("logits", "targets")),
    "one class for all": mapped("logits", lambda x: x[:, :1].expand(B, C)),
    "one weight for all": mapped("class_weights", lambda x: x[:1].expand(C)),
    "backwards": every(lambda x: x.flip(0), ("logits", "targets", "teacher_logits")),
    "columns of a wider tensor": mapped("logits", lambda x: torch.cat([x, x], 1)[:, 3 : 3 + C]),
    "every second row": several(
        resized(batch=2 * B), every(lambda x: x[::2], ("logits", "targets", "teacher_logits"))
    ),
    "channels last": mapped(
        "logits",
        lambda x: x.view(B, C, 1, 1).contiguous(memory_format=torch.channels_last)[:, :, 0, 0],
    ),
    "half logits": cast(logits=torch.float16),
    "bfloat16 logits": cast(logits=torch.bfloat16),
    "double logits": cast(logits=torch.float64),
    "half logits, strided": several(cast(logits=torch.float16), every(strided, ("logits",))),
    "bfloat16 logits, misaligned": several(
        cast(logits=torch.bfloat16), every(shifted, ("logits",))
    ),
    "half logits that overflow": several(
        cast(logits=torch.float16), filled("logits", 65504, (2, 3))
    ),
    "bfloat16 logits of 1e38": several(cast(logits=torch.bfloat16), filled("logits", 1e38, (2, 3))),
    "double targets": cast(targets=torch.float64),
    "half targets": cast(targets=torch.float16),
    "bfloat16 weights": cast(class_weights=torch.bfloat16),
    "double weights": cast(class_weights=torch.float64),
    "half teacher": cast(teacher_logits=torch.float16),
    "double teacher": cast(teacher_logits=torch.float64),
    "everything of another dtype": cast(
        logits=torch.float64,
        targets=torch.bfloat16,
        class_weights=torch.float16,
        teacher_logits=torch.float32,
    ),
}
BOTH_KINDS = [(name, kd) for name in VALUES for kd in ("kl", "mse")]
ERRORS = {
    "logits [B]": mapped("logits", lambda x: x[:, 0]),
    "everything [C]": every(lambda x: x[0], ("logits", "targets", "teacher_logits")),
    "logits [B, C, 1]": mapped("logits", lambda x: x[..., None]),
    "everything [B, C, 1]": every(lambda x: x[..., None], ("logits", "targets", "teacher_logits")),
    "logits with a row less": mapped("logits", lambda x: x[1:]),
    "logits with a class less": mapped("logits", lambda x: x[:, 1:]),
    "targets turned": mapped("targets", lambda x: x.T),
    "targets [1, C]": mapped("targets", lambda x: x[:1]),
    "targets as indices": mapped("targets", lambda x: x.argmax(1)),
    "weights with one more": mapped("class_weights", lambda x: torch.cat([x, x[:1]])),
    "weights [C, 1]": mapped("class_weights", lambda x: x[:, None]),
    "one weight": mapped("class_weights", lambda x: x[0]),
    "teacher turned": mapped("teacher_logits", lambda x: x.T),
    "teacher with a row less": mapped("teacher_logits", lambda x: x[1:]),
    "teacher [C]": mapped("teacher_logits", lambda x: x[0]),
    "integer logits": cast(logits=torch.int64),
    "boolean logits": cast(logits=torch.bool),
    "complex logits": cast(logits=torch.complex64),
    "integer targets": cast(targets=torch.int64),
    "integer weights": cast(class_weights=torch.int32),
    "integer teacher": cast(teacher_logits=torch.int8),
    "unknown kd": option(kd="l1"),
    "kd None": option(kd=None),
    "kd in capitals": option(kd="KL"),
    "unknown kd without a teacher": option(kd="", teacher_logits=None),
    "temperature 0": option(temperature=0.0),
    "temperature negative": option(temperature=-1.0),
    "temperature nan": option(temperature=NAN),
    "smoothing 1": option(label_smoothing=1.0),
    "smoothing 2": option(label_smoothing=2.0),
    "smoothing negative": option(label_smoothing=-0.1),
    "smoothing nan": option(label_smoothing=NAN),
    "weights elsewhere": mapped("class_weights", lambda x: x.to("meta")),
    "teacher elsewhere": mapped("teacher_logits", lambda x: x.to("meta")),
    "no classes": resized(classes=0),
}


@pytest.mark.parametrize(("name", "kd"), BOTH_KINDS)
def test_unusual_arguments_give_the_references_values(backend, name, kd):
    arguments = base() | {"kd": kd}
    arguments |= VALUES[name](arguments) | {"kd": kd}
    arguments = {
        key: value.to(backend.device) if torch.is_tensor(value) else value
        for key, value in arguments.items()
    }
    assert outcome(reference.logit_loss, arguments, "logits")[0] is None
    assert_same_outcome(ops.logit_loss, reference.logit_loss, arguments, "logits")


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit_is_refused_as_the_reference_refuses_it(backend, name):
    arguments = base()
    arguments |= ERRORS[name](arguments)
    for function in (ops.logit_loss, reference.logit_loss):
        assert outcome(function, arguments, "logits") == (OperatorError, None)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_gradient_of_another_argument_is_the_references(backend, name):
    gradients = []
    for function in (ops.logit_loss, reference.logit_loss):
        arguments = base(torch.float64)
        leaf = arguments[name].requires_grad_()
        sum(function(**arguments)).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
