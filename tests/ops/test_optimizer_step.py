"""optimizer_step on every back end against torch's AdamW and clip_grad_norm_ in float64."""

import math

import pytest
import torch
from torch import nn

from neurogaze_fast import reference
from neurogaze_fast.errors import OperatorError
from neurogaze_fast.ops import gradient_norm, optimizer_step
from tests.ops.other_process import in_another_process

# Sizes below, at and above a vector, a chunk of the CPU (16384) and a block (4096); more tensors
# than one launch takes.
SHAPES = [(1,), (3, 5), (8, 4, 3, 3), (0, 4), (16, 3, 1, 1), (4096,), (130, 130), *[(7,)] * 50]
OPTIONS = {"rate": 1e-2, "clip": 1.0, "weight_decay": 0.05, "betas": (0.9, 0.99), "eps": 1e-8}


class State:
    """Parameters and what belongs to them, the same values in every dtype."""

    def __init__(self, dtype, device="cpu", shapes=SHAPES, last=False, scale=1.0):
        generator = torch.Generator().manual_seed(0)

        def draw(shape, factor=1.0):
            drawn = factor * torch.randn(shape, generator=generator)
            drawn = drawn.to(device, dtype)
            return (
                drawn.to(memory_format=torch.channels_last) if last and len(shape) == 4 else drawn
            )

        self.weights = [draw(shape) for shape in shapes]
        self.gradients = [[draw(shape, scale) for shape in shapes] for _ in range(4)]
        self.averages = [w.clone() for w in self.weights]
        self.means = [torch.zeros_like(w) for w in self.weights]
        self.squares = [torch.zeros_like(w) for w in self.weights]
        self.steps = [torch.zeros((), device=device) for _ in self.weights]

    def lists(self, n=0):
        return (
            self.weights, self.gradients[n], self.means, self.squares, self.steps, self.averages,
        )  # fmt: skip

    def tensors(self):
        return [t for each in self.lists()[:1] + self.lists()[2:] for t in each]


def run(state, function, norm_of, skipped=(), follow=0.1):
    device = state.weights[0].device
    for n in range(4):
        skip = torch.full((), float(n in skipped), device=device)
        function(
            *state.lists(n),
            norm=norm_of(state.gradients[n]),
            skip=skip,
            follow=torch.full((), follow, device=device),
            **OPTIONS,
        )
    return state


def by_torch(state, skipped=(), follow=0.1):
    """The same by torch's own classes, one after the other."""
    parameters = [nn.Parameter(w) for w in state.weights]
    options = {key: OPTIONS[key] for key in ("weight_decay", "betas", "eps")}
    optimizer = torch.optim.AdamW(parameters, lr=OPTIONS["rate"], **options)
    for n in range(4):
        for p, g in zip(parameters, state.gradients[n], strict=True):
            p.grad = g.clone()
        nn.utils.clip_grad_norm_(parameters, OPTIONS["clip"])
        if n not in skipped:
            optimizer.step()
        for average, p in zip(state.averages, parameters, strict=True):
            average.lerp_(p.detach(), follow)
    state.weights = [p.detach() for p in parameters]
    state.means, state.squares, state.steps = (
        [optimizer.state[p][key] for p in parameters] for key in ("exp_avg", "exp_avg_sq", "step")
    )
    return state


