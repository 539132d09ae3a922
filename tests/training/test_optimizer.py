"""The trainers' AdamW is torch's, with clipping and an average, natively and without."""

import copy

import pytest
import torch
from torch import nn

from neurogaze_fast.ops import _library
from neurogaze_fast.student.ema import ExponentialMovingAverage
from neurogaze_fast.training.optimizer import adamw

CLIP, RATE, DECAY = 0.1, 1e-2, 0.05


@pytest.fixture(params=["native", "plain torch"])
def operators(request, monkeypatch):
    if request.param == "plain torch":
        monkeypatch.setattr(_library, "native", lambda device: False)
    elif not _library.status("cpu")[0]:
        pytest.skip(_library.status("cpu")[1])


def network():
    torch.manual_seed(0)
    # No bias before BatchNorm: its gradient is rounding alone, of which AdamW makes whole steps.
    made = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1),
        nn.Flatten(), nn.Linear(100, 3),
    )  # fmt: skip
    return made.to(memory_format=torch.channels_last)


def backward(model, number):
    generator = torch.Generator().manual_seed(number)
    images = 3 * torch.randn(8, 2, 5, 5, generator=generator)
    for p in model.parameters():
        p.grad = None
    model(images.to(memory_format=torch.channels_last)).square().mean().backward()


class Torchs:
    """The same by torch's own classes."""

    def __init__(self):
        self.model = network()
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY, fused=True)
        self.average = ExponentialMovingAverage(self.model, 0.9)

    def step(self, number):
        backward(self.model, number)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.average.update()
        return norm


class Ours:
    def __init__(self):
        self.model = network()
        self.optimizer = adamw(self.model.parameters(), learning_rate=RATE, weight_decay=DECAY)
        self.average = ExponentialMovingAverage(self.model, 0.9)

    def step(self, number, skip=0.0):
        backward(self.model, number)
        norm = self.optimizer.gradient_norm(CLIP)
        self.optimizer.skip_if(torch.tensor(skip))
        self.optimizer.lead(self.average.weights, self.average.share())
        self.optimizer.step()
        self.average.update_buffers()
        return norm


def values(side):
    state = side.optimizer.state_dict()["state"]
    return [
        *side.model.state_dict().values(),
        *side.average.module.state_dict().values(),
        *(value for one in state.values() for value in one.values()),
    ]


def assert_close(one, other):
    for a, b in zip(values(one), values(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_equals_torch(operators):
    ours, theirs = Ours(), Torchs()
    for number in range(5):
        norm = theirs.step(number)
        assert norm > CLIP  # so that clipping is part of it
        torch.testing.assert_close(ours.step(number), norm, rtol=1e-5, atol=0)
    assert_close(ours, theirs)


def test_the_state_is_torchs(operators):
    """A run saved by torch's AdamW is taken up, and torch's takes up ours."""
    ours, theirs = Ours(), Torchs()
    for number in range(2):
        ours.step(number)
        theirs.step(number)
    saved = [copy.deepcopy(side.optimizer.state_dict()) for side in (ours, theirs)]
    ours.optimizer.load_state_dict(saved[1])
    theirs.optimizer.load_state_dict(saved[0])
    for number in range(2, 4):
        ours.step(number)
        theirs.step(number)
    assert_close(ours, theirs)


def test_a_skipped_step_leaves_weights_and_moments(operators):
    ours = Ours()
    ours.step(0)
    weights = [p.detach().clone() for p in ours.model.parameters()]
    state = copy.deepcopy(ours.optimizer.state_dict()["state"])
    averaged = ours.average.module[0].weight.clone()
    ours.step(1, skip=1.0)
    assert all(map(torch.equal, weights, ours.model.parameters()))
    for number, one in ours.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, state[number][name]) for name, value in one.items())
    assert not torch.equal(averaged, ours.average.module[0].weight)  # it follows all the same
    ours.step(2)
    assert not torch.equal(weights[0], ours.model[0].weight)


def test_an_average_follows_a_parameter_without_a_gradient(operators):
    ours = Ours()
    ours.step(0)
    with torch.no_grad():
        ours.model[0].weight += 1
    backward(ours.model, 1)
    ours.model[0].weight.grad = None
    before = ours.average.module[0].weight.clone()
    share = ours.average.share()
    ours.optimizer.lead(ours.average.weights, share)
    ours.optimizer.step()
    expected = torch.lerp(before, ours.model[0].weight.detach(), share)
    torch.testing.assert_close(ours.average.module[0].weight, expected)


def test_a_norm_clips_one_step_only(operators):
    """The next step, for which no norm was taken, uses its gradients as they are."""
    ours, theirs = Ours(), Torchs()
    ours.step(0)
    theirs.step(0)
    for side in (ours, theirs):
        backward(side.model, 1)
        side.optimizer.step()
    torch.testing.assert_close(ours.model[4].weight, theirs.model[4].weight, rtol=1e-5, atol=1e-6)
