"""DALI and torch's workers against Pillow: the same pixels, in the order of the plan."""

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces import dali_decoder
from neurogaze_fast.faces.stream import DecodeFailed
from neurogaze_fast.faces.torch_decoder import TorchDecoder
from tests.faces.decoders import CPU, dali
from tests.faces.encoded_sets import SIDE, encode, file_of, folder_split, pixels

ROUNDING = 1
"""Levels by which DALI and Pillow may differ where colours are summed: both round, differently."""
RESIZED = 2
"""The same where the size changes: Pillow also rounds between the two directions."""


DECODERS = {
    "dali": dali,
    "torch": lambda: TorchDecoder(CPU, 2),
    "here": lambda: TorchDecoder(CPU, 0),
}


@pytest.fixture(params=sorted(DECODERS))
def decoder(request):
    made = DECODERS[request.param]()
    yield made
    made.close()


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return folder_split(tmp_path_factory.mktemp("decoded"), 23)


def plan_of(count, batch, seed=0):
    """Every row once, in batches; the last one is partial."""
    return list(torch.from_numpy(np.random.default_rng(seed).permutation(count)).split(batch))


def test_batches_are_those_of_the_plan_partial_last_one_and_second_epoch_too(decoder, faces):
    for seed in (0, 1):
        plan = plan_of(len(faces), 4, seed)
        batches = list(decoder.batches(faces, plan))
        assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
        for rows, batch in zip(plan, batches, strict=True):
            assert batch.dtype == torch.uint8
            np.testing.assert_array_equal(batch, faces.images[rows])


def test_another_set_and_an_empty_plan(decoder, faces):
    other = faces.subset(np.array([5, 3, 9]))
    assert list(decoder.batches(faces, [])) == []
    (batch,) = decoder.batches(other, [torch.tensor([2, 0])])
    np.testing.assert_array_equal(batch, faces.images[[9, 5]])
    (batch,) = decoder.batches(faces, [torch.tensor([2, 0, 2])])
    np.testing.assert_array_equal(batch, faces.images[[2, 0, 2]])


def _threads():
    return len(os.listdir("/proc/self/task"))


def _settles(measure, limit):
    """Whether measure() falls to `limit` within a few seconds."""
    for _ in range(50):
        gc.collect()
        if measure() <= limit:
            return True
        time.sleep(0.1)
    return False


def test_an_iterator_closed_early_leaks_nothing(decoder, faces):
    processes = len(multiprocessing.active_children())
    plan = plan_of(len(faces), 2) * 20
    list(decoder.batches(faces, plan[:3]))  # pools that live as long as the process
    decoder.close()
    before = _threads()
    for _ in range(3):
        stream = decoder.batches(faces, plan)
        np.testing.assert_array_equal(next(stream), faces.images[plan[0]])
        stream.close()
    # And it can be used again, from the start of the next plan.
    for rows, batch in zip(plan[:8], decoder.batches(faces, plan[:8]), strict=True):
        np.testing.assert_array_equal(batch, faces.images[rows])
    decoder.close()
    del stream
    assert _settles(lambda: len(multiprocessing.active_children()), processes)
    if Path("/proc/self/task").exists():
        assert _settles(_threads, before)


def test_the_random_state_is_left_alone(decoder, faces):
    state = torch.get_rng_state()
    list(decoder.batches(faces, plan_of(len(faces), 8)))
    assert torch.equal(state, torch.get_rng_state())


def test_batches_outlive_the_iterator(decoder, faces):
    """They are the caller's own: nothing that comes later writes into them."""
    plan = plan_of(len(faces), 3) * 5
    batches = list(decoder.batches(faces, plan))
    list(decoder.batches(faces, plan[::-1]))
    for rows, batch in zip(plan, batches, strict=True):
        np.testing.assert_array_equal(batch, faces.images[rows])


