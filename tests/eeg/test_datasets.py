"""A map set in other libraries: their splits hold out whom they say, and the numbers are ours."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.datasets import MapDataset, braindecode_windows, window_table
from neurogaze_fast.errors import ArtifactError, ConfigError, DataError
from tests.eeg.trials import CONFIG, people, trial

NO_BRAINDECODE = "the extra braindecode is not installed"
NO_TORCHEEG = (
    "torcheeg is not installed: it asks for scipy 1.10 or less, and the extra eeg for 1.13 or more "
    "(pip install --no-deps torcheeg, and then what it misses)"
)


def films():
    """As `people`, with the two films the same for everybody."""
    for number, one in enumerate(people()):
        yield replace(one, clip=f"clip-{number % 2}")


@pytest.fixture(scope="module")
def maps():
    return build_maps(films(), replace(CONFIG, keep_signals=True), synthetic=True)


@pytest.mark.parametrize("what", ["maps", "signals", "power"])
def test_each_rated_window_is_there_once_with_its_ratings(maps, what):
    found = MapDataset(maps, what)
    rated = np.flatnonzero(maps.labelled)
    assert 0 < len(found) == len(rated) < len(maps)
    loader = torch.utils.data.DataLoader(found, batch_size=7)
    values, targets = (torch.cat(part).numpy() for part in zip(*loader, strict=True))
    np.testing.assert_array_equal(values, getattr(maps, what)[rated].astype(np.float32))
    np.testing.assert_array_equal(targets[:, 0], maps.valence[rated])
    np.testing.assert_array_equal(targets[:, 1], maps.arousal[rated])


def test_a_dataset_answers_the_rows_of_its_info(maps):
    whole = MapDataset(maps)
    part = MapDataset(maps)
    part.info = part.info[part.info["subject_id"] == "dreamer-02"]
    rows = np.flatnonzero(maps.subject == maps.subjects.index("dreamer-02"))
    assert len(part) == len(rows)
    np.testing.assert_array_equal(part[3][0].numpy(), maps.maps[rows[3]].astype(np.float32))
    assert len(whole) > len(part)


def test_transforms_are_called_as_torcheegs_are(maps):
    found = MapDataset(
        maps,
        "signals",
        online_transform=lambda *, eeg: {"eeg": eeg.mean(axis=1)},
        label_transform=lambda *, y: {"y": int(y["valence"] > 0)},
    )
    value, label = found[0]
    np.testing.assert_allclose(value, maps.signals[0].astype(np.float32).mean(axis=1))
    assert label == int(maps.valence[0] > 0)


def test_a_film_that_nobody_wrote_down_is_a_film_of_its_own(maps):
    unknown = replace(maps, clip=np.full(len(maps), -1), clips=(), sha256="")
    assert window_table(unknown)["trial_id"].nunique() == len(np.unique(maps.trial))
    assert window_table(maps)["trial_id"].nunique() == len(maps.clips)


@pytest.mark.parametrize(
    ("name", "column", "count"),
    [("KFoldCrossSubject", "subject_id", 3), ("KFoldCrossTrial", "trial_id", 2)],
)
def test_torcheegs_splits_hold_out_people_or_films(maps, tmp_path, name, column, count):
    selection = pytest.importorskip("torcheeg.model_selection", reason=NO_TORCHEEG)
    from torcheeg import transforms

    whole = MapDataset(
        maps,
        "signals",
        online_transform=transforms.Compose([transforms.To2d(), transforms.ToTensor()]),
        label_transform=transforms.Compose([transforms.Select("valence"), transforms.Binary(0.0)]),
    )
    split = getattr(selection, name)(n_splits=count, split_path=str(tmp_path / "split"))
    held = []
    for train, test in split.split(whole):
        apart = [set(part.info[column]) for part in (train, test)]
        assert not apart[0] & apart[1]
        assert len(train) + len(test) == len(whole)
        held += sorted(apart[1])
        value, label = test[0]
        row = int(test.info.iloc[0]["row"])
        np.testing.assert_array_equal(value[0].numpy(), maps.signals[row].astype(np.float32))
        assert label == int(maps.valence[row] >= 0)
    assert len(held) == len(set(held)) == count


def test_braindecode_gets_volts_places_and_both_ratings(maps):
    pytest.importorskip("braindecode", reason=NO_BRAINDECODE)
    found = braindecode_windows(maps)
    rated = np.flatnonzero(maps.labelled)
    assert len(found) == len(rated)
    table = found.get_metadata()
    for place in (0, 25, len(rated) - 1):
        x, y, (number, first, stop) = found[place]
        row = int(table["row"].iloc[place])
        np.testing.assert_allclose(
            1e6 * x, maps.signals[row].astype(np.float32), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(y, [maps.valence[row], maps.arousal[row]])
        assert first == round(float(maps.start[row]) * maps.sfreq)
        assert stop - first == maps.signals.shape[2]
        assert number == int((maps.start[maps.trial == maps.trial[row]] < maps.start[row]).sum())
    info = found.datasets[0].windows.info
    assert info["sfreq"] == maps.sfreq == 128
    assert info["chs"][info["ch_names"].index("AF3")]["loc"][0] < 0
    assert set(found.description["synthetic"]) == {True}
    for name, part in found.split("subject").items():
        rows = part.get_metadata()["row"].to_numpy()
        assert {maps.subjects[i] for i in maps.subject[rows]} == {name}
    assert set(found.split("film")) == set(maps.clips[:2])


def test_braindecode_trains_on_them(maps):
    pytest.importorskip("braindecode", reason=NO_BRAINDECODE)
    from braindecode import EEGRegressor
    from braindecode.models import EEGNet

    found = braindecode_windows(maps, ["arousal"])
    net = EEGRegressor(
        EEGNet(n_chans=14, n_outputs=1, n_times=256, sfreq=128.0),
        max_epochs=1, batch_size=16, train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(found, y=None)
    assert net.predict(found).shape == (len(found), 1)
    assert np.isfinite(net.history[-1]["train_loss"])


def test_what_cannot_be_given_is_said(maps, monkeypatch):
    without = build_maps([trial(1), trial(2)], CONFIG, synthetic=True)
    for call in (lambda: MapDataset(without, "signals"), lambda: braindecode_windows(without)):
        with pytest.raises(ArtifactError, match="--keep-signals"):
            call()
    with pytest.raises(ArtifactError, match="--keep-signals"):
        replace(maps, provenance={}).sfreq  # noqa: B018
    with pytest.raises(ConfigError, match="'films'"):
        MapDataset(maps, "films")
    with pytest.raises(ConfigError, match=r"\('liking',\)"):
        braindecode_windows(maps, ["liking"])
    unrated = maps.rows(~maps.labelled)
    for call in (lambda: MapDataset(unrated), lambda: braindecode_windows(unrated)):
        with pytest.raises(DataError, match="No window"):
            call()
    for name in ("braindecode", "braindecode.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'neurogaze_fast\[braindecode\]'"):
        braindecode_windows(maps)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        MapDataset(maps)
