"""A headset's radio drops: channels are zero or held for seconds, and nothing else may change."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.dreamer import read_dreamer
from neurogaze_fast.eeg.dropout import flat_samples
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.gaps import DROPOUT
from neurogaze_fast.eeg.maps import FLAGS
from neurogaze_fast.eeg.preprocess import clean
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.trials import CONFIG, noise, trial

CLIPS, SECONDS, REST, OFFSET = 6, 60, 30, 4300
FIRST, LAST = round(20.37 * 128), round(24.37 * 128)
ROWS = {"all": slice(None), "five": [1, 2, 5, 7, 9], "some": [2, 5], "one": [5]}
TOUCHED = 6
"""Windows of 2 s every second that 4 s from 20.37 s on reach into: those from 19 to 24 s."""


def spoil(signal, which, how):
    rows = ROWS[which]
    signal[rows, FIRST:LAST] = 0 if how == "zero" else signal[rows, FIRST - 1 : FIRST]


def recorded(which=None, how="zero", where="film"):
    """Films and rests of one person; the second film, or the rest before it, loses 4 s."""
    films = [noise(k, seconds=SECONDS) + OFFSET for k in range(CLIPS)]
    rests = [noise(100 + k, seconds=REST) + OFFSET for k in range(CLIPS)]
    if which:
        spoil((films if where == "film" else rests)[1], which, how)
    return films, rests


def of_mat(path, films, rests):
    from scipy.io import savemat

    def column(entries):
        cells = np.empty((len(entries), 1), object)
        for number, entry in enumerate(entries):
            cells[number, 0] = entry.T
        return cells

    scores = np.array([[1 + k % 5] for k in range(CLIPS)], float)
    subject = {"EEG": {"stimuli": column(films), "baseline": column(rests)},
               "ScoreValence": scores, "ScoreArousal": scores[::-1]}  # fmt: skip
    data, names = np.empty((1, 1), object), np.empty((1, 14), object)
    data[0, 0], names[0] = subject, SITES
    content = {"Data": data, "EEG_SamplingRate": 128, "EEG_Electrodes": names}
    savemat(path, {"DREAMER": content})
    return build_maps(read_dreamer(path), CONFIG)


def of_recording(path, films, rests):
    length = SECONDS + REST
    signal = np.concatenate([part for pair in zip(rests, films, strict=True) for part in pair], 1)
    write_edf(path, list(signal), 128, physical=(-10000, 10000), bdf=True)
    rows = ["file,subject,clip,start_s,end_s,valence,arousal,baseline_start_s,baseline_end_s"]
    for k in range(CLIPS):
        at = k * length
        rows.append(f",1,c{k},{at + REST},{at + length},{k / 6},0,{at},{at + REST}")
    (path.parent / "c.csv").write_text("\n".join(rows))
    return build_maps(read_recording(path, path.parent / "c.csv"), CONFIG)


PATHS = {"mat": of_mat, "bdf": of_recording}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {kind: read(folder / f"a.{kind}", *recorded()) for kind, read in PATHS.items()}


def change(made, whole, clip=0):
    """How far a clip's maps moved, over their size."""
    one, other = (m.maps[m.trial == clip].astype(float) for m in (made, whole))
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize(
    ("kind", "which", "how", "where"),
    [
        ("mat", "all", "zero", "film"),
        ("mat", "all", "held", "film"),
        ("mat", "five", "zero", "film"),
        ("mat", "some", "held", "film"),
        ("mat", "one", "zero", "film"),
        ("mat", "all", "zero", "rest"),
        ("mat", "some", "zero", "rest"),
        ("bdf", "all", "held", "film"),
        ("bdf", "one", "zero", "film"),
        ("bdf", "five", "held", "rest"),
    ],
)
def test_other_clips_hardly_change(tmp_path, untouched, kind, which, how, where):
    made = PATHS[kind](tmp_path / f"a.{kind}", *recorded(which, how, where))
    whole = untouched[kind]
    lost = which in ("all", "five")  # more than can be interpolated
    for clip in (0, 2, 5):
        assert 0 < change(made, whole, clip) < 0.02
    assert made.power[made.trial == 0].std() == pytest.approx(whole.power[:59].std(), rel=0.02)
    reason = DROPOUT if where == "film" else f"{DROPOUT} (baseline)"
    assert made.provenance["windows_left_out"] == ({reason: TOUCHED} if lost else {})
    assert len(made) == CLIPS * 59 - TOUCHED * (lost and where == "film")
    flagged = made.flags & FLAGS["interpolated"] > 0
    assert flagged.sum() == TOUCHED * (not lost and where == "film")
    assert set(made.start[flagged]) <= set(range(19, 25))


def test_the_windows_beside_a_dropout_are_what_they_were(tmp_path, untouched):
    """The drop from 4300 microvolts to zero must not ring into them."""
    films, rests = recorded("all")
    one, other = (clean(trial(signal=film[1], baseline=None)) for film in (films, recorded()[0]))
    np.testing.assert_allclose(one.signal[:, : 18 * 128], other.signal[:, : 18 * 128], atol=0.1)
    np.testing.assert_allclose(one.signal[:, 27 * 128 :], other.signal[:, 27 * 128 :], atol=0.1)
    beside = one.signal[:, 18 * 128 : FIRST], other.signal[:, 18 * 128 : FIRST]
    assert np.abs(beside[0] - beside[1]).max() < 25  # microvolts, of a signal of 10 rms
    assert len(rests) == CLIPS


