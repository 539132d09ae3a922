"""What annotations say about time, and which windows touch it."""

import numpy as np
import pytest

pytest.importorskip("mne")

import mne

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.content import quick_look, whole_hash
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.gaps import BREAK, MARKED, Gap, gap_of_annotation, touched, within
from neurogaze_fast.eeg.recording import Trial
from tests.eeg.edf_files import SITES
from tests.eeg.trials import CONFIG, noise

HEADER = "file,subject,clip,start_s,end_s,valence,arousal\n"
SIGNAL = noise(0, seconds=60)
TWO = (",1,a,0,30,0.5,0", ",1,b,30,60,0,0.5")


def raw_of(signal=SIGNAL, **annotations):
    info = mne.create_info(list(SITES), 128, "eeg", verbose="error")
    raw = mne.io.RawArray(signal * 1e-6, info, verbose="error")
    if annotations:
        raw.set_annotations(mne.Annotations(**annotations), verbose="error")
    return raw


def clips(path, *rows):
    table = path.parent / "clips.csv"
    table.write_text(HEADER + "\n".join(rows))
    return list(read_recording(path, table))


def saved(tmp_path, raw):
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    return tmp_path / "a_raw.fif"


def starts(made, clip):
    return made.start[made.trial == clip].tolist()


@pytest.mark.parametrize(
    ("text", "start", "end", "reason"),
    [
        ("BAD_movement", 5, 8, MARKED),
        ("bad segment", 5, 8, MARKED),
        ("BAD", 5, 8, MARKED),
        ("BAD_ACQ_SKIP", 5, 8, MARKED),
        ("BAD boundary", 5, 5, BREAK),
        ("EDGE boundary", 5, 5, BREAK),
        ("boundary", 5, 5, BREAK),
        ("New Segment/", 5, 5, BREAK),
        ("New Segment/LostSamples: 12", 5, 5, BREAK),
        ("Comment/BAD_move", 5, 8, MARKED),
        ("Comment/ bad", 5, 8, MARKED),
        ("Bad Interval/Bad Min-Max", 5, 8, MARKED),
    ],
)
def test_what_an_annotation_says(text, start, end, reason):
    assert gap_of_annotation(text, 5, 3) == Gap(start, end, reason)


@pytest.mark.parametrize(
    "text", ["", "square", "film bad", "Stimulus/S  1", "inboundary", "-99", "Comment/x"]
)
def test_other_annotations_say_nothing(text):
    assert gap_of_annotation(text, 5, 3) is None


def test_a_marked_instant_and_a_length_that_is_no_number():
    assert gap_of_annotation("BAD_x", 5, float("nan")) == Gap(5, 5, MARKED)


def test_windows_touch_what_reaches_into_them():
    start = np.arange(6.0)
    for gap, hit in (
        (Gap(2, 3, "x"), [1, 2]),
        (Gap(2, 2, "x"), [1]),
        (Gap(2.5, 2.5, "x"), [1, 2]),
        (Gap(2, 3 + 1 / 256, "x"), [1, 2]),
        (Gap(2, 3 + 2 / 128, "x"), [1, 2, 3]),
        (Gap(0, 0, "x"), []),
        (Gap(7, 7, "x"), []),
    ):
        reasons = touched(start, 2.0, [gap], 128.0)
        assert np.flatnonzero(reasons == "x").tolist() == hit, gap


def test_gaps_within_an_interval_count_from_its_start():
    gaps = [Gap(0, 4, "x"), Gap(5, 5, "y"), Gap(9, 20, "x"), Gap(3, 3, "y"), Gap(30, 31, "x")]
    assert within(gaps, 3, 10) == (Gap(0, 1, "x"), Gap(2, 2, "y"), Gap(6, 7, "x"))


def test_marked_intervals_leave_their_windows_out(tmp_path):
    raw = raw_of(onset=[5, 35], duration=[12, 20], description=["BAD_movement", "bad segment"])
    made = build_maps(clips(saved(tmp_path, raw), *TWO), CONFIG)
    assert starts(made, 0) == [0, 1, 2, 3, *range(17, 29)]
    assert starts(made, 1) == [0, 1, 2, 3, 25, 26, 27, 28]
    assert made.provenance["windows_left_out"] == {MARKED: 13 + 21}


def test_onsets_count_from_the_clock_of_a_cropped_recording(tmp_path):
    raw = raw_of(onset=[25], duration=[3], description=["BAD_x"]).crop(10, 59)
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    (trial,) = clips(tmp_path / "a_raw.fif", ",1,a,0,45,0,0")
    assert [(g.start, g.end) for g in trial.gaps] == [(15, 18)]


