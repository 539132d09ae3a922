"""topomaps, band_power and plot_topomaps: MNE's own maps, from whatever is in memory."""

import matplotlib
import mne
import numpy as np
import pytest
from scipy.signal import welch

from neurogaze_fast import eeg
from neurogaze_fast.eeg.gaps import BREAK, MARKED
from neurogaze_fast.errors import DataError, OperatorError
from tests.eeg.caps import BIOSEMI, DREAMER, digitised
from tests.eeg.trials import noise
from tests.helpers import is_picture

matplotlib.use("Agg")


def mnes_image(evoked, time, res=64, **options):
    """The pixels that MNE draws, in microvolts, NaN outside what it maps."""
    figure = evoked.plot_topomap(
        time, res=res, show=False, colorbar=False, contours=0, time_format="", **options
    )
    image = np.ma.filled(figure.axes[0].images[0].get_array().astype(float), np.nan)
    matplotlib.pyplot.close(figure)
    return image


def evoked_of(info, seed=0):
    data = np.random.default_rng(seed).standard_normal((len(info["ch_names"]), 64)) * 1e-5
    return mne.EvokedArray(data, info, tmin=-0.1, verbose="error")


def template(names=BIOSEMI, montage="colin27_1020"):
    info = mne.create_info(list(names), 128.0, "eeg", verbose="error")
    return info.set_montage(mne.channels.make_standard_montage(montage), verbose="error")


def gsn():
    montage = mne.channels.make_standard_montage("GSN-HydroCel-128")
    return template(montage.ch_names, "GSN-HydroCel-128")


INFOS = {"template": template, "digitised": digitised, "gsn-128": gsn}


@pytest.mark.parametrize("kind", INFOS)
def test_an_evokeds_maps_are_mnes_default(kind):
    evoked = evoked_of(INFOS[kind]())
    found = eeg.topomaps(evoked, times=[0.1])
    ours, theirs = found.maps[0, 0], mnes_image(evoked, 0.1)
    x, y, _, _ = found.operator.sphere
    half, (left, right, back, front) = eeg_grid(found.operator)
    across, up = np.meshgrid(np.linspace(left, right, 64), np.linspace(back, front, 64))
    inside = np.hypot(across - x, up - y) <= half
    assert not np.isnan(ours[inside]).any()
    # scipy stops its gradients at 1e-6 of a microvolt or so; ours are at their fixed point.
    assert np.abs(ours - theirs)[inside].max() < 1e-5 * np.abs(theirs[inside]).max()
    assert found.unit == "µV"
    assert found.names == tuple(evoked.ch_names)


def eeg_grid(operator):
    from neurogaze_fast.eeg.interpolation import grid_of

    return grid_of(operator.positions, operator.sphere)


def test_a_montage_given_by_name_or_file_places_every_channel(tmp_path):
    montage = mne.channels.make_standard_montage("GSN-HydroCel-128")
    evoked = evoked_of(gsn())
    bare = evoked_of(mne.create_info(montage.ch_names, 128.0, "eeg", verbose="error"))
    expected = eeg.topomaps(evoked, times=[0.0]).maps
    by_name = eeg.topomaps(bare, times=[0.0], montage="GSN-128")
    assert len(by_name.names) == 128
    np.testing.assert_allclose(by_name.maps, expected, atol=1e-4)
    file = tmp_path / "cap.sfp"
    lines = [f"{name} {' '.join(map(str, place * 100))}" for name, place in
             montage.get_positions()["ch_pos"].items()]  # fmt: skip
    file.write_text("\n".join(lines))
    assert len(eeg.topomaps(bare, times=[0.0], montage=file).names) == 128
    lettered = [f"{a}{i}" for a in "ABCD" for i in range(1, 33)]
    values = np.random.default_rng(0).standard_normal(128)
    assert len(eeg.topomaps(values, ch_names=lettered, montage="biosemi128").names) == 128
    with pytest.raises(DataError, match="no file, and none of MNE's"):
        eeg.topomaps(values, ch_names=lettered, montage="my-cap")
    with pytest.raises(OperatorError, match="not sites"):
        eeg.topomaps(values, ch_names=[f"X{i}" for i in range(128)])


def test_band_power_is_scipys_from_raw_epochs_arrays_and_lists():
    signal = np.stack([noise(i, seconds=8.0) for i in range(2)])
    frequency, density = welch(signal, 128.0, nperseg=128, axis=-1)
    alpha = density[..., (frequency >= 8) & (frequency < 14)].sum(-1)
    found = eeg.band_power(signal, 128.0, DREAMER)
    np.testing.assert_allclose(found.values[:, 1], alpha, rtol=1e-4)
    assert found.bands == ("theta", "alpha", "beta", "gamma")
    listed = eeg.band_power(signal[0, :, :256].tolist(), 128.0, DREAMER)
    info = template(DREAMER)
    epochs = mne.EpochsArray(signal * 1e-6, info, verbose="error")
    np.testing.assert_allclose(eeg.band_power(epochs).values, found.values, rtol=1e-4)
    raw = mne.io.RawArray(signal[0] * 1e-6, info, verbose="error")
    windows = eeg.band_power(raw)
    assert windows.values.shape == (7, 4, 14)
    np.testing.assert_allclose(windows.times, np.arange(7))
    np.testing.assert_allclose(windows.values[:1], listed.values, rtol=1e-4)
    maps = eeg.topomaps(epochs, feature="log_power", size=(20, 24))
    assert maps.maps.shape == (2, 4, 20, 24)
    np.testing.assert_allclose(
        maps.maps[1, 2].ravel()[maps.operator.mask.ravel()],
        (np.log(found.values[1, 2]) @ maps.operator.matrix)[maps.operator.mask.ravel()],
        atol=1e-3,
    )


