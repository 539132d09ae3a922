"""Data sets with one bit flipped, and what their readers make of it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WITNESS = Path(__file__).resolve().parents[2] / "tests" / "witness"
"""Maps and shards that the package wrote."""
FLIPS = {
    "maps": 2_500, "shards": 2_500, "mat": 2_500, "edf": 1_000, "bdf": 1_000, "clips csv": 1_000,
    "fer2013.csv": 1_000,
}  # fmt: skip
SILENT = "other values than before, and no word"
Read = Callable[[Path], Any]


def sealed(*, verify: bool = True) -> dict[str, tuple[Path, Read]]:
    """name -> (folder, reader) of files with hashes."""
    from neurogaze_fast.eeg.maps import MapSet
    from neurogaze_fast.faces.shards import read_shards

    def shards(folder: Path) -> Any:
        faces = read_shards(folder, verify=verify)
        return [
            part.read(row).tobytes() for part in faces.splits.values() for row in range(len(part))
        ]

    found: dict[str, tuple[Path, Read]] = {"shards": (WITNESS / "shards", shards)}
    if verify:
        found["maps"] = (WITNESS / "maps", lambda folder: MapSet.load(folder).maps.tobytes())
    return found


def foreign(folder: Path) -> dict[str, tuple[Path, Read]]:
    """name -> (folder, reader) of recordings and tables by others, written small."""
    from neurogaze_fast.eeg.clip_csv import read_clip_rows
    from neurogaze_fast.eeg.open_recording import open_recording
    from neurogaze_fast.faces.ferplus import read_ferplus
    from neurogaze_fast.faces.synthetic import draw_faces
    from tests.eeg.edf_files import write_edf
    from tests.helpers import write_set

    def recording(where: Path) -> bytes:
        opened = open_recording(next(where.iterdir()))
        rates = [channel.sfreq for channel in opened.channels]
        same = [i for i, rate in enumerate(rates) if rate == rates[0] and 0 < rate <= 10_000]
        return opened.microvolts(same, 0.0, 4.0).tobytes() if same else b""

    def where(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    signal = list(np.random.default_rng(0).normal(0, 20, (14, 4 * 64)))
    write_edf(where("edf") / "a.edf", signal, 64, onsets=[0, 1, 2, 3], notes=[(1, 1.5, 0.5, "x")])
    write_edf(where("bdf") / "a.bdf", signal, 64, bdf=True)
    clips = "file;subject;clip;start_s;end_s;valence;arousal;scale\n"
    clips += "".join(f"r{i}.bdf;{i};film;{i},5;{i + 9};{1 + i % 9};3;1,9\n" for i in range(12))
    (where("clips csv") / "clips.csv").write_text(clips)
    images, votes = draw_faces("train", 6)
    write_set(where("fer2013.csv"), images, votes, ["Training"] * 4 + ["PublicTest"] * 2)
    return {
        **mat(folder),
        "edf": (folder / "edf", recording),
        "bdf": (folder / "bdf", recording),
        "clips csv": (
            folder / "clips csv", lambda at: repr(read_clip_rows(at / "clips.csv", (1, 9)))
        ),
        "fer2013.csv": (folder / "fer2013.csv", lambda at: read_ferplus(at).sha256),
    }  # fmt: skip


def mat(folder: Path) -> dict[str, tuple[Path, Read]]:
    """An uncompressed DREAMER.mat of two short clips."""
    from neurogaze_fast.eeg.dreamer import read_dreamer
    from neurogaze_fast.eeg.synthetic_dreamer import write_demo_dreamer

    path = folder / "mat" / "DREAMER.mat"
    write_demo_dreamer(path, subjects=1, clips=2, seconds=12.0, baseline_seconds=2.0)

    def read(where: Path) -> list[bytes]:
        clips = list(read_dreamer(where / path.name))
        return [getattr(c, "signal", np.zeros(0)).tobytes() + repr(c).encode() for c in clips]

    return {"mat": (path.parent, read)}


def unchecked(folder: Path) -> dict[str, tuple[Path, Read]]:
    """The .mat file read by scipy alone, which trusts its tags."""
    from scipy.io import loadmat

    where, _ = mat(folder)["mat"]

    def read(at: Path) -> str:
        return repr(loadmat(at / "DREAMER.mat"))[:2000]

    return {"mat": (where, read)}


def judge(
    source: Path, read: Read, folder: Path, *, seed: int, sealed: bool
) -> Callable[[int], str | None]:
    """Of flip `number`: None where it is refused or changes nothing, SILENT, or a wrong error."""
    from neurogaze_fast.eeg.edf import UnreadableError
    from neurogaze_fast.errors import NeurogazeError

    files = sorted(path for path in source.iterdir() if path.is_file())
    sizes = [path.stat().st_size for path in files]
    right = read(source)
    work = folder / f"flipped-{source.name}"

    def one(number: int) -> str | None:
        chance = random.Random(seed * 1_000_003 + number)
        # Half of the flips in the first 4 KiB of a file, where the headers are.
        file = chance.choices(files, [min(size, 4096) for size in sizes])[0]
        data = bytearray(file.read_bytes())
        most = min(len(data), 4096) if chance.random() < 0.5 else len(data)
        data[chance.randrange(most)] ^= 1 << chance.randrange(8)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(source, work, copy_function=_link)
        (work / file.name).unlink()
        (work / file.name).write_bytes(data)
        try:
            found = read(work)
        except (NeurogazeError, UnreadableError):
            return None
        return SILENT if sealed or _without(found, work) != _without(right, source) else None

    return one


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def _without(found: Any, folder: Path) -> Any:
    """What was read, the folder's name put out of it."""
    if isinstance(found, list):
        return [_without(part, folder) for part in found]
    return found.replace(str(folder).encode(), b"") if isinstance(found, bytes) else found


def skipped(trials: int) -> tuple[int, list[str]]:
    """(streams of 2,000 images with 0 to 4 damaged ones, what of them went wrong)."""
    import torch

    from neurogaze_fast.errors import DataError
    from neurogaze_fast.faces.order import EpochOrder
    from neurogaze_fast.faces.stream import DecodedStream
    from neurogaze_fast.faces.torch_decoder import TorchDecoder
    from tests.faces.encoded_sets import encode, memory_split, pixels

    count, cpu = 2_000, torch.device("cpu")
    sound = [encode(pixels(seed)) for seed in range(10)]
    wrong = []
    for trial in range(trials):
        chance = random.Random(trial)
        planted = sorted(chance.sample(range(count), trial % 5))
        images = [sound[i % 10] for i in range(count)]
        for at in planted:
            images[at] = images[at][: chance.randrange(1, len(images[at]) // 2)]
        said: list[str] = []
        loader = DecodedStream(
            memory_split(images), EpochOrder(count, 100, trial), device=cpu,
            decoder=TorchDecoder(cpu, 0), console_line=said.append,
        )  # fmt: skip
        try:
            for _ in loader.epoch(0):
                pass
            ended = False
        except DataError:
            ended = True
        few = len(planted) <= 2
        named = all(any(f"face {at} " in line for line in said) for at in planted)
        if ended == few or (few and (sorted(loader.bad) != planted or not named)):
            wrong.append(f"{len(planted)} of {count} damaged: ended {ended}, said {said[:3]}")
    return trials, wrong
