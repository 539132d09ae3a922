"""Bad channels, other orders, other caps, digitised positions: kept, and mapped where they are."""

import mne
import mne.viz.topomap
import numpy as np
import pytest

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.clip_csv import read_clip_rows
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.preprocess import COMMON_SITES, clean
from neurogaze_fast.eeg.recording import Trial
from neurogaze_fast.eeg.sources import open_sources
from neurogaze_fast.errors import ConfigError, DataError
from tests.eeg.caps import digitised
from tests.eeg.trials import noise, trial

SITES = ("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8", "P3", "Pz", "O1")


def save(path, names, signal, bads=(), montage=None):
    info = mne.create_info(list(names), 128.0, "eeg", verbose="error")
    if montage is not None:
        info.set_montage(montage, verbose="error")
    info["bads"] = list(bads)
    raw = mne.io.RawArray(signal * 1e-6, info, verbose="error")
    raw.save(path, fmt="double", verbose="error")
    return path


def prepared(tmp_path, files, **options):
    rows = ["file,subject,clip,start_s,end_s,valence,arousal"]
    rows += [f"{file.name},{i},film-{i % 2},0,20,0.5,0.5" for i, file in enumerate(files)]
    csv = tmp_path / "clips.csv"
    csv.write_text("\n".join(rows))
    config = PrepareEegConfig(
        out=tmp_path / "out", recording=tmp_path, ratings=csv, size=8, **options
    )
    return build_maps(open_sources(config).trials, config)


@pytest.fixture
def four(tmp_path):
    """Plain, reversed, one channel marked bad, and one site more."""
    signal = noise(0, channels=15)
    more = np.concatenate([signal, noise(5, channels=1)])
    return [
        save(tmp_path / "a_raw.fif", SITES, signal),
        save(tmp_path / "b_raw.fif", SITES[::-1], signal[::-1]),
        save(tmp_path / "c_raw.fif", SITES, signal, bads=["T7"]),
        save(tmp_path / "d_raw.fif", (*SITES, "O2"), more),
    ]


def test_four_recordings_of_unlike_channels_are_all_kept_and_say_the_same(four, tmp_path):
    maps = prepared(tmp_path, four, all_channels=True)
    assert len(maps.subjects) == 4
    assert maps.names == SITES
    raw = maps.unscaled()
    for other in (1, 3):  # the order of channels, and a site that others lack, change nothing
        np.testing.assert_allclose(raw[maps.subject == other], raw[maps.subject == 0], atol=1e-4)
    bad = raw[maps.subject == 2] - raw[maps.subject == 0]
    t7 = SITES.index("T7")
    assert np.abs(np.delete(bad, t7, axis=2)).mean() < 0.25 * np.abs(bad[:, :, t7]).mean()
    assert (maps.flags[maps.subject == 2] & 1).all()


def test_a_channel_marked_bad_is_the_one_that_is_interpolated():
    names = COMMON_SITES
    found = clean(trial(0, bads=("T7",)))
    assert [n for n, bad in zip(names, found.interpolated, strict=True) if bad] == ["T7"]
    assert not clean(trial(0)).interpolated.any()


def test_one_odd_recording_does_not_take_the_sites_of_the_rest(four, tmp_path):
    odd = save(tmp_path / "e_raw.fif", ("Fp1", "Fp2", "Oz", "O2"), noise(1, channels=4))
    maps = prepared(tmp_path, [*four, odd], all_channels=True)
    assert set(maps.names) == set(SITES)
    assert len(maps.subjects) == 4
    assert any("without the site" in reason for reason in maps.provenance["left_out"])


def test_positions_in_the_file_are_used_cap_by_cap(tmp_path):
    infos = [digitised(SITES, extra=0, seed=seed) for seed in range(2)]
    files = [
        save(tmp_path / f"{i}_raw.fif", SITES, noise(i, channels=15), montage=info.get_montage())
        for i, info in enumerate(infos)
    ]
    maps = prepared(tmp_path, files, all_channels=True)
    assert maps.positions.shape == (2, 15, 2)
    for number, info in enumerate(infos):
        theirs, _ = mne.viz.topomap._get_pos_outlines(info, None, None)
        np.testing.assert_allclose(maps.positions[number], theirs, atol=1e-7)
    assert (maps.cap == maps.subject).all()
    maps.save(tmp_path / "saved")
    again = MapSet.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.positions, maps.positions)
    np.testing.assert_array_equal(again.cap, maps.cap)
    template = mne.channels.make_standard_montage("colin27_1020")
    plain = save(tmp_path / "t_raw.fif", SITES, noise(0, channels=15), montage=template)
    assert prepared(tmp_path, [plain], all_channels=True).positions is None


def test_a_net_of_128_stands_for_the_sites_it_lies_at_and_that_is_said(tmp_path):
    net = mne.channels.make_standard_montage("GSN-HydroCel-128")
    file = save(tmp_path / "egi_raw.fif", net.ch_names, noise(0, channels=128))
    maps = prepared(tmp_path, [file], montage="GSN-HydroCel-128")
    assert maps.names == COMMON_SITES
    said = maps.provenance["stand_ins"]["egi_raw.fif"]
    # EGI's own table of the net's sites of the 10-10 system.
    table = {"F3": "E24", "F4": "E124", "O1": "E70", "O2": "E83", "F7": "E33", "F8": "E122"}
    for site, electrode in table.items():
        assert said[site].startswith(f"{electrode},"), (site, said[site])
    whole = prepared(tmp_path, [file], montage="GSN-128", all_channels=True)
    assert whole.names == tuple(net.ch_names)
    assert whole.positions.shape == (1, 128, 2)
    with pytest.raises(DataError, match="none of MNE's"):
        prepared(tmp_path, [file], montage="no-such-cap")
    with pytest.raises(ConfigError, match="--montage"):
        PrepareEegConfig(out=tmp_path, dreamer=tmp_path, montage="GSN-128")


def test_a_row_of_the_csv_can_name_bad_channels(tmp_path):
    csv = tmp_path / "clips.csv"
    csv.write_text(
        "file,subject,clip,start_s,end_s,valence,arousal,bads\na.fif,1,x,0,20,0,0,T7 O2\n"
    )
    assert read_clip_rows(csv, (-1, 1))[0].bads == ("T7", "O2")
    assert isinstance(trial(0, bads=("T7",)), Trial)
