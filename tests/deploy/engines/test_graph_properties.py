"""What a graph says of itself to other programs, and that it may not contradict its manifest."""

import json

import onnx
import pytest

from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.licence import DRAWN, FERPLUS, OTHERS, licence
from neurogaze_fast.deploy.vision.crop import MARGIN
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError
from tests.deploy.engines.tiny_graph import METADATA, tiny, written
from tests.deploy.small_model import SIZE


def test_an_exported_graph_names_labels_size_crop_terms_weights_and_source(exported_run):
    model = onnx.load(exported_run / "export" / "fp32.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    weights = read_manifest(exported_run / "model.safetensors")["sha256"]
    assert json.loads(said["emotions"]) == list(EMOTIONS)
    assert (json.loads(said["input_size"]), json.loads(said["size"])) == (SIZE, SIZE)
    assert json.loads(said["crop_margin"]) == MARGIN
    assert json.loads(said["temperature"]) == 1.0
    assert json.loads(said["synthetic"]) is True
    assert said["model_sha256"] == weights
    assert said["licence"] == DRAWN
    assert json.loads(said["source"]) == {"set": "demo", "sha256": "0" * 64}


def test_the_terms_follow_the_images():
    assert licence("ferplus", False) == FERPLUS
    assert licence("folder", False) == licence("unknown", False) == OTHERS
    assert licence("ferplus", True) == licence("demo", True) == DRAWN
    assert "owners' licences are unknown" in FERPLUS


@pytest.mark.parametrize(
    ("key", "said", "sealed"),
    [
        ("temperature", "0.8", 0.9),
        ("synthetic", "false", True),
        ("size", "32", 48),
        ("valence_arousal", "argmax", "expected"),
    ],
)
def test_a_graph_that_contradicts_its_manifest_is_refused(tmp_path, key, said, sealed):
    model = tiny()
    model.metadata_props.add(key=key, value=said)
    with pytest.raises(ArtifactError, match=f"it says {said} for {key}"):
        open_graph(written(tmp_path, model, {**METADATA, key: sealed}))
    right = sealed if isinstance(sealed, str) else json.dumps(sealed)
    model.metadata_props[-1].value = right
    open_graph(written(tmp_path, model, {**METADATA, key: sealed}))
