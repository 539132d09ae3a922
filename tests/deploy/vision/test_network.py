"""The detector's engine is the fastest one that finds the same faces, and says which."""

import json

import numpy as np
import pytest

from neurogaze_fast.deploy.vision import network
from neurogaze_fast.deploy.vision.detect import CenterFace, GraphDetector, open_detector
from neurogaze_fast.deploy.vision.network import check_picture, difference
from neurogaze_fast.errors import ConfigError

BOXES = np.array([[10, 10, 50, 50, 0.9], [80, 10, 120, 50, 0.6], [10, 80, 50, 120, 0.32]])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROGAZE_CACHE", str(tmp_path))
    return tmp_path / network.VERDICTS


def test_boxes_that_differ_are_told_from_those_that_tremble():
    assert difference(BOXES, np.add(BOXES, [1, -1, 1, 1, 0.02])) == ""
    assert difference(BOXES, BOXES[:2]) == ""  # the third one is not sure enough to be missed
    assert "same faces" in difference(BOXES, BOXES[:1])
    assert "same faces" in difference(BOXES[:1], BOXES)  # one too many
    assert "same faces" in difference(BOXES, np.add(BOXES, [12, 0, 12, 0, 0]))
    assert "scores" in difference(BOXES, np.subtract(BOXES, [0, 0, 0, 0, 0.2]))
    assert "no face" in difference(BOXES[:0], BOXES)


def test_it_is_checked_once_and_then_known(cache, monkeypatch):
    pytest.importorskip("openvino")
    first = CenterFace(threads=1)
    assert "OpenVINO" in first.detail
    assert first.passed_over == []
    (verdict,) = json.loads(cache.read_text()).values()
    assert verdict == ""
    monkeypatch.setattr(network, "OnnxRuntimeNetwork", None)  # nothing compares any more
    assert CenterFace(threads=1).detail == first.detail


def test_it_finds_what_the_portable_engine_finds(cache, monkeypatch):
    pytest.importorskip("openvino")
    fast = CenterFace(threads=1)
    monkeypatch.setattr(network, "_precisions", lambda: ())
    portable = CenterFace(threads=1)
    assert "ONNX Runtime" in portable.detail
    found, wanted = (detector.detect(check_picture()) for detector in (fast, portable))
    assert difference(wanted, found) == ""
    assert len(wanted) >= 6


def test_an_engine_that_finds_other_faces_is_passed_over_and_why_is_said(cache, monkeypatch):
    pytest.importorskip("openvino")
    honest = network.OpenVinoNetwork.run

    def wrong(self, batch):
        outputs = honest(self, batch)
        outputs[0] = np.roll(outputs[0], 3, axis=3)  # everybody stands 12 pixels further right
        return outputs

    monkeypatch.setattr(network.OpenVinoNetwork, "run", wrong)
    detector = CenterFace(threads=1)
    assert "ONNX Runtime" in detector.detail
    assert all("does not find the same faces" in reason for reason in detector.passed_over)
    assert len(detector.passed_over) == len(network._precisions())


def test_a_damaged_record_is_checked_again(cache):
    cache.write_text("[]")
    assert CenterFace(threads=1).passed_over == []


def test_several_pictures_at_a_time_get_their_own_boxes(cache):
    from concurrent.futures import ThreadPoolExecutor

    detector = CenterFace(threads=2, streams=2)
    picture = check_picture()
    pictures = [np.ascontiguousarray(picture[:, 32 * n :]) for n in range(8)]
    alone = [detector.detect(each) for each in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.detect, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def yunet_file(path, size=64):
    """A graph with YuNet's outputs that says one face whatever it sees: constants, by its rules."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    values = {}
    for stride in (8, 16, 32):
        cells = (size // stride) ** 2
        for kind, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            values[f"{kind}_{stride}"] = np.zeros((1, cells, columns), np.float32)
    cell = 2 * (size // 16) + 1  # row 2, column 1 of stride 16
    values["cls_16"][0, cell], values["obj_16"][0, cell] = 0.81, 1.0
    values["bbox_16"][0, cell] = 0.5, 0.25, np.log(2), np.log(3)
    values["kps_16"][0, cell] = np.arange(10) / 10
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])
    nodes, made, outputs = [], [], []
    nodes.append(helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0))
    made.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    nodes.append(helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    for name, value in values.items():
        made.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    graph = helper.make_graph(nodes, "yunet", [picture], outputs, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def test_yunets_outputs_become_boxes_and_points(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(network, "_precisions", lambda: ())
    monkeypatch.setenv("NEUROGAZE_YUNET", str(yunet_file(tmp_path / "y.onnx")))
    detector = open_detector("yunet")
    assert detector.detail.startswith("YuNet")
    (face,) = detector.detect(np.zeros((64, 64, 3), np.uint8))
    # Centre (1.5, 2.25) cells of 16 pixels, 2 wide and 3 high; the score is a geometric mean.
    np.testing.assert_allclose(face[:5], [8, 12, 40, 60, 0.9], rtol=1e-6)
    np.testing.assert_allclose(face[5:9], [16, 33.6, 19.2, 36.8], rtol=1e-6)
    (again,) = GraphDetector(tmp_path / "y.onnx").detect(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(face, again)


def test_what_is_no_detector_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROGAZE_YUNET", str(tmp_path / "none.onnx"))
    with pytest.raises(ConfigError, match=r"none\.onnx do not exist.*opencv_zoo"):
        open_detector("yunet")
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        open_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ConfigError, match=r"text\.onnx is no ONNX file"):
        open_detector(str(tmp_path / "text.onnx"))
    from neurogaze_fast.deploy.shipped import SHIPPED

    with pytest.raises(ConfigError, match=r"no detector that is known.*probabilities"):
        open_detector(str(SHIPPED / "export/fp32.onnx"))


def test_a_smaller_search_gives_boxes_at_full_size(cache):
    import skimage.data

    photo = skimage.data.astronaut()
    (full,) = CenterFace(threads=1).detect(photo)
    (small,) = CenterFace(threads=1, size=256).detect(photo)
    (large,) = CenterFace(threads=1, size=1024).detect(photo)
    for other in (small, large):
        assert network.overlap(full, other[None])[0] > 0.75
