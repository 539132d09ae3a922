"""The compact network: branches that fold into one convolution without another answer."""

import pytest
import torch
from torch import nn

from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.student.compact import SHAPES, CompactNet
from neurogaze_fast.student.networks import build_student, load_weights
from neurogaze_fast.student.resnet import ResNet


def trained(architecture, seed=0):
    """A network whose normalisations have seen data and whose weights are no longer the first."""
    torch.manual_seed(seed)
    model = CompactNet(architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    for _ in range(3):
        model(torch.randn(16, 1, 48, 48))
    return model.eval()


@pytest.mark.parametrize("architecture", SHAPES)
def test_folding_keeps_the_answers(architecture):
    model = trained(architecture)
    images = torch.randn(8, 1, 48, 48)
    folded = model.folded()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    kernels = [m.kernel_size for m in folded.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(3, 3)] * (1 + sum(depth for _, depth in SHAPES[architecture]))
    for mine, theirs in zip(folded(images), model(images), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "folding made no copy"


@pytest.mark.parametrize("branch", ["conv1", "identity"])
def test_each_branch_counts(branch):
    """Were a branch left out of the fold, the answers would differ: here it is taken out."""
    model = trained("compact")
    images = torch.randn(4, 1, 48, 48)
    whole = model(images)[1]
    block = next(b for b in model.blocks if b.keeps_shape)
    if branch == "conv1":
        nn.init.zeros_(block.conv1.weight)
    else:
        block.keeps_shape = False
    without = model(images)[1]
    assert (whole - without).abs().max() > 1e-2
    torch.testing.assert_close(model.folded()(images)[1], without, rtol=1e-4, atol=1e-5)


def test_sizes_are_as_documented():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert 0.7e6 < count(CompactNet("compact").eval().folded()) < 0.75e6
    assert 0.17e6 < count(CompactNet("compact-half").eval().folded()) < 0.2e6
    assert CompactNet("compact").width == 256


def test_every_parameter_learns():
    model = CompactNet("compact-half")
    model(torch.randn(8, 1, 32, 32))[1].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match="compact"):
        load_weights(CompactNet("compact"), CompactNet("compact-half").state_dict(), "file")
    with pytest.raises(CheckpointError, match="compact"):
        load_weights(CompactNet("compact"), ResNet().state_dict(), "file")
    with pytest.raises(ConfigError, match="--stem imagenet"):
        build_student("compact", stem="imagenet")
