"""Proto-KD and D-Geo: native kernels against the float64 reference, and as an autograd function."""

import itertools
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast import ops, reference
from neurogaze_fast.errors import OperatorError
from tests import tolerances
from tests.ops.exactness import PROTO, PROTO_OPTIONS, assert_as_exact_as_torch, proto_inputs

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
BATCHES = [1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100, 129, 257]
WIDTHS = [1, 3, 4, 31, 32, 33, 64, 96, 127, 128, 129, 160, 512, 2048]
CELLS = [1, 2, 5, 25, 31, 32, 33, 40, 64, 100, 256]
CLASSES = [*range(1, 13), 32]
# Lists of lengths that share no factor: cycled side by side they meet in ever new combinations.
CYCLES = [itertools.cycle(values) for values in (BATCHES, WIDTHS, CELLS, CLASSES)]
SHAPES = [tuple(map(next, CYCLES)) for _ in range(43)]
SMALL = [
    (1, 1, 1, 1), (2, 3, 2, 2), (3, 4, 5, 3), (7, 31, 25, 8), (15, 32, 31, 8), (16, 33, 32, 5),
    (17, 64, 33, 8), (31, 127, 40, 12), (33, 128, 25, 8), (5, 129, 64, 7), (33, 5, 100, 32),
    (2, 2048, 3, 4), (3, 512, 256, 9), (40, 512, 25, 8), (64, 160, 2, 8), (129, 8, 3, 8),
]  # fmt: skip
SEVERAL_GROUPS = (2100, 3, 2, 4)  # more than 128 blocks of 16 rows: a block works on two groups
USUAL = (33, 20, 5, 8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cpu_is_as_exact_as_torch(cpu, shape, dtype):
    assert_as_exact_as_torch(PROTO, shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_cuda_kernels_are_as_exact_as_torch(emulated, shape, dtype):
    assert_as_exact_as_torch(PROTO, shape, dtype, seeds=2)


def test_a_block_may_work_on_several_groups_of_rows(backend):
    assert_as_exact_as_torch(PROTO, SEVERAL_GROUPS, torch.float32, seeds=1, device=backend.device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES + SMALL, ids=str)
def test_gpu_is_as_exact_as_torch(cuda, shape, dtype):
    assert_as_exact_as_torch(PROTO, shape, dtype, device="cuda")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 70), st.integers(1, 150), st.integers(1, 70), st.integers(1, 32))
def test_any_shape_is_as_exact_as_torch(cpu, batch, width, cells, classes):
    assert_as_exact_as_torch(PROTO, (batch, width, cells, classes), torch.float64, seeds=1)


@pytest.mark.parametrize("tau", [0.01, 0.05, 100.0])
def test_a_sharp_or_flat_temperature_is_as_exact(backend, tau):
    shape = USUAL
    tensors = proto_inputs(shape, torch.float32)
    exact, want = PROTO.run(
        reference.proto_geo_loss,
        [x.double() if i < 3 else x for i, x in enumerate(tensors)],
        shape,
        tau=tau,
    )
    own, own_gradient = PROTO.run(reference.proto_geo_loss, tensors, shape, tau=tau)
    got, gradient = PROTO.run(ops.proto_geo_loss, tensors, shape, tau=tau)
    eps = torch.finfo(torch.float32).eps
    limit = 2 * (own[0] - exact[0]).abs() + 8 * eps * max(1, 1 / tau)
    assert (got[0] - exact[0]).abs() <= limit
    limit = 2 * (own_gradient - want).abs().max() + 8 * eps * want.abs().max()
    assert (gradient - want).abs().max() <= limit


@pytest.mark.parametrize("output", [0, 1, 2, None], ids=["proto", "cap", "margin", "all"])
@pytest.mark.parametrize("reduced", [False, True])
def test_gradients_are_those_of_finite_differences(backend, output, reduced):
    f, p, q, labels = proto_inputs((6, 3, 4, 3), torch.float64, device=backend.device)
    options = PROTO_OPTIONS | {"num_classes": 3, "margin": 1.5}
    reduce = (lambda sums, counts: (1.5 * sums, counts + 1)) if reduced else None

    def loss(x):
        outputs = ops.proto_geo_loss(x, p, q, labels, **options, reduce=reduce)
        return outputs if output is None else outputs[output]

    assert torch.autograd.gradcheck(loss, f.requires_grad_())


