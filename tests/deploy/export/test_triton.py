"""The model repository, written and read back."""

import json

import pytest

from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.export.triton import (
    check_repository,
    config_text,
    parse_pbtxt,
    write_repository,
)
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError, ConfigError, OutputExistsError
from tests.deploy.engines.test_onnx_safety import FACTS, tiny, written
from tests.deploy.small_model import SIZE


@pytest.fixture
def graph(tmp_path):
    return open_graph(written(tmp_path / "export", tiny()))


def test_round_trip(graph, tmp_path):
    folder = write_repository(graph, tmp_path / "models")
    assert sorted(p.name for p in folder.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    config = check_repository(tmp_path / "models")
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [16, 16, 3]}]
    assert [(o["name"], o["dims"]) for o in config["output"]] == [
        ("probabilities", [8]),
        ("valence_arousal", [2]),
    ]
    assert config["max_batch_size"] == 256
    assert max(config["dynamic_batching"]["preferred_batch_size"]) <= 256
    assert (folder / "labels.txt").read_text().split() == list(EMOTIONS)
    assert (folder / "1" / "model.onnx").read_bytes() == graph.data


def test_the_same_again_is_kept_and_something_else_is_not_overwritten(graph, tmp_path):
    folder = write_repository(graph, tmp_path)
    assert write_repository(graph, tmp_path) == folder
    (folder / "labels.txt").write_text("other\n")
    with pytest.raises(OutputExistsError, match=r"its labels\.txt is not that of this graph"):
        write_repository(graph, tmp_path)
    assert (folder / "labels.txt").read_text() == "other\n"


def test_a_bf16_graph_is_refused(tmp_path):
    graph = open_graph(written(tmp_path / "export", tiny(), {**FACTS, "precision": "bf16"}))
    with pytest.raises(ConfigError, match="no bf16 kernels"):
        write_repository(graph, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("labels.txt", lambda b: b.replace(b"neutral", b"calm"), r"labels\.txt names"),
        ("config.pbtxt", lambda b: b.replace(b"UINT8", b"FP32"), "'input' of config"),
        ("config.pbtxt", lambda b: b.replace(b": 256", b": 0"), "'max_batch_size' of config"),
        ("config.pbtxt", lambda b: b + b'platform: "x"', "'platform' of config"),
        ("config.pbtxt", lambda b: b[:-3], "cannot be parsed"),
        ("1/model.onnx", lambda b: b[:-1], "not the file its manifest describes"),
        ("1/source.manifest.json", lambda b: b[1:], "missing or damaged"),
    ],
)
def test_parts_that_do_not_fit_are_named(graph, tmp_path, file, change, message):
    path = write_repository(graph, tmp_path / "models") / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match=message):
        check_repository(tmp_path / "models")


def test_a_missing_file_is_named(graph, tmp_path):
    (write_repository(graph, tmp_path) / "config.pbtxt").unlink()
    with pytest.raises(ArtifactError, match=r"config\.pbtxt cannot be read"):
        check_repository(tmp_path)


def test_a_manifest_of_another_form_is_refused(graph, tmp_path):
    path = write_repository(graph, tmp_path) / "1" / "source.manifest.json"
    manifest = json.loads(path.read_text())
    for facts in ([], {**manifest["provenance"], "input_size": None}):
        path.write_text(json.dumps({**manifest, "provenance": facts}))
        with pytest.raises(ArtifactError, match="has a manifest"):
            check_repository(tmp_path)


def test_the_text_format():
    assert parse_pbtxt(config_text("a", SIZE))["name"] == "a"
    assert parse_pbtxt('a { b: -1 c: [ "x", Y ] } # end\nd: 2') == {
        "a": {"b": -1, "c": ["x", "Y"]},
        "d": 2,
    }
    for wrong in ("a {", "a: [1", "a: }", "a: 1 a: 2", "1: 2", "a: \x00", "a: 1.5.2", "}"):
        with pytest.raises(ValueError):
            parse_pbtxt(wrong)
