"""A run against its fingerprint: whole as it was written, and each kind of tampering noticed."""

import json
import shutil

import numpy as np
import pytest
import torch

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.artifacts import seal, sha256_file, unseal, write_artifact
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.evaluation.fingerprint import SWITCHES, code_commit
from neurogaze_fast.evaluation.metrics import split_scores
from neurogaze_fast.evaluation.verify import compare_scores, verify_run
from neurogaze_fast.prototypes.bank import demo_bank
from tests.helpers import write_set

CPU = torch.device("cpu")


def results(folder, **options):
    return {c.what: c.result for c in verify_run(folder, device=CPU, **options)}


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()  # it may be a link to the one run all tests share
    path.write_bytes(data)


def test_the_fingerprint_names_every_part(finished):
    found = unseal(json.loads((finished / "fingerprint.json").read_text()))
    config = json.loads((finished / "config.json").read_text())
    assert found["configuration"] == config["config"]
    assert found["config_sha256"] == config["sha256"]
    for key, name in (("model_sha256", "model.safetensors"), ("metrics_sha256", "metrics.json")):
        assert found[key] == sha256_file(finished / name)
    bank = {"sha256": sha256_file(finished / "bank.safetensors"), "synthetic": True}
    assert found["bank"] == bank
    assert found["data"]["rows"] == {"train": 80, "valid": 40}
    assert found["kd_teacher"] is None
    assert set(found["switches"]) == set(SWITCHES), "each is an option of training"
    assert found["switches"]["variant"] == "b3"
    assert found["switches"]["tau"] == 0.9
    assert set(found["code"]) == {"version", "commit", "training_sha256"}
    assert found["environment"]["torch"] == torch.__version__


