"""A3: releases that were tampered with."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.scorecard.artifacts import seal_again, without_hashes
from benchmarks.scorecard.row import Counted, row


def release(folder: Path, seed: int) -> Path:
    """A run folder with a small model and its exported graph."""
    import torch

    from neurogaze_fast.deploy.engines.source import EXPORT_FOLDER
    from neurogaze_fast.deploy.export.exporting import Graphs
    from neurogaze_fast.evaluation.run_record import read_run
    from neurogaze_fast.export import parse
    from neurogaze_fast.student.inference import save_model
    from neurogaze_fast.student.networks import build_student

    torch.manual_seed(seed)
    model = build_student("compact-half")
    facts = {"size": 32, "flip": False, "synthetic": True,
             "data": {"source": "drawn", "sha256": "0" * 64, "synthetic": True},
             "selected": {"by": "last", "epoch": 1, "on": "valid", "value": 0.5}}  # fmt: skip
    folder.mkdir(parents=True)
    save_model(folder / "model.safetensors", model, model.state_dict(), facts)
    config = parse([str(folder), "--engine", "onnx", "--precision", "fp32"])
    Graphs(read_run(folder), config, folder / EXPORT_FOLDER).graph("fp32")
    return folder


def _manifest(path: Path) -> Path:
    from neurogaze_fast.artifacts import manifest_path

    return manifest_path(path)


def _bit(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _longer(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _other_data(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def _other_manifest(path: Path, other: Path) -> None:
    shutil.copy(_manifest(other), _manifest(path))


def _other_pair(path: Path, other: Path) -> None:
    shutil.copy(other, path)
    shutil.copy(_manifest(other), _manifest(path))


def _edited(path: Path, other: Path) -> None:
    text = _manifest(path).read_text()
    _manifest(path).write_text(text.replace('"synthetic":true', '"synthetic":false'))


def _no_manifest(path: Path, other: Path) -> None:
    _manifest(path).unlink()


def _gone(path: Path, other: Path) -> None:
    path.unlink()


def _renamed(path: Path, other: Path) -> None:
    for file in (path, _manifest(path)):
        file.rename(file.with_name("old-" + file.name))
    shutil.copy(path.with_name("old-" + path.name), path)
    old = _manifest(path.with_name("old-" + path.name))
    text = old.read_text().replace(path.name, "old-" + path.name)
    _manifest(path).write_text(text)


def _resealed(change: Callable[[bytes, dict[str, Any]], tuple[bytes, Any]]) -> Any:
    def attack(path: Path, other: Path) -> None:
        facts = json.loads(_manifest(path).read_bytes())["provenance"]
        seal_again(path, *change(path.read_bytes(), facts))

    return attack


def _without_classifier(data: bytes, facts: dict[str, Any]) -> tuple[bytes, Any]:
    from safetensors.numpy import load, save

    return save({k: v for k, v in load(data).items() if not k.startswith("fc.")}), facts


PAIR = (_bit, _cut, _longer, _other_data, _other_manifest, _edited, _no_manifest, _gone, _renamed)
ATTACKS: dict[str, tuple[str, str, Callable[[Path, Path], None]]] = {
    **{f"model, {attack.__name__}": ("torch", "model.safetensors", attack) for attack in PAIR},
    **{f"graph, {attack.__name__}": ("onnxruntime", "export/fp32.onnx", attack) for attack in PAIR},
    "another model with its manifest, beside the graph of the first": (
        "onnxruntime", "model.safetensors", _other_pair,
    ),
    "another graph with its manifest": ("onnxruntime", "export/fp32.onnx", _other_pair),
    "another kind of file, sealed": (
        "torch", "model.safetensors", _resealed(lambda data, facts: (data, {**facts, "kind": "x"})),
    ),
    "no classifier, sealed": ("torch", "model.safetensors", _resealed(_without_classifier)),
    "emotions in another order, sealed": (
        "torch", "model.safetensors",
        _resealed(lambda data, facts: (data, {**facts, "emotions": facts["emotions"][::-1]})),
    ),
}  # fmt: skip
"""Name -> (engine, file, what is done to it)."""


def _by_program(run: Path, engine: str, picture: Path) -> bool:
    """Whether a program that imports the package is refused."""
    from neurogaze_fast.deploy.predictor import Predictor
    from neurogaze_fast.errors import NeurogazeError

    precision = None if engine == "torch" else "fp32"
    try:
        Predictor(run, engine, precision=precision, threads=1).close()
    except NeurogazeError:
        return True
    except Exception:  # no answer, but no word about the file either
        return False
    return False


def _by_command(run: Path, engine: str, picture: Path) -> bool:
    """Whether `predict` ends with status 2 and says why."""
    from neurogaze_fast import predict

    words = [str(picture), "--no-detect", "--model", str(run), "--engine", engine,
             "--threads", "1", "--out", str(run / "out")]  # fmt: skip
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            predict.main(words)
    except SystemExit as end:
        return end.code == 2
    except Exception:
        return False
    return False


def _swapped_after_reading(run: Path, other: Path, engine: str, file: str) -> bool:
    """Whether answers are those of the file that was verified, though it is swapped right then."""
    import numpy as np

    from neurogaze_fast.deploy.predictor import Predictor

    precision = None if engine == "torch" else "fp32"
    faces = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)

    def answers() -> Any:
        opened = Predictor(run, engine, precision=precision, threads=1)
        found = opened.probabilities(faces)[0]
        opened.close()
        return found

    wanted, read_bytes = answers(), Path.read_bytes

    def read_then_swap(path: Path) -> bytes:
        data = read_bytes(path)
        if path == run / file:
            shutil.copy(other / file, path)
        return data

    with mock.patch.object(Path, "read_bytes", read_then_swap):
        found = answers()
    return bool(np.array_equal(found, wanted))


def _tampered(folder: Path, names: list[str], patch: AbstractContextManager[Any]) -> Counted:
    import numpy as np
    from PIL import Image

    first, second = release(folder / "first", 1), release(folder / "second", 2)
    picture = folder / "face.png"
    Image.fromarray(np.full((48, 48), 128, np.uint8)).save(picture)
    ways = {"program": _by_program, "command": _by_command}
    for engine in ("torch", "onnxruntime"):
        if any(refused(first, engine, picture) for refused in ways.values()):
            raise RuntimeError(f"a release that nobody changed is refused ({engine})")
    missed = []
    with patch:
        for name in names:
            engine, file, attack = ATTACKS[name]
            for way, refused in ways.items():
                place = folder / "tampered"
                shutil.copytree(first, place)
                attack(place / file, second / file)
                if not refused(place, engine, picture):
                    missed.append(f"{name}, by {way}")
                shutil.rmtree(place)
        n = 2 * len(names)
        for engine, file in (("torch", "model.safetensors"), ("onnxruntime", "export/fp32.onnx")):
            n += 1
            place = folder / "swapped"
            shutil.copytree(first, place)
            if not _swapped_after_reading(place, second, engine, file):
                missed.append(f"{file} swapped after it was verified")
            shutil.rmtree(place)
    figure = f"{n - len(missed)} of {n} refused, or what was verified is what is used"
    return Counted(n, len(missed), figure, {"missed": missed})


def _trusting(folder: Path) -> Counted:
    patch = without_hashes("student.inference", "deploy.engines.onnx_safety")
    found = _tampered(folder, list(ATTACKS)[:4], patch)
    return Counted(found.n, found.failures, f"without hashes: {found.figure}", found.details)


@row(
    "A3",
    "a release tampered with: bits, lengths, swapped, missing, edited and renamed files, swaps "
    "between check and use",
    "refused with exit 2, by command and by program (a hash is no signature: see artifacts.py)",
    _trusting,
)
def tampered_release(folder: Path, scale: float) -> Counted:
    names = list(ATTACKS)[:: max(1, round(1 / scale))]
    return _tampered(folder, names, nullcontext())
