"""topomap beside torch with the same operator, and beside MNE and torcheeg as they come.

Values are drawn; a map's cost does not depend on them. MNE and torcheeg interpolate map by map, so
they are timed on a few maps; the time of one is in extra_info, and its ratio to the time of one map
of the native batch. torcheeg asks for an old scipy, so it is not among the benchmark requirements:
install it with `pip install --no-deps torcheeg` and what it then misses.
"""

import time

import numpy as np
import pytest
import torch

from benchmarks.baselines import topomap as baseline
from benchmarks.measure import DEVICE, compiled, record
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.ops import topomap

DREAMER = "AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split()
BIOSEMI = (
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz "
    "Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 CP2 P4 P8 PO4 O2"
).split()
BANDS = 4
FEW = 64


def seconds_per_map(call, maps):
    call(maps[0])
    begin = time.perf_counter()
    for values in maps:
        call(values)
    return (time.perf_counter() - begin) / len(maps)


def mne_call(operator, size):
    from mne.viz.topomap import _GridData

    half = 0.095 * max(1.0, 1.01 * np.linalg.norm(operator.positions, axis=1).max() / 0.095)
    axis = np.linspace(-half, half, size)
    grid = _GridData(
        operator.positions, "cubic", "head", (0.0, 0.0), np.array([half, half]), "mean"
    )
    x, y = np.meshgrid(axis, axis)
    return lambda values: grid.set_values(values).set_locations(x, y)()


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="topomap")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("normalise", ["none", "zscore"])
@pytest.mark.parametrize("windows", [1_000, 20_000])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("names", [DREAMER, BIOSEMI], ids=["14", "32"])
def test_maps(benchmark, names, size, windows, normalise, dtype):
    operator = TopomapOperator.from_names(names, size)
    tensors = operator.tensors(DEVICE, torch.float32)
    count = int(tensors.mask.sum())
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(windows, BANDS, len(names), generator=generator).to(DEVICE)
    zscore = normalise == "zscore"

    def eager(v):
        return baseline.topomap(v, tensors.matrix, tensors.mask, count, zscore=zscore, dtype=dtype)

    quick = compiled(eager)
    few = values[:2]
    torch.testing.assert_close(
        topomap(few, operator, normalise=normalise, dtype=dtype).flatten(2).float(),
        eager(few).float(),
        rtol=1e-2 if dtype == torch.bfloat16 else 1e-4,
        atol=1e-2 if dtype == torch.bfloat16 else 1e-4,
    )
    rivals = {
        "eager": lambda: eager(values),
        "torch.compile": lambda: quick(values),
        "native": lambda: topomap(values, operator, normalise=normalise, dtype=dtype),
    }
    maps = windows * BANDS
    moved = values.nbytes + maps * size * size * dtype.itemsize
    shape = f"{windows} x {BANDS} maps, {len(names)} ch, {size}x{size}"
    shape += f", {normalise}, {'f32' if dtype == torch.float32 else 'bf16'}"
    few_turns = {} if windows <= 1_000 else {"turns": 3}
    record(benchmark, "topomap", shape, rivals, moved, capture=windows <= 1_000, **few_turns)
    each = benchmark.extra_info["us"]["native"] / maps
    benchmark.extra_info["us_per_map"] = round(each, 3)
    if zscore or dtype != torch.float32 or windows > 1_000:
        return
    rows = values.reshape(maps, -1)[:FEW].cpu().double().numpy()
    mne_us = seconds_per_map(mne_call(operator, size), rows) * 1e6
    benchmark.extra_info |= {"mne_us_per_map": round(mne_us, 1), "times_mne": round(mne_us / each)}


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="topomap out")
@pytest.mark.parametrize("windows", [1_000, 20_000])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("names", [DREAMER, BIOSEMI], ids=["14", "32"])
def test_out(benchmark, names, size, windows):
    """float32 maps into memory that is used again, beside torch's product into such memory."""
    operator = TopomapOperator.from_names(names, size)
    matrix = operator.tensors(DEVICE, torch.float32).matrix
    values = torch.randn(windows, BANDS, len(names), device=DEVICE)
    out = torch.empty(windows, BANDS, size, size, device=DEVICE)
    rows, flat = values.flatten(0, 1), out.view(windows * BANDS, -1)
    product = lambda: torch.matmul(rows, matrix, out=flat)  # noqa: E731
    rivals = {
        "eager": product,
        "torch.compile": product,  # it is one product: there is nothing to fuse
        "native": lambda: topomap(values, operator, out=out),
    }
    shape = f"{windows} x {BANDS} maps, {len(names)} ch, {size}x{size}, none, f32, out="
    few_turns = {} if windows <= 1_000 else {"turns": 5}
    record(
        benchmark, "topomap", shape, rivals, values.nbytes + out.nbytes, capture=False, **few_turns
    )


@pytest.mark.benchmark(group="topomap peers")
@pytest.mark.parametrize("names", [DREAMER, BIOSEMI], ids=["14", "32"])
def test_torcheeg(benchmark, names):
    """torcheeg's own 9x9 grid, one map a call, beside ours at the same number of pixels."""
    constants = pytest.importorskip("torcheeg.datasets.constants")
    transforms = pytest.importorskip("torcheeg.transforms")
    places = constants.DREAMER_CHANNEL_LOCATION_DICT
    if len(names) == 32:
        places = constants.DEAP_CHANNEL_LOCATION_DICT
    interpolate = transforms.ToInterpolatedGrid(places)
    rows = np.random.default_rng(0).standard_normal((FEW, len(places)))
    theirs = seconds_per_map(lambda values: interpolate(eeg=values[:, None]), rows) * 1e6
    operator = TopomapOperator.from_names(names, 9)
    values = torch.randn(1_000, BANDS, len(names), device=DEVICE)
    benchmark.pedantic(lambda: topomap(values, operator), rounds=20, warmup_rounds=2)
    if benchmark.stats:
        ours = benchmark.stats.stats.median / (1_000 * BANDS) * 1e6
        benchmark.extra_info |= {
            "torcheeg_us_per_map": round(theirs, 1),
            "native_us_per_map": round(ours, 3),
            "times_torcheeg": round(theirs / ours),
        }
