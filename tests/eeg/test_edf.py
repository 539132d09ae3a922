"""EDF and BDF as recorders write them: headers, time stamps, rates of their own, cut files."""

import numpy as np
import pytest

pytest.importorskip("mne")

import mne

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.gaps import BREAK, MARKED, NOT_RECORDED
from neurogaze_fast.eeg.in_memory import band_power
from neurogaze_fast.eeg.prefilter import lowpass_of
from neurogaze_fast.eeg.preprocess import clean
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.spectrum import BANDS
from neurogaze_fast.errors import DataError
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.gdf_files import write_gdf
from tests.eeg.trials import CONFIG, noise

HEADER = "file,subject,clip,start_s,end_s,valence,arousal,baseline_start_s,baseline_end_s"
SIGNAL = noise(0, seconds=60)


def clips(path, *rows):
    table = path.parent / "clips.csv"
    table.write_text("\n".join([HEADER, *(row + ",," * (row.count(",") < 8) for row in rows)]))
    return list(read_recording(path, table))


def record_times(*pauses):
    """Sixty records of a second; (record, seconds) is time left out before that record."""
    times = np.arange(60.0)
    for record, seconds in pauses:
        times[record:] += seconds
    return times.tolist()


# Headers


@pytest.mark.parametrize(
    "fields",
    [
        {"pad": b"\0"},
        {"version": b"0\0\0\0\0\0\0\0"},
        {"version": b"0\xa0"},
        {"version": "       0"},
        {"start": "25.61.61"},
        {"start": ""},
        {"patient": "Müller"},
        {"records": -1},
        {"records": "+60"},
        {"records": "60.0"},
        {"records": 0},
        {"records": 75},
        {"physical": ["-3276,8", "3276,7"]},
    ],
    ids=str,
)
def test_odd_headers_are_opened(tmp_path, fields):
    path = tmp_path / "a.edf"
    physical = fields.pop("physical", None)
    write_edf(path, list(SIGNAL), 128, **fields)
    if physical:
        data = path.read_bytes()
        for point, comma in zip((b"-3276.8", b"3276.7 "), physical, strict=True):
            data = data.replace(point, comma.encode().ljust(7))
        path.write_bytes(data)
    (trial,) = clips(path, ",1,x,10,30,0,0")
    np.testing.assert_allclose(trial.signal, SIGNAL[:, 1280:3840], atol=0.06)


def test_a_header_longer_than_its_signals_need(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, header_bytes=256 * 16)
    data = path.read_bytes()
    path.write_bytes(data[: 256 * 15] + b" " * 256 + data[256 * 15 :])
    np.testing.assert_allclose(clips(path, ",1,x,0,20,0,0")[0].signal, SIGNAL[:, :2560], atol=0.06)


def test_inverted_ranges_keep_their_sign_and_equal_ones_have_no_scale(tmp_path):
    ranges = [(-3276.8, 3276.7)] * 14
    ranges[2] = (3276.7, -3276.8)
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, physical=ranges)
    (trial,) = clips(path, ",1,x,0,20,0,0")
    np.testing.assert_allclose(trial.signal, SIGNAL[:, :2560], atol=0.06)
    data = bytearray(path.read_bytes())
    at = 256 + 14 * (16 + 80 + 8)
    data[at : at + 8] = data[at + 14 * 8 : at + 14 * 8 + 8] = b"0       "
    path.write_bytes(data)
    out, trial = clips(path, ",1,x,0,20,0,0")
    assert (out.what, out.reason) == ("channel AF3", "a channel whose header gives no scale")
    assert trial.ch_names == SITES[1:]


@pytest.mark.parametrize("bdf", [False, True])
def test_samples_are_mnes(tmp_path, bdf):
    import mne

    path = write_edf(tmp_path / ("a.bdf" if bdf else "a.edf"), list(SIGNAL), 128, bdf=bdf)
    (trial,) = clips(path, ",1,x,7.3,33.1,0,0")
    raw = mne.io.read_raw(path, verbose="error")
    expected = raw.get_data(start=round(7.3 * 128), stop=round(33.1 * 128)) * 1e6
    np.testing.assert_allclose(trial.signal, expected, atol=1e-4)


# Time