def test_an_untouched_run_is_ok_by_folder_and_by_model_file(finished, capsys):
    found = results(finished)
    assert set(found.values()) == {"ok"}
    assert set(found) == {
        "fingerprint.json", "config.json", "model", "bank", "metrics.json", "training images",
        "data", "scores of valid",
    }  # fmt: skip
    evaluate_command.main([str(finished / "model.safetensors"), "--verify"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == list(found)
    assert all(": ok" in line for line in lines)


def tamper_score(value):
    value["valid"]["8way"]["accuracy"] += 0.01


def tamper_option(value):
    value["config"]["tau"] = 0.07


def reseal(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(seal({k: v for k, v in value.items() if k != "sha256"})))


TAMPERING = {
    "a switch in the fingerprint": (
        lambda run: edit(run / "fingerprint.json", lambda v: v["switches"].update(tau=0.07)),
        {"fingerprint.json"},
    ),
    "an option": (lambda run: edit(run / "config.json", tamper_option), {"config.json"}),
    "an option, sealed again": (
        lambda run: reseal(run / "config.json", tamper_option),
        {"config.json"},
    ),
    "a score": (
        lambda run: edit(run / "metrics.json", tamper_score),
        {"metrics.json", "scores of valid"},
    ),
    "the metrics' layout": (
        lambda run: (run / "metrics.json").write_text((run / "metrics.json").read_text() + " "),
        {"metrics.json"},
    ),
    "the model": (lambda run: flip_last_byte(run / "model.safetensors"), {"model"}),
    "the bank": (lambda run: flip_last_byte(run / "bank.safetensors"), {"bank"}),
    "no bank": (lambda run: (run / "bank.safetensors").unlink(), {"bank"}),
    "the training images": (
        lambda run: flip_last_byte(run / "training_images.npy"),
        {"training images"},
    ),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_tampering_is_noticed(copied, kind):
    tamper, expected = TAMPERING[kind]
    tamper(copied)
    found = results(copied)
    assert {what for what, result in found.items() if result == "differs"} == expected
    if kind == "the model":
        assert found["scores"] == found["data"] == "not checkable"


def test_files_of_another_make_are_differences_and_no_crash(copied):
    (copied / "metrics.json").write_text('{"training_images": 1, "valid": [], "data": "x"}')
    edit(copied / "fingerprint.json", lambda v: v.update(bank=7, data="x", configuration=None))
    found = results(copied)
    assert found["fingerprint.json"] == found["metrics.json"] == found["data"] == "differs"
    assert found["bank"] == found["training images"] == found["scores"] == "not checkable"
    (copied / "metrics.json").write_text("{")
    found = results(copied)
    assert found["metrics.json"] == "differs"
    assert found["scores"] == "not checkable"


def test_another_bank_with_a_manifest_of_its_own_is_noticed(copied):
    for name in ("bank.safetensors", "bank.manifest.json"):
        (copied / name).unlink()
    demo_bank(seed=1).save(copied / "bank.safetensors")
    assert results(copied)["bank"] == "differs"


def test_a_model_sealed_again_gives_other_scores(copied):
    """Weights changed together with their manifest: the hash differs, and the scores show it."""
    from safetensors.torch import load, save

    from neurogaze_fast.student.inference import load_model

    _, metadata = load_model(copied)
    state = load((copied / "model.safetensors").read_bytes())
    last = [name for name in state if name.endswith("weight")][-1]
    state[last] = torch.zeros_like(state[last])
    for name in ("model.safetensors", "model.manifest.json"):
        (copied / name).unlink()
    write_artifact(copied / "model.safetensors", save(state), metadata)
    found = results(copied)
    assert found["model"] == found["scores of valid"] == "differs"
    assert found["data"] == "ok"


def test_other_data_and_data_that_are_gone(finished, drawn, tmp_path):
    images, votes, usage = drawn
    other = write_set(tmp_path / "other", 255 - images, votes, usage)
    found = results(finished, data=other)
    assert (found["data"], found["scores"]) == ("differs", "not checkable")
    found = results(finished, data=tmp_path / "gone")
    assert (found["data"], found["scores"]) == ("not checkable", "not checkable")
    moved = write_set(tmp_path / "moved", *drawn)
    assert results(finished, data=moved)["data"] == "ok"


def test_the_command_exits_2_and_names_what_differs(copied, capsys):
    edit(copied / "metrics.json", tamper_score)
    with pytest.raises(SystemExit) as stop:
        evaluate_command.main([str(copied), "--verify", "--json"])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert "metrics.json, scores of valid differ." in err
    assert {"what": "bank", "result": "ok", "detail": ""} in json.loads(out)


def test_a_run_without_fingerprint_says_so(copied):
    (copied / "fingerprint.json").unlink()
    with pytest.raises(ArtifactError, match="it was trained by an older version"):
        results(copied)
    (copied / "fingerprint.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        results(copied)


def test_another_kind_of_device_may_move_two_images():
    labels = np.arange(80) % 8
    logits = np.eye(8)[labels]
    none = np.zeros(80, bool)
    recorded = split_scores(logits, labels, none)
    for moved, same, other in ((0, "ok", "ok"), (2, "differs", "ok"), (3, "differs", "differs")):
        logits = np.eye(8)[labels]
        logits[:moved] = np.eye(8)[(labels[:moved] + 1) % 8]
        now = split_scores(logits, labels, none)
        assert compare_scores("valid", recorded, now, True).result == same
        assert compare_scores("valid", recorded, now, False).result == other
    fewer = split_scores(np.eye(8)[labels[:79]], labels[:79], none[:79])
    assert compare_scores("valid", recorded, fewer, True).result == "differs"
    assert compare_scores("valid", {"n": 80, "8way": {}}, recorded, True).result == "differs"


def test_the_commit_is_that_of_this_package_or_none(tmp_path, monkeypatch):
    from neurogaze_fast.evaluation import fingerprint

    found = code_commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    shutil.copy(fingerprint.__file__, tmp_path)
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "fingerprint.py"))
    assert code_commit() is None, "not in a repository, or not one of its files"
