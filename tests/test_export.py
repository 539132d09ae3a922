"""The export command as a user types it."""

import json
import re

import numpy as np
import pytest

from neurogaze_fast import export as export_command
from neurogaze_fast.deploy.engines import openvino_engine
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export import exporting, parity
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import load_model, predict_logits
from tests.deploy.conftest import exported_run, fitted_run, quick_timing  # noqa: F401
from tests.deploy.small_model import SIZE, linked_copy, write_run


def failure(capsys, *options):
    """What a command that fails prints, and its exit code."""
    with pytest.raises(SystemExit) as caught:
        export_command.main([str(option) for option in options])
    return capsys.readouterr().err, caught.value.code


@pytest.fixture
def copy(exported_run, tmp_path):  # noqa: F811
    return linked_copy(exported_run, tmp_path / "run")


def test_files_and_report(exported_run, small_set):  # noqa: F811
    folder = exported_run / "export"
    graph = open_graph(folder / "fp32.onnx")
    assert graph.metadata["model"]["architecture"] == "resnet18"
    report = json.loads((folder / "openvino-fp32.parity.json").read_text())
    assert report["passed"] is True
    assert report["graph_sha256"] == graph.sha256
    assert report["faces"]["n"] == len(load_faces(None, small_set)["valid"].labelled("argmax")[0])
    assert report["label_agreement"] == 1
    assert report["file_bytes"] == (folder / "fp32.onnx").stat().st_size


def test_the_same_export_is_reused_and_another_is_refused(copy, small_set, capsys):
    graph = copy / "export" / "fp32.onnx"
    before = graph.read_bytes(), graph.stat().st_mtime_ns
    options = [copy, "--engine", "onnxruntime", "--data", small_set, "--parity-faces", 5]
    export_command.main([str(option) for option in (*options, "--triton", copy / "models")])
    assert (graph.read_bytes(), graph.stat().st_mtime_ns) == before
    shown = capsys.readouterr().out
    assert "was there already" in shown
    assert "same label" in shown
    assert (
        f"dims: [ {SIZE}, {SIZE}, 3 ]" in next((copy / "models").rglob("config.pbtxt")).read_text()
    )
    said, code = failure(capsys, *options, "--input-size", 48)
    assert code == 2
    assert "was exported with another input_size" in said
    write_run(copy, synthetic=False)  # trained again: another manifest, the same weights
    said, code = failure(capsys, *options)
    assert "was exported with another synthetic" in said
    assert graph.read_bytes() == before[0]


def test_another_input_size_resizes_inside_the_graph(copy, small_set, drawn, capsys):
    out = copy.parent / "out"
    options = [copy, "--engine", "onnx", "--input-size", 48, "--out", out, "--data", small_set]
    export_command.main([str(option) for option in (*options, "--json")])
    told = json.loads(capsys.readouterr().out)
    assert told["report"]["passed"] is True
    assert isinstance(told["remarks"], list)
    report = str(out / "onnx-fp32.parity.json")
    assert told["files"] == {"graph": str(out / "fp32.onnx"), "report": report}
    engine = open_engine(out, "onnxruntime")
    assert engine.input_size == 48
    images = drawn[0][:8]
    model, metadata = load_model(copy)
    import torch

    logits = predict_logits(model, images, size=metadata["size"], device=torch.device("cpu"))
    wanted = torch.from_numpy(logits).softmax(1).numpy()
    found = engine.run(np.repeat(images[..., None], 3, axis=3))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert json.loads((out / "onnx-fp32.parity.json").read_text())["input_size"] == 48


def test_a_failing_report_exits_with_3_and_keeps_the_files(copy, small_set, capsys, monkeypatch):
    monkeypatch.setitem(parity.LIMITS, "fp32", parity.Limit(0.0, 1.0, None))
    said, code = failure(capsys, copy, "--engine", "onnxruntime", "--precision", "fp32", "--data",
                         small_set, "--triton", copy / "models")  # fmt: skip
    assert not (copy / "models").exists()
    assert code == 3
    assert "does not give the model's answers: a probability changed by" in said
    assert "The files were kept" in said
    report = json.loads((copy / "export" / "onnxruntime-fp32.parity.json").read_text())
    assert report["passed"] is False
    assert report["reasons"]


def test_without_a_precision_what_changes_answers_gives_way_to_fp32(
    copy, small_set, capsys, monkeypatch
):
    monkeypatch.setattr(exporting, "_default_precision", lambda engine: "bf16")
    monkeypatch.setitem(parity.LIMITS, "bf16", parity.Limit(None, 1.1, None))
    if not openvino_engine.computes_bf16():  # its answers do not matter here
        monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: True)
    export_command.main([str(copy), "--data", str(small_set)])
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"bf16 was tried first and is not used: [0-9.]{6,7} % of the labels", said)
    assert "openvino, fp32" in said
    engine = open_engine(copy, "openvino")
    assert ", fp32," in engine.detail
    assert any("bf16" in why for why in engine.passed_over)


def test_half_precision_graphs_keep_the_labels(copy, small_set, capsys):
    for precision in ("fp16", "bf16"):
        options = [copy, "--engine", "onnx", "--precision", precision, "--data", small_set]
        export_command.main([str(option) for option in options])
        graph = open_graph(copy / "export" / f"{precision}.onnx")
        assert graph.precision == precision
        assert len(graph.data) < (copy / "export" / "fp32.onnx").stat().st_size * 0.6
    found = open_engine(copy, "onnxruntime", precision="fp16").run(
        np.repeat(draw_faces("valid", 8)[0][:, :SIZE, :SIZE, None], 3, axis=3)
    )[0]
    assert np.allclose(found.sum(1), 1, atol=1e-3)
    shown = " ".join(capsys.readouterr().out.split())
    assert "was not compared with the model" in shown  # bf16: no CPU engine runs such a graph


def test_tensorrt_rtx_builds_without_a_gpu(copy, small_set, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = [copy, "--engine", "tensorrt-rtx", "--precision", "fp32", "--data", small_set]
    export_command.main([str(option) for option in options])
    assert not list((copy / "export").glob("*.engine"))  # nothing could ever load it
    assert "No GPU here: checked that the engine builds" in capsys.readouterr().out
    export_command.main([str(option) for option in (*options, "--json")])
    told = json.loads(capsys.readouterr().out)
    assert told["report"] is None
    assert "checked that the engine builds" in told["remarks"][0]
    assert told["files"] == {"graph": str(copy / "export" / "fp32.onnx")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "openvino", "--precision", "fp16"], "not fp16"),
        (["--engine", "onnxruntime", "--precision", "bf16"], "no bf16 kernels"),
        (["--input-size", "8"], "in [16, 1024]"),
        (["--parity-faces", "0"], "more than 0"),
        (["--threads", "-1"], "0 or more"),
        (["--data", "/nowhere"], "nowhere"),
    ],
)
def test_wrong_options_are_said_at_once(copy, capsys, options, message):
    said, code = failure(capsys, copy, *options)
    assert code == 2
    assert message in said


def test_a_run_without_a_model_is_said(tmp_path, capsys):
    said, code = failure(capsys, tmp_path)
    assert code == 2
    assert "does not exist" in said
