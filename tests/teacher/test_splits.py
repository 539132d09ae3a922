"""Splits by person: whole, complete, repeatable, and without a leak."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.teacher.splits import (
    clip_folds,
    folds_of,
    labelled_clips,
    labelled_subjects,
    rows_for,
    rows_of,
    split_subjects,
    subject_folds,
)
from tests.teacher.helpers import map_set

DREAMER = [f"dreamer-{i:02d}" for i in range(1, 24)]


def test_dreamers_23_split_16_to_7():
    train, valid = split_subjects(DREAMER)
    assert (len(train), len(valid)) == (16, 7)
    assert sorted(train + valid) == DREAMER
    assert split_subjects(DREAMER[::-1]) == (train, valid)
    assert split_subjects(DREAMER, seed=1) != (train, valid)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 80), seed=st.integers(0, 5))
def test_other_numbers_split_in_proportion(count, seed):
    names = [f"s{i}" for i in range(count)]
    train, valid = split_subjects(names, seed=seed)
    assert set(train) | set(valid) == set(names)
    assert not set(train) & set(valid)
    assert len(train) >= 1
    assert len(valid) >= 1
    assert abs(len(train) - count * 16 / 23) <= 1


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 40), folds=st.integers(2, 50))
def test_folds_hold_everybody_out_once(count, folds):
    names = [f"s{i}" for i in range(count)]
    parts = subject_folds(names, folds)
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert len(parts) == min(folds, count)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "a"]])
def test_names_that_cannot_be_split_are_refused(names):
    for function in (split_subjects, lambda n: subject_folds(n, 2)):
        with pytest.raises(DataError):
            function(names)


def test_empty_sides_and_single_folds_are_refused():
    with pytest.raises(ConfigError, match="one side empty"):
        split_subjects(DREAMER, 23, 0)
    with pytest.raises(ConfigError, match="--folds"):
        subject_folds(DREAMER, 1)


def test_no_window_of_a_held_out_person_is_trained_on():
    maps = map_set(subjects=6, support=2)
    maps.valence[maps.subject == 5] = np.nan  # nobody may use these either: person 5 is held out
    maps.arousal[maps.subject == 5] = np.nan
    keep = np.flatnonzero(maps.subject == 5)[:4]
    maps.valence[keep] = maps.arousal[keep] = 0.5
    rows = rows_for(maps, maps.subjects[:4], maps.subjects[4:6])
    held = {4, 5}
    assert set(maps.subject[rows.held]) == held
    for used in (rows.train, rows.support):
        assert not held & set(maps.subject[used].tolist())
    assert set(maps.subject[rows.support]) == {6, 7}
    assert maps.labelled[rows.train].all()
    assert maps.labelled[rows.held].all()
    assert not maps.labelled[rows.support].any()
    assert labelled_subjects(maps) == maps.subjects[:6]


def test_unlabelled_windows_of_training_subjects_are_support():
    maps = map_set(subjects=4)
    maps.valence[:3] = maps.arousal[:3] = np.nan
    rows = rows_for(maps, maps.subjects[:2], maps.subjects[2:])
    assert rows.support.tolist() == [0, 1, 2]


def test_overlap_strangers_and_unrated_people_are_refused():
    maps = map_set(subjects=4, support=1)
    with pytest.raises(DataError, match="both sides"):
        rows_for(maps, maps.subjects[:3], maps.subjects[2:4])
    with pytest.raises(DataError, match="do not occur"):
        rows_for(maps, maps.subjects[:3], ["nobody"])
    with pytest.raises(DataError, match="no labelled window"):
        rows_for(maps, maps.subjects[:3], maps.subjects[4:])


@pytest.mark.parametrize("split", ["both", "people", "clips"])
def test_every_window_is_scored_once_and_nothing_held_out_is_trained_on(split):
    maps = map_set(subjects=5, trials=7, windows=3, support=1)
    maps.valence[:3] = maps.arousal[:3] = np.nan
    people = subject_folds(labelled_subjects(maps), 2)
    clips = clip_folds(*labelled_clips(maps), 3)
    scored = []
    folds = folds_of(split, people, clips)
    assert len(folds) == {"both": 6, "people": 2, "clips": 3}[split]
    for fold in folds:
        rows = rows_of(maps, fold)
        scored.append(rows.held)
        used = np.concatenate([rows.train, rows.support])
        if fold.people is not None:
            held = {maps.subjects.index(name) for name in fold.people}
            assert not held & set(maps.subject[used].tolist())
            assert set(maps.subject[rows.held].tolist()) <= held
        if fold.clips is not None:
            held = {maps.clips.index(name) for name in fold.clips}
            assert not held & set(maps.clip[used].tolist())
            assert set(maps.clip[rows.held].tolist()) <= held
    assert sorted(np.concatenate(scored).tolist()) == np.flatnonzero(maps.labelled).tolist()


def test_a_single_clip_cannot_be_held_out():
    with pytest.raises(DataError, match="at least two"):
        clip_folds(["film"], np.zeros((1, 2)), 3)
    with pytest.raises(ConfigError, match="--clip-folds"):
        clip_folds(["a", "b"], np.zeros((2, 2)), 1)


def test_folds_of_clips_have_alike_ratings_whatever_the_order_of_names():
    generator = np.random.default_rng(0)
    names = [f"film-{i:02d}" for i in range(18)]
    ratings = generator.uniform(-1, 1, (18, 2))
    folds = clip_folds(names, ratings, 3)
    means = np.array([ratings[[names.index(n) for n in fold]].mean(0) for fold in folds])
    assert np.ptp(means, axis=0).max() < 0.2
    assert sorted(sum(folds, ())) == names
    assert clip_folds(names[::-1], ratings[::-1], 3) == folds
    assert clip_folds(names, ratings, 3, seed=1) != folds
