"""Recordings in any table: units, gaps, clocks, and what is wrong with one."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.gaps import BREAK, NOT_RECORDED, Gap
from neurogaze_fast.eeg.open_recording import open_recording
from neurogaze_fast.eeg.recording import LeftOut, Trial
from tests.eeg.edf_files import SITES
from tests.eeg.table_checks import MUSE_SIGNAL, SIGNAL, clips, everything, labels, missing, reason
from tests.eeg.tables import (
    GAMEEMO,
    write_gameemo,
    write_lines,
    write_muselsl,
    write_plain,
    write_rate,
)


def test_gameemo_needs_a_rate_from_beside_it(tmp_path):
    path = write_gameemo(tmp_path / "S01G1AllChannels.csv", SIGNAL)
    assert 'write eeg.json beside it, with {"SamplingFrequency": 128}' in reason(path)
    write_rate(tmp_path / "S01G2AllChannels_eeg.json", 128)  # of another one
    assert "sampling rate" in reason(path)
    write_rate(tmp_path / "eeg.json", 128)
    recording = open_recording(path)
    assert labels(recording) == GAMEEMO
    assert recording.channels[0].sfreq == 128
    write_rate(tmp_path / "eeg.json", -1)
    assert reason(path).endswith("eeg.json: SamplingFrequency is -1.0")


def test_an_empty_cell_of_one_channel_concerns_that_channel(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    lines = path.read_text().split("\n")
    for row in range(1281, 1409):  # 10 to 11 s of F7
        cells = lines[row].split(",")
        cells[2] = "NaN" if row % 2 else ""
        lines[row] = ",".join(cells)
    path.write_text("\n".join(lines))
    recording = open_recording(path)
    assert recording.gaps == (Gap(10.0, 11.0, NOT_RECORDED, ("F7",)),)
    (trial, _) = clips(path)
    assert isinstance(trial, Trial)
    assert np.isfinite(trial.signal).all()


def test_stamps_that_go_back_are_another_recording(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL[:, :2560])
    rows = path.read_text().splitlines()
    write_lines(path, [*rows, *rows[1:]])
    recording = open_recording(path)
    assert recording.seconds == 40
    assert recording.gaps == (Gap(20.0, 20.0, BREAK),)


def test_a_clock_that_was_set_is_a_break_and_not_fifty_years(tmp_path):
    path = write_muselsl(tmp_path / "a.csv", MUSE_SIGNAL)
    rows = path.read_text().splitlines()
    rows[1:2001] = [f"{n / 256:.3f}{row[row.index(',') :]}" for n, row in enumerate(rows[1:2001])]
    recording = open_recording(write_lines(path, rows))
    assert recording.seconds == 60
    assert missing(recording) == [(2000, 2000)]


def test_numbers_too_large_for_a_signal_were_not_recorded(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    rows = path.read_text().splitlines()
    rows[101] = ",".join([rows[101].split(",")[0], *["1e200"] * 7, *["inf"] * 7])
    assert missing(open_recording(write_lines(path, rows))) == [(100, 101)]


def test_units_in_the_header(tmp_path):
    names = [f"{site} (mV)" for site in SITES]
    recording = open_recording(write_plain(tmp_path / "a.csv", SIGNAL / 1000, names=names))
    np.testing.assert_allclose(everything(recording), SIGNAL, atol=0.06)
    names[3] = "FC5 (MV)"
    recording = open_recording(write_plain(tmp_path / "a.csv", SIGNAL, names=names))
    assert "'MV'" in recording.channels[3].problem


def test_openvibes_rate_in_the_header(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL, 512, time="Time:512Hz")
    assert open_recording(path).channels[0].sfreq == 512


@pytest.mark.parametrize("rate", [128, 250, 256])
@pytest.mark.parametrize("tick", [1.0, 0.1])
def test_stamps_rounded_to_seconds_give_the_rate_of_the_rows(tmp_path, rate, tick):
    when = np.floor(np.arange(SIGNAL.shape[1]) / rate / tick + 0.3) * tick
    path = with_stamps(tmp_path / "a.csv", "timestamp", [f"{stamp:.1f}" for stamp in when])
    assert open_recording(path).channels[0].sfreq == rate


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("time", 1, "numbers of the rows"),
        ("timestamp", 1, "numbers of the rows"),
        ("Time (s)", 1, "too slowly"),
        ("time [s]", 1000 / 128, "too slowly"),
        ("time", 1 / 128 / 60, "too fast"),  # minutes
        ("time", 1 / 128 / 86400, "too fast"),  # a spreadsheet's days
    ],
)
def test_stamps_of_no_certain_unit_are_no_rate(tmp_path, name, step, expected):
    stamps = [f"{row * step:.12g}" for row in range(SIGNAL.shape[1])]
    path = with_stamps(tmp_path / "a.csv", name, stamps)
    assert expected in reason(path)
    write_rate(tmp_path / "eeg.json", 128)
    recording = open_recording(path)
    assert recording.channels[0].sfreq == 128
    assert recording.seconds == SIGNAL.shape[1] / 128


@pytest.mark.parametrize(
    ("name", "rate", "unit"),
    [("Time (ms)", 1000, 1e3), ("time [ms]", 2000, 1e3), ("timestamp_ms", 128, 1e3),
     ("seconds", 128, 1.0), ("time_s", 1000, 1.0)],
)  # fmt: skip
def test_the_unit_of_stamps_in_their_columns_name(tmp_path, name, rate, unit):
    stamps = [f"{row / rate * unit:.9g}" for row in range(SIGNAL.shape[1])]
    path = with_stamps(tmp_path / "a.csv", name, stamps)
    assert open_recording(path).channels[0].sfreq == rate


@pytest.mark.parametrize("copies", [2, 1.5])
def test_samples_that_are_there_several_times_are_refused(tmp_path, copies):
    held = SIGNAL[:, (np.arange(round(SIGNAL.shape[1] * copies)) / copies).astype(int)]
    assert "several times" in reason(write_plain(tmp_path / "a.csv", held))


def test_an_amplifier_that_stood_still_is_no_copy(tmp_path):
    still = SIGNAL.copy()
    still[:, 1000:3000] = still[:, [1000]]
    assert open_recording(write_plain(tmp_path / "a.csv", still)).channels[0].sfreq == 128


def with_stamps(path, name, stamps):
    """SIGNAL with a column of stamps of this name."""
    header, *rows = write_plain(path, SIGNAL).read_text().splitlines()
    rows = [f"{at},{row.split(',', 1)[1]}" for at, row in zip(stamps, rows, strict=True)]
    return write_lines(path, [f"{name},{header.split(',', 1)[1]}", *rows])


def test_a_header_and_stamps_that_contradict_each_other(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL, 256, time="Time:512Hz")
    assert reason(path).endswith("512 Hz, 256 rows a second")
    write_rate(tmp_path / "eeg.json", 256)
    assert open_recording(path).channels[0].sfreq == 256


def test_a_file_cut_in_its_last_line(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    text = path.read_text()
    path.write_text(text[: text.rindex(",", 0, -40)])
    recording = open_recording(path)
    assert recording.cut_short
    assert recording.seconds == 60 - 1 / 128


def test_encodings_and_quotation_marks(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    plain = everything(open_recording(path))
    text = path.read_text()
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    assert (everything(open_recording(path)) == plain).all()
    quoted = "\n".join('"' + line.replace(",", '","') + '"' for line in text.splitlines())
    path.write_bytes(("\ufeffsep=,\n" + quoted).encode())
    assert (everything(open_recording(path)) == plain).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: [*rows[:700], rows[700] + ",7", *rows[701:]], "line 701: 16, expected 15"),
        (
            lambda rows: [*rows[:700], rows[700].rpartition(",")[0], *rows[701:]],
            "line 701: 14, expected 15",
        ),
        (
            lambda rows: [*rows[:700], rows[700].replace(",", ",x", 1), *rows[701:]],
            "line 701, column AF3: 'x",
        ),
        (lambda rows: rows[1:], "a table without a header"),
        (lambda rows: rows[:1], "a table without rows"),
        (lambda rows: ["time (s),valence,arousal", "0,1,2", "1,2,3"], "a table without EEG"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, change, expected):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    write_lines(path, change(path.read_text().splitlines()))
    assert expected in reason(path)
    out = clips(path)
    assert all(isinstance(part, LeftOut) for part in out)
    assert len(out) == 2


def test_damaged_text_is_said(tmp_path):
    path = write_plain(tmp_path / "a.csv", SIGNAL)
    data = path.read_bytes()
    path.write_bytes(data[:200_000] + b"\xff\xfe" + data[200_000:])
    assert reason(path).startswith("a table that is not text throughout")
    path.write_bytes(b"\xff" + data)
    assert reason(path).startswith("a table that cannot be read")
