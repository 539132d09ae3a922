"""Trained students as a KD teacher: their mean opinion, of the very view the student sees."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neurogaze_fast.artifacts import read_manifest, write_artifact
from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.faces.resident import Batch
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.inference import predict_logits, save_model
from neurogaze_fast.student.kd_teacher import KdTeacher, teacher_provenance
from neurogaze_fast.student.networks import build_student
from tests.student.trainers import make

CPU = torch.device("cpu")
SIZES = (16, 24)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two model files of different networks and sizes."""
    paths = []
    for seed, size in enumerate(SIZES):
        torch.manual_seed(seed)
        model = build_student(("compact-half", "compact")[seed])
        for _ in range(2):
            model(torch.randn(16, 1, size, size))
        path = tmp_path_factory.mktemp("teacher") / "model.safetensors"
        metadata = {"size": size, "synthetic": seed == 1, "flip": True, "selected": {}}
        save_model(path, model, model.state_dict(), metadata)
        paths.append(str(path.parent))
    return paths


def opinion(run, images, size):
    """Probabilities of one model, image and mirror image averaged, by numpy."""
    teacher = KdTeacher.load([run], CPU)
    both = [predict_logits(teacher.models[0], x, size=size, device=CPU)
            for x in (images, images[:, :, ::-1])]  # fmt: skip
    return np.mean([np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in both], axis=0)


def test_several_runs_are_the_mean_of_their_probabilities(runs, faces):
    images = faces["valid"].images[:20]
    expected = np.mean([opinion(r, images, s) for r, s in zip(runs, SIZES, strict=True)], axis=0)
    found = np.exp(KdTeacher.load(runs, CPU).logits_of_set(images, CPU))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_the_teacher_looks_at_the_students_view(runs, faces, tmp_path):
    options = {"kd_teacher": tuple(runs), "model": "compact-half", "amp": False, "size": 32}
    trainer = make(faces, tmp_path, **options)
    step = trainer.run_step
    rows = torch.arange(8)
    batch = Batch(trainer.loader.store, rows, rows)
    seen = []
    for epoch in (0, 1):
        step.begin_epoch(epoch, 32, trainer.loader.source, len(trainer.rows.images))
        views = {side: step._view(batch, step._teacher_params[side], side) for side in SIZES}
        found = step.targets(batch).teacher_logits
        torch.testing.assert_close(found, KdTeacher.load(runs, CPU).logits(views))
        torch.testing.assert_close(found.exp().sum(1), torch.ones(8))
        seen.append(found)
        # At its own size the teacher's view is the student's, pixel for pixel.
        step.begin_epoch(epoch, SIZES[0], trainer.loader.source, len(trainer.rows.images))
        torch.testing.assert_close(step.images(batch), views[SIZES[0]])
    assert (seen[0] - seen[1]).abs().max() > 1e-3, "the augmentation of the epoch is not in it"


def test_the_student_learns_from_its_teacher_and_leaves_it_alone(runs, faces, tmp_path):
    trainer = make(faces, tmp_path, kd_teacher=tuple(runs), model="compact-half", epochs=1)
    before = [p.clone() for m in trainer.run_step._teacher.models for p in m.parameters()]
    trainer.fit()
    after = [p for m in trainer.run_step._teacher.models for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.history[-1]["train"]["kd"] > 0
    names = [n for n, _ in trainer.run_step._network.named_parameters()]
    assert not any("teacher" in name for name in names)


def test_plain_view_is_computed_once(runs, faces, tmp_path):
    trainer = make(faces, tmp_path, kd_teacher=tuple(runs), kd_view="plain", model="compact-half")
    assert trainer.run_step._teacher is None
    rows = trainer.rows
    expected = KdTeacher.load(runs, CPU).logits_of_set(rows.images, CPU)
    np.testing.assert_array_equal(rows.targets.teacher_logits.numpy(), expected)


def test_what_is_recorded_tells_the_teachers_apart(runs):
    both, first = teacher_provenance(runs), teacher_provenance(runs[:1])
    assert first["models"] == [first["sha256"]]
    assert both["models"][0] == first["sha256"] != both["sha256"]
    assert (first["synthetic"], both["synthetic"]) == (False, True)
    assert teacher_provenance(runs[::-1])["sha256"] != both["sha256"]


def test_teachers_that_do_not_fit_are_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="--kd-teacher"):
        TrainConfig(kd_teacher=("votes", runs[0]))
    with pytest.raises(ConfigError, match="--kd-teacher"):
        TrainConfig(kd_teacher=())
    with pytest.raises(CheckpointError):
        KdTeacher.load([str(tmp_path / "absent")], CPU)
    colour = build_student("resnet18", channels=3)
    path = tmp_path / "model.safetensors"
    save_model(path, colour, colour.state_dict(), {"size": 16, "synthetic": False})
    with pytest.raises(CheckpointError, match="3 channels"):
        KdTeacher.load([str(tmp_path)], CPU)


def test_a_teacher_of_other_emotions_is_refused(runs, tmp_path):
    file = Path(runs[0]) / "model.safetensors"
    provenance = read_manifest(file)["provenance"]
    other = [*provenance["emotions"][1:], provenance["emotions"][0]]
    data = file.read_bytes()
    write_artifact(tmp_path / file.name, data, {**provenance, "emotions": other})
    with pytest.raises(CheckpointError, match="was trained for the emotion order"):
        KdTeacher.load([runs[1], str(tmp_path)], CPU)