VARIANTS = {
    # name: (Pillow image, kind, options, largest difference between DALI and Pillow)
    "grey png": (pixels(1), "PNG", {}, 0),
    "colour png": (pixels(2, channels=3), "PNG", {}, ROUNDING),
    "png with alpha": (np.dstack([pixels(3, channels=3), pixels(4)]), "PNG", {}, ROUNDING),
    "palette png": (Image.fromarray(pixels(5, channels=3)).quantize(64), "PNG", {}, ROUNDING),
    "bilevel png": (pixels(6) > 128, "PNG", {}, 0),
    "16-bit png": (pixels(7).astype(np.uint16) * 257, "PNG", {}, 0),
    "grey jpeg": (pixels(8), "JPEG", {"quality": 90}, 0),
    "colour jpeg": (pixels(9, channels=3), "JPEG", {"quality": 90}, 0),
    "progressive jpeg": (pixels(10, channels=3), "JPEG", {"progressive": True}, 0),
    "cmyk jpeg": (Image.fromarray(pixels(11, channels=3)).convert("CMYK"), "JPEG", {}, ROUNDING),
    "turned jpeg": (pixels(12, channels=3), "JPEG", {"exif": 6}, 0),
    "mirrored png": (pixels(13), "PNG", {"exif": 2}, 0),
    "larger jpeg": (pixels(14, 100, 3), "JPEG", {"quality": 90}, RESIZED),
    "larger png": (pixels(15, 224), "PNG", {}, RESIZED),
    "smaller png": (pixels(16, 20), "PNG", {}, RESIZED),
    "wide png": (np.hstack([pixels(17, 64), pixels(18, 64)]), "PNG", {}, RESIZED),
}


def test_what_dali_makes_of_each_kind_of_file(tmp_path):
    """JPEGs of their own size are equal to the bit: both take luma from libjpeg-turbo."""
    faces = folder_split(tmp_path, len(VARIANTS))
    for row, (image, kind, options, _) in enumerate(VARIANTS.values()):
        if "exif" in options:
            exif = Image.Exif()
            exif[0x0112] = options["exif"]
            options = {**options, "exif": exif}
        file_of(faces, row).write_bytes(encode(image, kind, **options))
    (batch,) = dali().batches(faces, [torch.arange(len(faces))])
    differences = np.abs(batch.numpy().astype(int) - faces.images)
    for name, found, (*_, allowed) in zip(VARIANTS, differences, VARIANTS.values(), strict=True):
        assert found.max() <= allowed, name
        assert found.mean() <= 0.7, name


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "end mark missing": lambda data: data[:-2],
    "empty": lambda data: b"",
    "text": lambda data: b"this is no image\n" * 20,
    "wrong magic": lambda data: b"\xff\xd8\xff\xe0" + data[4:40],
    "another format": lambda data: encode(pixels(1), "JPEG2000"),  # DALI would take it
    "deleted": None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_failure_comes_after_the_batches_before_it(decoder, tmp_path, damage):
    faces = folder_split(tmp_path, 24, "JPEG")
    images = faces.images
    file = file_of(faces, 13)
    data = file.read_bytes()
    file.unlink() if DAMAGE[damage] is None else file.write_bytes(DAMAGE[damage](data))
    plan = list(torch.arange(24).split(2))
    stream, seen = decoder.batches(faces, plan), []
    with pytest.raises(DecodeFailed):
        seen.extend(stream)  # keeps what came before the failure
    for rows, batch in zip(plan, seen, strict=False):
        np.testing.assert_array_equal(batch, images[rows])
    assert len(seen) == 6  # the batch with row 13 is the seventh
    # The decoder is none the worse for it.
    (batch,) = decoder.batches(faces, [torch.tensor([3, 4])])
    np.testing.assert_array_equal(batch, images[3:5])


@pytest.mark.timeout(120)
def test_nothing_is_forked_beside_dalis_threads(faces):
    """A forked process has none of the threads, but whatever locks they held."""
    forks = []
    os.register_at_fork(before=lambda: forks.append(1))
    stream = dali().batches(faces, plan_of(len(faces), 4))
    next(stream)
    decoder = TorchDecoder(CPU, 2)
    for _ in range(3):
        (batch,) = decoder.batches(faces, [torch.arange(5)])
        decoder.close()
        np.testing.assert_array_equal(batch, faces.images[:5])
    stream.close()
    assert forks == []


_SIGNALLED = """
import os, signal, sys, time
import torch
from pathlib import Path
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.faces import torch_decoder
at_once = torch_decoder._settle_in
def late(worker):
    time.sleep(worker)  # the second one is met by the signals before it could prepare for them
    at_once(worker)
def main():
    torch_decoder._settle_in = late
    faces = read_folder(Path(sys.argv[1]))["train"]
    decoder = torch_decoder.TorchDecoder(torch.device("cpu"), 2)
    stream = decoder.batches(faces, list(torch.arange(200).remainder(8).split(4)))
    next(stream)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
        os.killpg(0, number)
    time.sleep(0.2)
    print(sum(len(next(stream)) for _ in range(20)), flush=True)
    # Nor has the server that they come from been ended.
    others = torch_decoder.TorchDecoder(torch.device("cpu"), 1)
    print(sum(len(batch) for batch in others.batches(faces, [torch.arange(4)])), flush=True)
if __name__ == "__main__":
    main()
"""