@pytest.mark.parametrize("bdf", [False, True])
@pytest.mark.parametrize("first", [0.0, 0.37])
def test_clips_are_cut_by_the_records_time_stamps(tmp_path, bdf, first):
    """20 s are missing after the 15th second: what followed it lies 20 s later."""
    stamps = [time + first for time in record_times((15, 20))]
    path = write_edf(tmp_path / ("a.bdf" if bdf else "a.edf"), list(SIGNAL), 128, onsets=stamps,
                     bdf=bdf)  # fmt: skip
    before, across, after, beyond = clips(
        path, ",1,a,0,15,0,0", ",1,b,5,45,0,0", ",1,c,40,60.5,0,0", ",1,d,70,81,0,0"
    )
    np.testing.assert_allclose(before.signal, SIGNAL[:, : 15 * 128], atol=0.06)
    assert before.gaps == ()
    np.testing.assert_allclose(across.signal[:, : 10 * 128], SIGNAL[:, 640 : 15 * 128], atol=0.06)
    assert not across.signal[:, 10 * 128 : 30 * 128].any()
    np.testing.assert_allclose(across.signal[:, 3840:], SIGNAL[:, 1920:3200], atol=0.06)
    (gap,) = across.gaps
    assert (round(gap.start, 6), round(gap.end, 6), gap.reason) == (10, 30, NOT_RECORDED)
    np.testing.assert_allclose(after.signal, SIGNAL[:, 20 * 128 : round(40.5 * 128)], atol=0.06)
    assert beyond.reason == "the interval is empty or outside the recording"
    assert "it lasts 80.00 s" in beyond.what


def test_windows_that_touch_a_gap_are_left_out_and_counted(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, onsets=record_times((15, 20), (40, 3)))
    whole = write_edf(tmp_path / "b.edf", list(SIGNAL), 128, onsets=record_times())
    made = build_maps(clips(path, ",1,a,0,45,0,0", ",1,b,45,83,0,0"), CONFIG)
    # [0, 15) and [35, 45); [45, 60) and [63, 83), each by windows of 2 s every second.
    starts = [*range(14), *range(35, 44), *range(14), *range(18, 37)]
    assert made.start.tolist() == starts
    assert made.provenance["windows_left_out"] == {NOT_RECORDED: 44 + 37 - len(starts)}
    # What is left is the EEG of that time, untouched by the gap beside it.
    (gapped,), (alone,) = clips(path, ",1,a,0,45,0,0"), clips(whole, ",1,a,0,15,0,0")
    np.testing.assert_allclose(clean(gapped).signal[:, : 15 * 128], clean(alone).signal, atol=1e-4)


def test_a_gap_in_the_baseline(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, onsets=record_times((10, 5)))
    (trial,) = clips(path, ",1,a,30,60,0,0,0,25")
    assert [(g.start, g.end) for g in trial.baseline_gaps] == [(10, 15)]
    made = build_maps([trial], CONFIG)
    assert made.provenance["windows_left_out"] == {f"{NOT_RECORDED} (baseline)": 6}
    assert not (made.flags & 4).any()


def test_a_clip_within_a_gap_says_so(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, onsets=record_times((15, 20)))
    (out,) = clips(path, ",1,a,18,32,0,0")
    assert out.reason == f"all of the signal is {NOT_RECORDED}"


@pytest.mark.parametrize("jitter", [0.0, 1e-4])
def test_a_discontinuous_file_without_a_gap_is_whole(tmp_path, jitter):
    stamps = [time + jitter * (record % 3) for record, time in enumerate(record_times())]
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, onsets=stamps)
    (trial,) = clips(path, ",1,x,0,60,0,0")
    assert trial.gaps == ()
    np.testing.assert_allclose(trial.signal, SIGNAL, atol=0.06)


def test_time_that_runs_backwards(tmp_path):
    """In EDF+D the stamps are the time; in EDF+C some programs fill in zeros."""
    stamps = record_times((30, -12))
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, onsets=stamps)
    (out,) = clips(path, ",1,x,0,20,0,0")
    assert out.reason == "its records' time stamps are damaged"
    assert "record 31" in out.what
    path = write_edf(tmp_path / "b.edf", list(SIGNAL), 128, onsets=[0] * 60, discontinuous=False)
    np.testing.assert_allclose(clips(path, ",1,x,0,60,0,0")[0].signal, SIGNAL, atol=0.06)


