"""A3, A4 and A6: tampered releases, exports that drift, and pickles on any way in."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.scorecard import runs
from benchmarks.scorecard.artifacts import seal_again, without_hashes
from benchmarks.scorecard.processes import finish, start
from benchmarks.scorecard.row import CannotRun, Counted, row

FACES = 2000
"""Faces whose answers are compared."""
DRIFT = 1e-4
"""Largest change of a probability."""


def release(folder: Path, seed: int) -> Path:
    """A run folder with a small model and its exported graph."""
    import torch

    from neurogaze_fast.deploy.engines.open import EXPORT_FOLDER
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


def _drift(folder: Path, faces: int, change: Callable[[Any], Any] = lambda p: p) -> Counted:
    import numpy as np

    from neurogaze_fast.deploy.engines.open import EXPORT_FOLDER, open_engine
    from neurogaze_fast.deploy.export.exporting import Graphs
    from neurogaze_fast.deploy.export.parity import TIE
    from neurogaze_fast.errors import ConfigError
    from neurogaze_fast.evaluation.run_record import read_run
    from neurogaze_fast.export import parse
    from tests.deploy.small_model import SIZE, colour_faces, write_run

    run = write_run(folder / "run")
    config = parse([str(run), "--engine", "onnx", "--precision", "fp32"])
    Graphs(read_run(run), config, run / EXPORT_FOLDER).graph("fp32")
    images = colour_faces(faces, SIZE)
    blocks = [images[at : at + 64] for at in range(0, faces, 64)]
    torch_engine = open_engine(run, "torch", threads=1)
    wanted = np.concatenate([torch_engine.run(block)[0] for block in blocks])
    best = np.sort(wanted, axis=1)
    clear = best[:, -1] - best[:, -2] >= TIE
    compared, wrong, largest, details = 0, 0, 0.0, {}
    for name in ("onnxruntime", "openvino"):
        try:
            engine = open_engine(run, name, precision="fp32", threads=1)
        except ConfigError as cause:
            details[name] = str(cause)
            continue
        found = change(np.concatenate([engine.run(block)[0] for block in blocks]))
        engine.close()
        difference = np.abs(found - wanted).max(1)
        label = (found.argmax(1) != wanted.argmax(1)) & clear
        compared += faces
        wrong += int(((difference > DRIFT) | label).sum())
        largest = max(largest, float(difference.max()))
        details[name] = f"largest change of a probability {difference.max():.1e}"
    if not compared:
        raise CannotRun("neither onnxruntime nor openvino is installed")
    labels = len(np.unique(wanted.argmax(1)))
    figure = f"{compared:,} answers of {labels} labels, {wrong} differ, by {largest:.0e} at most"
    return Counted(compared, wrong, figure, details)


def _hostile_graphs(folder: Path, checked: bool = True) -> tuple[int, list[str]]:
    """(graphs that export never writes, those that open nevertheless)."""
    from neurogaze_fast.deploy.engines import onnx_safety
    from neurogaze_fast.errors import ArtifactError
    from tests.deploy.engines import test_onnx_safety as cases

    folder.mkdir()
    hostile: dict[str, Any] = {}
    for change in cases.HOSTILE:
        model = cases.tiny()
        change(model)
        hostile[change.__name__] = (model, cases.FACTS)
    hostile |= {name: (cases.tiny(), facts) for name, facts in cases.RESEALED.items()}
    hostile |= {"no protobuf": (b"\xff\xfe", cases.FACTS), "empty": (b"", cases.FACTS)}
    opened = []
    nothing: Any = nullcontext() if checked else mock.patch.object(onnx_safety, "check_graph")
    with nothing:
        for name, (model, facts) in hostile.items():
            try:
                onnx_safety.open_graph(cases.written(folder, model, facts))
                opened.append(name)
            except ArtifactError:
                pass
    return len(hostile), opened


def _drifting(folder: Path) -> Counted:
    def shifted(probabilities: Any) -> Any:
        probabilities[::7, 0] += 0.01
        return probabilities

    found = _drift(folder, 70, shifted)
    count, opened = _hostile_graphs(folder / "hostile", checked=False)
    figure = f"answers shifted: {found.failures} found; unchecked graphs: {len(opened)} of {count}"
    failures = found.failures if opened else 0
    return Counted(found.n + count, failures + len(opened), figure, needed=found.n // 7)


@row(
    "A4",
    "an exported graph that answers otherwise than the model; graphs that export never writes",
    f"probabilities within {DRIFT:.0e} and the same labels; every such graph refused",
    _drifting,
)
def export_drift(folder: Path, scale: float) -> Counted:
    found = _drift(folder, max(64, round(FACES * scale)))
    count, opened = _hostile_graphs(folder / "hostile")
    figure = f"{found.figure}; {count - len(opened)} of {count} hostile graphs refused"
    return Counted(
        found.n + count, found.failures + len(opened), figure, {**found.details, "opened": opened}
    )


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self._marker,)


def unpickled(call: Callable[[], None]) -> list[str]:
    """Names that pickle looked up while `call` ran, but for what processes send one another."""
    found: list[str] = []

    def hook(event: str, arguments: Any) -> None:
        if event == "pickle.find_class":
            frame, files = sys._getframe(1), []
            while frame is not None:
                files.append(frame.f_code.co_filename)
                frame = frame.f_back
            if not any("multiprocessing" in file for file in files[:6]):
                found.append(f"{arguments[0]}.{arguments[1]} by {Path(files[0]).name}")

    sys.addaudithook(hook)  # for as long as the process lives
    call()
    return found


def every_command(folder: Path, trusting: bool) -> None:
    """Train, resume, evaluate, export, predict; what was unpickled goes to a file."""
    import torch

    from neurogaze_fast import evaluate, predict
    from neurogaze_fast.deploy.export.exporting import export
    from neurogaze_fast.export import parse
    from neurogaze_fast.training import checkpoint

    if trusting:
        checkpoint.load_checkpoint = lambda path: torch.load(path, weights_only=False)
    data, run = runs.pixel_set(folder / "data"), folder / "run"
    picture = folder / "face.png"

    def commands() -> None:
        runs.train([*runs.OPTIONS, "--data", str(data), "--out", str(run)])
        runs.train(["--resume", str(run)])
        if trusting:
            return
        evaluate.main([str(run), "--data", str(data), "--split", "valid"])
        export(
            parse([str(run), "--data", str(data), "--engine", "onnx", "--precision", "fp32",
                          "--parity-faces", "8"])
        )  # fmt: skip
        for engine in ("torch", "onnxruntime"):
            predict.main([str(picture), "--no-detect", "--model", str(run), "--engine", engine,
                          "--out", str(folder / f"out-{engine}")])  # fmt: skip

    (folder / "found.json").write_text(json.dumps(unpickled(commands)))


def _carriers(folder: Path) -> dict[str, Callable[[Path], Any]]:
    """Way in -> a reader of a file, which is given one that holds a pickle."""
    import numpy as np

    from neurogaze_fast.prototypes.npz import open_bank
    from neurogaze_fast.student.inference import load_model
    from neurogaze_fast.student.networks import build_student
    from neurogaze_fast.student.run import _initialise
    from neurogaze_fast.training.checkpoint import load_checkpoint

    payload = Payload(folder / "ran")
    text = pickle.dumps({"x": payload})
    array, arrays = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([payload], object), allow_pickle=True)
    np.savez(arrays, prototypes=np.array([payload] * 25, object))
    student = {"kind": "student", "architecture": "compact-half", "stem": "small"}
    seal_again(folder / "last_00000001.pt", text, {"kind": "checkpoint"})
    (folder / "model").mkdir()
    seal_again(folder / "model" / "model.safetensors", text, student)
    (folder / "init.safetensors").write_bytes(text)
    (folder / "bank.npz").write_bytes(arrays.getvalue())
    (folder / "plain.npz").write_bytes(array.getvalue())
    return {
        "last_00000001.pt": load_checkpoint,
        "model": load_model,
        "init.safetensors": lambda path: _initialise(build_student("compact-half"), path),
        "bank.npz": open_bank,
        "plain.npz": open_bank,
    }


def loads(source: str) -> list[tuple[int, bool]]:
    """(line, whether it may unpickle) of each import of a pickling module and each load."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = {module.split(".")[0], *(alias.name.split(".")[0] for alias in node.names)}
            if names & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}:
                found.append((node.lineno, True))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", "")
            if node.func.attr == "load" and owner in ("torch", "np", "numpy"):
                said = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                safe = said.get("weights_only") is True or said.get("allow_pickle") is False
                found.append((node.lineno, not safe))
    return found