@pytest.mark.parametrize("output", [0, 1, 2])
def test_a_gradient_may_come_from_one_output_alone(backend, output):
    tensors = proto_inputs(USUAL, torch.float64, device=backend.device)
    weights = [float(i == output) for i in range(3)]
    _, got = PROTO.run(ops.proto_geo_loss, tensors, USUAL, weights)
    _, want = PROTO.run(reference.proto_geo_loss, tensors, USUAL, weights)
    torch.testing.assert_close(got, want, **tolerances.same_formula(torch.float64))
    leaf = tensors[0].requires_grad_()
    PROTO.native(leaf, *tensors[1:], **PROTO.options(USUAL))[output].backward()
    assert torch.equal(leaf.grad, got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_scaled_gradient_keeps_its_small_parts_in_half_precision(backend, dtype):
    tensors = proto_inputs((64, 128, 25, 8), dtype, device=backend.device)
    wide = [x.double() if x.is_floating_point() else x for x in tensors]
    scale = [65536.0] * 3
    _, want = PROTO.run(reference.proto_geo_loss, wide, (64, 128, 25, 8), scale)
    _, got = PROTO.run(ops.proto_geo_loss, tensors, (64, 128, 25, 8), scale)
    assert torch.isfinite(got).all()
    kept = want.abs() > 1e-3 * want.abs().max()
    assert (got[kept] != 0).all()
    # One rounding to the dtype, from sums in float32.
    limit = 0.51 * torch.finfo(dtype).eps * want.abs() + 1e-5 * want.abs().max()
    assert ((got.double() - want).abs() <= limit).all()


def test_outputs_are_scalars_that_ask_for_a_gradient_as_the_features_do(backend):
    for dtype in DTYPES:
        f, *others = proto_inputs(USUAL, dtype, device=backend.device)
        for wanted in (False, True):
            outputs = ops.proto_geo_loss(f.requires_grad_(wanted), *others, **PROTO_OPTIONS)
            assert [x.shape for x in outputs] == [()] * 3
            assert {x.requires_grad for x in outputs} == {wanted}
            assert {x.grad_fn is not None for x in outputs} == {wanted}
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            assert {x.dtype for x in outputs} == {wide}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_values_without_gradients_are_the_same(backend, mode):
    f, *others = proto_inputs(USUAL, torch.float32, device=backend.device)
    expected = ops.proto_geo_loss(f.requires_grad_(), *others, **PROTO_OPTIONS)
    with mode():
        outputs = ops.proto_geo_loss(f, *others, **PROTO_OPTIONS)
    assert not any(x.requires_grad for x in outputs)
    assert all(map(torch.equal, outputs, expected))


@pytest.mark.parametrize("reduced", [False, True])
def test_a_second_derivative_is_refused_in_words(backend, reduced):
    f, *others = proto_inputs(USUAL, torch.float32, device=backend.device)
    options = PROTO_OPTIONS | ({"reduce": lambda s, c: (s, c)} if reduced else {})
    total = sum(ops.proto_geo_loss(f.requires_grad_(), *others, **options))
    (gradient,) = torch.autograd.grad(total, f, create_graph=True)
    with pytest.raises(OperatorError, match="once"):
        (gradient.square().sum() + f.sum()).backward()


def test_backward_may_run_twice_over_a_kept_graph(backend):
    f, *others = proto_inputs(USUAL, torch.float32, device=backend.device)
    total = sum(ops.proto_geo_loss(f.requires_grad_(), *others, **PROTO_OPTIONS))
    first, second = (torch.autograd.grad(total, f, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_features_changed_in_place_before_backward_are_noticed(backend):
    f, *others = proto_inputs(USUAL, torch.float32, device=backend.device)
    features = f.requires_grad_() * 1
    total = sum(ops.proto_geo_loss(features, *others, **PROTO_OPTIONS))
    features.data.add_(0)  # not seen by autograd, harmless
    features.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def bits(tensors, shape):
    values, gradient = PROTO.run(ops.proto_geo_loss, tensors, shape)
    return [*(x.item() for x in values), *gradient.flatten().tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_twenty_runs_give_the_same_bits(backend, dtype):
    shape = (300, 33, 25, 8) if backend.name != "emulated" else (50, 33, 5, 8)
    tensors = proto_inputs(shape, dtype, device=backend.device)
    first = bits(tensors, shape)
    assert all(bits(tensors, shape) == first for _ in range(19))


@pytest.mark.parametrize("batch", [33, 257, 3000])
def test_the_number_of_threads_does_not_change_a_bit(cpu, batch):
    shape = (batch, 64, 25, 8)
    tensors = proto_inputs(shape, torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(bits(tensors, shape))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("shape", [(50, 70, 40, 8), (17, 130, 3, 32)], ids=str)
def test_the_order_of_blocks_and_warps_does_not_change_a_bit(emulated, monkeypatch, shape):
    tensors = proto_inputs(shape, torch.float32)
    results = []
    for order in ("forward", "reverse", "random:1", "random:2"):
        monkeypatch.setitem(os.environ, "NG_EMULATED_ORDER", order)
        results.append(bits(tensors, shape))
    assert all(result == results[0] for result in results)


def test_forward_and_backward_are_at_most_three_launches(emulated):
    before = emulated.launches()
    PROTO.run(ops.proto_geo_loss, proto_inputs((100, 200, 40, 8), torch.float32), (100, 200, 40, 8))
    assert emulated.launches() - before <= 3


def test_an_identity_hook_equals_no_hook(backend):
    tensors = proto_inputs(USUAL, torch.float64, device=backend.device)
    plain = PROTO.run(ops.proto_geo_loss, tensors, USUAL)
    hooked = PROTO.run(ops.proto_geo_loss, tensors, USUAL, reduce=lambda s, c: (s, c))
    torch.testing.assert_close(hooked, plain, **tolerances.same_formula(torch.float64))


HOOKS = {
    "adds another process": lambda s, c: (s + s.detach().flip(0), c + c.flip(0)),
    "scales": lambda s, c: (2 * s, 2 * c),
    "does not differentiate": lambda s, c: (s.detach(), c),
    "gives columns beside each other": lambda s, c: (s.T.contiguous().T, c),
    "gives strided counts": lambda s, c: (s, torch.stack((c, 0 * c), 1)[:, 0]),
    "expands one class": lambda s, c: (s[:1].expand_as(s), c),
    "widens": lambda s, c: (s.double(), c.double()),
    "widens sums alone": lambda s, c: (s.double(), c),
    "counts in integers": lambda s, c: (s, c.long()),
}


@pytest.mark.parametrize("name", HOOKS)
def test_any_hook_gives_what_it_gives_the_reference(backend, name):
    tensors = proto_inputs(USUAL, torch.float32, device=backend.device)
    got = PROTO.run(ops.proto_geo_loss, tensors, USUAL, reduce=HOOKS[name])
    want = PROTO.run(reference.proto_geo_loss, tensors, USUAL, reduce=HOOKS[name])
    torch.testing.assert_close(
        got, want, **tolerances.same_formula(torch.float32) | {"check_dtype": name != "widens"}
    )


@pytest.mark.parametrize("margin", [0.5, 1.5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_classes_whose_rows_cancel_are_the_same_everywhere(backend, dtype, margin):
    """What rounding leaves of such a mean must not decide where it points."""
    shape = (48, 20, 5, 4)
    f, p, q, _ = proto_inputs(shape, dtype, device=backend.device)
    labels = torch.arange(4, device=f.device).repeat(12)
    for c in (0, 1):  # the last six rows of these two are the first six, turned round
        rows = torch.nonzero(labels == c)[:, 0]
        f[rows[6:]] = -f[rows[:6]]
    tensors = f, p, q, labels
    wide = [x.double() if x.is_floating_point() else x for x in tensors]
    exact, want = PROTO.run(reference.proto_geo_loss, wide, shape, margin=margin)
    got, gradient = PROTO.run(ops.proto_geo_loss, tensors, shape, margin=margin)
    limits = tolerances.same_formula(got[2].dtype)
    for value, expected in zip(got, exact, strict=True):
        torch.testing.assert_close(value, expected, check_dtype=False, **limits)
    scale = max(1.0, float(want.abs().max()))
    limit = {"rtol": 0, "atol": scale * tolerances.same_formula(dtype)["atol"]}
    torch.testing.assert_close(gradient, want, check_dtype=False, **limit)
