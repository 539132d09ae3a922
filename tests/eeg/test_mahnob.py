"""MAHNOB-HCI: cuts to the sample, triggers under the amplifier's own bits, and damaged sessions."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.bdf import (
    DIGITAL_MAX,
    DIGITAL_MIN,
    EEG_RANGE,
    Channel,
    bdf_defect,
    write_bdf,
)
from neurogaze_fast.eeg.mahnob import SITES, read_mahnob, stimulus_onsets
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

RATE = 256
STEP = (EEG_RANGE[1] - EEG_RANGE[0]) / (DIGITAL_MAX - DIGITAL_MIN)
START, STOP = 30 * RATE + 5, 42 * RATE + 77  # 12.3 s of film
TOTAL = 43 * RATE
EXTRA = ("EXG1", "GSR1")


def steps(names=SITES, total=TOTAL):
    """Sample t of channel c, in digital steps: unlike every other."""
    t = np.arange(total, dtype=np.int32)
    return np.stack([(c + 1) * 20000 + 3 * t for c in range(len(names))])


def status_of(onsets=(START, STOP), total=TOTAL, idle=1 << 20, code=268, width=20):
    status = np.full(total, idle, np.int64)
    for onset in onsets:
        status[onset : onset + width] |= code
    return (((status + 2**23) % 2**24) - 2**23).astype(np.int32)


def write(path, names=SITES, status=None, samples=None, total=TOTAL, sfreq=RATE):
    samples = steps(names, total) if samples is None else samples
    channels = [Channel(name, "uV", EEG_RANGE) for name in (*names, *EXTRA)]
    rows = [samples, np.full((len(EXTRA), total), 16, np.int32)]
    if status is not False:
        channels.append(Channel("Status", "Boolean", (DIGITAL_MIN, DIGITAL_MAX)))
        rows.append((status_of(total=total) if status is None else status)[None])
    write_bdf(path, channels, np.concatenate(rows), sfreq, recording="test")


def session(root, number=12, part=3, xml='<subject id="3"/>', attributes="", **options):
    folder = root / "Sessions" / str(number)
    folder.mkdir(parents=True)
    if xml is not None:
        (folder / "session.xml").write_text(f"<session {attributes}>{xml}</session>")
    if part is not None:
        write(folder / f"Part_{part}_S_Trial6_emotion.bdf", **options)
    return folder


RATED = 'feltVlnc="7" feltArsl="2"'


def read(root, **options):
    found = list(read_mahnob(root, **options))
    assert all(isinstance(part, Trial | LeftOut) for part in found)
    return found


# What is read


def test_film_and_baseline_are_cut_to_the_sample(tmp_path):
    session(tmp_path, attributes=RATED)
    (trial,) = read(tmp_path)
    assert (trial.source, trial.subject, trial.clip) == ("mahnob", "mahnob-03", "session-12")
    assert (trial.sfreq, trial.ch_names) == (256.0, SITES)
    assert trial.signal.shape == (32, STOP - START)
    assert trial.baseline.shape == (32, 30 * RATE)
    assert trial.signal.dtype == trial.baseline.dtype == np.float32
    assert trial.signal.flags.c_contiguous
    microvolts = EEG_RANGE[0] + (steps() - float(DIGITAL_MIN)) * STEP
    np.testing.assert_allclose(trial.signal, microvolts[:, START:STOP], atol=1e-3)
    np.testing.assert_allclose(trial.baseline, microvolts[:, START - 30 * RATE : START], atol=1e-3)
    # A sample differs from its neighbour by more than the tolerance: so the cut is exact.
    assert 3 * STEP > 0.05


def test_columns_in_another_order_come_out_in_the_sites_order(tmp_path):
    shuffled = tuple(name.upper() for name in reversed(SITES))
    session(tmp_path, names=shuffled, samples=steps()[::-1])
    (trial,) = read(tmp_path)
    microvolts = EEG_RANGE[0] + (steps() - float(DIGITAL_MIN)) * STEP
    np.testing.assert_allclose(trial.signal, microvolts[:, START:STOP], atol=1e-3)


def test_the_last_seconds(tmp_path):
    session(tmp_path)
    (whole,), (last,) = read(tmp_path), read(tmp_path, seconds=11)
    np.testing.assert_array_equal(last.signal, whole.signal[:, -11 * RATE :])
    np.testing.assert_array_equal(last.baseline, whole.baseline)


def test_ratings_are_taken_only_when_asked_for(tmp_path):
    session(tmp_path, attributes=RATED)
    (support,) = read(tmp_path)
    assert support.valence is support.arousal is None
    (trial,) = read(tmp_path, labelled=True)
    assert (trial.valence, trial.arousal) == (0.5, -0.75)


@pytest.mark.parametrize("rating", [1, 5, 9])
def test_ratings_map_to_the_unit_square(tmp_path, rating):
    session(tmp_path, attributes=f'feltVlnc="{rating}" feltArsl="{10 - rating}"')
    (trial,) = read(tmp_path, labelled=True)
    assert (trial.valence, trial.arousal) == ((rating - 5) / 4, (5 - rating) / 4)


@pytest.mark.parametrize(
    "attributes", ["", 'feltVlnc="5"', 'feltArsl="5"', 'feltVlnc="" feltArsl="5"']
)
def test_a_session_without_both_ratings_is_support(tmp_path, attributes):
    session(tmp_path, attributes=attributes)
    (trial,) = read(tmp_path, labelled=True)
    assert trial.valence is trial.arousal is None


def test_without_session_xml_the_file_names_the_subject(tmp_path):
    session(tmp_path, xml=None, part=17)
    (trial,) = read(tmp_path, labelled=True)
    assert (trial.subject, trial.valence) == ("mahnob-17", None)


def test_subject_as_an_attribute(tmp_path):
    session(tmp_path, xml="", attributes='subject="3"')
    assert read(tmp_path)[0].subject == "mahnob-03"


def test_either_folder_and_the_order_of_numbers(tmp_path):
    for number in (100, 9, 20):
        session(tmp_path, number=number, status=status_of(()))
    whats = [part.what for part in read(tmp_path)]
    assert whats == ["session 9", "session 20", "session 100"]
    assert [part.what for part in read(tmp_path / "Sessions")] == whats


def test_a_short_margin_before_the_film_is_the_whole_baseline(tmp_path):
    start = 4 * RATE
    session(tmp_path, status=status_of((start, STOP)))
    (trial,) = read(tmp_path)
    assert trial.baseline.shape == (32, start)
    assert trial.signal.shape == (32, STOP - start)


# Status


@pytest.mark.parametrize(
    "idle",
    [0, 1 << 16, 1 << 20, 0xFF0000, (1 << 23) | (1 << 20), 0xFF00, 0x10FF00, 0x8000],
    ids=hex,
)
def test_the_amplifiers_bits_are_no_triggers(tmp_path, idle):
    status = status_of(idle=idle, code=0x00FC)
    status[0] |= 1 << 16  # a new epoch
    status[900] ^= 1 << 16  # another, after a pause
    status[100:200] |= 1 << 17  # a speed bit comes and goes
    session(tmp_path, status=status)
    (trial,) = read(tmp_path)
    assert trial.signal.shape == (32, STOP - START)


@pytest.mark.parametrize("code", [1, 16, 268, 0x8000, 0xFFFF])
@pytest.mark.parametrize("width", [1, 300])
def test_onsets_of_any_code_and_width(code, width):
    status = status_of(code=code, width=width).astype(float)
    assert stimulus_onsets(status).tolist() == [START, STOP]


def test_onsets_of_nothing():
    assert stimulus_onsets(np.zeros(0)).tolist() == []
    assert stimulus_onsets(np.zeros(9)).tolist() == []
    assert stimulus_onsets(np.array([5, 5, 0, 0, 0, 0])).tolist() == []  # on at the first sample


# What is left out


def truncate(folder, size):
    (path,) = folder.glob("*.bdf")
    path.write_bytes(path.read_bytes()[:size])


def patch(folder, at, data):
    (path,) = folder.glob("*.bdf")
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": status_of(())}, "no Status triggers"),
        ({"status": status_of((START,))}, "Status has not exactly two triggers"),
        ({"status": status_of((5, START, STOP))}, "Status has not exactly two triggers"),
        ({"status": False}, "no Status channel"),
        ({"status": status_of((START, START + 2559))}, "shorter than 10 s"),
        ({"names": SITES[:-1]}, "lacks EEG sites"),
        ({"names": tuple(f"A{i}" for i in range(1, 33))}, "lacks EEG sites"),
        ({"samples": np.full((32, TOTAL), 7, np.int32)}, "flat signal"),
        (
            {"samples": np.where(np.arange(TOTAL) < START, 7, steps()).astype(np.int32)},
            "flat baseline",
        ),
        ({"part": None}, "no *_emotion.bdf"),
        ({"xml": "<subject"}, "session.xml is damaged"),
        ({"attributes": "&"}, "session.xml is damaged"),
        ({"xml": '<subject id="x"/>'}, "no subject"),
        ({"xml": '<subject id="4"/>'}, "session.xml and the file's name give different subjects"),
        ({"attributes": 'feltVlnc="0" feltArsl="5"'}, "rating outside 1..9"),
        ({"attributes": 'feltVlnc="5" feltArsl="10"'}, "rating outside 1..9"),
        ({"attributes": 'feltVlnc="nan" feltArsl="5"'}, "rating is no number"),
        ({"attributes": 'feltVlnc="high" feltArsl="5"'}, "rating is no number"),
    ],
)
def test_one_bad_session_is_left_out(tmp_path, options, reason):
    folder = session(tmp_path, **options)
    (bad,) = read(tmp_path, labelled=True)
    assert isinstance(bad, LeftOut)
    assert bad.reason == reason
    assert bad.what.startswith("session 12")
    assert bad.path == folder
    assert "\n" not in bad.what


def test_a_rating_out_of_range_does_no_harm_to_support(tmp_path):
    session(tmp_path, attributes='feltVlnc="0" feltArsl="5"')
    assert isinstance(read(tmp_path)[0], Trial)


@pytest.mark.parametrize("size", [-1, -3, -3 * 35 * RATE, 256 * 36 + 100, 256 * 36])
def test_a_truncated_bdf_is_left_out_and_named(tmp_path, size):
    truncate(session(tmp_path), size)
    (bad,) = read(tmp_path)
    assert bad.reason == "truncated BDF"
    assert "Part_3_S_Trial6_emotion.bdf" in bad.what


@pytest.mark.parametrize("size", [0, 5, 255])
def test_a_file_without_a_header(tmp_path, size):
    truncate(session(tmp_path), size)
    assert read(tmp_path)[0].reason in ("not a BDF file", "damaged BDF header")


@pytest.mark.parametrize("size", [256, 300, 256 + 216 * 35 + 8])
def test_half_a_header(tmp_path, size):
    truncate(session(tmp_path), size)
    assert read(tmp_path)[0].reason == "damaged BDF header"


@pytest.mark.parametrize(
    ("at", "data", "reason"),
    [
        (0, b"0       ", "not a BDF file"),  # how EDF begins
        (1, b"biosemi", "not a BDF file"),
        (184, b"99      ", "damaged BDF header"),
        (236, b"many    ", "damaged BDF header"),
        (236, b"-7      ", "damaged BDF header"),
        (252, b"0   ", "damaged BDF header"),
        (252, b"-1  ", "damaged BDF header"),
        (236, b"99999999", "truncated BDF"),
    ],
)
def test_a_damaged_header(tmp_path, at, data, reason):
    patch(session(tmp_path), at, data)
    assert read(tmp_path)[0].reason == reason


def test_a_recording_that_was_never_stopped_is_whole(tmp_path):
    patch(session(tmp_path), 236, b"-1      ")
    assert isinstance(read(tmp_path)[0], Trial)


def test_what_mne_refuses_is_left_out(tmp_path):
    # A physical range of nothing, and no number for it.
    patch(session(tmp_path), 256 + 104 * 35, b"none    ")
    (bad,) = read(tmp_path)
    assert bad.reason == "cannot be read by MNE"
    assert "Part_3" in bad.what


def test_two_recordings_in_one_session(tmp_path):
    write(session(tmp_path) / "Part_3_S_Trial7_emotion.bdf")
    assert read(tmp_path)[0].reason == "more than one *_emotion.bdf"


def test_what_macos_leaves_beside_a_copy_is_no_recording(tmp_path):
    (session(tmp_path) / "._Part_3_S_Trial6_emotion.bdf").write_bytes(b"x")
    assert isinstance(read(tmp_path)[0], Trial)


def test_a_bad_session_does_not_stop_the_others(tmp_path):
    session(tmp_path, number=1)
    truncate(session(tmp_path, number=2), -9)
    session(tmp_path, number=3)
    assert [type(part) for part in read(tmp_path)] == [Trial, LeftOut, Trial]


# What ends the run


@pytest.mark.parametrize("make", ["nothing", "empty", "file", "other"])
def test_no_session_at_all(tmp_path, make):
    root = tmp_path / "data"
    if make == "file":
        root.write_text("x")
    elif make != "nothing":
        root.mkdir()
        if make == "other":
            (root / "Sessions" / "1").mkdir(parents=True)
            (root / "Sessions" / "1" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="Sessions"):
        read(root)


@pytest.mark.parametrize("seconds", [0, 9, float("nan")])
def test_seconds_must_hold_a_clip(tmp_path, seconds):
    with pytest.raises(ConfigError, match="seconds"):
        read(tmp_path, seconds=seconds)


# The writer


def test_written_bdf_is_whole_and_round_trips_24_bits(tmp_path):
    import mne

    values = np.array([[DIGITAL_MIN, -1, 0, 1, DIGITAL_MAX, 12345, -54321, 2]], np.int32)
    write_bdf(
        tmp_path / "a.bdf", [Channel("Cz", "uV", EEG_RANGE)], values, 4, recording="round trip"
    )
    assert bdf_defect(tmp_path / "a.bdf") is None
    raw = mne.io.read_raw_bdf(tmp_path / "a.bdf", verbose="error")
    assert (raw.ch_names, raw.info["sfreq"], raw.n_times) == (["Cz"], 4.0, 8)
    expected = EEG_RANGE[0] + (values - float(DIGITAL_MIN)) * STEP
    np.testing.assert_allclose(raw.get_data() * 1e6, expected, atol=1e-6)