def test_a_channel_lost_for_a_quarter_of_the_time_is_replaced_throughout():
    signal = noise(0)
    signal[5, 300 : 300 + 5 * 128 + 40] = 0
    cleaned = clean(trial(signal=signal))
    assert np.flatnonzero(cleaned.interpolated).tolist() == [5]
    assert cleaned.gaps == ()
    signal = noise(0)
    signal[5, 300:700] = 0
    cleaned = clean(trial(signal=signal))
    assert not cleaned.interpolated.any()
    assert [gap.ch_names for gap in cleaned.gaps] == [("P7",)]


def test_a_dropout_under_a_recorders_high_pass_is_found():
    """A filter in the recorder turns the held value into a decay that is never flat."""
    from scipy.signal import butter, sosfilt

    signal = noise(0, seconds=40).astype(np.float64)
    signal[:, 1280:2560] = 30
    signal = sosfilt(butter(1, 0.16, "highpass", fs=128, output="sos"), signal).astype(np.float32)
    made = build_maps([trial(signal=signal), trial(1)], CONFIG)
    assert made.provenance["windows_left_out"][DROPOUT] >= 7
    assert not set(made.start[made.trial == 0]) & set(range(12, 17))


def test_what_counts_as_flat():
    signal = noise(0, channels=4, seconds=20)
    none = np.zeros(signal.shape, bool)
    assert not flat_samples(signal, none, 128).any()
    assert not flat_samples(signal * np.float32(0.2), none, 128).any()  # 2 microvolts rms
    signal[1, 500:564] = 7
    signal[2, 500:550] = 7  # less than half a second
    signal[3, 500:1000] = 40 + 0.2 * np.sin(np.arange(500))
    flat = flat_samples(signal, none, 128)
    assert flat[1, 500:564].all()
    assert flat[1].sum() < 70
    assert not flat[[0, 2]].any()
    assert flat[3, 500:1000].all()
    assert not flat_samples(signal, flat, 128).any()


@pytest.mark.parametrize("rms", [0.1, 0.3, 0.6, 1.0])
def test_a_converters_noise_is_no_eeg(rms):
    signal = noise(0, channels=4, seconds=60)
    none = np.zeros(signal.shape, bool)
    held = np.random.default_rng(0).normal(4300, rms, 500)
    signal[1, 1000:1500] = held
    flat = flat_samples(signal, none, 128)
    assert flat[1, 1000:1500].mean() > 0.99
    assert flat[1].sum() < 520
    assert not flat[[0, 2, 3]].any()


@pytest.mark.parametrize(
    ("sfreq", "hertz", "rms"),
    [(128, 50, 5), (128, 60, 5), (256, 50.1, 5), (256, 59.9, 5), (512, 50, 40), (512, 60, 40)],
)
def test_mains_on_a_channel_that_is_off_are_no_eeg(sfreq, hertz, rms):
    """A lead without its electrode hums, a little distorted, about an offset of its own."""
    signal = noise(0, channels=4, seconds=60, sfreq=sfreq).astype(np.float64)
    first, last = 8 * sfreq, 12 * sfreq
    phase = 2 * np.pi * hertz * np.arange(last - first) / sfreq
    hum = np.sin(phase + 1) + (0.2 * np.sin(3 * phase) if 3 * hertz < sfreq / 2 else 0)
    quiet = np.random.default_rng(0).normal(4300, 0.2, last - first)
    signal[1, first:last] = quiet + rms * 2**0.5 * hum
    flat = flat_samples(signal, np.zeros(signal.shape, bool), sfreq)
    assert flat[1, first:last].mean() > 0.98
    assert flat[1].sum() < last - first + 0.3 * sfreq
    assert not flat[[0, 2, 3]].any()


@pytest.mark.parametrize("hertz", [50, 60])
def test_eeg_under_strong_mains_is_eeg(hertz):
    signal = noise(0, channels=4, seconds=60, sfreq=256)
    time = np.arange(signal.shape[1]) / 256
    signal[2] *= np.float32(0.2)
    signal += (80 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    assert not flat_samples(signal, np.zeros(signal.shape, bool), 256).any()


@pytest.mark.parametrize("share", [5 / 6, 1])
def test_an_electrode_that_is_off_for_the_clip_is_interpolated(share):
    signal = noise(0)
    quiet = round(share * signal.shape[1])
    signal[5, :quiet] = np.random.default_rng(0).normal(0, 0.3, quiet)
    assert np.flatnonzero(clean(trial(signal=signal)).interpolated).tolist() == [5]
    # Near the reference a channel is small, and EEG.
    signal = noise(0)
    signal[5] *= np.float32(0.15)
    cleaned = clean(trial(signal=signal))
    assert not cleaned.interpolated.any()
    assert cleaned.gaps == ()


@pytest.mark.parametrize(("rms", "hum"), [(0.2, 0), (0.4, 0), (0.2, 5)])
def test_noise_in_a_dropout_does_not_reach_other_clips(tmp_path, untouched, rms, hum):
    films, rests = recorded("all")
    lost = films[1][:, FIRST:LAST]
    lost += np.random.default_rng(0).normal(0, rms, lost.shape).astype(lost.dtype)
    lost += (hum * 2**0.5 * np.sin(2 * np.pi * 50 / 128 * np.arange(FIRST, LAST))).astype(
        lost.dtype
    )
    made = of_mat(tmp_path / "a.mat", films, rests)
    assert change(made, untouched["mat"]) < 0.02
    assert made.provenance["windows_left_out"] == {DROPOUT: TOUCHED}


def test_three_channels_at_different_times_cost_no_window():
    signal = noise(0, seconds=60)
    for row, start in ((1, 10), (4, 25), (9, 40)):
        signal[row, start * 128 : (start + 4) * 128] = 0
    made = build_maps([trial(signal=signal), trial(1)], CONFIG)
    assert len(made) == 59 + 19
    assert made.provenance["windows_left_out"] == {}
    assert (made.flags[:59] & FLAGS["interpolated"] > 0).sum() == 15
