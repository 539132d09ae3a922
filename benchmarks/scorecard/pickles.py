"""A6: pickles on any way in."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.scorecard import runs
from benchmarks.scorecard.artifacts import seal_again
from benchmarks.scorecard.processes import finish, start
from benchmarks.scorecard.row import Counted, row


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

    from neurogaze_fast.eeg.safe_pickle import read_pickle
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
    (folder / "arrays.pkl").write_bytes(text)
    return {
        "arrays.pkl": read_pickle,
        "last_00000001.pt": load_checkpoint,
        "model": load_model,
        "init.safetensors": lambda path: _initialise(build_student("compact-half"), path),
        "bank.npz": open_bank,
        "plain.npz": open_bank,
    }


_PICKLING = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


def _admits_by_name(tree: ast.AST) -> bool:
    """Whether all that is used of `import pickle` is a reader that decides on each name itself."""
    readers = [
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) == "pickle.Unpickler" for base in node.bases)
        and any(getattr(part, "name", "") == "find_class" for part in node.body)
    ]  # fmt: skip
    used = [
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle"
    ]  # fmt: skip
    return bool(readers) and used == ["Unpickler"] * len(readers)


def loads(source: str) -> list[tuple[int, bool]]:
    """(line, whether it may unpickle) of each import of a pickling module and each load."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = {module.split(".")[0], *(alias.name.split(".")[0] for alias in node.names)}
            if module == "joblib" and {alias.name for alias in node.names} <= {
                "Parallel",
                "delayed",
            }:
                continue  # which read what their own processes send
            if names == {"", "pickle"}:
                found.append((node.lineno, not _admits_by_name(tree)))
            elif names & _PICKLING:
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
    admitting = "class R(pickle.Unpickler):\n def find_class(self, *n): ...\npickle.loads(b'')\n"
    seen = sum(may for _, may in loads(text) + loads("import pickle\n" + admitting))
    all_found = bool(ran) and bool(events) and seen == 3
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
