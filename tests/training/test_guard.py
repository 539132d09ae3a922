"""A non-finite batch leaves weights, optimiser and BatchNorm as they were."""

import copy

import pytest
import torch
from torch import nn

from neurogaze_fast.training.guard import LIMIT, NonFiniteGuard

CPU = torch.device("cpu")


def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    return model, optimizer, NonFiniteGuard(model, CPU)


def step(model, optimizer, guard, number, poison=None):
    torch.manual_seed(number)
    x = torch.randn(8, 1, 6, 6)
    if poison == "pixel":
        x[3, 0, 2, 2] = float("nan")
    guard.before_forward()
    loss = model(x).square().mean()
    if poison == "loss":
        loss = loss * float("inf")
    optimizer.zero_grad()
    loss.backward()
    if poison == "gradient":
        model[3].weight.grad[0, 0] = float("nan")
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.found_inf = guard.after_backward(loss, norm, number)
    optimizer.grad_scale = None
    optimizer.step()


def test_a_network_without_buffers_is_guarded_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Identity(), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    guard = NonFiniteGuard(model, CPU)
    step(model, optimizer, guard, 0)
    before = snapshot(model, optimizer)
    step(model, optimizer, guard, 1, "gradient")
    assert equal(before, snapshot(model, optimizer))
    assert guard.read() == ([1], False)


def snapshot(model, optimizer):
    return copy.deepcopy([model.state_dict(), optimizer.state_dict()["state"]])


def equal(a, b):
    flat = lambda s: [*s[0].values(), *(v for p in s[1].values() for v in p.values())]  # noqa: E731
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize("poison", ["pixel", "loss", "gradient"])
def test_bad_batch_changes_nothing(poison):
    model, optimizer, guard = make()
    for number in range(3):
        step(model, optimizer, guard, number)
    before = snapshot(model, optimizer)
    step(model, optimizer, guard, 3, poison)
    assert equal(before, snapshot(model, optimizer))
    step(model, optimizer, guard, 4)
    after = snapshot(model, optimizer)
    assert not equal(before, after)
    assert all(torch.isfinite(v).all() for v in after[0].values())
    assert guard.read() == ([3], False)
    assert guard.read() == ([], False)


def test_without_the_guard_the_same_batch_poisons_batch_norm():
    model, optimizer, _ = make()
    idle = NonFiniteGuard(nn.BatchNorm1d(1), CPU)  # guards another model
    step(model, optimizer, idle, 0, "pixel")
    assert not torch.isfinite(model[1].running_mean).all()


def test_limit_in_a_row_is_reported_and_a_good_batch_resets_the_count():
    model, optimizer, guard = make()
    for number in range(LIMIT - 1):
        step(model, optimizer, guard, number, "pixel")
    step(model, optimizer, guard, 50)
    for number in range(100, 100 + LIMIT - 1):
        step(model, optimizer, guard, number, "pixel")
    steps, too_many = guard.read()
    assert steps == [*range(LIMIT - 1), *range(100, 100 + LIMIT - 1)]
    assert not too_many
    step(model, optimizer, guard, 107, "pixel")
    assert guard.read() == ([107], True)


def test_streak_survives_a_restart():
    model, optimizer, guard = make()
    for number in range(5):
        step(model, optimizer, guard, number, "loss")
    fresh = NonFiniteGuard(model, CPU)
    fresh.load_state_dict(guard.state_dict())
    for number in range(3):
        step(model, optimizer, fresh, number, "loss")
    assert fresh.read()[1]