def test_what_a_bad_interval_holds_reaches_no_other_window(tmp_path):
    signal = SIGNAL.copy()
    signal[:, 640:2176] += 3000 * np.sign(np.sin(np.arange(1536) / 3))
    notes = {"onset": [5], "duration": [12], "description": ["BAD_movement"]}
    plain = build_maps(clips(saved(tmp_path, raw_of(**notes)), *TWO), CONFIG)
    (tmp_path / "a_raw.fif").unlink()
    spoiled = build_maps(clips(saved(tmp_path, raw_of(signal, **notes)), *TWO), CONFIG)
    np.testing.assert_allclose(spoiled.power, plain.power, atol=1e-4)


def test_zeros_of_a_skip(tmp_path):
    signal = SIGNAL + 40  # an offset, so that the zeros are a jump
    signal[:, 640:2176] = 0
    raw = raw_of(signal, onset=[5], duration=[12], description=["BAD_ACQ_SKIP"])
    made = build_maps(clips(saved(tmp_path, raw), *TWO), CONFIG)
    assert starts(made, 0) == [0, 1, 2, 3, *range(17, 29)]
    assert starts(made, 1) == list(range(29))
    assert made.provenance["windows_left_out"] == {MARKED: 13}


def test_a_clip_all_marked_says_so(tmp_path):
    raw = raw_of(onset=[0], duration=[30], description=["BAD_start"])
    out, kept = clips(saved(tmp_path, raw), *TWO)
    assert out.reason == f"all of the signal is {MARKED}"
    assert kept.gaps == ()


def test_glued_recordings_have_a_break_and_no_step(tmp_path):
    parts = [raw_of(SIGNAL[:, : 20 * 128]), raw_of(SIGNAL[:, 20 * 128 :] + 60)]
    path = saved(tmp_path, mne.concatenate_raws(parts, verbose="error"))
    made = build_maps(clips(path, *TWO), CONFIG)
    assert starts(made, 0) == [*range(19), *range(20, 29)]
    assert made.provenance["windows_left_out"] == {BREAK: 1}


@pytest.mark.parametrize("boundary", ["boundary", -99, "-99"])  # numbers are ERPLAB's
def test_eeglabs_boundary_is_where_time_was_cut_out(tmp_path, boundary):
    """Its duration is the time that is no longer there, so nothing after it is lost."""
    from scipy.io import savemat

    event = np.array(
        [(boundary, 10 * 128 + 0.5, 300 * 128), (boundary, 45 * 128 + 0.5, np.nan)],
        dtype=[("type", "O"), ("latency", "O"), ("duration", "O")],
    )
    labels = np.array([(site,) for site in SITES], dtype=[("labels", "O")])
    eeg = {"setname": "x", "nbchan": 14, "pnts": 60 * 128, "trials": 1, "srate": 128, "xmin": 0,
           "xmax": 60, "data": SIGNAL, "chanlocs": labels, "event": event, "icaweights": [],
           "icawinv": [], "icasphere": [], "chaninfo": {"nosedir": "+X"}, "epoch": [],
           "urevent": []}  # fmt: skip
    savemat(tmp_path / "a.set", {"EEG": eeg}, appendmat=False)
    made = build_maps(clips(tmp_path / "a.set", *TWO), CONFIG)
    assert made.provenance["windows_left_out"] == {BREAK: 2}
    assert starts(made, 0) == [*range(9), *range(10, 29)]
    assert starts(made, 1) == [*range(14), *range(15, 29)]


def vhdr(tmp_path, unit="µV", encoding="utf-8", data="a.eeg", name="a"):
    text = (
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={data}\nMarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        "NumberOfChannels=14\nSamplingInterval=7812.5\n\n[Binary Infos]\nBinaryFormat=INT_16\n\n"
        "[Channel Infos]\n"
        + "".join(f"Ch{i}={site},,0.1,{unit}\n" for i, site in enumerate(SITES, start=1))
    )
    (tmp_path / f"{name}.vhdr").write_bytes(text.encode(encoding))
    (tmp_path / "a.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nDataFile=a.eeg\n\n"
        "[Marker Infos]\nMk1=New Segment,,1,1,0,20200101100000000000\n"
        f"Mk2=New Segment,,{12 * 128 + 1},1,0,20200101100500000000\n"
    )
    (SIGNAL.T / 0.1).round().astype("<i2").tofile(tmp_path / "a.eeg")
    return tmp_path / f"{name}.vhdr"


