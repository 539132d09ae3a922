"""The model repository for Triton."""

import json

import pytest

from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.export.triton import write_repository
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, OutputExistsError
from tests.deploy.engines.tiny_graph import METADATA, tiny, written


@pytest.fixture
def graph(tmp_path):
    return open_graph(written(tmp_path / "export", tiny()))


def read_config(folder):
    """config.pbtxt as Triton's own message."""
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    return text_format.Parse((folder / "config.pbtxt").read_text(), messages.ModelConfig())


def test_triton_reads_the_configuration_as_it_is_meant(graph, tmp_path):
    folder = write_repository(graph, tmp_path / "models")
    config = read_config(folder)
    assert (config.name, config.backend) == (folder.name, "onnxruntime")
    side = graph.input_size
    assert [(i.name, list(i.dims)) for i in config.input] == [("images", [side, side, 3])]
    assert config.input[0].data_type == config.input[0].DESCRIPTOR.fields_by_name[
        "data_type"
    ].enum_type.values_by_name["TYPE_UINT8"].number  # fmt: skip
    assert [(o.name, list(o.dims)) for o in config.output] == [
        ("probabilities", [8]),
        ("valence_arousal", [2]),
    ]
    assert config.max_batch_size == 256
    assert max(config.dynamic_batching.preferred_batch_size) <= config.max_batch_size
    assert list(config.version_policy.specific.versions) == [1]


def test_the_files_are_those_of_the_graph(graph, tmp_path):
    folder = write_repository(graph, tmp_path / "models")
    assert sorted(p.name for p in folder.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert (folder / "labels.txt").read_text().split() == list(EMOTIONS)
    assert (folder / "1" / "model.onnx").read_bytes() == graph.data
    manifest = json.loads((folder / "1" / "source.manifest.json").read_text())
    assert manifest["sha256"] == graph.sha256


def test_the_same_again_is_kept_and_something_else_is_not_overwritten(graph, tmp_path):
    folder = write_repository(graph, tmp_path)
    assert write_repository(graph, tmp_path) == folder
    (folder / "labels.txt").write_text("other\n")
    with pytest.raises(OutputExistsError, match=r"its labels\.txt is not that of this graph"):
        write_repository(graph, tmp_path)
    assert (folder / "labels.txt").read_text() == "other\n"


def test_a_bf16_graph_is_refused(tmp_path):
    graph = open_graph(written(tmp_path / "export", tiny(), {**METADATA, "precision": "bf16"}))
    with pytest.raises(ConfigError, match="no bf16 kernels"):
        write_repository(graph, tmp_path / "models")
    assert not (tmp_path / "models").exists()
