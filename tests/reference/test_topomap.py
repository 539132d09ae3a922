"""The reference topomap against scipy and against pixels taken one at a time."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CloughTocher2DInterpolator

from neurogaze_fast.eeg.extrapolation import border_rule, triangulate
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.errors import OperatorError
from neurogaze_fast.reference.topomap import topomap

DREAMER = "AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split()
BIOSEMI = (
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 "
    "CP2 P4 P8 PO4 O2"
).split()


@pytest.fixture(scope="module")
def local():
    return TopomapOperator.from_names(DREAMER, 16, extrapolate="local")


@pytest.fixture(scope="module")
def zero_border():
    return TopomapOperator.from_names(DREAMER, 16, border=0)


def make(windows, features, sites, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(windows, features, sites, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("extrapolate", ["head", "local", "box"])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("names", [DREAMER, BIOSEMI], ids=["dreamer", "biosemi"])
def test_equals_scipy(names, size, extrapolate, dtype, limit):
    operator = TopomapOperator.from_names(names, size, extrapolate=extrapolate)
    half = max(0.095, 1.01 * np.linalg.norm(operator.positions, axis=1).max())
    axis = np.linspace(-half, half, size)
    points = triangulate(operator.positions, extrapolate, half)
    rule = border_rule(points, len(names), "mean")
    values = make(2, 3, len(names))
    maps = topomap(values.to(dtype), operator).double()
    for v, pixels in zip(values.flatten(0, 1).numpy(), maps.flatten(0, 1), strict=True):
        exact = CloughTocher2DInterpolator(points, rule @ v, tol=1e-15, maxiter=100_000)
        expected = np.nan_to_num(exact(*np.meshgrid(axis, axis)))
        assert np.abs(pixels.numpy() - expected).max() < limit * max(1, np.abs(v).max())


def test_zscore_is_each_maps_own(local, zero_border):
    values = make(3, 2, 14, seed=1) * 5 + 3
    for operator in (local, zero_border):
        maps = topomap(values, operator, normalise="zscore").numpy()
        assert (maps[..., ~operator.mask] == 0).all()
        for v, pixels in zip(values.flatten(0, 1), maps.reshape(6, 16, 16), strict=True):
            plain = (v.numpy() @ operator.matrix).reshape(16, 16)[operator.mask]
            expected = (plain - plain.mean()) / plain.std()
            np.testing.assert_allclose(pixels[operator.mask], expected, atol=1e-12)


def test_zscore_keeps_its_digits_beside_an_electrodes_offset(local):
    values = make(2, 2, 14, seed=2)
    expected = topomap(values, local, normalise="zscore")
    # 2**17 and a spread that float32 holds exactly beside it.
    spread = (values * 64).round() / 64
    single = topomap((spread + 2**17).float(), local, normalise="zscore")
    torch.testing.assert_close(single, topomap(spread.float(), local, normalise="zscore"))
    double = topomap(values + 1e6, local, normalise="zscore")
    torch.testing.assert_close(double, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e-6, 0.1, 1234.5])
def test_equal_values_give_zeros_and_finite_gradients(local, dtype, level):
    values = torch.full((1, 1, 14), level, dtype=dtype, requires_grad=True)
    maps = topomap(values, local, normalise="zscore")
    assert maps.abs().max() < 1e-6
    maps.square().sum().backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_zscore_does_not_depend_on_the_unit(local, scale):
    values = make(2, 2, 14, torch.float32, seed=3)
    expected = topomap(values, local, normalise="zscore")
    torch.testing.assert_close(topomap(values * scale, local, normalise="zscore"), expected)


@pytest.mark.parametrize("normalise", ["none", "zscore"])
def test_dtypes_and_layout(local, normalise):
    values = make(4, 3, 14, torch.bfloat16)
    maps = topomap(values, local, normalise=normalise)
    assert maps.dtype == torch.bfloat16
    assert maps.shape == (4, 3, 16, 16)
    assert maps.is_contiguous()
    wide = topomap(values.float(), local, normalise=normalise)
    torch.testing.assert_close(maps, wide.bfloat16(), atol=0, rtol=0)
    half = topomap(values, local, normalise=normalise, dtype=torch.float16, channels_last=True)
    assert half.dtype == torch.float16
    assert half.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(half, wide.half(), atol=0, rtol=0)
    assert topomap(values.double(), local, dtype=torch.float32).dtype == torch.float32


def test_autocast_does_not_reach_the_product(local):
    values = make(2, 2, 14, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = topomap(values, local)
    torch.testing.assert_close(inside, topomap(values, local), atol=0, rtol=0)


def test_empty_and_non_contiguous(local):
    for shape in ((0, 3, 14), (3, 0, 14)):
        for normalise in ("none", "zscore"):
            maps = topomap(torch.zeros(shape), local, normalise=normalise, channels_last=True)
            assert maps.shape == (*shape[:2], 16, 16)
    values = make(4, 14, 3).transpose(1, 2)
    torch.testing.assert_close(topomap(values, local), topomap(values.contiguous(), local))


def test_one_bad_map_leaves_the_others_and_the_outside(local):
    values = make(2, 2, 14)
    clean = topomap(values, local, normalise="zscore")
    values[0, 1, 3] = float("nan")
    maps = topomap(values, local, normalise="zscore")
    assert maps[0, 1][torch.tensor(local.mask)].isnan().all()
    assert (maps[..., ~torch.tensor(local.mask)] == 0).all()
    maps[0, 1] = clean[0, 1]
    torch.testing.assert_close(maps, clean)


@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("border", ["mean", 0])
def test_gradcheck(normalise, border):
    operator = TopomapOperator.from_names(DREAMER, 6, extrapolate="local", border=border)
    values = make(2, 2, 14, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: topomap(v, operator, normalise=normalise), values)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.zeros(2, 14), {}, r"C = 14 sites last, got \(2, 14\)"),
        (torch.zeros(2, 3, 13), {}, "C = 14"),
        (torch.zeros(2, 3, 14, dtype=torch.int32), {}, "float dtype"),
        (torch.zeros(2, 3, 14), {"dtype": torch.uint8}, "float dtype"),
        (torch.zeros(2, 3, 14), {"normalise": "minmax"}, "'none' or 'zscore'"),
    ],
)
def test_what_does_not_fit_is_refused(local, values, options, message):
    with pytest.raises(OperatorError, match=message):
        topomap(values, local, **options)