def test_signals_to_the_group_are_the_parents_to_answer(tmp_path):
    """Workers go on, and end with the parent, at once, though the iterator is half used."""
    folder_split(tmp_path / "faces", 8)
    script = tmp_path / "script.py"  # which workers import, to find what they start with
    script.write_text(_SIGNALLED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "faces")],
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "80\n4", "")


_FAILING = """
import sys
import torch
from pathlib import Path
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.faces.torch_decoder import TorchDecoder
faces = read_folder(Path(sys.argv[1]))["train"]
decoder = TorchDecoder(torch.device("cpu"), 2)
try:
    list(decoder.batches(faces, [torch.tensor([99])]))
except IndexError as error:
    kept = error  # with the frames that hold the loader
print("over", flush=True)
"""


def test_an_error_in_a_worker_does_not_hold_up_the_end(tmp_path):
    folder_split(tmp_path, 8)
    done = subprocess.run(
        [sys.executable, "-c", _FAILING, str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout.strip()) == (0, "over"), done.stderr


def test_missing_dali_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ConfigError, match=r"neurogaze_fast\[dali-cu1\d\].*--loader torch"):
        dali_decoder.DaliDecoder(CPU)


def test_names():
    assert TorchDecoder(CPU, 1).name == "torch, 1 worker"
    assert TorchDecoder(CPU, 2).name == "torch, 2 workers"
    assert dali().name == "dali (cpu)"


class RecordedPipeline:
    """Two black batches; keeps what it is run with."""

    def __init__(self):
        self.ran = []

    def run(self, *stream):
        self.ran.append(stream)
        dense = SimpleNamespace(shape=lambda: [2, SIDE, SIDE, 1])
        return (SimpleNamespace(as_tensor=lambda: dense),)

    def reset(self):
        pass


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_on_a_gpu_batches_are_made_and_copied_on_torchs_stream(faces, monkeypatch, device):
    plugin = pytest.importorskip("nvidia.dali.plugin.pytorch", exc_type=ImportError)
    assert dali()._build(SIDE, False, 2).exec_dynamic  # of which alone DALI takes a stream
    copied, pipeline, empty = [], RecordedPipeline(), torch.empty
    streams = iter(["first", "second"])  # whichever is current when a batch is asked for
    monkeypatch.setattr(torch.cuda, "current_stream", lambda where: next(streams))
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, device: empty(shape, dtype=dtype))

    def feed(dense, pixels, cuda_stream):
        copied.append(cuda_stream)
        return pixels.zero_()

    monkeypatch.setattr(plugin, "feed_ndarray", feed)
    decoder = dali_decoder.DaliDecoder(torch.device(device))
    monkeypatch.setattr(decoder, "_build", lambda *_: pipeline)
    batches = list(decoder.batches(faces, list(torch.arange(4).split(2))))
    assert [tuple(batch.shape) for batch in batches] == [(2, SIDE, SIDE)] * 2
    if device == "cuda":
        assert pipeline.ran == [("first",), ("second",)]
        assert copied == ["first", "second"]
    else:
        assert pipeline.ran == [(), ()]
        assert copied == [None, None]


@pytest.mark.gpu
def test_dali_on_the_gpu_is_close_to_pillow(tmp_path):
    """nvJPEG has an inverse DCT of its own."""
    pytest.importorskip("nvidia.dali.fn", exc_type=ImportError)
    for number, (kind, allowed) in enumerate({"PNG": ROUNDING, "JPEG": 4}.items()):
        faces = folder_split(tmp_path / str(number), 16, kind, channels=3)
        plan = plan_of(16, 5)
        for rows, batch in zip(
            plan, dali_decoder.DaliDecoder(torch.device("cuda")).batches(faces, plan), strict=True
        ):
            assert batch.is_cuda
            difference = np.abs(batch.cpu().numpy().astype(int) - faces.images[rows])
            assert difference.max() <= allowed
            assert difference.mean() <= 1
