"""The exported graph: the student's answers from raw pixels, and nothing else in the file."""

import importlib.util
import json
import logging

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from neurogaze_fast.deploy.engines.graph import LUMA, FaceGraph, build_onnx, folded
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.openvino_engine import computes_bf16
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.faces.resident import plain_batches
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import load_model, predict_logits
from neurogaze_fast.student.resnet import ResNet
from tests.deploy.small_model import SIZE, colour_faces

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "stem"), [("resnet18", "small"), ("resnet50", "imagenet")]
)
def test_folding_keeps_the_logits(architecture, stem):
    torch.manual_seed(0)
    model = ResNet(architecture, stem=stem)
    images = torch.randn(4, 1, 32, 32)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2)
        wanted = model.eval()(images)[1]
        found = folded(model)
        logits = found(images)[1]
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in found.modules())
    assert (logits - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())  # a copy was folded


def test_a_folded_convolution_keeps_its_bias_on_tiny_maps_with_gradients_on():
    # SmallMapConv2d has no bias: folded into it, the bias would vanish outside no_grad.
    model = ResNet().eval()
    with torch.no_grad():
        model.layer4[1].bn2.bias.fill_(3.0)
        wanted = model(torch.zeros(1, 1, 16, 16))[1]
    images = torch.zeros(1, 1, 16, 16, requires_grad=True)
    torch.testing.assert_close(folded(model)(images)[1].detach(), wanted)


def test_probabilities_are_those_that_evaluation_computes(fitted_run):
    model, _ = load_model(fitted_run)
    grey, _ = draw_faces("valid", 16)
    for input_size in (48, 33):  # stored at 48 or 33 pixels, trained at 32
        stored = grey[:, :input_size, :input_size]
        wanted = torch.from_numpy(predict_logits(model, stored, size=SIZE, device=CPU)).softmax(1)
        images = torch.from_numpy(np.repeat(stored[..., None], 3, axis=3))
        with torch.no_grad():
            found, affect = FaceGraph(model, SIZE, input_size)(images)
        torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)
        coordinates = torch.tensor([VALENCE_AROUSAL[name] for name in EMOTIONS])
        torch.testing.assert_close(affect, wanted @ coordinates, atol=5e-5, rtol=0)


def pixels_of_graph(images, size):
    graph = FaceGraph.__new__(FaceGraph)
    torch.nn.Module.__init__(graph)
    seen = []
    graph.student = lambda grey: (seen.append(grey), torch.zeros(len(grey), 8))
    graph.size, graph.input_size, graph.dtype, graph.channels = (
        size,
        images.shape[1],
        torch.float32,
        1,
    )
    graph.temperature = 1.0
    graph.luma = torch.tensor(LUMA).div(255 * 0.25).unsqueeze(1)
    graph.affect = torch.zeros(8, 2)
    graph(torch.from_numpy(images))
    return seen[0]


def test_pixels_are_those_that_training_sees():
    grey, _ = draw_faces("valid", 3)
    images = np.repeat(grey[..., None], 3, axis=3)
    for size in (48, 32, 64, 20):
        wanted = next(plain_batches(grey, size=size, batch_size=3, device=CPU))
        torch.testing.assert_close(pixels_of_graph(images, size), wanted, atol=5e-5, rtol=0)


def test_colours_become_the_grey_of_the_decoder():
    colours = colour_faces(4, side=48)
    decoded = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    wanted = next(plain_batches(decoded, size=48, batch_size=4, device=CPU))
    level = 1 / (255 * 0.25)
    assert (pixels_of_graph(colours, 48) - wanted).abs().max() < level


def test_the_read_out_is_float32_where_the_student_is_not(exported_run):
    if not computes_bf16():
        pytest.skip("this processor has no bf16 instructions")
    engine = open_engine(exported_run, "openvino", precision="bf16")
    probabilities, affect = engine.run(colour_faces(16))
    coordinates = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
    np.testing.assert_allclose(affect, probabilities @ coordinates, atol=1e-5)


def test_the_file_names_what_it_is_and_no_folder_of_this_machine(exported_run):
    graph = open_graph(exported_run / "export" / "fp32.onnx")
    model = onnx.load_model_from_string(graph.data)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["emotions"]) == list(EMOTIONS)
    assert said["model_sha256"] == graph.metadata["model"]["sha256"]
    assert said["synthetic"] == "true"
    assert {"neurogaze_fast", "torch"} <= json.loads(said["versions"]).keys()
    assert b"site-packages" not in graph.data
    assert b"/neurogaze_fast/" not in graph.data
    assert {node.op_type for node in model.graph.node} <= {
        "Cast", "MatMul", "Sub", "Transpose", "Conv", "Relu", "Add", "ReduceMean", "Gemm",
        "Softmax", "Unsqueeze", "Mul", "ReduceSum",
    }  # fmt: skip
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_an_export_without_torchvision_logs_nothing(fitted_run, monkeypatch, capfd):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "torchvision" else real(name),
    )
    said = []

    class Note(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    handler, log = Note(), logging.getLogger("torch.onnx")
    log.addHandler(handler)
    try:
        model, _ = load_model(fitted_run)
        build_onnx(FaceGraph(model, SIZE, SIZE), "fp32", {})
    finally:
        log.removeHandler(handler)
    assert said == []