def test_all_files_of_a_recording_are_hashed(tmp_path):
    path = vhdr(tmp_path)
    seen = {(whole_hash(path), quick_look(path))}
    for name in ("a.eeg", "a.vmrk", "a.vhdr"):
        data = bytearray((tmp_path / name).read_bytes())
        data[-1] ^= 1
        (tmp_path / name).write_bytes(data)
        seen.add((whole_hash(path), quick_look(path)))
    assert len({whole for whole, _ in seen}) == len({quick for _, quick in seen}) == 4
    (tmp_path / "b.eeg").write_bytes(b"another recording's")
    assert (whole_hash(path), quick_look(path)) in seen


def test_a_name_in_capitals_is_the_one_file_that_fits(tmp_path):
    path = saved(tmp_path, raw_of())
    rows = [f"{path.name.upper()}{row}" for row in TWO]
    table = tmp_path / "clips.csv"
    table.write_text(HEADER + "\n".join(rows))
    assert [type(c) for c in read_recording(tmp_path, table)] == [Trial, Trial]
    (tmp_path / "A_raw.fif").write_bytes(path.read_bytes())  # two that fit: neither is taken
    assert {c.reason for c in read_recording(tmp_path, table)} == {"the recording is missing"}


@pytest.mark.parametrize("unit", ["µV", "μV", "uV", ""])
def test_brainvisions_new_segment_and_its_units(tmp_path, unit):
    found = clips(vhdr(tmp_path, unit), *TWO)
    np.testing.assert_allclose(found[0].signal, SIGNAL[:, :3840], atol=0.06)
    made = build_maps(found, CONFIG)
    assert made.provenance["windows_left_out"] == {BREAK: 1}
    assert starts(made, 0) == [*range(11), *range(12, 29)]


def test_a_bad_interval_of_one_channel_concerns_that_channel(tmp_path):
    notes = mne.Annotations([5, 40], [3, 3], ["BAD_x", "BAD_y"], ch_names=[["T7"], ["ECG"]])
    info = mne.create_info([*SITES, "ECG"], 128, ["eeg"] * 14 + ["ecg"], verbose="error")
    raw = mne.io.RawArray(np.vstack([SIGNAL, SIGNAL[:1]]) * 1e-6, info, verbose="error")
    raw.set_annotations(notes, verbose="error")
    first, second = clips(saved(tmp_path, raw), *TWO)
    assert [(g.start, g.end, g.ch_names) for g in first.gaps] == [(5, 8, ("T7",))]
    assert second.gaps == ()


# Why a file cannot be read


def test_the_causes_of_an_unreadable_file_are_said(tmp_path):
    from scipy.io import savemat

    labels = np.array([(site,) for site in SITES], dtype=[("labels", "O")])
    eeg = {"setname": "x", "nbchan": 14, "srate": 128, "xmin": 0, "xmax": 40, "chanlocs": labels,
           "event": np.array([]), "icaweights": [], "icawinv": [], "icasphere": [],
           "chaninfo": {"nosedir": "+X"}, "epoch": [], "urevent": []}  # fmt: skip
    epochs = SIGNAL.reshape(14, 6, -1).transpose(0, 2, 1)
    numbers = np.array([(i,) for i in range(6)], dtype=[("event", "O")])
    epoched = eeg | {"pnts": 1280, "trials": 6, "data": epochs, "epoch": numbers}
    savemat(tmp_path / "epoched.set", {"EEG": epoched}, appendmat=False)
    savemat(tmp_path / "nofdt.set",
            {"EEG": eeg | {"pnts": 7680, "trials": 1, "data": "old name.fdt"}},
            appendmat=False)  # fmt: skip
    (tmp_path / "v73.set").write_bytes(b"MATLAB 7.3 MAT-file".ljust(126) + b"IM" + bytes(900))
    vhdr(tmp_path, data="old.eeg", name="renamed")
    misc = mne.io.RawArray(
        SIGNAL * 1e-6, mne.create_info(list(SITES), 128, "misc", verbose="error"), verbose="error"
    )
    misc.save(tmp_path / "misc_raw.fif", verbose="error")
    for name, reason, what in (
        ("epoched.set", "epochs", "number of trials is 6"),
        ("nofdt.set", "missing", "old name.fdt"),
        ("v73.set", "version 7.3", ""),
        ("renamed.vhdr", "missing", "old.eeg"),
        ("misc_raw.fif", "the types are: misc", ""),
    ):
        found = clips(tmp_path / name, *TWO)
        assert len(found) == 2, name
        assert reason in found[0].reason, name
        assert what in found[0].what, name
        with pytest.raises(Exception, match=reason) as caught:
            build_maps(found, CONFIG)
        assert "microvolts" not in str(caught.value), name
