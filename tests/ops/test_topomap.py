"""topomap on every back end against the float64 reference, scipy, and input out of its contract."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CloughTocher2DInterpolator

from neurogaze_fast import reference
from neurogaze_fast.eeg.extrapolation import border_rule, triangulate
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.errors import OperatorError
from neurogaze_fast.ops import topomap
from tests import tolerances

DREAMER = "AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split()
BIOSEMI = (
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz "
    "Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 CP2 P4 P8 PO4 O2"
).split()
MONTAGES = {"dreamer": DREAMER, "biosemi": BIOSEMI, "seven": DREAMER[::2], "many": None}
_operators = {}


def operator(montage="dreamer", size=32, **options):
    key = (montage, size, *sorted(options.items()))
    if key not in _operators:
        if montage == "many":  # more channels than a block takes through shared memory at a time
            positions = 0.08 * (np.random.default_rng(0).random((70, 2)) - 0.5)
            _operators[key] = TopomapOperator.from_positions(positions, size, **options)
        else:
            _operators[key] = TopomapOperator.from_names(MONTAGES[montage], size, **options)
    return _operators[key]


def values_for(op, windows=5, features=3, dtype=torch.float64, seed=0, offset=0.0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    shape = (windows, features, len(op.positions))
    return (torch.randn(shape, generator=generator, dtype=torch.float64) + offset).to(device, dtype)


def error(found, exact):
    return float((found.double().cpu() - exact.cpu()).abs().max() / exact.abs().max().clamp_min(1))


def assert_exact(values, op, dtype=None, **options):
    """No further from the float64 reference than twice plain torch is, plus a few units."""
    exact = reference.topomap(values.double(), op, dtype=torch.float64, **options)
    own = reference.topomap(values, op, dtype=dtype, **options)
    found = topomap(values, op, dtype=dtype, **options)
    assert found.dtype == own.dtype
    assert found.shape == own.shape
    last = torch.channels_last if options.get("channels_last") else torch.contiguous_format
    assert found.is_contiguous(memory_format=last)
    assert (found.cpu().double()[..., ~torch.from_numpy(op.mask.copy())] == 0).all()
    limit = tolerances.TIMES_TORCH * error(own, exact) + tolerances.floor(own.dtype)
    assert error(found, exact) <= limit


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize(
    ("dtype", "out"),
    [
        (torch.float64, torch.float64),
        (torch.float64, torch.float32),
        (torch.float32, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float16),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float16),
    ],
)
@pytest.mark.parametrize("montage", ["dreamer", "biosemi"])
def test_equals_the_reference(backend, montage, dtype, out, normalise, channels_last):
    op = operator(montage)
    values = values_for(op, dtype=dtype, device=backend.device, offset=3)
    assert_exact(values, op, out, normalise=normalise, channels_last=channels_last)


@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("size", [3, 4, 9, 11, 16, 31, 33, 64])
@pytest.mark.parametrize("extrapolate", ["head", "local", "box"])
def test_every_size_and_mask(backend, extrapolate, size, normalise):
    op = operator("biosemi", size, extrapolate=extrapolate)
    for channels_last in (False, True):
        values = values_for(op, 3, 2, torch.float32, device=backend.device)
        assert_exact(values, op, normalise=normalise, channels_last=channels_last)


@pytest.mark.parametrize("method", ["linear", "nearest", "spherical_spline"])
@pytest.mark.parametrize("border", ["mean", 0.0])
def test_every_method_and_border(backend, method, border):
    op = operator("dreamer", 24, method=method, border=border)
    values = values_for(op, dtype=torch.float32, device=backend.device, offset=5)
    assert_exact(values, op, normalise="zscore")


@pytest.mark.parametrize("montage", ["seven", "many"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 5), (13, 5), (17, 4), (50, 1), (33, 3)])
def test_every_number_of_maps_and_channels(backend, shape, montage):
    op = operator(montage, 16)
    values = values_for(op, *shape, torch.float32, device=backend.device)
    for channels_last in (False, True):
        assert_exact(values, op, normalise="zscore", channels_last=channels_last)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("montage", ["dreamer", "biosemi"])
def test_equals_scipy(backend, montage, size):
    """1e-12 in float64 and 3e-6 in float32, of values of unit scale."""
    op = operator(montage, size)
    values = values_for(op, 2, 2)
    half = 0.095 * max(1.0, 1.01 * np.linalg.norm(op.positions, axis=1).max() / 0.095)
    triangles = triangulate(op.positions, "head", half)
    rule = border_rule(triangles, len(op.positions), "mean")
    axis = np.linspace(-half, half, size)
    x, y = np.meshgrid(axis, axis)
    nodes = values.reshape(4, -1).numpy() @ rule.T
    exact = CloughTocher2DInterpolator(triangles, nodes.T, tol=1e-15, maxiter=100_000)(x, y)
    exact = np.nan_to_num(np.moveaxis(exact, -1, 0)).reshape(2, 2, size, size)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 3e-6)):
        found = topomap(values.to(backend.device, dtype), op)
        assert float((found.cpu().double() - torch.from_numpy(exact)).abs().max()) < limit


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_values_does_not_matter(backend, scale):
    op = operator()
    values = values_for(op, dtype=torch.float32, device=backend.device)
    unit, scaled = topomap(values, op), topomap(values * scale, op) / scale
    torch.testing.assert_close(scaled, unit, rtol=1e-5, atol=1e-5)
    unit = topomap(values, op, normalise="zscore")
    scaled = topomap(values * scale, op, normalise="zscore")
    torch.testing.assert_close(scaled, unit, rtol=1e-4, atol=1e-4)


def test_a_common_offset_leaves_zscored_maps(backend):
    op = operator()
    values = values_for(op, dtype=torch.float32, device=backend.device)
    plain = topomap(values, op, normalise="zscore")
    offset = topomap((values.double() + 1000).float(), op, normalise="zscore")
    torch.testing.assert_close(offset, plain, rtol=0, atol=1e-3)  # what 1000's rounding leaves


def test_equal_values_give_zeros(backend):
    op = operator()
    values = torch.full((2, 2, 14), 7.3, device=backend.device)
    assert float(topomap(values, op, normalise="zscore").abs().max()) < 1e-3
    assert float(topomap(0 * values, op, normalise="zscore").abs().max()) == 0


@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradient(backend, normalise, channels_last):
    op = operator("dreamer", 8, extrapolate="local")
    values = values_for(op, 2, 2, device=backend.device).requires_grad_()
    options = {"normalise": normalise, "channels_last": channels_last}
    assert torch.autograd.gradcheck(lambda v: topomap(v, op, **options), values)
    weights = torch.randn(2, 2, 8, 8, dtype=torch.float64, device=backend.device)
    ours, theirs = (
        torch.autograd.grad((f(values, op, **options) * weights).sum(), values)[0]
        for f in (topomap, reference.topomap)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_twice_differentiated_is_refused_clearly(backend):
    op = operator("dreamer", 8)
    values = values_for(op, 1, 1, device=backend.device).requires_grad_()
    (gradient,) = torch.autograd.grad(topomap(values, op).sum(), values, create_graph=True)
    with pytest.raises(OperatorError, match="once"):
        gradient.sum().backward()


def test_opcheck(backend):
    op = operator("dreamer", 8)
    t = op.tensors(backend.device, torch.float32)
    for zscore in (False, True):
        for channels_last in (False, True):
            values = values_for(op, 2, 3, torch.float32, device=backend.device)
            args = (values, t.matrix, t.mask, t.mean, t.factor, True, zscore, torch.float16)
            torch.library.opcheck(backend.raw.topomap.default, (*args, channels_last))


def test_under_torch_compile(backend):
    op = operator("dreamer", 8)
    compiled = torch.compile(
        lambda v: topomap(v, op, normalise="zscore").square().sum(), fullgraph=True,
        backend="aot_eager",
    )  # fmt: skip
    values = values_for(op, 2, 2, torch.float32, device=backend.device).requires_grad_()
    (found,) = torch.autograd.grad(compiled(values * values), values)
    squares = (values * values).double()
    wide = values.double().detach().requires_grad_()
    exact = reference.topomap(wide * wide, op, normalise="zscore").square().sum()
    torch.testing.assert_close(compiled(values * values), exact.float(), rtol=1e-4, atol=1e-3)
    assert squares.isfinite().all()
    (expected,) = torch.autograd.grad(exact, wide)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-2)


def test_the_same_bits_every_time(backend, monkeypatch):
    op = operator("biosemi", 32)
    values = values_for(op, 9, 4, torch.float32, device=backend.device)
    first = topomap(values, op, normalise="zscore")
    threads = torch.get_num_threads()
    try:
        for order, number in (("reverse", 1), ("random:1", 2)):
            monkeypatch.setenv("NG_EMULATED_ORDER", order)
            torch.set_num_threads(number)
            assert torch.equal(topomap(values, op, normalise="zscore"), first)
    finally:
        torch.set_num_threads(threads)


def test_one_launch(emulated):
    op = operator()
    before = emulated.launches()
    topomap(values_for(op, dtype=torch.float32), op, normalise="zscore", channels_last=True)
    assert emulated.launches() == before + 1


LAYOUTS = {
    "as it is": lambda v: v,
    "sliced": lambda v: torch.cat((v, v))[::2],
    "channels first": lambda v: v.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "windows last": lambda v: v.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "expanded": lambda v: v[:1].expand(4, -1, -1),
    "expanded features": lambda v: v[:, :1].expand(-1, 4, -1),
    "off by one": lambda v: torch.cat((v.flatten()[:1], v.flatten()))[1:].view(v.shape),
    "no windows": lambda v: v[:0],
    "no features": lambda v: v[:, :0],
    "a NaN": lambda v: v.index_fill(2, torch.tensor([3], device=v.device), float("nan")),
    "all NaN": lambda v: v * float("nan"),
    "an infinity": lambda v: v.index_fill(2, torch.tensor([3], device=v.device), float("inf")),
    "zeros": lambda v: v * 0,
    "tiny": lambda v: v * 1e-30,
    "huge": lambda v: v * 1e15,
    "one channel alone": lambda v: v * (torch.arange(v.shape[2], device=v.device) == 2),
}


@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_unusual_values_do_as_the_reference_does(backend, layout, dtype, normalise):
    op = operator("dreamer", 10, extrapolate="local")
    values = LAYOUTS[layout](values_for(op, 4, 3, dtype, device=backend.device))
    for channels_last in (False, True):
        options = {"normalise": normalise, "channels_last": channels_last}
        found, expected = topomap(values, op, **options), reference.topomap(values, op, **options)
        scale = float(values.nan_to_num(0, 0, 0).abs().max()) if values.numel() else 1.0
        scale = max(scale, 1e-30) if normalise == "none" else 1.0
        torch.testing.assert_close(
            found / scale, expected / scale, rtol=1e-4, atol=1e-4, equal_nan=True
        )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(5, 3), (49, 1), (0, 2)], ids=str)
def test_out_is_overwritten_with_the_same_maps(backend, shape, dtype, normalise, channels_last):
    op = operator("dreamer", 9)
    values = values_for(op, *shape, torch.float32, device=backend.device)
    options = {"normalise": normalise, "channels_last": channels_last}
    expected = topomap(values, op, dtype=dtype, **options)
    # In the middle of memory whose ends must stay as they are.
    around = torch.full((len(values) + 2, *expected.shape[1:]), float("nan"), dtype=dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    around = around.to(backend.device).to(memory_format=layout)
    out = around[1:-1]
    for function in (topomap, reference.topomap):
        out.fill_(float("nan"))
        assert function(values, op, out=out, **options) is out
        torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)
        if function is topomap:
            assert torch.equal(out, expected)
        assert around[[0, -1]].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_maps_than_caches_hold(cpu, dtype):
    """They go past the caches, but for those that start within a vector."""
    op = operator("dreamer", 32)
    values = values_for(op, 1601, 4, dtype)  # no multiple of a block
    expected = topomap(values, op)
    memory = torch.empty(expected.numel() + 1, dtype=dtype)
    for start in (0, 1):
        out = memory[start : start + expected.numel()].view(expected.shape)
        out.fill_(float("nan"))
        assert torch.equal(topomap(values, op, out=out), expected)


def test_out_is_the_kernels_own_memory(backend, monkeypatch):
    """No map is made elsewhere first: that would cost what `out` is there to save."""
    op = operator("dreamer", 8)
    values = values_for(op, 3, 2, torch.float32, device=backend.device)
    out = torch.empty(3, 2, 8, 8, device=backend.device)
    monkeypatch.setattr(torch.Tensor, "copy_", None)
    monkeypatch.setattr(torch.Tensor, "clone", None)
    topomap(values, op, out=out)
    assert out.abs().max() > 0


def test_opcheck_of_out(backend):
    op = operator("dreamer", 8)
    t = op.tensors(backend.device, torch.float32)
    values = values_for(op, 2, 3, torch.float32, device=backend.device)
    for last, shape in ((False, (2, 3, 64)), (True, (2, 64, 3))):
        out = torch.zeros(shape, dtype=torch.float16, device=backend.device)
        args = (values, t.matrix, t.mask, t.mean, t.factor, True, True, last, out)
        torch.library.opcheck(backend.raw.topomap_out.default, args)
        for bad in (out[:1], out.repeat_interleave(2, 1)[:, ::2], out.long()):
            with pytest.raises(RuntimeError):
                backend.raw.topomap_out(*args[:-1], bad)


BAD_OUT = {
    "a window missing": lambda out: out[1:],
    "of float16": lambda out: out.half(),
    "with gaps": lambda out: out.repeat(2, 1, 1, 1)[::2],
    "of another layout": lambda out: out.to(memory_format=torch.channels_last),
    "flat": lambda out: out.flatten(2),
    "that needs a gradient": lambda out: out.requires_grad_(),
}


@pytest.mark.parametrize("case", BAD_OUT)
def test_an_out_that_does_not_fit_is_refused(backend, case):
    op = operator("dreamer", 8)
    values = values_for(op, 2, 3, torch.float32, device=backend.device)
    out = BAD_OUT[case](torch.zeros(2, 3, 8, 8, device=backend.device))
    for function in (topomap, reference.topomap):
        with pytest.raises(OperatorError, match="out"):
            function(values, op, dtype=torch.float32, out=out)
    with pytest.raises(OperatorError, match="gradient"):
        topomap(values.requires_grad_(), op, out=torch.zeros(2, 3, 8, 8, device=backend.device))


BAD = {
    "two dimensions": lambda v, op: topomap(v[0], op),
    "four dimensions": lambda v, op: topomap(v[None], op),
    "too few channels": lambda v, op: topomap(v[..., :13], op),
    "too many channels": lambda v, op: topomap(torch.cat((v, v), 2), op),
    "integers": lambda v, op: topomap(v.long(), op),
    "booleans": lambda v, op: topomap(v > 0, op),
    "integer maps": lambda v, op: topomap(v, op, dtype=torch.uint8),
    "unknown normalisation": lambda v, op: topomap(v, op, normalise="minmax"),
    "no normalisation": lambda v, op: topomap(v, op, normalise=""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(backend, case):
    op = operator("dreamer", 8)
    values = values_for(op, 2, 2, torch.float32, device=backend.device)
    with pytest.raises(OperatorError):
        BAD[case](values, op)


@pytest.mark.gpu
def test_capture_and_replay(cuda):
    op = operator()
    values = values_for(op, dtype=torch.float32, device="cuda")
    topomap(values, op, normalise="zscore")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        maps = topomap(values, op, normalise="zscore")
    values.copy_(values_for(op, dtype=torch.float32, seed=1, device="cuda"))
    graph.replay()
    torch.testing.assert_close(maps, topomap(values, op, normalise="zscore"), rtol=0, atol=0)
