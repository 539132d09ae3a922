"""Conv3x3 is nn.Conv2d, gradients included, whichever way it is computed."""

import pytest
import torch
from torch import nn

from neurogaze_fast.student.networks import build_student
from neurogaze_fast.training import conv3x3
from neurogaze_fast.training.conv3x3 import Conv3x3, allow_winograd


def pair(stride, dtype=torch.float64):
    ours = Conv3x3(5, 7, 3, stride, 1, bias=False).to(dtype)
    plain = nn.Conv2d(5, 7, 3, stride, 1, bias=False).to(dtype)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients(stride, side, layout):
    ours, plain = pair(stride)
    x = torch.randn(3, 5, side, side, dtype=torch.float64).contiguous(memory_format=layout)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = ours(a), plain(b)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    gradient = torch.randn_like(out)
    out.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_tiny_maps_take_the_matrix_product_and_others_do_not(monkeypatch):
    taken = []
    real = conv3x3._patches
    monkeypatch.setattr(conv3x3, "_patches", lambda *a: taken.append(a) or real(*a))
    ours, _ = pair(1, torch.float32)
    ours(torch.randn(2, 5, 4, 4)).sum().backward()
    assert len(taken) == 1
    ours(torch.randn(2, 5, 5, 5)).sum().backward()
    with torch.no_grad():
        ours(torch.randn(2, 5, 4, 4))
    assert len(taken) == 1


def test_under_autocast_it_is_as_exact_as_the_library():
    ours, plain = pair(1, torch.float32)
    x = torch.randn(16, 5, 3, 3)
    exact = plain.double()(x.double())
    gradient = torch.randn_like(exact)
    exact.backward(gradient)
    want, plain = plain.weight.grad.clone(), pair(1, torch.float32)[1]
    plain.load_state_dict(ours.state_dict())
    errors = []
    for conv in (ours, plain):
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(x)
        assert out.dtype == torch.bfloat16
        out.backward(gradient.to(out.dtype))
        errors.append((conv.weight.grad.double() - want).abs().max())
    assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize("side", [3, 9])
def test_autocast_leaves_float64_alone(side):
    ours, plain = pair(1)
    x = torch.randn(2, 5, side, side, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(x)
        assert torch.equal(out, plain(x))
    out.sum().backward()
    assert ours.weight.grad.dtype == torch.float64


def test_large_maps_in_bfloat16_take_winograd_only_where_they_train(monkeypatch):
    taken = []

    def instead(x, weight):
        taken.append(tuple(x.shape))
        return nn.functional.conv2d(x, weight.to(x.dtype), padding=1)

    monkeypatch.setattr(conv3x3, "conv3x3_native", lambda x, weight: x.dtype == torch.bfloat16)
    monkeypatch.setattr(conv3x3, "conv3x3", instead)
    ours = Conv3x3(32, 32, 3, 1, 1, bias=False)
    x = torch.randn(2, 32, 4, 5)
    ours(x)  # float32
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert taken == [(2, 32, 4, 5)]
        ours(x[..., :1])  # too small
        Conv3x3(32, 32, 3, 2, 1, bias=False)(x)  # strided
        with torch.no_grad():
            ours(x)
        allow_winograd(nn.Sequential(ours), False)
        ours(x)
    assert len(taken) == 1


def test_what_is_compiled_is_the_library_s(monkeypatch):
    monkeypatch.setattr(conv3x3, "conv3x3_native", lambda *_: True)
    monkeypatch.setattr(conv3x3, "conv3x3", lambda x, weight: torch.zeros(1))
    ours = Conv3x3(32, 32, 3, 1, 1, bias=False)
    x = torch.randn(2, 32, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).shape == (1,)
        assert torch.compile(ours, backend="eager")(x).shape == x.shape


@pytest.mark.parametrize("name", ["resnet18", "compact"])
def test_a_network_s_gradients_agree_with_those_without_winograd(name):
    """In bf16 a whole network's gradient is about as far from float32's with it as without."""
    torch.manual_seed(0)
    model = build_student(name).to(memory_format=torch.channels_last).train()
    images, labels = torch.randn(32, 1, 48, 48), torch.randint(0, 8, (32,))
    found = {}
    for way in ("winograd", "library", "float32"):
        allow_winograd(model, way == "winograd")
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=way != "float32"):
            _, logits = model(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        found[way] = torch.cat([p.grad.flatten() for p in model.parameters()])
    exact = found["float32"]
    off = {way: ((found[way] - exact).norm() / exact.norm()).item() for way in found}
    assert off["winograd"] <= 1.25 * off["library"], off
    assert off["library"] < 0.4
