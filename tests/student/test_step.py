"""The step: averages, tensors of fixed address, and the same result compiled or captured."""

import pytest
import torch
from torch import nn

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.ema import ExponentialMovingAverage
from tests.student.trainers import make


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


def test_average_follows_its_definition():
    model = small()
    average = ExponentialMovingAverage(model, 0.5)
    expected = model[0].weight.detach().clone()
    for update, decay in enumerate([0.1, 2 / 11, 0.25, 4 / 13, 5 / 14, 0.4, 7 / 16, 8 / 17, 0.5]):
        with torch.no_grad():
            model[0].weight += 1.0 + update
            model[1].running_mean += 1
            model[1].num_batches_tracked += 1
        average.update()
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
        torch.testing.assert_close(average.module[0].weight, expected)
    assert average.module[1].num_batches_tracked == 9
    assert 7 < average.module[1].running_mean[0] < 9
    assert not average.module[0].weight.requires_grad


def test_average_is_taken_up_again_where_it_was():
    model = small()
    average, other = ExponentialMovingAverage(model, 0.9), ExponentialMovingAverage(model, 0.9)
    for _ in range(3):
        with torch.no_grad():
            model[0].weight += 1
        average.update()
    other.load_state_dict(average.state_dict())
    for one in (average, other):
        one.update()
    assert torch.equal(average.module[0].weight, other.module[0].weight)


def test_the_learning_rate_is_read_from_one_tensor(faces, tmp_path):
    trainer = make(faces, tmp_path, epochs=1)
    step = trainer.run_step
    assert all(group["lr"] is step.rate for group in step.optimizer.param_groups)
    trainer.load_state_dict(trainer.state_dict(), "itself")
    assert all(group["lr"] is step.rate for group in step.optimizer.param_groups)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer._rate = lambda step: 0.0
    trainer.fit()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def gradient_norm(step):
    """Of the gradients that a first step took, after clipping: its mean is a share of them."""
    share = 1 - step.optimizer.param_groups[0]["betas"][0]
    squares = [
        (state["exp_avg"].double() / share).square().sum()
        for state in step.optimizer.state.values()
    ]
    return float(torch.stack(squares).sum().sqrt())


def one_step(faces, folder, **options):
    trainer = make(faces, folder, epochs=1, amp=False, augment=False, **options)
    step = trainer.run_step
    step.begin_epoch(0, 16, trainer.loader.source, len(trainer.rows.images))
    trainer._train_step(next(trainer.loader.epoch(0, 0)))
    return step


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(faces, tmp_path):
    free = gradient_norm(one_step(faces, tmp_path / "a", clip=1e6))
    assert free > 0.05
    half = one_step(faces, tmp_path / "b", clip=free / 2)
    assert gradient_norm(half) == pytest.approx(free / 2, rel=1e-3)
    assert gradient_norm(one_step(faces, tmp_path / "c", clip=2 * free)) == pytest.approx(
        free, 1e-5
    )


def test_only_weights_with_more_than_one_dimension_decay(faces, tmp_path):
    """With no gradient at all the decay is what is left of a step."""
    step = one_step(faces, tmp_path, weight_decay=0.5)
    named = {**dict(step.model.named_parameters()), **dict(step.objective.named_parameters())}
    before = {name: p.detach().clone() for name, p in named.items()}
    for state in step.optimizer.state.values():
        state["exp_avg"].zero_()
    for parameter in named.values():
        parameter.grad = torch.zeros_like(parameter)
    step.rate.fill_(0.1)
    step.optimizer.step()
    assert any("bn" in name for name in named)
    for name, parameter in named.items():
        kept = 0.95 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), kept * before[name], msg=name)


def test_without_a_gpu_nothing_is_captured_and_the_reason_is_said(faces, tmp_path):
    step = make(faces, tmp_path, cuda_graph=True).run_step
    assert (step.graphed, step.graph_reason) == (False, "there is no GPU")


def test_graphs_share_memory_so_sizes_only_rise(faces, tmp_path):
    trainer = make(faces, tmp_path, size=32)
    step, count = trainer.run_step, len(trainer.rows.images)

    def begin(size):
        step.begin_epoch(0, size, trainer.loader.source, count)

    begin(32)
    begin(16)  # without graphs any order will do
    step._graphs = {16: None, 24: None}
    with pytest.raises(ConfigError, match=r"images of 16 px after others of 24 px.*only rise"):
        begin(16)
    begin(24)
    begin(32)


def test_crops_are_drawn_as_wide_as_asked(faces, tmp_path):
    steps = [
        make(faces, tmp_path / str(scale), crop_scale=scale).run_step for scale in (1.0, 0.999, 0.3)
    ]
    for step in steps:
        step.begin_epoch(0, 16, (48, 48), 400)
    none, little, much = (step._params[:, (0, 3)].norm(dim=1) * 16 / 48 for step in steps)
    torch.testing.assert_close(little, none, rtol=1e-3, atol=0)
    assert 0.3**0.5 <= (much / none).min() < 0.6 < 0.95 < (much / none).max() <= 1


@pytest.mark.timeout(600)
def test_a_compiled_network_trains_alike(faces, tmp_path):
    options = {"epochs": 1, "amp": False, "batch_size": 40, "select": "last"}
    eager = make(faces, tmp_path / "a", **options).fit()
    compiled = make(faces, tmp_path / "b", **options, compile=True).fit()
    for name, value in eager[0]["train"].items():
        assert compiled[0]["train"][name] == pytest.approx(value, rel=2e-2)
