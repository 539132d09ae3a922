"""What must hold on a CUDA device; run with ``make gpu``."""

import numpy as np
import pytest
import torch

from neurogaze_fast.student.inference import predict_logits
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.train import parse, train
from tests.helpers import QUICK

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def deterministic_only_where_asked():
    yield
    torch.use_deterministic_algorithms(False)


def test_logits_agree_with_the_cpu(drawn):
    model = ResNet().eval().to(memory_format=torch.channels_last)
    expected = predict_logits(model, drawn[0], size=48, device=torch.device("cpu"))
    model = model.cuda()
    got = predict_logits(model, drawn[0], size=48, device=torch.device("cuda"))
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)  # cuDNN may use TF32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_deterministic_run_repeats_bitwise(small_set, tmp_path, precision):
    models = []
    for number in range(2):
        out = tmp_path / str(number)
        options = ["--amp-dtype", precision, "--deterministic", "--device", "cuda"]
        train(parse([*QUICK, *options, "--data", str(small_set), "--out", str(out)]))
        models.append((out / "model.safetensors").read_bytes())
    assert models[0] == models[1]


def history(small_set, out, *options):
    import json

    common = ["--device", "cuda", "--data", str(small_set), "--out", str(out), "--epochs", "6"]
    train(parse([*QUICK, *common, *options]))
    return json.loads((out / "history.json").read_text())


def test_a_captured_step_trains_as_an_eager_one(small_set, tmp_path):
    """Also that replays see the new learning rate, ramp, rows and augmentation of each step."""
    options = ["--no-amp", "--deterministic", "--start-size", "None"]
    eager = history(small_set, tmp_path / "eager", *options, "--no-cuda-graph")
    graph = history(small_set, tmp_path / "graph", *options, "--cuda-graph")
    for a, b in zip(eager, graph, strict=True):
        for name, value in a["train"].items():
            assert b["train"][name] == pytest.approx(value, rel=0.05, abs=1e-3)


def test_one_graph_for_each_size(small_set, tmp_path):
    grown = history(small_set, tmp_path / "grown", "--size", "32", "--start-size", "16")
    assert [entry["size"] for entry in grown] == [16, 16, 16, 24, 24, 32]
    assert all(entry["skipped_batches"] == 0 for entry in grown)


@pytest.mark.parametrize("flag", ["--cuda-graph", "--no-cuda-graph"])
def test_a_step_waits_for_nothing(small_set, tmp_path, flag):
    """torch raises where a step would synchronise."""
    import torch.cuda

    from neurogaze_fast.student.loop import Trainer

    real = Trainer._train_step

    def guarded(self, pictures):
        torch.cuda.set_sync_debug_mode("error" if self.step > 4 else "default")
        try:
            real(self, pictures)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    Trainer._train_step = guarded
    try:
        options = [flag, "--start-size", "None", "--checkpoint-minutes", "100"]
        assert len(history(small_set, tmp_path / "run", *options)) == 6
    finally:
        Trainer._train_step = real


def test_a_bad_batch_inside_a_graph_changes_nothing(small_set, tmp_path):
    from neurogaze_fast.student import run as module
    from neurogaze_fast.student.targets import training_rows as real

    def poisoned(*arguments):
        rows = real(*arguments)
        rows.targets.targets[3] = float("nan")
        return rows

    module.training_rows = poisoned
    try:
        entries = history(small_set, tmp_path / "run")
    finally:
        module.training_rows = real
    assert all(entry["skipped_batches"] == 1 for entry in entries)


@pytest.mark.parametrize("loader", ["torch", "dali"])
def test_a_streamed_set_feeds_a_captured_step(small_set, tmp_path, loader):
    """Other threads use CUDA while the step of each size is captured."""
    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.faces.write_shards import write_shards

    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    write_shards(load_faces("ferplus", small_set), tmp_path / "shards")
    options = ["--size", "32", "--start-size", "16", "--workers", "2"]
    resident = history(small_set, tmp_path / "resident", *options)
    streamed = history(tmp_path / "shards", tmp_path / "run", *options, "--loader", loader)
    assert [entry["size"] for entry in streamed] == [16, 16, 16, 24, 24, 32]
    for a, b in zip(resident[:2], streamed[:2], strict=True):
        assert b["train"]["ce"] == pytest.approx(a["train"]["ce"], rel=0.1)
