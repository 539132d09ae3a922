"""Our ResNets are torchvision's, value for value, and say so when weights do not fit."""

import pytest
import torch
import torchvision
from torch import nn

from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.student.networks import load_weights
from neurogaze_fast.student.resnet import DEPTHS, ResNet


@pytest.mark.parametrize("architecture", DEPTHS)
def test_state_dict_is_interchangeable_with_torchvision(architecture):
    ours = ResNet(architecture, stem="imagenet", channels=3, num_classes=10).eval()
    theirs = getattr(torchvision.models, architecture)(num_classes=10).eval()
    generator = torch.Generator().manual_seed(0)
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=generator) * 0.01)
    load_weights(ours, theirs.state_dict(), "torchvision")
    images = torch.randn(2, 3, 64, 64, generator=generator)
    features, logits = ours(images)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, theirs(images), rtol=0, atol=0)
    assert features.shape == (2, ours.width)
    theirs.load_state_dict(ours.state_dict())


def test_three_channel_weights_serve_a_grey_model_exactly():
    colour = ResNet(stem="imagenet", channels=3).eval()
    grey = ResNet(stem="imagenet", channels=1).eval()
    load_weights(grey, colour.state_dict(), "colour")
    image = torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(
        grey(image)[1], colour(image.expand(-1, 3, -1, -1))[1], rtol=1e-4, atol=1e-5
    )


def test_another_classifier_keeps_our_own():
    model = ResNet()
    own = model.fc.weight.clone()
    load_weights(model, ResNet(num_classes=1000).state_dict(), "imagenet", strict=False)
    assert torch.equal(model.fc.weight, own)


@pytest.mark.parametrize("damage", ["missing", "resized"])
def test_a_model_without_its_classifier_is_no_model(damage):
    state = ResNet().state_dict()
    if damage == "missing":
        del state["fc.weight"]
    else:
        state["fc.weight"] = state["fc.weight"][:4]
    with pytest.raises(CheckpointError, match=r"fc\.weight"):
        load_weights(ResNet(), state, "file")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ResNet("resnet50"), "missing|unknown"),
        (ResNet(stem="imagenet"), r"other shape: conv1\.weight"),
    ],
)
def test_other_architectures_are_refused(other, message):
    with pytest.raises(CheckpointError, match=message):
        load_weights(ResNet(), other.state_dict(), "file")


def test_small_stem_keeps_half_the_resolution():
    model = ResNet().eval()
    sizes = []
    model.layer1.register_forward_hook(lambda m, i, o: sizes.append(o.shape[2]))
    model(torch.zeros(1, 1, 48, 48))
    assert sizes == [24]


def test_convolutions_have_no_bias_and_normalisations_start_at_one():
    model = ResNet()
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))
    # Not the zero that large-batch recipes give the last one of a block: see benchmarks/README.md.
    assert all(m.weight.eq(1).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))