@pytest.mark.parametrize("skipped", [(), (1, 2)], ids=["all steps", "two skipped"])
@pytest.mark.parametrize("scale", [1e-3, 1.0], ids=["below the clip", "clipped"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_equals_torch(backend, last, scale, skipped):
    exact = by_torch(State(torch.float64, last=last, scale=scale), skipped)
    state = State(torch.float32, backend.device, last=last, scale=scale)
    found = run(state, optimizer_step, gradient_norm, skipped)
    for own, other in zip(found.tensors(), exact.tensors(), strict=True):
        torch.testing.assert_close(own.cpu().double(), other.double(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_reference_equals_torch(dtype):
    exact = by_torch(State(torch.float64), (2,))
    found = run(State(dtype), reference.optimizer_step, reference.gradient_norm, (2,))
    rtol, atol = (2e-6, 1e-7) if dtype == torch.float32 else (1e-7, 1e-9)  # follow is float32
    for own, other in zip(found.tensors(), exact.tensors(), strict=True):
        torch.testing.assert_close(own.double(), other.double(), rtol=rtol, atol=atol)


def test_layouts_that_differ_give_the_same(backend):
    """What lies otherwise than its parameter, a slice among it, and no average for one.

    torch's fused AdamW alone takes such a gradient in the wrong order and says nothing.
    """
    state = State(torch.float32, backend.device, [(8, 4, 3, 3), (5, 6)])
    other = State(torch.float32, backend.device, [(8, 4, 3, 3), (5, 6)])
    state.gradients[0][0] = state.gradients[0][0].to(memory_format=torch.channels_last)
    state.gradients[0][1] = torch.cat([state.gradients[0][1]] * 2, 1)[:, :6]
    state.weights[1] = torch.cat([state.weights[1]] * 2, 1)[:, :6]
    state.means[0] = state.means[0].to(memory_format=torch.channels_last)
    state.squares[1] = state.squares[1].t().contiguous().t()
    state.averages[0] = other.averages[0] = None
    follow = torch.full((), 0.5, device=backend.device)
    for each in (state, other):
        norm = gradient_norm(each.gradients[0])
        optimizer_step(*each.lists(), norm=norm, follow=follow, **OPTIONS)
    pairs = zip(state.lists(), other.lists(), strict=True)
    for own, wanted in (pair for lists in pairs for pair in zip(*lists, strict=True)):
        if own is not None:
            torch.testing.assert_close(own, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_norm_tells_of_a_value_that_is_not_finite(backend, value):
    gradients = State(torch.float32, backend.device).gradients[0]
    assert torch.isfinite(gradient_norm(gradients))
    gradients[-1][6] = value
    assert not torch.isfinite(gradient_norm(gradients))


def test_a_skipped_step_takes_in_nothing_of_a_bad_gradient(backend):
    state, before = (State(torch.float32, backend.device) for _ in range(2))
    state.gradients[0][2][0] = math.nan
    one = torch.ones((), device=backend.device)
    norm = gradient_norm(state.gradients[0])
    optimizer_step(*state.lists(), norm=norm, skip=one, follow=one / 2, **OPTIONS)
    for own, was in zip(state.tensors(), before.tensors(), strict=True):
        torch.testing.assert_close(own, was, rtol=0, atol=1e-7)


def test_the_same_bits_every_time(backend, monkeypatch):
    results = []
    threads = torch.get_num_threads()
    try:
        for order, number in (("reverse", 1), ("random:1", 2)):
            monkeypatch.setenv("NG_EMULATED_ORDER", order)
            torch.set_num_threads(number)
            state = State(torch.float32, backend.device)
            results.append(run(state, optimizer_step, gradient_norm).tensors())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_two_launches_a_pass(emulated):
    state = State(torch.float32, shapes=[(40,), (3, 5)])
    before = emulated.launches()
    norm = gradient_norm(state.gradients[0])
    optimizer_step(*state.lists(), norm=norm, follow=torch.ones(()), **OPTIONS)
    assert emulated.launches() == before + 4


def raw_arguments(device="cpu"):
    state = State(torch.float32, device, [(40,), (3, 5)])
    weights, gradients, means, squares, steps, averages = state.lists()
    one = torch.ones((), device=device)
    return [weights, gradients, means, squares, averages, steps, one, one, 0 * one, one,
            0.05, 0.9, 0.99, 1e-8, 1.0]  # fmt: skip


def test_opcheck(backend):
    arguments = raw_arguments(backend.device)
    torch.library.opcheck(backend.raw.optimizer_step.default, tuple(arguments))
    torch.library.opcheck(backend.raw.gradient_norm.default, (arguments[1],))


WRONG = {
    "a gradient missing": (1, lambda each: each[:1]),
    "a moment too short": (2, lambda each: [each[0][:-1], each[1]]),
    "a square in float64": (3, lambda each: [each[0].double(), each[1]]),
    "an average turned": (4, lambda each: [each[0], each[1].t()]),
    "steps of integers": (5, lambda each: [step.long() for step in each]),
    "two rates": (6, lambda one: one.repeat(2)),
    "a weight with gaps": (0, lambda each: [each[0].repeat(2)[::2], each[1]]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_direct_call_with_arguments_that_do_not_fit_is_refused(backend, case):
    arguments = raw_arguments(backend.device)
    position, change = WRONG[case]
    arguments[position] = change(arguments[position])
    call = lambda: backend.raw.optimizer_step(*arguments)  # noqa: E731
    assert in_another_process(backend, call) == "refused"


def test_bad_input_is_refused_clearly(backend):
    state = State(torch.float32, backend.device, [(4,), (3, 5)])
    lists = list(state.lists())
    with pytest.raises(OperatorError, match="follow"):
        optimizer_step(*lists, norm=None, **OPTIONS)
    lists[1] = lists[1][:1]
    with pytest.raises(OperatorError, match="2 parameters need as many"):
        optimizer_step(*lists, norm=None, **OPTIONS)
    with pytest.raises(OperatorError, match="no gradient"):
        gradient_norm([])


@pytest.mark.gpu
def test_capture_and_replay(cuda):
    state, other = (State(torch.float32, "cuda") for _ in range(2))
    rate, follow = torch.full((), 0.5, device="cuda"), torch.full((), 0.1, device="cuda")

    def step(of):
        norm = gradient_norm(of.gradients[0])
        optimizer_step(*of.lists(), norm=norm, follow=follow, **OPTIONS | {"rate": rate})

    step(state)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(state)
    rate.fill_(0.25)
    graph.replay()
    rate.fill_(0.5)
    step(other)
    rate.fill_(0.25)
    step(other)
    for own, wanted in zip(state.tensors(), other.tensors(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=0, atol=0)
