"""conv3x3: Winograd's products are the convolution, to about twice bfloat16's rounding."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from neurogaze_fast import reference
from neurogaze_fast.errors import OperatorError
from neurogaze_fast.ops import _library, conv3x3
from neurogaze_fast.ops.conv3x3 import conv3x3_native

# (batch, channels in, out, height, width): borders of odd maps, more tiles than a block, and than
# what the weights' gradient adds up at once.
SHAPES = [
    (2, 32, 32, 4, 4),
    (3, 32, 64, 5, 7),
    (1, 96, 32, 1, 1),
    (2, 64, 96, 6, 9),
    (5, 32, 32, 33, 34),
]


@pytest.fixture
def native():
    """Without it there is nothing to compare: such a processor runs the reference."""
    x, weight = inputs((1, 32, 32, 4, 4))[:2]
    if not conv3x3_native(x, weight):
        pytest.skip("no processor with bfloat16 products, or no native library")


def inputs(shape, layout=torch.channels_last, seed=0):
    """x and gradient in bfloat16, weight in float32."""
    batch, channels, out, height, width = shape
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=g).bfloat16()
    weight = torch.randn(out, channels, 3, 3, generator=g) / (9 * channels) ** 0.5
    gradient = torch.randn(batch, out, height, width, generator=g).bfloat16()
    return [t.contiguous(memory_format=layout) for t in (x, weight, gradient)]


def results(function, x, weight, gradient):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = function(x, weight)
    return (y.detach(), *torch.autograd.grad(y, (x, weight), gradient.to(y.dtype)))


def error(value, exact):
    return ((value.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_as_exact_as_bfloat16_allows(native, shape, layout):
    x, weight, gradient = inputs(shape, layout)
    ours = results(conv3x3, x, weight, gradient)
    exact = results(reference.conv3x3, x.double(), weight.double(), gradient.double())
    assert [t.dtype for t in ours] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for got, want in zip(ours, exact, strict=True):
        assert got.shape == want.shape
        assert error(got, want) <= 0.005  # a bfloat16 is right to 0.002 on average


def test_integers_are_exact(native):
    """Small whole numbers, and weights whose quarters are whole: nothing is rounded."""
    g = torch.Generator().manual_seed(1)
    x = torch.randint(-2, 3, (2, 32, 7, 6), generator=g).bfloat16()
    weight = 4.0 * torch.randint(-1, 2, (32, 32, 3, 3), generator=g)
    gradient = torch.randint(-1, 2, (2, 32, 7, 6), generator=g).bfloat16()
    got = results(conv3x3, x, weight, gradient)
    want = results(reference.conv3x3, x.double(), weight.double(), gradient.double())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b.to(a.dtype).double(), rtol=0, atol=0)


def test_same_bits_for_any_number_of_threads_and_any_batch(native):
    x, weight, gradient = inputs((9, 64, 64, 17, 16))
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(results(conv3x3, x, weight, gradient))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    alone = conv3x3(x[4:5], weight)
    assert torch.equal(alone, found[0][0][4:5])


def test_a_weight_kept_in_bfloat16_gets_its_gradient_in_it(native):
    x, weight, gradient = inputs((2, 32, 32, 4, 6))
    rounded = weight.bfloat16()
    same = results(conv3x3, x, rounded.float(), gradient)
    y, of_x, of_weight = results(conv3x3, x, rounded, gradient)
    assert torch.equal(y, same[0])
    assert torch.equal(of_x, same[1])
    assert of_weight.dtype == torch.bfloat16
    assert torch.equal(of_weight, same[2].bfloat16())


def test_empty_batch(native):
    x, weight, gradient = inputs((0, 32, 64, 6, 6))
    y, of_x, of_weight = results(conv3x3, x, weight, gradient)
    assert y.shape == (0, 64, 6, 6)
    assert of_x.shape == x.shape
    assert torch.equal(of_weight, torch.zeros_like(weight))


@pytest.mark.parametrize(
    ("channels", "out", "dtype"),
    [
        (33, 32, torch.bfloat16),
        (32, 40, torch.bfloat16),
        (32, 32, torch.float32),
        (1, 64, torch.float64),
    ],
)
def test_what_the_kernel_does_not_take_is_the_library_s(channels, out, dtype):
    x, weight = torch.randn(2, channels, 6, 5).to(dtype), torch.randn(out, channels, 3, 3)
    assert not conv3x3_native(x, weight)
    assert torch.equal(conv3x3(x, weight), F.conv2d(x, weight.to(dtype), padding=1))


def test_a_lower_level_or_no_library_runs_the_reference():
    told = (
        "import torch; from neurogaze_fast.ops import conv3x3; from neurogaze_fast.ops.conv3x3 "
        "import conv3x3_native as n; x = torch.ones(1, 32, 4, 4).bfloat16(); "
        "w = torch.ones(32, 32, 3, 3); print(n(x, w), conv3x3(x, w)[0, 0, 1, 1].item())"
    )
    for name, value in (("NEUROGAZE_CPU_LEVEL", "avx2"), ("NEUROGAZE_NATIVE", "0")):
        said = subprocess.run(
            [sys.executable, "-c", told],
            capture_output=True, text=True, check=True, env={**os.environ, name: value},
        )  # fmt: skip
        assert said.stdout.split() == ["False", "288.0"]


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.ones(2, 32, 4), torch.ones(32, 32, 3, 3)),
        (torch.ones(2, 32, 4, 4), torch.ones(32, 64, 3, 3)),
        (torch.ones(2, 32, 4, 4), torch.ones(32, 32, 1, 1)),
        (torch.ones(2, 32, 4, 4, dtype=torch.int64), torch.ones(32, 32, 3, 3)),
    ],
)
def test_wrong_arguments(x, weight):
    with pytest.raises(OperatorError, match=r"^conv3x3: "):
        conv3x3(x, weight)


def test_no_second_derivative(native):
    x, weight, _ = inputs((1, 32, 32, 4, 4))
    x.requires_grad_()
    (first,) = torch.autograd.grad(conv3x3(x, weight).float().square().sum(), x, create_graph=True)
    with pytest.raises(OperatorError, match="only once"):
        first.sum().backward()


def test_raw_operators_refuse_what_would_leave_their_memory(native):
    raw = _library.operators()
    x, weight = torch.zeros(2, 4, 4, 32).bfloat16(), torch.zeros(64, 3, 3, 32)
    for bad in (
        lambda: raw.conv3x3(x[..., :31], weight, False),
        lambda: raw.conv3x3(x, weight[:63], False),
        lambda: raw.conv3x3(x, weight, True),
        lambda: raw.conv3x3(x, weight[:, :2], False),
        lambda: raw.conv3x3(x[0], weight, False),
        lambda: raw.conv3x3_weight_gradient(x, x[:1]),
        lambda: raw.conv3x3_weight_gradient(x, x[..., :16]),
        lambda: raw.conv3x3_weight_gradient(x, x[0]),
    ):
        with pytest.raises(RuntimeError):
            bad()


def test_opcheck_and_fullgraph(native):
    raw = _library.operators()
    x, weight, gradient = (t.permute(0, 2, 3, 1) for t in inputs((2, 32, 64, 6, 5)))
    torch.library.opcheck(raw.conv3x3.default, (x, weight, False))
    torch.library.opcheck(raw.conv3x3.default, (gradient, weight, True))
    torch.library.opcheck(raw.conv3x3_weight_gradient.default, (x, gradient))
    images, kernel, _ = inputs((2, 32, 64, 6, 5))
    compiled = torch.compile(conv3x3, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(images, kernel), conv3x3(images, kernel))
