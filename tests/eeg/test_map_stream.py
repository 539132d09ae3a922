"""Maps written block by block are those made at once, in memory that is used again."""

import numpy as np
import pytest
import torch

from neurogaze_fast import ops
from neurogaze_fast.eeg import map_stream
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.map_stream import write_maps
from neurogaze_fast.errors import OperatorError

OPERATOR = TopomapOperator.from_names("AF3 F7 F3 FC5 T7 P7 O1 O2".split(), 8)


def draw(windows, features=3, sites=8):
    generator = torch.Generator().manual_seed(windows)
    return torch.randn(windows, features, sites, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("normalise", ["none", "zscore"])
def test_equals_the_maps_made_at_once(tmp_path, monkeypatch, dtype, normalise):
    monkeypatch.setattr(map_stream, "BUFFER_BYTES", 7 * 3 * 64 * dtype.itemsize)  # seven windows
    blocks = [draw(n) for n in (5, 0, 1, 7, 23, 8)]
    path = tmp_path / "maps.npy"
    given = (b.numpy() if n % 2 else b for n, b in enumerate(blocks))
    assert write_maps(path, given, OPERATOR, normalise=normalise, dtype=dtype) == 44
    maps = np.load(path, mmap_mode="r")
    once = ops.topomap(torch.cat(blocks), OPERATOR, normalise=normalise, dtype=dtype)
    assert maps.dtype == once.numpy().dtype
    np.testing.assert_array_equal(maps, once.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npy"]


def test_the_memory_is_the_same_for_every_block(tmp_path, monkeypatch):
    real, places = ops.topomap, []

    def topomap(values, operator, **options):
        places.append(options["out"].data_ptr())
        return real(values, operator, **options)

    monkeypatch.setattr(ops, "topomap", topomap)
    write_maps(tmp_path / "maps.npy", (draw(n) for n in (9, 4, 9)), OPERATOR)
    assert len(places) == 3
    assert len(set(places)) == 1


def test_many_windows_fit_the_header(tmp_path, monkeypatch):
    path = tmp_path / "maps.npy"
    write_maps(path, [draw(3)], OPERATOR)
    with open(path, "r+b") as file:
        start = map_stream._header(file, 3, torch.empty(1, 3, 8, 8, dtype=torch.float16))
        file.seek(0)
        later = map_stream._header(file, 10**12, torch.empty(1, 3, 8, 8, dtype=torch.float16))
    assert start == later


def failing():
    yield draw(4)
    raise OSError("the recording ends here")


BAD = {
    "no block": (lambda: [], {}, OperatorError),
    "another number of bands": (lambda: [draw(3), draw(3, 2)], {}, OperatorError),
    "another number of sites": (lambda: [draw(3), draw(3, 3, 7)], {}, OperatorError),
    "two dimensions": (lambda: [draw(3)[0]], {}, OperatorError),
    "integers": (lambda: [draw(3).long()], {}, OperatorError),
    "bfloat16": (lambda: [draw(3)], {"dtype": torch.bfloat16}, OperatorError),
    "a source that fails": (failing, {}, OSError),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path, case):
    path = tmp_path / "maps.npy"
    path.write_bytes(b"old")
    blocks, options, error = BAD[case]
    with pytest.raises(error):
        write_maps(path, blocks(), OPERATOR, **options)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npy"]
