"""Files that are whole by their hashes, but not what their readers need: one error, no traceback.

A hash holds for whoever makes the file anew, so every key of every file that is read is left out
and given another type in turn, the file is sealed again, and only the project's own errors may
come of it. The files are those of tests/witness.
"""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import save as save_tensors
from torch import nn

from neurogaze_fast.ablation.identity import differences
from neurogaze_fast.ablation.plan import RUNS, PlannedRun
from neurogaze_fast.ablation.results import collect
from neurogaze_fast.artifacts import (
    canonical_json,
    check_fields,
    manifest_path,
    read_manifest,
    seal,
    sha256_bytes,
    unseal,
    write_artifact,
)
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import ArtifactError, CheckpointError, ConfigError, NeurogazeError
from neurogaze_fast.evaluation import run_record
from neurogaze_fast.evaluation.remarks import remarks
from neurogaze_fast.evaluation.training_images import TrainingImages
from neurogaze_fast.evaluation.verify import verify_run
from neurogaze_fast.faces.shards import read_shards
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.from_teacher import build_prototypes
from neurogaze_fast.student import inference
from neurogaze_fast.student.config import TrainConfig, train_config_from_json
from neurogaze_fast.teacher.config import teacher_config_from_json
from neurogaze_fast.teacher.model import TeacherNet, load_teacher, save_teacher

WITNESS = Path(__file__).parent / "witness"
CPU = torch.device("cpu")
OTHERS = (None, True, -1, 10**30, 0.5, "x", [7], {"x": 7})


