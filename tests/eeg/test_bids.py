"""BIDS trees in the layouts that open sets of emotion have, small and simulated."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.bids import read_bids
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.description import BidsDescription, read_description, shipped
from neurogaze_fast.eeg.open_recording import open_recording
from neurogaze_fast.eeg.preprocess import COMMON_SITES
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.sources import open_sources
from neurogaze_fast.errors import ConfigError, DataError
from tests.eeg.bids_trees import RATE, recording, tsv

FACED = read_description("faced-bids", BidsDescription)
COLUMNS = "onset duration trial_type value video_index Arousal Valence"


def faced(root, people=("000", "001"), task="watchingVideoClips"):
    """As NEMAR nm000112: everything in the events, films by number, ratings from 0 to 7."""
    for person in people:
        folder = root / f"sub-{person}" / "eeg"
        stem = f"sub-{person}_task-{task}"
        recording(folder / f"{stem}_eeg.bdf", seed=int(person))
        order = (2, 8) if person == "000" else (8, 2)
        rows = [("1.0", "0.0", "Experiment start", "5", "n/a", "n/a", "n/a")]
        for at, film in zip(("5.0", "30.5"), order, strict=True):
            rows.append((at, "20.0", "The Shining", "21", str(film), "7.0", f"{film - 1}.0"))
        tsv(folder / f"{stem}_events.tsv", COLUMNS, *rows)
    return root


def read(root, described, **options):
    found = list(read_bids(root, described, **options))
    return [p for p in found if isinstance(p, Trial)], [p for p in found if isinstance(p, LeftOut)]


def test_faced_films_ratings_and_samples(tmp_path):
    trials, out = read(faced(tmp_path), FACED)
    assert out == []
    assert [(t.subject, t.film) for t in trials] == [
        ("file-000", "2"), ("file-000", "8"), ("file-001", "8"), ("file-001", "2"),
    ]  # fmt: skip
    assert trials[0].arousal == 1.0
    assert trials[0].valence == pytest.approx((1 - 3.5) / 3.5)
    assert trials[0].ch_names == COMMON_SITES
    whole = open_recording(trials[1].path).microvolts(list(range(14)), 0, 60)
    start = round(30.5 * RATE)
    np.testing.assert_array_equal(trials[1].signal, whole[:, start : start + 20 * RATE])


def test_a_sine_at_one_site_becomes_power_there_and_a_map_set(tmp_path):
    root = faced(tmp_path / "set")
    file = root / "sub-000/eeg/sub-000_task-watchingVideoClips_eeg.bdf"
    recording(file, seed=0, sine=("O1", 10.0))
    config = PrepareEegConfig(
        out=tmp_path / "out", bids=root, description="faced-bids", baseline="none",
        reference="none", size=8, bad_channel=100.0,
    )  # fmt: skip
    maps = build_maps(open_sources(config).trials, config)
    assert maps.clips == ("file:2", "file:8")
    level = maps.level[maps.subjects.index("file-000")]
    rise = level - level.mean(axis=1, keepdims=True)
    band, site = np.unravel_index(rise.argmax(), rise.shape)
    assert (maps.bands[band], maps.names[site]) == ("alpha", "O1")
    config = PrepareEegConfig(
        out=tmp_path / "out", bids=root, description="faced-bids", all_channels=True, size=8
    )
    assert set(build_maps(open_sources(config).trials, config).names) == set(COMMON_SITES)


def dens(root, rows=2, clips=2):
    """As OpenNeuro ds003751: ratings in beh/, by the order of the clips, films by file name."""
    folder = root / "sub-mit003"
    recording(folder / "eeg/sub-mit003_task-Emotion_eeg.vhdr")
    table = "\tstimuliName\tvalence\tarousal".split("\t")
    ratings = [("0", "neutral_1.mp4", "9.0", "5.0"), ("1", "12.m4v", "1.0", "7.0")][:rows]
    tsv(folder / "beh/sub-mit003_task-Emotion_beh.tsv", table, *ratings)
    events = [("2", "0", "bsl"), ("5.0", "15", "stm"), ("30", "15", "stm")][: clips + 1]
    path = folder / "eeg/sub-mit003_task-Emotion_events.tsv"
    tsv(path, "onset duration trial_type", *events)
    return root


def test_dens_ratings_of_beh_by_order(tmp_path):
    trials, _ = read(dens(tmp_path), read_description("dens-bids", BidsDescription))
    assert [(t.film, t.valence, t.arousal) for t in trials] == [
        ("neutral_1.mp4", 1.0, 0.0), ("12.m4v", -1.0, 0.5),
    ]  # fmt: skip


def test_ratings_that_are_too_few_are_given_to_nobody(tmp_path):
    with pytest.raises(DataError, match="as many rows of ratings as clips"):
        read(dens(tmp_path, rows=1), read_description("dens-bids", BidsDescription))


def test_emoeeg_mc_clips_end_with_the_rating_and_are_unlabelled(tmp_path):
    recording(tmp_path / "sub-03/ses-vid/eeg/sub-03_ses-vid_task-emotion_eeg.edf")
    events = [
        ("0.1", "0.0", "28", "n/a"), ("4.0", "0.0", "33", "vid"), ("20.5", "0.0", "31", "rating"),
        ("25", "0.0", "33", "vid"), ("40", "0.0", "31", "rating"),
    ]  # fmt: skip
    tsv(tmp_path / "sub-03/sub-03_events.tsv", "onset duration stim_type trial_type", *events)
    tsv(tmp_path / "sub-03/sub-03_channels.tsv", "session channel trial", ("ima", "64", "1"))
    trials, _ = read(tmp_path, read_description("emoeeg-mc-bids", BidsDescription))
    assert [t.signal.shape[1] for t in trials] == [round(16.5 * RATE), 15 * RATE]
    assert trials[0].valence is None
    assert trials[0].film != trials[1].film


def plain(root, header, *rows, name="sub-01_task-x_events.tsv", **options):
    recording(root / "sub-01/eeg/sub-01_task-x_eeg.edf", **options)
    tsv(root / "sub-01/eeg" / name, header, *rows)
    return root


RATED = "onset duration trial_type valence arousal"


def test_without_a_description_long_events_are_clips_named_by_trial_type(tmp_path):
    rows = [("1", "0.5", "click", "n/a", "n/a"), ("2", "12", "a", "3", "5"), ("20", "15", "b", "n/a", "n/a")]  # fmt: skip  # noqa: E501
    trials, _ = read(plain(tmp_path, RATED, *rows), BidsDescription(), scale=(1, 5))
    assert [(t.film, t.valence, t.arousal) for t in trials] == [("a", 0, 1), ("b", None, None)]


def test_a_rating_in_words_is_no_number(tmp_path):
    rows = [("2", "12", "a", "3", "high"), ("20", "15", "b", "3", "6")]
    trials, out = read(plain(tmp_path, RATED, *rows), BidsDescription(), scale=(1, 5))
    assert trials == []
    assert [part.reason for part in out] == ["rating is no number", "rating outside its scale"]
    assert "high" in out[0].what


def test_bad_channels_types_and_units_of_channels_tsv(tmp_path):
    plain(tmp_path, RATED, ("2", "12", "a", "0", "0"), unit="")
    lines = [(name, "EEG", "uV", "good") for name in COMMON_SITES]
    lines[3] = (COMMON_SITES[3], "EEG", "uV", "bad")
    lines[5] = (COMMON_SITES[5], "EOG", "uV", "good")
    tsv(tmp_path / "task-x_channels.tsv", "name type units status", *lines)
    (trial,), out = read(tmp_path, BidsDescription())
    assert trial.bads == (COMMON_SITES[3],)
    assert [part.reason for part in out] == ["a channel of type EOG in channels.tsv"]
    assert 5 < trial.signal.std() < 50  # microvolts: without a unit nothing would be read


def test_positions_of_electrodes_tsv(tmp_path):
    plain(tmp_path, RATED, ("2", "12", "a", "0", "0"))
    unit = np.random.default_rng(0).normal(size=(14, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit[:, 2] = np.abs(unit[:, 2])
    places = 95 * unit  # mm, x to the nose
    rows = [(n, *map(str, p)) for n, p in zip(COMMON_SITES, places, strict=True)]
    tsv(tmp_path / "sub-01/eeg/sub-01_electrodes.tsv", "name x y z", *rows)
    system = '{"EEGCoordinateSystem": "EEGLAB", "EEGCoordinateUnits": "mm"}'
    (tmp_path / "sub-01/eeg/sub-01_coordsystem.json").write_text(system)
    opened = open_recording(tmp_path / "sub-01/eeg/sub-01_task-x_eeg.edf")
    x, y, z = places[0] / 1000
    np.testing.assert_allclose(opened.points[COMMON_SITES[0]], (-y, x, z), atol=1e-9)
    (trial,), _ = read(tmp_path, BidsDescription())
    assert trial.positions.shape == (14, 2)


def test_wide_ratings_of_participants(tmp_path):
    plain(tmp_path, "onset duration trial_type", ("2", "12", "a"), ("20", "12", "b"))
    header = "participant_id val_a val_b aro_a aro_b"
    tsv(tmp_path / "participants.tsv", header, ("sub-02", "1", "1", "1", "1"), ("sub-01", "9", "5", "1", "7"))  # fmt: skip  # noqa: E501
    described = BidsDescription(
        ratings="participants.tsv", valence="val_{film}", arousal="aro_{film}", scale=(1, 9)
    )
    trials, _ = read(tmp_path, described)
    assert [(t.valence, t.arousal) for t in trials] == [(1, -1), (0, 0.5)]


def test_ratings_matched_by_film_whatever_the_order(tmp_path):
    plain(tmp_path, "onset duration trial_type", ("2", "12", "a"), ("20", "12", "b"))
    tsv(
        tmp_path / "phenotype/sam.tsv", "participant_id film valence arousal",
        ("sub-01", "b", "1", "0"), ("sub-02", "a", "0", "0"), ("sub-01", "a", "-1", "0"),
    )  # fmt: skip
    trials, _ = read(tmp_path, BidsDescription(match="film"))
    assert [(t.film, t.valence) for t in trials] == [("a", -1), ("b", 1)]


def test_a_film_that_one_person_rated_twice_is_not_guessed(tmp_path):
    plain(tmp_path, "onset duration trial_type", ("2", "12", "a"), ("20", "12", "b"))
    rows = [("sub-01", "a", "-1", "0"), ("sub-01", "b", "0", "0"), ("sub-01", "a", "-1", "0")]
    names = "participant_id film valence arousal"
    tsv(tmp_path / "phenotype/sam.tsv", names, *rows)
    trials, _ = read(tmp_path, BidsDescription(match="film"))  # the same twice is no question
    assert [t.valence for t in trials] == [-1, 0]
    tsv(tmp_path / "phenotype/sam.tsv", names, *rows, ("sub-01", "a", "1", "0"))
    with pytest.raises(DataError, match="rated a film twice"):
        read(tmp_path, BidsDescription(match="film"))


@pytest.mark.parametrize("onset", ["2,5", "n/a", "-3"])
def test_a_clip_without_a_time_is_said(tmp_path, onset):
    rows = [("20", "12", "b", "1", "1"), (onset, "12", "a", "0", "0")]
    with pytest.raises(DataError, match=r"an event without a time \(1\)"):
        read(plain(tmp_path, RATED, *rows), BidsDescription())
    rows[1] = (onset, "0", "a", "0", "0")  # no clip begins or ends with it
    trials, out = read(plain(tmp_path, RATED, *rows), BidsDescription())
    assert (len(trials), out) == (1, [])


@pytest.mark.parametrize(
    ("header", "row", "described", "match"),
    [
        (RATED, ("1", "3", "a", "0", "0"), {}, "no event lasts 10 s .trial_type: a"),
        (RATED, ("1", "12", "a", "0", "0"), {"clips": ("x",)}, "no event is called x"),
        ("onset duration trial_type val", ("1", "12", "a", "0"), {}, "trial_type, val"),
        ("onset trial_type", ("1", "a"), {}, "lacks duration"),
        ("duration trial_type", ("12", "a"), {}, "lacks onset; it has duration, trial_type"),
        (RATED, ("1", "12", "a", "0", "0"), {"column": "kind", "clips": ("x",)}, "no column kind"),
        (RATED, ("1", "12", "a", "0", "0"), {"film": "movie"}, "there are onset, duration"),
    ],
)
def test_what_is_missing_is_named_with_what_there_is(tmp_path, header, row, described, match):
    with pytest.raises(DataError, match=match):
        read(plain(tmp_path, header, row), BidsDescription(**described))


def test_tables_and_the_description_are_hashed_and_derivatives_are_not(tmp_path):
    root = faced(tmp_path / "set")
    (root / "derivatives/sub-000").mkdir(parents=True)
    (root / "derivatives/sub-000/ratings.tsv").write_text("a\n1\n")
    own = tmp_path / "own.toml"
    own.write_text(shipped()["faced-bids"])
    config = PrepareEegConfig(out=tmp_path / "o", bids=root, description=str(own), size=8)
    named = [path.name for path in open_sources(config).beside]
    stem = "task-watchingVideoClips_events.tsv"
    assert sorted(named) == ["own.toml", f"sub-000_{stem}", f"sub-001_{stem}"]


def test_films_of_one_name_in_one_recording_are_not_guessed(tmp_path):
    rows = [("1", "12", "video", "0", "0"), ("20", "12", "video", "1", "1")]
    with pytest.raises(DataError, match="2 clips are called 'video' alike"):
        read(plain(tmp_path, RATED, *rows), BidsDescription())


def test_an_empty_tree_and_a_wrong_task(tmp_path):
    with pytest.raises(DataError, match="holds no BIDS recording"):
        read(tmp_path, BidsDescription())
    with pytest.raises(DataError, match="of the task watching"):
        read(faced(tmp_path, task="other"), FACED)


def test_every_shipped_description_is_read_and_mistakes_are_named(tmp_path):
    assert {"faced-bids", "dens-bids", "emoeeg-mc-bids"} <= set(shipped())
    path = tmp_path / "mine.toml"
    for text, match in (
        ("film = 3", "film is 3, expected a text"),
        ("scale = [9, 1]", "lowest and the highest"),
        ("colour = 'red'", "has colour"),
        ("film = ", "no TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=match):
            read_description(str(path), BidsDescription)
    with pytest.raises(ConfigError, match="neither a text file nor one of"):
        read_description("nothing", BidsDescription)