def test_bad_and_broken_channels_take_no_part_and_are_named():
    evoked = evoked_of(template())
    evoked.info["bads"] = ["Cz"]
    found = eeg.topomaps(evoked, times=[0.1])
    assert found.left_out == ("Cz",)
    without = evoked.copy().drop_channels(["Cz"])
    np.testing.assert_array_equal(found.maps, eeg.topomaps(without, times=[0.1]).maps)
    values = np.arange(14.0)
    values[3] = np.nan
    found = eeg.topomaps(values, ch_names=DREAMER)
    assert found.left_out == ("FC5",)
    assert np.isfinite(found.maps[0, 0][found.operator.mask]).all()


def test_windows_of_marked_time_are_left_out_and_counted():
    signal = noise(0, seconds=30)
    signal[:, 1280:1536] = 5000  # 10 to 12 s
    info = template(DREAMER)
    raw = mne.io.RawArray(signal * 1e-6, info, verbose="error")
    whole = eeg.band_power(raw)
    assert (whole.windows_left_out, len(whole.times)) == ({}, 29)
    raw.set_annotations(
        mne.Annotations([10, 20], [2, 0], ["BAD_knock", "boundary"]), verbose="error"
    )
    for found in (eeg.band_power(raw), eeg.topomaps(raw)):
        assert found.windows_left_out == {MARKED: 3, BREAK: 1}
        assert sorted(set(range(29)) - set(found.times.tolist())) == [9, 10, 11, 19]
    kept = np.isin(whole.times, found.times)
    np.testing.assert_array_equal(eeg.band_power(raw).values, whole.values[kept])
    # What lies in a part of a recording that was cut out is counted from the part's own start.
    part = eeg.band_power(raw.copy().crop(9, 29))
    assert part.windows_left_out == {MARKED: 3, BREAK: 1}
    assert 0 not in part.times
    with pytest.raises(DataError, match=f"10.5 s lies in {MARKED}"):
        eeg.topomaps(raw, what="values", times=[5, 10.5])
    raw.set_annotations(mne.Annotations(0, 30, "bad"), verbose="error")
    with pytest.raises(DataError, match=rf"None of the 29 windows .* {MARKED} \(29\)"):
        eeg.band_power(raw)


def test_a_band_beyond_the_recordings_low_pass_is_left_out_with_a_warning():
    raw = mne.io.RawArray(noise(0, seconds=30) * 1e-6, template(DREAMER), verbose="error")
    whole = eeg.band_power(raw)
    assert whole.bands == ("theta", "alpha", "beta", "gamma")
    raw.filter(1, 40, verbose="error")
    with pytest.warns(UserWarning, match="low-passed at 40 Hz, so it holds nothing of gamma"):
        found = eeg.topomaps(raw)
    assert found.bands == ("theta", "alpha", "beta")
    assert found.maps.shape[1] == 3
    with pytest.raises(DataError, match="no band is left"):
        eeg.band_power(raw, bands={"gamma": (31, 49)})


def test_old_and_new_names_of_one_place_are_both_known():
    names = mne.channels.make_standard_montage("colin27_1020").ch_names
    older = {"T3", "T4", "T5", "T6"}
    for chosen in ([n for n in names if n not in older], [n for n in names if n not in
                   {"T7", "T8", "P7", "P8"}]):  # fmt: skip
        scalp = [n for n in chosen if n not in ("A1", "A2", "M1", "M2")]
        assert len(eeg.topomaps(np.arange(float(len(scalp))), ch_names=scalp).names) == len(scalp)


def test_pictures(tmp_path):
    evoked = evoked_of(digitised())
    figure = eeg.plot_topomaps(eeg.topomaps(evoked, times=[0.0, 0.1]), tmp_path / "a.png")
    assert is_picture(tmp_path / "a.png", 200)
    assert len(figure.axes) == 4  # two maps, two bars
    power = eeg.topomaps(noise(0), 128.0, DREAMER, window=2.0)
    eeg.plot_topomaps(power, tmp_path / "b.png", names=True, colorbar=False)
    assert is_picture(tmp_path / "b.png", 200)
    first = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(
        np.ma.filled(first, np.nan), eeg.topomaps(evoked, times=[0.0]).maps[0, 0]
    )


def test_what_cannot_be_mapped_is_said():
    for x, options, message in (
        (np.zeros(14), {}, "ch_names"),
        (np.zeros(13), {"ch_names": DREAMER}, "14 ch_names for an array of 13"),
        ("text", {"ch_names": DREAMER}, "neither MNE's"),
        ("recording.set", {}, r"mne\.io\.read_raw"),
        (np.zeros((2, 14, 300)), {"ch_names": DREAMER, "what": "band_power"}, "sfreq"),
        (evoked_of(template()), {"times": [9.0]}, "outside"),
    ):
        with pytest.raises(DataError, match=message):
            eeg.topomaps(x, **options)
    raw = mne.io.RawArray(np.zeros((2, 99)), mne.create_info(2, 128.0, "misc"), verbose="error")
    with pytest.raises(DataError, match="no channel of type EEG"):
        eeg.band_power(raw)
