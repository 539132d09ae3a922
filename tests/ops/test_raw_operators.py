"""The registered operators: schemas, fake kernels, and calls that must not touch memory."""

import pytest
import torch

from tests.ops.exactness import logit_inputs, proto_inputs
from tests.ops.other_process import in_another_process

SHAPES = [(9, 6, 5, 8), (40, 64, 33, 3)]
ONE = torch.ones(())


def calls(raw, shape, dtype, device="cpu"):
    """Right arguments of each raw operator."""
    batch, _, _, classes = shape
    f, p, q, labels = proto_inputs(shape, dtype, device=device)
    chunk = 16
    options = (0.9, 0.2, 0.5, 1, classes, chunk)
    forward = (f, p, q, labels, *options)
    *_, unit, stats, pull = raw.proto_geo_loss(*forward)
    rows = (f, p, q, labels, 0.9, classes, chunk)
    sums, counts, losses, *_ = raw.proto_geo_loss_rows(*rows)
    one = ONE.to(device, unit.dtype)
    z, y, w, t = logit_inputs((batch, classes), dtype, device=device)
    *_, d_ce, d_kd = raw.logit_loss(z, y, w, t, 0.1, 2, 5.0)
    return {
        "proto_geo_loss": forward,
        "proto_geo_loss_rows": rows,
        "proto_geo_loss_classes": (sums, counts, losses, batch, 0.2, 0.5, 1),
        "proto_geo_loss_backward": (one, one, one, f, p, labels, unit, stats, pull),
        "logit_loss": (z, y, w, t, 0.1, 2, 5.0),
        "logit_loss_backward": (one, one, d_ce, d_kd, z),
    }


NAMES = [
    "proto_geo_loss",
    "proto_geo_loss_rows",
    "proto_geo_loss_classes",
    "proto_geo_loss_backward",
    "logit_loss",
    "logit_loss_backward",
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(backend, name, shape, dtype):
    arguments = calls(backend.raw, shape, dtype, backend.device)[name]
    torch.library.opcheck(getattr(backend.raw, name).default, arguments)


def test_opcheck_without_a_teacher(backend):
    z, y, w, _ = logit_inputs((9, 8), torch.float32, device=backend.device)
    torch.library.opcheck(backend.raw.logit_loss.default, (z, y, w, None, 0.1, 2, 5.0))


def fewer(tensor):
    return tensor[:-1]


def narrower(tensor):
    return tensor[..., :-1]


def empty(tensor):
    return tensor.new_empty(0)


def integer(tensor):
    return tensor.long()


def forty_classes(tensor):
    return tensor.repeat_interleave(5, 1)


# (operator, position or positions of an argument, what is done to it)
WRONG = [
    ("proto_geo_loss", 0, fewer),
    ("proto_geo_loss", 1, narrower),
    ("proto_geo_loss", 2, fewer),
    ("proto_geo_loss", 2, narrower),
    ("proto_geo_loss", 3, fewer),
    ("proto_geo_loss", 0, integer),
    ("proto_geo_loss", 8, lambda _: 33),
    ("proto_geo_loss", 8, lambda _: 0),
    ("proto_geo_loss", 9, lambda _: 0),
    ("proto_geo_loss_rows", 3, fewer),
    ("proto_geo_loss_rows", 5, lambda _: 33),
    ("proto_geo_loss_rows", 6, lambda _: -1),
    ("proto_geo_loss_classes", 0, lambda x: x.repeat(1, 5, 1)),
    ("proto_geo_loss_classes", (0, 1), forty_classes),
    ("proto_geo_loss_classes", 1, fewer),
    ("proto_geo_loss_classes", 2, empty),
    ("proto_geo_loss_backward", 0, empty),
    ("proto_geo_loss_backward", 1, empty),
    ("proto_geo_loss_backward", 2, empty),
    ("proto_geo_loss_backward", 3, fewer),
    ("proto_geo_loss_backward", 4, narrower),
    ("proto_geo_loss_backward", 4, fewer),
    ("proto_geo_loss_backward", 5, fewer),
    ("proto_geo_loss_backward", 6, fewer),
    ("proto_geo_loss_backward", 7, fewer),
    ("proto_geo_loss_backward", 8, narrower),
    ("logit_loss", 1, fewer),
    ("logit_loss", 2, fewer),
    ("logit_loss", 3, fewer),
    ("logit_loss", 0, integer),
    ("logit_loss", 0, empty),
    ("logit_loss_backward", 0, empty),
    ("logit_loss_backward", 1, empty),
    ("logit_loss_backward", 3, fewer),
]


@pytest.mark.parametrize(
    ("name", "position", "change"),
    WRONG,
    ids=[f"{n}-{i}-{getattr(c, '__name__', '')}" for n, i, c in WRONG],
)
def test_a_direct_call_with_arguments_that_do_not_fit_is_refused(backend, name, position, change):
    arguments = list(calls(backend.raw, (9, 6, 5, 8), torch.float32, backend.device)[name])
    for one in position if isinstance(position, tuple) else (position,):
        arguments[one] = change(arguments[one])
    operator = getattr(backend.raw, name)
    assert in_another_process(backend, lambda: operator(*arguments)) == "refused"


STRIDED = [
    ("proto_geo_loss_classes", (0, 1, 2)),
    ("proto_geo_loss_backward", (6, 7, 8)),
    ("logit_loss_backward", (2, 3)),
]


@pytest.mark.parametrize(("name", "positions"), STRIDED, ids=[name for name, _ in STRIDED])
def test_saved_tensors_may_be_strided(backend, name, positions):
    arguments = list(calls(backend.raw, (40, 6, 5, 8), torch.float32, backend.device)[name])
    want = getattr(backend.raw, name)(*arguments)
    for position in positions:
        tensor = arguments[position]
        arguments[position] = tensor.repeat_interleave(2, -1)[..., ::2]
    got = getattr(backend.raw, name)(*arguments)
    torch.testing.assert_close(got, want, rtol=0, atol=0)