class Tiny(nn.Module):
    """A stand-in for ResNet: what is fuzzed is the manifest, not the weights."""

    def __init__(self, architecture, *, stem, channels):
        super().__init__()
        self.architecture, self.stem, self.channels = architecture, stem, channels
        self.conv1, self.fc = nn.Conv2d(channels, 4, 3), nn.Linear(4, 8)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The witness run with a model of a few weights."""
    monkeypatch.setattr(inference, "build_student", Tiny)
    folder = shutil.copytree(WITNESS / "run", tmp_path / "run")
    metadata = read_manifest(WITNESS / "run" / "model.safetensors")["provenance"]
    model = Tiny("resnet18", stem="small", channels=metadata["channels"])
    inference.save_model(folder / "model.safetensors", model, model.state_dict(), metadata)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["model_sha256"] = read_manifest(folder / "model.safetensors")["sha256"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def teacher(tmp_path):
    """The witness teacher with weights, and its maps."""
    folder = shutil.copytree(WITNESS / "teacher", tmp_path / "teacher")
    metadata = read_manifest(WITNESS / "teacher" / "teacher.safetensors")["provenance"]
    model = TeacherNet(metadata["bands"], metadata["width"])
    metadata["maps"]["path"] = str(WITNESS / "maps")
    save_teacher(folder / "teacher.safetensors", model, metadata)
    return folder


def changed(value, depth=3, only=None):
    """(what, value with one key left out or of another type) for the keys down to `depth`."""
    if isinstance(value, dict):
        for key in value if only is None else only:
            rest = {name: item for name, item in value.items() if name != key}
            yield f"without {key}", rest
            for other in OTHERS:
                if type(other) is not type(value[key]) or other != value[key]:
                    yield f"{key} = {other!r}", value | {key: other}
            if depth > 1:
                for what, item in changed(value[key], depth - 1):
                    yield f"{key}: {what}", value | {key: item}
    elif isinstance(value, list) and value and depth > 1:
        for what, item in changed(value[0], depth - 1):
            yield f"[0] {what}", [item, *value[1:]]
        for other in OTHERS:
            yield f"[0] = {other!r}", [other, *value[1:]]


def outcomes(variants, write, read):
    """How many of `variants` were refused; anything but our own errors fails."""
    refused = total = 0
    for what, value in variants:
        write(value)
        total += 1
        try:
            read()
        except NeurogazeError:
            refused += 1
        except Exception as error:  # named with the change that led to it
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert total > 10
    return refused


def seal_manifest(path, manifest):
    manifest = {**manifest, "manifest_sha256": ""}
    manifest["manifest_sha256"] = sha256_bytes(canonical_json(manifest))
    manifest_path(path).write_bytes(canonical_json(manifest))


def with_provenance(path):
    manifest = read_manifest(path)
    return lambda metadata: seal_manifest(path, manifest | {"provenance": metadata})


def test_manifests(tmp_path):
    path = tmp_path / "thing.bin"
    write_artifact(path, b"x", {"kind": "k"})
    whole = read_manifest(path)
    whole.pop("manifest_sha256")
    variants = list(changed(whole, depth=1))
    read = lambda: run_record.sha256_file(path) and read_manifest(path)["provenance"]["kind"]  # noqa: E731
    refused = outcomes(
        ((what, value) for what, value in variants if "provenance" not in what),
        lambda value: seal_manifest(path, value),
        read,
    )
    assert refused >= 30


def test_fields_are_named_where_they_are():
    fields = {"a": int, "b?": {"c": (str, float)}}
    check_fields({"a": 1}, fields, "file")
    check_fields({"a": 1, "b": {"c": 3}}, fields, "file")
    check_fields({"a": 1, "b": None, "more": 1}, fields, "file")
    for value, message in (
        ({}, "file has no 'a'"),
        ({"a": True}, "file holds True for 'a', where int belongs"),
        ({"a": 1, "b": 2}, "file holds 2 for b, not an object"),
        ({"a": 1, "b": {"c": []}}, r"holds \[\] for 'b.c', where str or float belongs"),
        ([], r"file holds \[\] for its content"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_fields(value, fields, "file", ConfigError)


# --- a student's run ------------------------------------------------------------------------------


def read_all_of(run):
    """Everything that reads a run without scoring it."""
    record = run_record.read_run(run)
    metrics = record.metrics | {"selected": record.metadata["selected"]}
    remarks({name: metrics[name] for name in ("selected",)})
    TrainingImages.load(run, record.metrics.get("training_images"))
    assert isinstance(record.synthetic_bank, bool)
    run_record.find_faces(record)


def test_the_manifest_of_a_model(run):
    path = run / "model.safetensors"
    metadata = read_manifest(path)["provenance"]
    used = ["kind", "architecture", "stem", "channels", "emotions", "size", "flip", "synthetic",
            "data", "selected", "bank"]  # fmt: skip
    metadata["data"]["source"] = str(run / "absent")  # no set is drawn
    metadata["data"]["synthetic"] = False
    refused = outcomes(
        changed(metadata, depth=2, only=used), with_provenance(path), lambda: read_all_of(run)
    )
    assert refused > 150


def test_the_tensors_of_a_model(run):
    path = run / "model.safetensors"
    metadata = read_manifest(path)["provenance"]
    good = Tiny("resnet18", stem="small", channels=metadata["channels"]).state_dict()
    arrays = {name: value.numpy() for name, value in good.items()}
    bad = [
        b"", b"x" * 99, b"\xff" * 8 + b"{}", save_tensors({"other": np.zeros(3)}),
        save_tensors({k: v[:1] for k, v in arrays.items() if k != "conv1.bias"}),
        save_tensors(arrays | {"conv1.weight": arrays["conv1.weight"][:, :, :2]}),
        save_tensors(arrays | {"fc.weight": arrays["fc.weight"].astype(np.complex64)}),
        save_tensors(arrays | {"fc.weight": arrays["fc.weight"].astype(np.int64)}),
    ]  # fmt: skip
    for data in bad:
        write_artifact(path, data, metadata)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            inference.load_model(run)


def test_config_json(run):
    path = run / "config.json"
    whole = unseal(json.loads(path.read_text()))
    planned = PlannedRun("b3", 0, run, TrainConfig())

    def read():
        train_config_from_json(path)
        planned.check()
        planned.made_of("data")

    refused = outcomes(
        changed(whole, depth=2),
        lambda value: path.write_text(json.dumps(seal(value))),
        read,
    )
    assert refused > 400
    for text in ("", "[]", "7", "null", "{}", "[" * 9999, '{"sha256": 1}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"config\.json"):
            train_config_from_json(path)


def test_an_option_of_another_type_is_refused_not_used(run):
    path = run / "config.json"
    whole = unseal(json.loads(path.read_text()))
    for name, value in (
        ("amp", "no"), ("variant", "b9"), ("epochs", 2.5), ("epochs", True), ("stem", None),
        ("learning_rate", "1e-3"), ("data", 7), ("kd_teacher", 3), ("learning_speed", 1),
    ):  # fmt: skip
        path.write_text(json.dumps(seal(whole | {"config": whole["config"] | {name: value}})))
        with pytest.raises(ConfigError, match=name):
            train_config_from_json(path)


@pytest.mark.parametrize("name", ["metrics.json", "history.json", "fingerprint.json"])
def test_metrics_and_history(run, tmp_path, name):
    (tmp_path / RUNS / "b3").mkdir(parents=True)
    shutil.move(run, tmp_path / RUNS / "b3" / "seed0")
    folder = tmp_path / RUNS / "b3" / "seed0"
    metadata = read_manifest(folder / "model.safetensors")["provenance"]
    metadata["data"] |= {"source": str(tmp_path / "absent"), "synthetic": False}
    with_provenance(folder / "model.safetensors")(metadata)
    path = folder / name
    whole = json.loads(path.read_text())
    parts = ["valid", "temperature", "training_images", "model_sha256", "selected"]
    parts += ["code", "environment", "bank", "geo", "valid_logits"]
    only = [part for part in parts if part in whole] if isinstance(whole, dict) else None
    variants = changed(whole, depth=3, only=only)

    def read():
        differences(collect(tmp_path))
        for result in collect(tmp_path):
            result.score("log_loss"), result.bank
            for score in ("accuracy", "macro_f1", "balanced_accuracy"):
                result.early(score), result.late(score), result.jitter(score), result.seconds
        record = run_record.read_run(folder)
        TrainingImages.load(folder, record.metrics.get("training_images"))
        float(record.metrics.get("temperature") or 1)

    assert outcomes(variants, lambda value: path.write_text(json.dumps(value)), read) > 20


@pytest.mark.parametrize("name", ["fingerprint.json", "metrics.json", "config.json"])
def test_what_verify_compares(run, name):
    path = run / name
    metadata = read_manifest(run / "model.safetensors")["provenance"]
    metadata["data"] |= {"source": str(run / "absent"), "synthetic": False}
    with_provenance(run / "model.safetensors")(metadata)
    whole = json.loads(path.read_text())
    if name == "metrics.json":
        whole = {key: value for key, value in whole.items() if key not in ("valid", "test")}
    else:
        whole = unseal(whole)
    write = lambda value: path.write_text(json.dumps(seal(value)))  # noqa: E731
    variants = list(changed(whole, depth=1))
    if name == "config.json":
        inner = changed(whole["config"], depth=1, only=["faces"])
        variants += [(what, whole | {"config": value}) for what, value in inner]
    outcomes(variants, write, lambda: list(verify_run(run, device=CPU)))


def test_hashes_of_training_images(run):
    path = run / "training_images.npy"

    def npy(array):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return buffer.getvalue()

    for data in (b"", b"\x93NUMPY", b"junk", npy(np.zeros(3)), npy(np.zeros((2, 2), "V16"))):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"training_images\.npy"):
            TrainingImages.load(run, {"of": "pixels", "sha256": sha256_bytes(data)})


# --- a bank, a teacher and its maps ---------------------------------------------------------------


def test_a_bank(run):
    path = run / "bank.safetensors"
    metadata = read_manifest(path)["provenance"]
    keys = ["kind", "emotions", "grid", "width", "synthetic"]
    load = lambda: PrototypeBank.load(path).synthetic  # noqa: E731
    outcomes(changed(metadata, 2, only=keys), with_provenance(path), load)
    bank = PrototypeBank.load(WITNESS / "run" / "bank.safetensors")
    names = ("prototypes", "counts", "subjects", "filled_from", "centres")
    arrays = {name: np.ascontiguousarray(getattr(bank, name)) for name in names}
    for name, array in arrays.items():
        for other in (array[:-1], array[None], array.astype(np.float16), array.sum(), array[:0]):
            write_artifact(path, save_tensors(arrays | {name: np.asarray(other)}), metadata)
            with pytest.raises(NeurogazeError):
                PrototypeBank.load(path)


def test_a_teacher(teacher, tmp_path):
    path = teacher / "teacher.safetensors"
    metadata = read_manifest(path)["provenance"]
    out = tmp_path / "bank.safetensors"
    out.touch()  # so that nothing is computed
    config = BuildPrototypesConfig(teacher=teacher, out=out)
    keys = ["kind", "bands", "width", "synthetic", "maps", "split"]
    refused = outcomes(
        changed(metadata, 2, only=keys),
        with_provenance(path),
        lambda: build_prototypes(config, Console(quiet=True)),
    )
    assert refused > 60
    state = TeacherNet(metadata["bands"], metadata["width"]).state_dict()
    arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in state.items()}
    weight = arrays["head.weight"]
    for other in (weight[:1], weight[None], np.float32(3), weight.astype(np.complex64)):
        write_artifact(path, save_tensors(arrays | {"head.weight": np.asarray(other)}), metadata)
        with pytest.raises(CheckpointError, match=r"teacher\.safetensors"):
            load_teacher(teacher)


def test_the_config_of_a_teacher(teacher):
    path = teacher / "config.json"
    whole = unseal(json.loads(path.read_text()))
    write = lambda value: path.write_text(json.dumps(seal(value)))  # noqa: E731
    read = lambda: teacher_config_from_json(path)  # noqa: E731
    assert outcomes(changed(whole["config"], 1), lambda v: write(whole | {"config": v}), read) > 99


def test_validation_subjects_that_the_maps_do_not_have(teacher, tmp_path):
    path = teacher / "teacher.safetensors"
    metadata = read_manifest(path)["provenance"]
    metadata["split"]["valid"] = ["somebody", 7]
    with_provenance(path)(metadata)
    config = BuildPrototypesConfig(teacher=teacher, out=tmp_path / "bank.safetensors")
    with pytest.raises(NeurogazeError, match="somebody, 7"):
        build_prototypes(config, Console(quiet=True))


def test_a_map_set(tmp_path):
    folder = shutil.copytree(WITNESS / "maps", tmp_path / "maps")
    path = folder / "maps.json"
    whole = json.loads(path.read_bytes())
    brief = read_manifest(path)["provenance"]
    load = lambda: MapSet.load(folder).synthetic  # noqa: E731
    write = lambda value: write_artifact(path, canonical_json(value), brief)  # noqa: E731
    refused = outcomes(changed(whole, 3), write, load)
    assert refused > 100
    for data in (b"", b"{", b"[" * 9999, b"7", b"\xff"):
        write_artifact(path, data, brief)
        with pytest.raises(ArtifactError, match=r"maps\.json"):
            load()


def test_the_shards_of_a_map_set(tmp_path):
    folder = shutil.copytree(WITNESS / "maps", tmp_path / "maps")
    maps = MapSet.load(folder)
    index = json.loads((folder / "maps.json").read_bytes())
    brief = read_manifest(folder / "maps.json")["provenance"]
    names = ("maps", "power", "valence", "arousal", "subject", "trial", "start", "flags")
    arrays = {name: np.ascontiguousarray(getattr(maps, name)) for name in names}
    for name, array in arrays.items():
        for other in (array[:-1], array[None], array.astype(np.complex64), array.ravel()[0]):
            data = save_tensors(arrays | {name: np.asarray(other)})
            sha256 = write_artifact(folder / index["shards"][0]["file"], data, brief)
            index["shards"][0]["sha256"] = sha256
            write_artifact(folder / "maps.json", canonical_json(index), brief)
            with pytest.raises(ArtifactError):
                MapSet.load(folder)


# --- face shards ----------------------------------------------------------------------------------


def test_the_index_of_face_shards(tmp_path):
    folder = shutil.copytree(WITNESS / "shards", tmp_path / "shards")
    path = folder / "index.json"
    whole = unseal(json.loads(path.read_bytes()))

    def read():
        faces = read_shards(folder)
        assert isinstance(faces.synthetic, bool)
        assert all(len(split.images) for split in faces.splits.values())
        faces.provenance()

    variants = changed(whole, depth=4)
    refused = outcomes(variants, lambda value: path.write_bytes(canonical_json(seal(value))), read)
    assert refused > 100
