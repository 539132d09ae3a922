"""CE and KD: native kernels against the float64 reference, and as an autograd function."""

import itertools
import os

import pytest
import torch

from neurogaze_fast import ops, reference
from neurogaze_fast.errors import OperatorError
from tests import tolerances
from tests.ops.exactness import LOGIT, LOGIT_OPTIONS, assert_as_exact_as_torch, logit_inputs

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
BATCHES = [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 257, 1023, 1024, 1025]
CLASSES = [*range(1, 13), 32, 33, 100]
CYCLES = [itertools.cycle(values) for values in (BATCHES, CLASSES, ["kl", "mse"])]
SHAPES = [tuple(map(next, CYCLES)) for _ in range(45)]
SMALL = [
    (1, 1, "kl"), (2, 3, "mse"), (17, 8, "kl"), (33, 12, "mse"), (64, 32, "kl"), (129, 100, "mse"),
    (1024, 2, "kl"), (1025, 2, "kl"), (2049, 3, "mse"),
]  # fmt: skip
USUAL = (33, 8, "kl")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cpu_is_as_exact_as_torch(cpu, shape, dtype):
    assert_as_exact_as_torch(LOGIT, shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_cuda_kernels_are_as_exact_as_torch(emulated, shape, dtype):
    assert_as_exact_as_torch(LOGIT, shape, dtype, seeds=2)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES + SMALL, ids=str)
def test_gpu_is_as_exact_as_torch(cuda, shape, dtype):
    assert_as_exact_as_torch(LOGIT, shape, dtype, device="cuda")


@pytest.mark.parametrize("kd", ["kl", "mse"])
@pytest.mark.parametrize("offset", [1e3, -1e4, 1e5])
def test_what_all_logits_share_costs_no_digits_that_torch_keeps(backend, offset, kd):
    logits, targets, weights, teacher = logit_inputs((33, 8, kd), torch.float32)
    tensors = [x.to(backend.device) for x in (logits + offset, targets, weights, teacher + offset)]
    shape = (33, 8, kd)
    exact, want = LOGIT.run(reference.logit_loss, [x.double() for x in tensors], shape)
    own, own_gradient = LOGIT.run(reference.logit_loss, tensors, shape)
    got, gradient = LOGIT.run(ops.logit_loss, tensors, shape)
    floor = tolerances.floor(torch.float32)
    for a, b, x in zip(got, own, exact, strict=True):
        assert (a - x).abs() <= 2 * (b - x).abs() + floor * max(1, x)
    limit = 2 * (own_gradient - want).abs().max() + floor * want.abs().max()
    assert (gradient - want).abs().max() <= limit


