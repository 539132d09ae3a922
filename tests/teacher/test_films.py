"""EEG that only says which film is on scores nothing once the films are new, and that is said."""

import json
import threading

import numpy as np
import pytest

from neurogaze_fast.artifacts import unseal
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.from_teacher import build_prototypes
from neurogaze_fast.teacher.inputs import InputMaker, Scale
from neurogaze_fast.teacher.model import load_teacher
from neurogaze_fast.teacher.report import remarks, score_tables
from neurogaze_fast.teacher.run import TeacherRun
from tests.eeg.trials import CONFIG, people
from tests.teacher.helpers import CPU, film_set, map_set, quick, silent


def trained_on_films(folder, seed):
    """(folder, scores, maps) of a teacher of maps that know the film and nothing else."""
    maps = film_set(subjects=10, seed=seed)
    maps.save(folder / "maps")
    config = quick(maps=folder / "maps", folds=2, clip_folds=3, epochs=6)
    maps = type(maps).load(folder / "maps")
    run = TeacherRun(config, maps, folder / "teacher", silent())
    return folder / "teacher", run.train(threading.Event()), maps


@pytest.fixture(scope="module")
def film_sets(tmp_path_factory):
    """Three of them: twelve films are few, and one set alone may be lucky."""
    return [trained_on_films(tmp_path_factory.mktemp("films"), seed) for seed in range(3)]


@pytest.fixture(scope="module")
def film_only(film_sets):
    return film_sets[0]


def test_film_only_eeg_scores_0_on_new_films_and_looks_good_on_old_ones(film_sets):
    for _, result, _ in film_sets:
        old = result["pooled"]["trial"]
        for target in ("valence", "arousal"):
            assert old["teacher"][target]["ccc"]["value"] > 0.6
            assert old["ridge"][target]["ccc"]["value"] > 0.3
            assert old["clip_mean"][target]["ccc"]["value"] > 0.99
            assert old["teacher - clip_mean"][target]["ccc"]["value"] < 0
    new = [result["people_and_clips_out"]["pooled"]["trial"] for _, result, _ in film_sets]
    for name in ("teacher", "ridge"):
        scores = [trial[name][target]["ccc"] for trial in new for target in ("valence", "arousal")]
        assert abs(np.mean([ccc["value"] for ccc in scores])) < 0.2, (name, scores)
        # Of 24 such sets 43 of the teacher's 48 intervals held 0, and 46 of the ridge's.
        assert sum(ccc["low"] <= 0 <= ccc["high"] for ccc in scores) >= 5, (name, scores)
    # A mean of the other films is low where the held-out ones are high: a little below 0.
    for trial in new:
        for target in ("valence", "arousal"):
            assert trial["mean"][target]["ccc"]["value"] < 0.1


def test_the_report_leads_with_new_films_and_names_what_needs_no_eeg(film_only):
    _, result, maps = film_only
    tables = score_tables(result)
    assert tables[0].title.startswith("People and films never trained on")
    assert "watching films that others were trained on" in tables[1].title
    said = " ".join(remarks(result, maps))
    assert "which needs no EEG, is as good as the teacher or better" in said
    assert "scaled by all of that person's windows" in said


def test_a_bank_of_films_alone_does_not_survive_new_films(film_only, tmp_path):
    folder, _, _ = film_only
    config = BuildPrototypesConfig(teacher=folder, out=tmp_path / "bank.safetensors")
    found = build_prototypes(config, silent()).provenance["films_out"]
    if found["cosine"] is not None and found["centred_cosine"] is not None:
        assert abs(found["centred_cosine"]) < 0.4


def test_maps_without_clips_are_scored_by_people_and_that_is_said(tmp_path):
    maps = map_set(subjects=4)
    old = type(maps)(**{
        name: getattr(maps, name)
        for name in maps.__dataclass_fields__
        if name not in ("clip", "clips")
    })  # fmt: skip
    run = TeacherRun(quick(folds=2, clip_folds=2, maps=tmp_path), old, tmp_path / "t", silent())
    assert list(run.folds) == ["people"]
    assert run.films_out is None
    result = run.train(threading.Event())
    assert result["bootstrap"]["unit"] == "subject"
    assert "clip_mean" not in result["pooled"]["trial"]
    assert "did not keep which clip" in remarks(result, old)[0]
    written = unseal(json.loads((tmp_path / "t" / "scores.json").read_text()))
    assert written == json.loads(json.dumps(result))


# --- the scale -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """Maps interpolated from band power, so that they can be made again."""
    return build_maps(people(), CONFIG, synthetic=True)


def test_training_windows_alone_decide_the_scale_of_train(real):
    train = np.flatnonzero(real.subject < 2)
    made = InputMaker(real, "train", "topomap", CPU).of(train)
    np.testing.assert_allclose(made.power[train].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(made.power[train].std(0), 1, atol=1e-4)
    assert np.abs(made.power[real.subject == 2].mean(0)).max() > 0.1
    back = Scale.from_json(json.loads(json.dumps(made.scale.to_json())))
    np.testing.assert_array_equal(back.level, made.scale.level)


def test_none_is_power_above_its_baseline_and_subject_is_what_was_saved(real):
    rows = np.arange(4)
    none = InputMaker(real, "none", "topomap", CPU).of(rows)
    np.testing.assert_array_equal(none.power, real.unscaled())
    subject = InputMaker(real, "subject", "topomap", CPU).of(rows)
    np.testing.assert_array_equal(subject.store.maps.numpy(), real.maps)
    again = Scale(np.zeros(real.power.shape[1:]), np.ones(real.power.shape[1:]))
    assert again.apply(none.power).tobytes() == none.power.tobytes()
    # Interpolation is linear: scaled by subject, the maps made again are those that were saved.
    spread, level = real.spread[real.subject], real.level[real.subject]
    remade = InputMaker(real, "none", "topomap", CPU)
    remade._raw = ((none.power - level) / spread).astype(np.float32)
    np.testing.assert_allclose(remade.of(rows).store.maps.numpy(), real.maps, atol=2e-2)


def test_a_teacher_keeps_the_scale_it_was_trained_on(real, tmp_path):
    config = quick(normalise="train", epochs=1, train_subjects=2, valid_subjects=1, maps=tmp_path)
    run = TeacherRun(config, real, tmp_path / "t", silent())
    run.train(threading.Event())
    _, metadata = load_teacher(tmp_path / "t")
    expected = Scale.of(real.unscaled()[run.rows.train])
    np.testing.assert_array_equal(metadata["scale"]["level"], expected.level)
    assert metadata["normalise"] == "train"


def test_what_the_maps_lack_is_refused(real):
    with pytest.raises(ArtifactError, match="--keep-signals"):
        InputMaker(real, "subject", "EEGNet", CPU)
    with pytest.raises(ArtifactError, match="--normalise subject"):
        InputMaker(map_set(), "train", "topomap", CPU)
