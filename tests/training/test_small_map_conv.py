"""SmallMapConv2d is nn.Conv2d, gradients included, wherever it takes the other road."""

import pytest
import torch
from torch import nn

from neurogaze_fast.training import small_map_conv
from neurogaze_fast.training.small_map_conv import SmallMapConv2d


def pair(stride, dtype=torch.float64):
    ours = SmallMapConv2d(5, 7, 3, stride, 1, bias=False).to(dtype)
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
    real = small_map_conv._patches
    monkeypatch.setattr(small_map_conv, "_patches", lambda *a: taken.append(a) or real(*a))
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