def _pickles(folder: Path, trusting: bool) -> Counted:
    import numpy as np
    from PIL import Image

    import neurogaze_fast
    from neurogaze_fast.training import checkpoint

    Image.fromarray(np.full((48, 48), 128, np.uint8)).save(folder / "face.png")
    log = folder / "log"
    if finish(start(every_command, folder, trusting, log=log), 600) != 0:
        raise RuntimeError(f"the commands failed: {log.read_text()[-400:]}")
    events = json.loads((folder / "found.json").read_text())
    ran = []
    if trusting:
        import torch

        patch: Any = mock.patch.object(
            checkpoint, "load_checkpoint", lambda path: torch.load(path, weights_only=False)
        )
    else:
        patch = nullcontext()
    planted = folder / "planted"
    planted.mkdir()
    with patch:
        carriers = _carriers(planted)
        for name, read in carriers.items():
            try:
                read(planted / name)
                ran.append(f"{name} is accepted")
            except Exception as error:
                if (planted / "ran").exists():
                    ran.append(f"{name}: {type(error).__name__}")
            if (planted / "ran").exists():
                (planted / "ran").rmdir()
    package = Path(neurogaze_fast.__file__).parent
    scanned = {path: loads(path.read_text()) for path in sorted(package.rglob("*.py"))}
    unsafe = [f"{p.relative_to(package)}:{line}" for p, found in scanned.items()
              for line, may in found if may]  # fmt: skip
    calls = sum(len(found) for found in scanned.values())
    figure = (
        f"{len(events)} names unpickled by train, --resume, evaluate, export and predict; "
        f"{len(ran)} of {len(carriers)} planted pickles ran; {len(unsafe)} of {calls} loads may"
    )
    details = {"unpickled": sorted({*events})[:20], "ran": ran, "unsafe": unsafe}
    failures = len(events) + len(ran) + len(unsafe)
    return Counted(6 + len(carriers) + calls, failures, figure, details)


def _trusted(folder: Path) -> Counted:
    found = _pickles(folder, trusting=True)
    ran, events = found.details["ran"], found.details["unpickled"]
    text = "import pickle\nimport torch\ntorch.load('x')\n"
    seen = sum(may for _, may in loads(text))
    all_found = bool(ran) and bool(events) and seen == 2
    figure = f"checkpoints unpickled: {len(events)} kinds of names, {len(ran)} payload ran"
    return Counted(3, 3 if all_found else 0, figure, found.details, needed=3)


@row(
    "A6",
    "pickles in checkpoints, models, --init and banks; every command watched for unpickling",
    "nothing is ever unpickled",
    _trusted,
)
def pickles(folder: Path, scale: float) -> Counted:
    return _pickles(folder, trusting=False)