def test_annotations_of_a_discontinuous_file_are_in_true_time(tmp_path):
    notes = [(3, 3.5, 2, "BAD_move"), (50, 70, 4, "bad segment"), (50, 60, 9, "film starts")]
    path = write_edf(
        tmp_path / "a.edf", list(SIGNAL), 128, onsets=record_times((15, 20)), notes=notes
    )
    first, second = clips(path, ",1,a,2,14,0,0", ",1,b,60,80,0,0")
    assert [(g.start, g.end, g.reason) for g in first.gaps] == [(1.5, 3.5, MARKED)]
    assert [(g.start, g.end, g.reason) for g in second.gaps] == [(10, 14, MARKED)]


def test_a_resumed_biosemi_recording_has_a_break(tmp_path):
    status = np.full(60 * 128, 1 << 20)
    status[[0, 25 * 128, 25 * 128 + 1]] |= 1 << 16
    ranges = [(-3276.8, 3276.7)] * 14 + [(-(2**23), 2**23 - 1)]
    units = ["uV"] * 14 + ["Boolean"]
    path = write_edf(tmp_path / "a.bdf", [*SIGNAL, status], 128, (*SITES, "Status"), bdf=True,
                     physical=ranges, units=units)  # fmt: skip
    (trial,) = clips(path, ",1,x,0,60,0,0")
    assert [(g.start, g.end, g.reason) for g in trial.gaps] == [(25, 25, BREAK)]


# Sampling frequencies


def mixed(tmp_path, eeg, ecg, **options):
    signal = noise(0, seconds=60, sfreq=eeg)
    heart = 300 * np.sin(np.arange(60 * ecg) / ecg * 7) ** 15
    labels = (*SITES, "ECG")
    path = write_edf(tmp_path / "a.edf", [*signal, heart], [eeg] * 14 + [ecg], labels, **options)
    return signal, clips(path, ",1,x,0,30,0,0", ",1,y,30,60,0.5,0")


def test_eeg_slower_than_another_channel_is_judged_by_its_own_rate(tmp_path):
    _, found = mixed(tmp_path, 64, 256)
    assert [part.sfreq for part in found if isinstance(part, Trial)] == [64, 64]
    with pytest.raises(DataError, match=r"sampled at less than 100 Hz \(2"):
        build_maps(found, CONFIG)


@pytest.mark.parametrize(("eeg", "ecg"), [(128, 512), (256, 32), (128, 128)])
def test_samples_are_not_touched_by_a_channel_of_another_rate(tmp_path, eeg, ecg):
    signal, (_, first, second) = mixed(tmp_path, eeg, ecg)
    np.testing.assert_allclose(first.signal, signal[:, : 30 * eeg], atol=0.06)
    np.testing.assert_allclose(second.signal, signal[:, 30 * eeg :], atol=0.06)


def test_one_eeg_channel_of_another_rate_is_left_out(tmp_path):
    signal, slow = noise(0, seconds=60), noise(1, channels=1, seconds=60, sfreq=64)
    path = write_edf(tmp_path / "a.edf", [*signal[:13], slow[0]], [128] * 13 + [64])
    out, trial = clips(path, ",1,x,0,30,0,0")
    assert out.reason == "a channel of 64 Hz among others of 128 Hz"
    assert (trial.sfreq, trial.ch_names) == (128, SITES[:13])