@pytest.mark.parametrize("temperature", [0.05, 1.0, 1000.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_any_temperature_and_smoothing_give_the_references_values(backend, temperature, smoothing):
    changes = {"temperature": temperature, "label_smoothing": smoothing}
    tensors = logit_inputs(USUAL, torch.float64, device=backend.device)
    got = LOGIT.run(ops.logit_loss, tensors, USUAL, **changes)
    want = LOGIT.run(reference.logit_loss, tensors, USUAL, **changes)
    # T^2 times a difference of nearly equal distributions.
    limits = tolerances.same_formula(torch.float64)
    limits["atol"] *= max(1.0, temperature**2)
    torch.testing.assert_close(got, want, **limits)


@pytest.mark.parametrize("kd", ["kl", "mse"])
@pytest.mark.parametrize("output", [0, 1, None], ids=["ce", "kd", "both"])
def test_gradients_are_those_of_finite_differences(backend, output, kd):
    z, *others = logit_inputs((7, 4), torch.float64, device=backend.device)

    def loss(x):
        outputs = ops.logit_loss(x, *others, **LOGIT_OPTIONS | {"kd": kd})
        return outputs if output is None else outputs[output]

    assert torch.autograd.gradcheck(loss, z.requires_grad_())


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("kd", ["kl", "mse"])
def test_a_gradient_may_come_from_one_output_alone(backend, output, kd):
    tensors = logit_inputs(USUAL, torch.float64, device=backend.device)
    weights = [float(i == output) for i in range(2)]
    got = LOGIT.run(ops.logit_loss, tensors, USUAL, weights, kd=kd)
    want = LOGIT.run(reference.logit_loss, tensors, USUAL, weights, kd=kd)
    torch.testing.assert_close(got, want, **tolerances.same_formula(torch.float64))
    leaf = tensors[0].requires_grad_()
    options = LOGIT_OPTIONS | {"kd": kd}
    LOGIT.native(leaf, *tensors[1:], **options)[output].backward()
    assert torch.equal(leaf.grad, got[1])


def test_without_a_teacher_distillation_is_a_constant_zero(backend):
    z, targets, weights, _ = logit_inputs(USUAL, torch.float64, device=backend.device)
    ce, kd = ops.logit_loss(z.requires_grad_(), targets, weights, None, **LOGIT_OPTIONS)
    assert kd == 0
    (ce + 5 * kd).backward()
    other = z.detach().clone().requires_grad_()
    reference.logit_loss(other, targets, weights, None, **LOGIT_OPTIONS)[0].backward()
    torch.testing.assert_close(z.grad, other.grad, **tolerances.same_formula(torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_scaled_gradient_keeps_its_small_parts_in_half_precision(backend, dtype):
    shape = (257, 8, "kl")
    tensors = logit_inputs(shape, dtype, device=backend.device)
    scale = [65536.0] * 2
    _, want = LOGIT.run(reference.logit_loss, [x.double() for x in tensors], shape, scale)
    _, got = LOGIT.run(ops.logit_loss, tensors, shape, scale)
    assert torch.isfinite(got).all()
    kept = want.abs() > 1e-3 * want.abs().max()
    assert (got[kept] != 0).all()
    # One rounding to the dtype, from sums in float32.
    limit = 0.51 * torch.finfo(dtype).eps * want.abs() + 1e-5 * want.abs().max()
    assert ((got.double() - want).abs() <= limit).all()


def test_every_half_is_read_exactly(backend):
    """Through d mse / d logit = 2 z / n, n a power of two."""
    for dtype in (torch.float16, torch.bfloat16):
        every = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)[:, None]
        z = every.to(backend.device)
        zeros = torch.zeros_like(z, dtype=torch.float32)
        weights = torch.ones(1, device=backend.device)
        *_, d_kd = backend.raw.logit_loss(z, zeros, weights, zeros, 0.0, 1, 1.0)
        expected = z.float() * 2**-15
        # 2 z must not overflow, nor the result be subnormal in float32.
        normal = (z.float().abs() < 1e38) & (expected.abs() >= torch.finfo(torch.float32).tiny)
        torch.testing.assert_close(d_kd[normal], expected[normal], rtol=0, atol=0)
        assert torch.equal(d_kd.isnan(), z.isnan())


def test_every_kind_of_float_is_rounded_to_half_as_torch_rounds_it(backend):
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (40_000,), generator=generator).to(torch.int32)
    halves = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16).float()
    ties = (halves[:-1] + halves[1:]) / 2
    near = ties.view(torch.int32)
    x = torch.cat([bits, near, near + 1, near - 1]).view(torch.float32)[:, None]
    x = torch.cat([x, (bits << 16).view(torch.float32)[:, None] * (1 + 2**-8)]).to(backend.device)
    for dtype in (torch.float16, torch.bfloat16):
        one, zero = torch.ones((), device=x.device), torch.zeros((), device=x.device)
        nothing, like = x[:0], torch.empty_like(x, dtype=dtype)
        got = backend.raw.logit_loss_backward(one, zero, x, nothing, like)
        torch.testing.assert_close(got, x.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_outputs_are_scalars_that_ask_for_a_gradient_as_the_logits_do(backend):
    for dtype in DTYPES:
        z, *others = logit_inputs(USUAL, dtype, device=backend.device)
        for wanted in (False, True):
            outputs = ops.logit_loss(z.requires_grad_(wanted), *others, **LOGIT_OPTIONS)
            assert [x.shape for x in outputs] == [()] * 2
            assert {x.requires_grad for x in outputs} == {wanted}
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            assert {x.dtype for x in outputs} == {wide}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_values_without_gradients_are_the_same(backend, mode):
    z, *others = logit_inputs(USUAL, torch.float32, device=backend.device)
    expected = ops.logit_loss(z.requires_grad_(), *others, **LOGIT_OPTIONS)
    with mode():
        outputs = ops.logit_loss(z, *others, **LOGIT_OPTIONS)
    assert not any(x.requires_grad for x in outputs)
    assert all(map(torch.equal, outputs, expected))


def test_a_second_derivative_is_refused_in_words(backend):
    z, *others = logit_inputs(USUAL, torch.float32, device=backend.device)
    total = sum(ops.logit_loss(z.requires_grad_(), *others, **LOGIT_OPTIONS))
    (gradient,) = torch.autograd.grad(total, z, create_graph=True)
    with pytest.raises(OperatorError, match="once"):
        (gradient.square().sum() + z.sum()).backward()


def bits(tensors, shape):
    values, gradient = LOGIT.run(ops.logit_loss, tensors, shape)
    return [*(x.item() for x in values), *gradient.flatten().tolist()]


@pytest.mark.parametrize("batch", [257, 3000])
def test_twenty_runs_give_the_same_bits(backend, batch):
    shape = (batch, 8, "kl")
    tensors = logit_inputs(shape, torch.bfloat16, device=backend.device)
    first = bits(tensors, shape)
    runs = 20 if batch < 1000 or backend.name != "emulated" else 3
    assert all(bits(tensors, shape) == first for _ in range(runs - 1))


@pytest.mark.parametrize("batch", [33, 3000])
def test_the_number_of_threads_does_not_change_a_bit(cpu, batch):
    shape = (batch, 8, "kl")
    tensors = logit_inputs(shape, torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(bits(tensors, shape))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_the_order_of_blocks_and_warps_does_not_change_a_bit(emulated, monkeypatch):
    shape = (1100, 5, "kl")
    tensors = logit_inputs(shape, torch.float32)
    results = []
    for order in ("forward", "reverse", "random:1", "random:2"):
        monkeypatch.setitem(os.environ, "NG_EMULATED_ORDER", order)
        results.append(bits(tensors, shape))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(("batch", "launches"), [(1024, 2), (1025, 3)])
def test_launches_of_forward_and_backward(emulated, batch, launches):
    before = emulated.launches()
    LOGIT.run(ops.logit_loss, logit_inputs((batch, 8), torch.float32), (batch, 8))
    assert emulated.launches() - before == launches
