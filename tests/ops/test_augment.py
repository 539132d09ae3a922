"""augment against arithmetic in float64, the reference, torchvision, and itself in other builds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2 import functional as V

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.ops.augment import augment
from neurogaze_fast.reference.augment import MEAN, STD
from tests.ops.augment_cases import ATOL, LEVEL, assert_same, in_float64, make, native

SHAPES = [  # store, channels, size
    ((9, 48, 48), 1, 48),
    ((9, 48, 48), 1, 64),
    ((9, 48, 48), 3, 48),
    ((9, 48, 48), 3, 112),
    ((9, 48, 48, 3), 3, 64),
    ((9, 33, 57), 1, 51),
    ((9, 33, 57), 3, 23),
    ((9, 57, 33, 3), 3, 36),
    ((9, 97, 97), 1, 20),  # more bytes than a block's shared memory has pairs
    ((9, 160, 200, 3), 3, 37),
    ((9, 160, 200, 3), 3, 64),
]


@pytest.mark.parametrize("dtype", list(ATOL))
@pytest.mark.parametrize(("shape", "channels", "size"), SHAPES)
def test_agrees_with_the_definition(shape, channels, size, dtype):
    tensors = make(shape, size)
    result = augment(*tensors, size=size, channels=channels, dtype=dtype)
    assert_same(result, in_float64(*tensors, size=size, channels=channels), dtype)
    expected = reference.augment(*tensors, size=size, channels=channels, dtype=dtype)
    assert_same(result, expected, dtype)


@native
@pytest.mark.parametrize(("shape", "channels", "size"), SHAPES)
def test_error_is_at_most_twice_that_of_plain_torch(shape, channels, size):
    tensors = make(shape, size)
    truth = in_float64(*tensors, size=size, channels=channels)
    options = {"size": size, "channels": channels, "dtype": torch.float32}
    errors = [(op(*tensors, **options) - truth).abs().max() for op in (augment, reference.augment)]
    assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda r: r.roll(1, 3), id="one pixel to the right"),
        pytest.param(lambda r: r.roll(1, 0), id="the image of another row"),
        pytest.param(lambda r: r.flip(2), id="upside down"),
        pytest.param(lambda r: r + LEVEL, id="one grey level brighter"),
        pytest.param(lambda r: r.contiguous(), id="another memory format"),
    ],
)
def test_the_comparison_catches_a_broken_kernel(change):
    tensors = make((9, 48, 48), 48)
    options = {"size": 48, "channels": 3}
    result = augment(*tensors, **options, dtype=torch.float32)
    with pytest.raises(AssertionError):
        assert_same(change(result), in_float64(*tensors, **options), torch.float32)


@pytest.mark.parametrize(("shape", "channels", "size"), [SHAPES[0], SHAPES[4], SHAPES[5]])
def test_an_image_does_not_depend_on_its_batch(shape, channels, size):
    store, index, params = make(shape, size, batch=70)
    options = {"size": size, "channels": channels, "dtype": torch.bfloat16}
    whole = augment(store, index, params, **options)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(store, index[order], params[order], **options), whole[order])
    for i in (0, 69):
        one = augment(store, index[i : i + 1], params[i : i + 1], **options)
        assert torch.equal(one[0], whole[i])


def test_agrees_with_torchvision():
    store, index, _ = make((9, 48, 48), 48, batch=9)
    angle, scale, shift = 12.0, 1.1, (3.0, -2.0)
    turn = torch.deg2rad(torch.tensor(angle))
    inverse = torch.tensor([[turn.cos(), turn.sin()], [-turn.sin(), turn.cos()]]) / scale
    start = 23.5 - inverse @ (23.5 + torch.tensor(shift))
    gain, bias = 1.2, 0.05
    rows = [*inverse[0], start[0], *inverse[1], start[1], 30, 8, 40, 18, gain, bias]
    params = torch.tensor([[float(value) for value in rows]]).expand(9, -1)
    result = augment(store, index, params, size=48, channels=1, dtype=torch.float32)

    images = store[index].unsqueeze(1).float() / 255
    images = V.affine(images, angle, shift, scale, [0.0, 0.0], V.InterpolationMode.BILINEAR)
    images = V.normalize(images * gain + bias, [MEAN], [STD])
    images = V.erase(images, 8, 30, 10, 10, torch.zeros(1))
    inner = (..., slice(12, 36), slice(12, 36))  # torchvision fills the border, we repeat it
    assert (result[..., 8:18, 30:40] == 0).all()
    torch.testing.assert_close(result[inner], images[inner], rtol=0, atol=LEVEL / 10)


@native
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_lower_instruction_sets(level, tmp_path):
    """Each process chooses its instruction set once, so another one is needed."""
    calls = [
        (*make(shape, size, batch=5), {"size": size, "channels": channels, "dtype": dtype})
        for shape, channels, size in SHAPES
        for dtype in ATOL
    ]
    torch.save(calls, tmp_path / "calls")
    code = (
        "import sys, torch\n"
        "from neurogaze_fast.ops import _library\n"
        "from neurogaze_fast.ops.augment import augment\n"
        "results = [augment(*t, **options) for *t, options in torch.load(sys.argv[1])]\n"
        "torch.save([_library.operators().cpu_level(), results], sys.argv[2])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "calls", tmp_path / "results"],
        env=os.environ | {"NEUROGAZE_CPU_LEVEL": level},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    used, results = torch.load(tmp_path / "results")
    assert used <= ["baseline", "avx2"].index(level)
    for (*tensors, options), result in zip(calls, results, strict=True):
        dtype = options.pop("dtype")
        assert_same(result, in_float64(*tensors, **options), dtype)


@native
@pytest.mark.parametrize(("shape", "channels", "size"), [SHAPES[0], SHAPES[3], SHAPES[4]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(shape, channels, size, dtype):
    torch.library.opcheck(
        _library.operators().augment.default, (*make(shape, size), size, channels, dtype)
    )


@pytest.mark.parametrize(("channels", "dynamic"), [(1, False), (3, True)])
def test_compiles_without_graph_breaks(channels, dynamic):
    options = {"size": 24, "channels": channels, "dtype": torch.bfloat16}
    compiled = torch.compile(
        lambda *tensors: augment(*tensors, **options) * 2,
        backend="aot_eager",
        fullgraph=True,
        dynamic=dynamic,
    )
    for batch in (5, 6):
        tensors = make((9, 20, 30), 24, batch=batch)
        expected = augment(*tensors, **options) * 2
        result = compiled(*tensors)
        assert torch.equal(result, expected)
        assert result.stride() == expected.stride()


@pytest.mark.parametrize("dtype", list(ATOL))
@pytest.mark.parametrize(("shape", "channels", "size"), SHAPES)
def test_cuda_kernels_emulated(emulator, shape, channels, size, dtype):
    tensors = make(shape, size, batch=3)
    result = torch.ops.neurogaze_emulated.augment(*tensors, size, channels, dtype)
    assert_same(result, in_float64(*tensors, size=size, channels=channels), dtype)


@pytest.mark.parametrize(
    ("side", "size", "staged"),
    [(110, 56, True), (111, 56, True), (169, 88, True), (170, 88, False)],
)
def test_larger_sources_ask_for_more_shared_memory(emulator, side, size, staged):
    """Of 227 KiB: from 111 on more than is given unasked, and at 170 two blocks would not fit."""
    store, index, params = make((3, side, side), size, batch=513)  # a block makes a whole image
    result = torch.ops.neurogaze_emulated.augment(store, index, params, size, 1, torch.float32)
    assert emulator.ng_emulated_shared_bytes() == (4 * side * (side + 1) if staged else 0)
    few = slice(505, 513)
    expected = in_float64(store, index[few], params[few], size=size, channels=1)
    assert_same(result[few], expected, torch.float32)


@pytest.mark.parametrize(("size", "shape"), [(16, (9, 48, 48)), (16, (9, 99, 99)), (5, (9, 9, 9))])
def test_cuda_kernels_make_the_image_of_a_bad_index_nan(emulator, size, shape):
    store, index, params = make(shape, size, batch=4)
    index[1], index[3] = -1, 9
    result = torch.ops.neurogaze_emulated.augment(store, index, params, size, 3, torch.float16)
    assert result[[1, 3]].isnan().all()
    index[1], index[3] = 0, 0
    expected = torch.ops.neurogaze_emulated.augment(store, index, params, size, 3, torch.float16)
    assert torch.equal(result[[0, 2]], expected[[0, 2]])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(ATOL))
@pytest.mark.parametrize(("shape", "channels", "size"), SHAPES)
def test_gpu(shape, channels, size, dtype):
    tensors = make(shape, size)
    result = augment(*(t.cuda() for t in tensors), size=size, channels=channels, dtype=dtype)
    assert_same(result.cpu(), in_float64(*tensors, size=size, channels=channels), dtype)
