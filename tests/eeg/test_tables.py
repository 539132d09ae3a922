"""Recordings in tables, as the programs of consumer headsets write them."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.gaps import NOT_RECORDED
from neurogaze_fast.eeg.open_recording import open_recording
from neurogaze_fast.eeg.recording import LeftOut
from neurogaze_fast.eeg.sources import open_sources
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.table_checks import (
    HEADER,
    MUSE_SIGNAL,
    SIGNAL,
    TWO,
    clips,
    everything,
    labels,
    missing,
    reason,
)
from tests.eeg.tables import (
    EMOTIV_OFFSET,
    MUSE,
    write_channels,
    write_emotivpro,
    write_gameemo,
    write_lines,
    write_mind_monitor,
    write_muselsl,
    write_old_openbci,
    write_openbci,
    write_plain,
    write_rate,
    write_testbench,
)
from tests.eeg.trials import CONFIG, noise

EIGHT = "Fp1 Fp2 C3 C4 P7 P8 O1 O2".split()
LOST = ((1280, 1344),)  # 10.0 to 10.5 s of 128 Hz


def starts(made, clip):
    return made.start[made.trial == clip].tolist()


# The same signal in a table and in an EDF


@pytest.fixture(scope="module")
def as_edf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edf")
    return build_maps(clips(write_edf(folder / "a.edf", list(SIGNAL), 128)), CONFIG)


def write_kind(kind, folder):
    if kind == "emotivpro":
        return write_emotivpro(folder / "a.csv", SIGNAL)
    if kind == "testbench":
        return write_testbench(folder / "a.csv", SIGNAL)
    if kind == "gameemo":
        write_rate(folder / "eeg.json", 128)
        return write_gameemo(folder / "S01G1AllChannels.csv", SIGNAL)
    if kind == "openbci":
        write_channels(folder / "channels.tsv", SITES)
        return write_openbci(folder / "a.txt", SIGNAL, 128)
    if kind == "semicolons":
        return write_plain(folder / "a.csv", SIGNAL, mark=";", comma=True)
    return write_plain(folder / "a.tsv", SIGNAL, mark="\t", time="Time", unit=1000)


@pytest.mark.parametrize(
    "kind", ["emotivpro", "testbench", "gameemo", "openbci", "semicolons", "milliseconds"]
)
def test_maps_are_those_of_the_same_signal_in_an_edf(tmp_path, kind, as_edf):
    made = build_maps(clips(write_kind(kind, tmp_path)), CONFIG)
    assert made.names == as_edf.names
    assert made.start.tolist() == as_edf.start.tolist()
    np.testing.assert_allclose(made.power, as_edf.power, atol=2e-3)


def test_lost_packets_never_reach_a_window(tmp_path, as_edf):
    made = build_maps(clips(write_emotivpro(tmp_path / "a.csv", SIGNAL, lost=LOST)), CONFIG)
    assert starts(made, 0) == [*range(9), *range(11, 29)]
    assert starts(made, 1) == starts(as_edf, 1)
    assert made.provenance["windows_left_out"] == {NOT_RECORDED: 2}
    raw = open_recording(tmp_path / "a.csv").microvolts([0], 10.5, 30)
    np.testing.assert_allclose(raw[0], SIGNAL[0, 1344:3840] + EMOTIV_OFFSET, atol=1e-3)


# Emotiv


def test_emotivpro_has_the_sites_and_nothing_else(tmp_path):
    recording = open_recording(write_emotivpro(tmp_path / "a.csv", SIGNAL))
    assert labels(recording) == [f"EEG.{site}" for site in SITES]
    assert {channel.sfreq for channel in recording.channels} == {128.0}
    assert recording.seconds == 60
    assert recording.gaps == ()
    np.testing.assert_allclose(everything(recording), SIGNAL + EMOTIV_OFFSET, atol=1e-3)


def test_the_rate_of_version_2_and_of_256_hz(tmp_path):
    old = "title:foo, headset type:INSIGHT, channels:28, sampling rate:128, samples:2855 ,"
    path = write_emotivpro(tmp_path / "a.csv", SIGNAL, header=old)
    assert open_recording(path).channels[0].sfreq == 128
    path = write_emotivpro(tmp_path / "b.csv", SIGNAL, 256)
    assert open_recording(path).channels[0].sfreq == 256


@pytest.mark.parametrize("stamps", [True, False])
def test_the_counter_says_what_was_lost_to_the_sample(tmp_path, stamps):
    lost = (*LOST, (4000, 4001), (5119, 5125))  # the last across the counter's beginning
    path = write_emotivpro(tmp_path / "a.csv", SIGNAL, lost=lost, stamps=stamps)
    assert missing(open_recording(path)) == list(lost)


def test_stamps_say_how_often_the_counter_went_round(tmp_path):
    lost = ((1000, 1000 + 3 * 128 + 10), (3000, 3128))
    path = write_emotivpro(tmp_path / "a.csv", SIGNAL, lost=lost)
    assert missing(open_recording(path)) == list(lost)


def test_a_counter_of_129_values(tmp_path):
    lost = ((1285, 1292), (3000, 3050))
    recording = open_recording(write_testbench(tmp_path / "a.csv", SIGNAL, lost=lost))
    assert labels(recording) == list(SITES)
    assert missing(recording) == list(lost)


def test_samples_that_the_program_made_up_were_not_recorded(tmp_path):
    path = write_emotivpro(tmp_path / "a.csv", SIGNAL, invented=range(2560, 2570))
    recording = open_recording(path)
    assert missing(recording) == [(2560, 2570)]
    assert (recording.microvolts([3], 20, 20.05) == 0).all()


# OpenBCI


@pytest.mark.parametrize(
    ("rate", "options", "lost"),
    [
        (250, {}, ((1000, 1100), (5003, 5263), (9000, 9256))),
        (125, {"step": 2}, ((1000, 1100), (5003, 5263), (9000, 9128))),
        (200, {"pairs": True}, ((1000, 1100), (5002, 5262), (9000, 9010))),
    ],
    ids=["cyton", "daisy", "ganglion"],
)
def test_openbcis_counters(tmp_path, rate, options, lost):
    signal = noise(1, channels=8, seconds=12000 / rate, sfreq=rate)
    write_channels(tmp_path / "a_channels.tsv", EIGHT)
    path = write_openbci(tmp_path / "a.txt", signal, rate, lost, **options)
    recording = open_recording(path)
    assert labels(recording) == EIGHT
    assert missing(recording) == list(lost)
    np.testing.assert_allclose(recording.microvolts([7], 0, 2)[0], signal[7, : 2 * rate], atol=1e-3)


def test_columns_that_name_no_site_need_channels_tsv(tmp_path):
    path = write_openbci(tmp_path / "a.txt", SIGNAL[:8])
    assert "write channels.tsv beside it" in reason(path)
    assert reason(path).endswith("EXG Channel 0 to EXG Channel 7: 8 rows")
    write_channels(tmp_path / "channels.tsv", EIGHT[:7])
    assert reason(path).endswith("8 rows, found 7")
    (out, _) = clips(path)
    assert isinstance(out, LeftOut)
    assert out.what.startswith("line 2: subject 1, clip a (EXG Channel 0")


def test_what_channels_tsv_says_of_a_table(tmp_path):
    status = ["good"] * 6 + ["bad", "good"]
    kinds = ["EEG"] * 7 + ["EOG"]
    write_channels(tmp_path / "channels.tsv", EIGHT, status=status, type=kinds, units=["mV"] * 8)
    path = write_openbci(tmp_path / "a.txt", SIGNAL[:8] / 1000, 128)
    recording = open_recording(path)
    assert [channel.bad for channel in recording.channels] == [False] * 6 + [True, False]
    assert recording.channels[7].problem == "a channel of type EOG in channels.tsv"
    np.testing.assert_allclose(recording.microvolts([2], 0, 60)[0], SIGNAL[2], atol=1e-2)


def test_what_lies_beside_is_among_the_files_that_maps_depend_on(tmp_path):
    path = write_rate(tmp_path / "eeg.json", 128).with_name("a.csv")
    write_channels(tmp_path / "a_channels.tsv", SITES)
    write_channels(tmp_path / "b_channels.tsv", SITES)
    write_lines(tmp_path / "clips.txt", [HEADER.strip(), *TWO])
    for place, expected in ((path, 2), (tmp_path, 3)):
        place.touch()
        config = PrepareEegConfig(out=tmp_path, recording=place, ratings=tmp_path / "clips.txt")
        beside = open_sources(config).beside
        assert (beside[0].name, len(beside)) == ("clips.txt", 1 + expected)


def test_channels_tsv_counts_beside_any_recording(tmp_path):
    write_channels(tmp_path / "a_channels.tsv", SITES, status=["bad"] + ["good"] * 13)
    recording = open_recording(write_edf(tmp_path / "a.edf", list(SIGNAL), 128))
    assert [channel.label for channel in recording.channels if channel.bad] == ["AF3"]


def test_a_table_of_another_recording_does_not_count(tmp_path):
    write_channels(tmp_path / "b_channels.tsv", EIGHT)
    assert "write channels.tsv" in reason(write_openbci(tmp_path / "a.txt", SIGNAL[:8]))


@pytest.mark.parametrize("comma", [False, True])
def test_openbcis_files_without_a_header(tmp_path, comma):
    signal = np.round(noise(1, channels=8, seconds=20, sfreq=250), 2)  # across midnight
    path = write_old_openbci(tmp_path / "a.txt", signal, comma=comma)
    assert "a row for each electrode" in reason(path)
    write_channels(tmp_path / "channels.tsv", EIGHT)
    recording = open_recording(path)
    assert labels(recording) == EIGHT
    assert (recording.seconds, recording.gaps) == (20, ())
    np.testing.assert_allclose(everything(recording), signal, atol=1e-4)


# Muse


def test_mind_monitors_bursts_are_no_gaps(tmp_path):
    recording = open_recording(write_mind_monitor(tmp_path / "a.csv", MUSE_SIGNAL))
    assert labels(recording) == [f"RAW_{site}" for site in MUSE]
    assert recording.channels[0].sfreq == 256  # by its stamps
    assert (recording.seconds, recording.gaps) == (60, ())
    np.testing.assert_allclose(everything(recording), MUSE_SIGNAL + 800, atol=1e-3)
    (trial, _) = clips(tmp_path / "a.csv")
    assert trial.ch_names == MUSE


def test_a_loss_among_bursts_is_found_where_it_is(tmp_path):
    path = write_mind_monitor(tmp_path / "a.csv", MUSE_SIGNAL, lost=((6000, 6600),))
    recording = open_recording(path)
    lost = missing(recording)
    assert sum(last - first for first, last in lost) == pytest.approx(600, abs=12)
    assert lost[0][0] == pytest.approx(6000, abs=24)
    assert lost[-1][1] == pytest.approx(6600, abs=24)
    got = everything(recording)[1, -2560:]
    np.testing.assert_allclose(got, MUSE_SIGNAL[1, -2560:] + 800, atol=1e-3)


def test_rows_that_never_have_the_last_columns(tmp_path):
    """As a receiver of Mind Monitor's stream writes them: a marker has a row of its own."""
    rows = [f"2025-07-01 10:00:{n / 256:09.6f},{','.join(f'{v:.3f}' for v in MUSE_SIGNAL[:, n])},1"
            for n in range(5120)]  # fmt: skip
    rows.insert(2000, "2025-07-01 10:00:07.812400,,,,,,/Marker/1")
    head = "TimeStamp,RAW_TP9,RAW_AF7,RAW_AF8,RAW_TP10,AUX1,Marker"
    recording = open_recording(write_lines(tmp_path / "a.csv", [head, *rows]))
    assert (recording.seconds, recording.gaps) == (20, ())
    np.testing.assert_allclose(everything(recording), MUSE_SIGNAL[:, :5120], atol=1e-3)


def test_empty_cells_are_time_that_was_not_recorded(tmp_path):
    path = write_mind_monitor(tmp_path / "a.csv", MUSE_SIGNAL, empty=range(2560, 2816))
    assert missing(open_recording(path)) == [(2560, 2816)]


def test_muselsls_stamps(tmp_path):
    path = write_muselsl(tmp_path / "a.csv", MUSE_SIGNAL, lost=((1200, 1212), (6000, 6600)))
    recording = open_recording(path)
    assert labels(recording) == list(MUSE)
    assert missing(recording) == [(1200, 1212), (6000, 6600)]


def test_band_powers_are_no_eeg(tmp_path):
    assert reason(
        write_mind_monitor(tmp_path / "a.csv", MUSE_SIGNAL[:, :500], raw=False)
    ).startswith("a table of band powers without the raw signal")


def test_averages_are_no_eeg(tmp_path):
    path = write_mind_monitor(tmp_path / "a.csv", MUSE_SIGNAL[:, :100], rate=1)
    assert reason(path).startswith("a table whose rows come too slowly for EEG")
