"""Any recording with a csv of clips: names, intervals, scales, and what is wrong with either."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.bdf import DIGITAL_MAX, DIGITAL_MIN, EEG_RANGE, Channel, write_bdf
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

RATE, SECONDS = 128, 40
NAMES = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
HEADER = "file,subject,clip,start_s,end_s,valence,arousal"


def microvolts(channels=6):
    t = np.arange(RATE * SECONDS)
    return np.stack([(c + 1) * 8.0 + 4.0 * np.sin(t * (c + 2) / 30) for c in range(channels)])


def write(path, names=NAMES, signal=None, bads=()):
    import mne

    signal = microvolts(len(names)) if signal is None else signal
    info = mne.create_info(list(names), RATE, "eeg", verbose="error")
    info["bads"] = list(bads)
    raw = mne.io.RawArray(signal * 1e-6, info, verbose="error")
    raw.save(path, fmt="double", verbose="error")
    return path


def write_as_bdf(path, names=NAMES):
    step = (EEG_RANGE[1] - EEG_RANGE[0]) / (DIGITAL_MAX - DIGITAL_MIN)
    digital = np.rint((microvolts(len(names)) - EEG_RANGE[0]) / step) + DIGITAL_MIN
    channels = [Channel(name, "uV", EEG_RANGE) for name in names]
    write_bdf(path, channels, digital.astype(np.int32), RATE, recording="test")
    return path


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "clips.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(path, ratings, **options):
    found = list(read_recording(path, ratings, **options))
    assert all(isinstance(part, Trial | LeftOut) for part in found)
    return found


@pytest.fixture
def fif(tmp_path):
    return write(tmp_path / "one_raw.fif")


# What is read


def test_a_clip_is_cut_to_the_sample(tmp_path, fif):
    ratings = table(tmp_path, "one_raw.fif,7,film a,5.5,20.25,0.5,-1")
    (trial,) = read(fif, ratings)
    assert (trial.source, trial.subject, trial.clip) == ("file", "file-7", "film a")
    assert (trial.sfreq, trial.ch_names, trial.path) == (128.0, NAMES, fif)
    assert (trial.valence, trial.arousal, trial.baseline) == (0.5, -1.0, None)
    assert trial.signal.dtype == np.float32
    np.testing.assert_allclose(trial.signal, microvolts()[:, 704:2592], rtol=1e-5)


def test_empty_cells_mean_the_whole_recording_unlabelled(tmp_path, fif):
    (trial,) = read(fif, table(tmp_path, ",7,all,,,,"))
    assert trial.signal.shape == (6, RATE * SECONDS)
    assert trial.valence is trial.arousal is None


def test_a_folder_of_recordings(tmp_path):
    (tmp_path / "day1").mkdir()
    write(tmp_path / "day1" / "a_raw.fif")
    write_as_bdf(tmp_path / "b.BDF")
    ratings = table(
        tmp_path, "day1/a_raw.fif,1,x,0,12,0,0", "b.BDF,2,x,0,12,0,0", "b.BDF,2,y,12,30,,"
    )
    trials = read(tmp_path, ratings)
    assert [(t.subject, t.clip) for t in trials] == [
        ("file-1", "x"),
        ("file-2", "x"),
        ("file-2", "y"),
    ]
    np.testing.assert_allclose(trials[0].signal, trials[1].signal, atol=0.05)


def test_a_baseline_of_its_own(tmp_path, fif):
    header = HEADER + ",baseline_start_s,baseline_end_s"
    first, second = read(
        fif, table(tmp_path, ",1,x,10,30,0,0,2,8", ",1,y,10,30,0,0,,", header=header)
    )
    np.testing.assert_allclose(first.baseline, microvolts()[:, 256:1024], rtol=1e-5)
    assert second.baseline is None


def test_columns_in_any_order_with_a_byte_order_mark(tmp_path, fif):
    path = tmp_path / "clips.csv"
    text = "Arousal, valence,clip,note,subject,end_s,start_s,file\r\n"
    text += "-1,1,x,hm,3,20,0,one_raw.fif\r\n\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (trial,) = read(fif, path)
    assert (trial.valence, trial.arousal, trial.subject) == (1.0, -1.0, "file-3")


@pytest.mark.parametrize(
    ("end", "delimiter", "encoding"),
    [("\r", ",", "utf-8"), ("\r\n", ";", "utf-8-sig"), ("\n", "\t", "utf-16")],
)
def test_a_table_as_a_spreadsheet_writes_it(tmp_path, end, delimiter, encoding):
    (tmp_path / "day 1").mkdir()
    write(tmp_path / "day 1" / "a_raw.fif")
    rows = [HEADER, "day 1\\a_raw.fif,1,x\u2028y,0,12.5,0.25,-1", "day 1/a_raw.fif,1,z,12.5,30,,"]
    text = f"sep={delimiter}{end}" + end.join(rows).replace(",", delimiter)
    if delimiter != ",":
        text = text.replace(".5", ",5").replace("0.25", "0,25")
    (tmp_path / "clips.csv").write_bytes(text.encode(encoding))
    first, second = read(tmp_path, tmp_path / "clips.csv")
    assert (first.clip, first.valence, first.signal.shape[1]) == ("x\u2028y", 0.25, 12.5 * RATE)
    assert (second.clip, second.path) == ("z", first.path)


@pytest.mark.parametrize("text", ['"1,9"', "1;9", "1:9", "1..9", "1 9", '" 1 , 9 "'])
def test_a_row_has_its_own_scale(tmp_path, fif, text):
    ratings = table(tmp_path, f",1,x,0,20,7,2,{text}", ",1,y,0,20,1,0,", header=HEADER + ",scale")
    first, second = read(fif, ratings)
    assert (first.valence, first.arousal) == (0.5, -0.75)
    assert (second.valence, second.arousal) == (1.0, 0.0)


def test_the_scale_as_an_option(tmp_path, fif):
    (trial,) = read(fif, table(tmp_path, ",1,x,0,20,5,2"), scale=(1, 5))
    assert (trial.valence, trial.arousal) == (1.0, -0.5)


# Channels


def test_channels_that_are_not_used_are_counted(tmp_path):
    names = ("EEG FP1-REF", "C3.", "EOG1", "T3", "O2", "Photic", "Pz")
    path = write(tmp_path / "a_raw.fif", names, bads=("O2",))
    *out, trial = read(path, table(tmp_path, ",1,x,0,20,0,0"))
    assert [part.what for part in out] == ["channel EOG1", "channel Photic"]
    assert trial.ch_names == ("Fp1", "C3", "T7", "O2", "Pz")
    np.testing.assert_allclose(trial.signal, microvolts(7)[[0, 1, 3, 4, 6], :2560], rtol=1e-5)
    assert trial.bads == ("O2",)  # to be interpolated
    assert out[0].reason == out[1].reason
    header = f"{HEADER},bads"
    *_, trial = read(path, table(tmp_path, ',1,x,0,20,0,0,"T3, pz"', header=header))
    assert trial.bads == ("T7", "O2", "Pz")


# What is left out


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",1,x,0,9.9,0,0", "shorter than 10 s"),
        (",1,x,0,41,0,0", "the interval is empty or outside the recording"),
        (",1,x,50,60,0,0", "the interval is empty or outside the recording"),
        (",1,x,20,20,0,0", "the interval is empty or outside the recording"),
        (",1,x,20,5,0,0", "the interval is empty or outside the recording"),
        (",1,x,0,20,0.5,", "only one of valence and arousal"),
        (",1,x,0,20,,0.5", "only one of valence and arousal"),
        (",1,x,0,20,1.5,0", "rating outside its scale"),
        (",1,x,0,20,0,-1.01", "rating outside its scale"),
        (",1,x,0,20,inf,0", "rating outside its scale"),
        (",1,x,0,20,nan,0", "rating is no number"),
        (",1,x,0,20,good,0", "rating is no number"),
        (",1,x,0,20,0,n/a", "rating is no number"),
        (",1,x,0,20,7,high", "rating is no number"),
        ("other.fif,1,x,0,20,0,0", "the row names another recording"),
    ],
)
def test_one_bad_clip_is_left_out(tmp_path, fif, row, reason):
    found = read(fif, table(tmp_path, row, ",1,good,0,20,0,0"))
    (bad,) = [part for part in found if isinstance(part, LeftOut)]
    assert bad.reason == reason
    assert bad.what.startswith("line 2")
    assert len(found) == 2


def test_the_rating_that_was_found_is_said(tmp_path, fif):
    rows = (",1,x,0,20,high,0.5", ",1,y,0,20,0,7", ",1,z,0,20,0,0")
    words, number, _ = read(fif, table(tmp_path, *rows))
    assert words.what.endswith("(valence 'high', arousal '0.5')")
    assert number.what.endswith("(valence '0', arousal '7')")


def test_a_clip_named_twice(tmp_path, fif):
    found = read(fif, table(tmp_path, ",1,x,0,20,0,0", ",1,x,20,40,0,0", ",2,x,20,40,0,0"))
    assert [type(part) for part in found] == [Trial, LeftOut, Trial]
    assert "already" in found[1].reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    signal = microvolts()
    signal[3, 300] = value
    path = write(tmp_path / "a_raw.fif", signal=signal)
    bad, good = read(path, table(tmp_path, ",1,x,0,20,0,0", ",1,y,20,40,0,0"))
    assert bad.reason == "NaN or infinity in the signal"
    assert isinstance(good, Trial)


def test_flat(tmp_path):
    path = write(tmp_path / "a_raw.fif", signal=np.full((6, RATE * SECONDS), 5.0))
    assert read(path, table(tmp_path, ",1,x,0,20,0,0"))[0].reason == "flat signal"


def test_too_few_sites(tmp_path):
    path = write(tmp_path / "a_raw.fif", ("Cz", "Pz", "Oz", "EMG"))
    assert "fewer than 4" in read(path, table(tmp_path, ",1,x,0,20,0,0"))[-1].reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.edf", b"nonsense", "not an EDF file"),
        ("a.edf", b"0       " + b" " * 300, "damaged EDF header"),
        ("a.set", b"nonsense" * 50, "cannot be read by MNE"),
        ("a_raw.fif", b"nonsense" * 50, "cannot be read by MNE"),
        ("a.vhdr", b"nonsense", "cannot be read by MNE"),
        ("a.xyz", b"nonsense", "cannot be read by MNE"),
        ("a.bdf", b"nonsense" * 50, "not a BDF file"),
        ("a.bdf", b"", "not a BDF file"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    first, second = read(tmp_path / name, table(tmp_path, ",1,x,0,20,0,0", ",1,y,0,20,0,0"))
    assert first.reason == second.reason == reason
    assert "\n" not in first.what


def test_a_file_cut_in_its_last_record_gives_the_clips_before_the_cut(tmp_path):
    path = write_as_bdf(tmp_path / "a.bdf")
    path.write_bytes(path.read_bytes()[:-100])
    before, across = read(path, table(tmp_path, ",1,x,0,20,0,0", ",1,y,20,40,0,0"))
    assert before.signal.shape == (6, 20 * RATE)
    assert across.reason == "the interval lies beyond the end of a file that is cut short"
    assert "it lasts 39.00 s" in across.what
    (rest,) = read(path, table(tmp_path, ",1,z,20,,0,0"))
    assert rest.signal.shape == (6, 19 * RATE)


def test_a_missing_file_of_a_folder(tmp_path, fif):
    bad, good = read(tmp_path, table(tmp_path, "no.bdf,1,x,0,20,0,0", "one_raw.fif,1,x,0,20,0,0"))
    assert bad.reason == "the recording is missing"
    assert isinstance(good, Trial)


# What ends the run


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("file,subject\n", "lacks the column.s. clip"),
        (HEADER + "\n", "no rows"),
        (HEADER + ",valence\n,1,x,0,20,0,0,1\n", "2 columns named valence"),
        (HEADER + "\n,1,x,0,20,0\n", "line 2: found 6 fields, expected 7"),
        (HEADER + "\n,1,x,0,20,0,0,9\n", "line 2: found 8 fields"),
        (HEADER + "\n,1,x,0,20,0,0\n,1,y,soon,20,0,0\n", "line 3: start_s is 'soon'"),
        (HEADER + "\n,1,x,-1,20,0,0\n", "start_s is '-1'"),
        (HEADER + "\n,1,x,0,inf,0,0\n", "end_s is 'inf'"),
        (HEADER + "\n,,x,0,20,0,0\n", "subject is empty"),
        (HEADER + "\n,1, ,0,20,0,0\n", "clip is empty"),
        (HEADER + ",scale\n,1,x,0,20,0,0,9\n", "scale is '9'"),
        (HEADER + ',scale\n,1,x,0,20,0,0,"9,1"\n', "scale is '9,1'"),
        (HEADER + ',scale\n,1,x,0,20,5,5,"5,5"\n', "scale is '5,5'"),
        (HEADER + ",baseline_start_s,baseline_end_s\n,1,x,0,20,0,0,1,\n", "give both"),
        (HEADER + "\nother.bdf,1,x,0,20,0,0\n", "none of its 1 rows names one_raw.fif"),
    ],
)
def test_a_malformed_csv_names_the_line(tmp_path, fif, text, says):
    path = tmp_path / "clips.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read(fif, path)
    assert "clips.csv" in str(caught.value)


def test_a_csv_that_is_not_there_or_not_text(tmp_path, fif):
    with pytest.raises(DataError, match="cannot be read"):
        read(fif, tmp_path / "no.csv")
    (tmp_path / "clips.csv").write_bytes(b"file\xff\xfe")
    with pytest.raises(DataError, match="not text"):
        read(fif, tmp_path / "clips.csv")


def test_a_recording_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "no.bdf", table(tmp_path, ",1,x,0,20,0,0"))


def test_one_recording_needs_no_name_but_a_folder_does(tmp_path, fif):
    (bad,) = read(tmp_path, table(tmp_path, ",1,x,0,20,0,0"))
    assert bad.reason == "the recording is missing"


@pytest.mark.parametrize("scale", [(1, 1), (9, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_scale_must_increase(tmp_path, fif, scale):
    with pytest.raises(ConfigError, match="scale"):
        read(fif, table(tmp_path, ",1,x,0,20,0,0"), scale=scale)
