"""The model file: verified, named, and refused where it does not fit."""

import json

import numpy as np
import pytest
import torch

from neurogaze_fast.artifacts import manifest_path
from neurogaze_fast.device import pick_device
from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.student.inference import load_model, predict_logits, predict_views, save_model
from neurogaze_fast.student.resnet import ResNet


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = ResNet().eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, model.state_dict(), {"size": 32})
    return path, model


def test_round_trip_gives_the_same_logits(saved, drawn):
    path, model = saved
    loaded, metadata = load_model(path)
    images, cpu = drawn[0][:9], torch.device("cpu")
    expected = predict_logits(
        model.to(memory_format=torch.channels_last), images, size=32, device=cpu
    )
    got = predict_logits(loaded, images, size=metadata["size"], device=cpu)
    np.testing.assert_array_equal(got, expected)
    assert metadata["architecture"] == "resnet18"


def test_logits_do_not_depend_on_the_batch_and_mode_is_restored(saved, drawn):
    model = saved[1].train()
    cpu = torch.device("cpu")
    whole = predict_logits(model, drawn[0][:20], size=32, device=cpu)
    parts = predict_logits(model, drawn[0][:20], size=32, device=cpu, batch_size=7)
    np.testing.assert_allclose(whole, parts, atol=1e-4)
    assert model.training
    assert predict_logits(model, drawn[0][:0], size=32, device=cpu).shape == (0, 8)


def test_the_mirror_image_is_left_for_right(saved, drawn):
    model, images, cpu = saved[1], drawn[0][:6], torch.device("cpu")
    how = {"size": 32, "device": cpu}
    shares = [
        torch.from_numpy(predict_logits(model, np.ascontiguousarray(x), **how)).double().softmax(1)
        for x in (images, images[:, :, ::-1], images[:, ::-1])
    ]
    got = torch.from_numpy(predict_logits(model, images, **how, flip=True)).double().exp()
    torch.testing.assert_close(got, (shares[0] + shares[1]) / 2, rtol=1e-4, atol=1e-5)
    upside_down = (shares[0] + shares[2]) / 2
    assert (got - upside_down).abs().max() > 1e-4


@pytest.mark.parametrize("flip", [True, False])
def test_each_image_once_comes_of_the_same_passes(saved, drawn, flip):
    how = {"size": 32, "device": torch.device("cpu"), "batch_size": 4}
    once, asked = predict_views(saved[1], drawn[0][:6], **how, flip=flip)
    np.testing.assert_array_equal(once, predict_logits(saved[1], drawn[0][:6], **how))
    np.testing.assert_array_equal(asked, predict_logits(saved[1], drawn[0][:6], **how, flip=flip))
    assert np.array_equal(once, asked) != flip


def test_altered_weights_are_refused(saved):
    path, _ = saved
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(0).integers(0, len(data), 20):
        data[position] ^= 4
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="altered"):
            load_model(path)
        data[position] ^= 4


def reseal(path, **changes):
    data = path.read_bytes()
    provenance = json.loads(manifest_path(path).read_bytes())["provenance"]
    from neurogaze_fast.artifacts import write_artifact

    write_artifact(path, data, provenance | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotions": ["happiness", "neutral"]}, "emotion order"),
        ({"kind": "prototype bank"}, "prototype bank"),
        ({"architecture": "vgg13"}, "vgg13"),
        ({"architecture": "resnet50"}, "does not fit resnet50"),
        ({"stem": "imagenet"}, "does not fit resnet18"),
    ],
)
def test_other_models_are_refused(saved, changes, message):
    reseal(saved[0], **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved[0])


def test_missing_model_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="Name a run folder"):
        load_model(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="--resume"):
        load_model(tmp_path)


def test_cuda_without_a_gpu_is_a_typed_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="doctor"):
        pick_device("cuda")