@pytest.mark.parametrize(("rate", "bands"), [(64, ("theta", "alpha", "beta")), (128, BANDS)])
def test_channels_that_mne_fills_up_end_at_half_of_their_own_rate(tmp_path, rate, bands):
    """A GDF at 64 Hz beside an ECG of 256 Hz comes at 256 Hz from MNE, and has no gamma."""
    signal = noise(0, seconds=60, sfreq=rate)
    heart = noise(1, channels=1, seconds=60, sfreq=256)[0]
    path = tmp_path / "a.gdf"
    write_gdf(path, [*signal, heart], [rate] * 14 + [256], [*SITES, "ECG"])
    made = build_maps([c for c in clips(path, ",1,a,0,30,0.5,0", ",1,b,30,60,0,0.5")
                       if isinstance(c, Trial)], CONFIG)  # fmt: skip
    assert made.bands == tuple(bands)
    whole = noise(0, seconds=60, sfreq=rate)
    trial = next(c for c in clips(path, ",1,b,30,60,0,0.5") if isinstance(c, Trial))
    assert trial.sfreq == 256
    inner = trial.signal[:, 512:-512]  # at the end of the file it rings
    np.testing.assert_allclose(inner[:, :: 256 // rate], whole[:, 32 * rate : -2 * rate], atol=0.3)
    raw = mne.io.read_raw_gdf(path, verbose="error").drop_channels("ECG")
    if rate == 64:
        with pytest.warns(UserWarning, match="low-passed at 32 Hz, so it holds nothing of gamma"):
            assert band_power(raw).bands == tuple(bands)
    else:
        assert band_power(raw).bands == tuple(bands)


# Low-pass


@pytest.mark.parametrize(
    ("prefilter", "hertz"),
    [
        ("HP:0.1Hz LP:30Hz N:50Hz", 30),
        ("HP: DC; LP: 417 Hz", 417),
        ("LP 43 Hz", 43),
        ("lowpass: 30,5 Hz", 30.5),
        ("BP:0.5-30Hz", 30),
        ("0.5 - 45 Hz", 45),
        ("Band-pass 1 Hz - 40 Hz", 40),
        ("HFF: 70 LFF: 1", 70),
        ("DC-113Hz", 113),
        ("0.16 .. 70 Hz", 70),
        ("BW 0.5 to 100 Hz", 100),
        ("HP:0,16Hz LP:30,0Hz", 30),
        ("HP:0.1 LP:.03kHz", 30),
        ("0.1 Hz HP, 30 Hz LP", 30),
        ("HP 0.5 30 LP", 30),
        ("LP30HP0.5", 30),
        ("Low Pass Filter (30 Hz)", 30),
        ("Low filter 0.5 High filter 30", 30),
        ("LF: 0.16 HF: 70", 70),
        ("HighCut 30Hz LowCut 0.1", 30),
        ("HP: 0.16 (6dB/oct) LP: 35 (12 dB/oct)", 35),
        ("LP:0.1Hz HP:30Hz", 30),
        ("<30Hz", 30),
        ("30", None),
        ("50Hz notch", None),
        ("No filter", None),
        ("LP:Off", None),
        ("HP:0.1Hz N:50Hz", None),
        ("LP:0Hz", None),
        ("", None),
    ],
)
def test_the_low_pass_of_a_header(prefilter, hertz):
    assert lowpass_of(prefilter) == hertz


def test_bands_that_the_low_pass_takes_away_are_left_out_with_a_reason(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, prefilter="HP:0.1Hz LP:30Hz")
    found = clips(path, ",1,x,0,30,0,0", ",1,y,30,60,0.5,0")
    assert [part.lowpass for part in found] == [30, 30]
    made = build_maps(found, CONFIG)
    assert made.bands == ("theta", "alpha")
    assert made.maps.shape[:2] == (2 * 29, 2)
    assert made.provenance["left_out"] == {"low-passed at 30 Hz in the header: no beta or gamma": 2}
    assert list(made.provenance["band_edges"]) == ["theta", "alpha"]


def test_a_recording_without_gamma_among_others_is_left_out(tmp_path):
    low = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, prefilter="LP:43Hz")
    full = write_edf(tmp_path / "b.edf", list(SIGNAL), 128, prefilter="LP:50Hz")
    found = [*clips(low, ",1,x,0,30,0,0"), *clips(full, ",1,y,30,60,0.5,0")]
    made = build_maps(found, CONFIG)
    assert len(made.bands) == 4
    assert np.unique(made.trial).tolist() == [0]
    assert made.provenance["left_out"] == {"low-passed at 43 Hz in the header: no gamma": 1}


def test_a_low_pass_below_every_band(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128, prefilter="LP:5Hz")
    with pytest.raises(DataError, match="no band is left"):
        build_maps(clips(path, ",1,x,0,30,0,0"), CONFIG)


def test_a_file_of_nothing_is_left_out(tmp_path):
    path = write_edf(tmp_path / "a.edf", list(SIGNAL), 128)
    path.write_bytes(path.read_bytes()[: 256 * 15 + 100])
    (out,) = clips(path, ",1,x,0,30,0,0")
    assert isinstance(out, LeftOut)
    assert out.reason == "an EDF without samples"
