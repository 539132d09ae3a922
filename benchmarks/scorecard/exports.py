"""A4: exports that drift, and graphs that export never writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.scorecard.row import CannotRun, Counted, row

FACES = 2000
"""Faces whose answers are compared."""
DRIFT = 1e-4
"""Largest change of a probability."""


def _drift(folder: Path, faces: int, change: Callable[[Any], Any] = lambda p: p) -> Counted:
    import numpy as np

    from neurogaze_fast.deploy.engines.open import open_engine
    from neurogaze_fast.deploy.engines.source import EXPORT_FOLDER
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
    from tests.deploy.engines.tiny_graph import METADATA

    folder.mkdir()
    hostile: dict[str, Any] = {}
    for change in cases.HOSTILE:
        model = cases.tiny()
        change(model)
        hostile[change.__name__] = (model, METADATA)
    hostile |= {name: (cases.tiny(), facts) for name, facts in cases.RESEALED.items()}
    hostile |= {"no protobuf": (b"\xff\xfe", METADATA), "empty": (b"", METADATA)}
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
