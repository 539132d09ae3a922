"""Spellings of units, and channels whose unit is none or another than the rest's."""

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.gaps import OTHER_SCALE
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.units import microvolts_per
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.gdf_files import write_gdf
from tests.eeg.trials import CONFIG, noise

HEADER = "file,subject,clip,start_s,end_s,valence,arousal\n"


@pytest.mark.parametrize(
    ("unit", "microvolts"),
    [
        *((u, 1) for u in "uV UV uv µV μV ΜV Âµv Î¼V uVolt microV microvolt Microvolts".split()),
        *(
            (u, 1)
            for u in ("microvol", " uV ", "uV\0\0", "(uV)", "[µV]", "u V", "mkV", "мкВ", "æV")
        ),
        *(("mV", 1e3), ("mv", 1e3), ("millivolt", 1e3), ("nV", 1e-3), ("V", 1e6), ("volts", 1e6)),
        *((u, None) for u in ("", ".V", "MV", "kV", "uV/bit", "uVrms", "C", "%", "Boolean", "n/a")),
    ],
)
def test_spellings(unit, microvolts):
    assert microvolts_per(unit) == microvolts


def clips(tmp_path, units, signal=None, **options):
    signal = noise(0, seconds=40) if signal is None else signal
    path = write_edf(tmp_path / "a.edf", list(signal), 128, units=units, **options)
    (tmp_path / "c.csv").write_text(HEADER + ",1,x,0,20,0.5,0\n,1,y,20,40,0,0.5\n")
    return list(read_recording(path, tmp_path / "c.csv"))


@pytest.mark.parametrize(
    "unit", ["uv", "UV", "µV", "μV", b"\xb5V", "uVolt", b"uV\0\0\0\0\0\0", "microvolt"]
)
def test_microvolts_however_they_are_spelt(tmp_path, unit):
    first, second = clips(tmp_path, unit)
    np.testing.assert_allclose(first.signal, noise(0, seconds=40)[:, :2560], atol=0.06)
    assert isinstance(second, Trial)


def test_other_units_are_converted(tmp_path):
    signal = noise(0, seconds=40) / 1000
    first, _ = clips(tmp_path, "mV", signal, physical=(-3.2768, 3.2767))
    np.testing.assert_allclose(first.signal, 1000 * signal[:, :2560], atol=0.06)
    mixed = noise(0, seconds=40)
    mixed[4] /= 1000
    units, ranges = ["uV"] * 14, [(-3276.8, 3276.7)] * 14
    units[4], ranges[4] = "mV", (-3.2768, 3.2767)
    found = clips(tmp_path, units, mixed, physical=ranges)
    assert [type(part) for part in found] == [Trial, Trial]
    np.testing.assert_allclose(found[0].signal, noise(0, seconds=40)[:, :2560], atol=0.06)


@pytest.mark.parametrize(("unit", "says"), [("", "without a unit"), ("uV/bit", "'uV/bit'")])
def test_an_unknown_unit_is_named(tmp_path, unit, says):
    found = clips(tmp_path, unit)
    assert all(isinstance(part, LeftOut) for part in found)
    assert says in found[0].reason
    assert found[-1].reason == "fewer than 4 channels can be used"
    (odd,) = [part for part in clips(tmp_path, ["uV"] * 13 + [unit]) if isinstance(part, LeftOut)]
    assert odd.what == "channel AF4"
    assert says in odd.reason


@pytest.mark.parametrize("unit", ["V", "mV", "nV"])
def test_one_channel_of_another_scale_is_said_and_replaced(tmp_path, unit):
    plain = [part for part in clips(tmp_path, "uV") if isinstance(part, Trial)]
    units = ["uV"] * 14
    units[6] = unit
    found = clips(tmp_path, units)
    (said,) = [part for part in found if isinstance(part, LeftOut)]
    assert (said.what, said.reason) == ("channel O1", OTHER_SCALE)
    made, expected = build_maps(found, CONFIG), build_maps(plain, CONFIG)
    assert (made.flags & 1).all()
    assert len(made) == len(expected)
    others = [site for site in range(14) if SITES[site] != "O1"]
    # The average reference holds the interpolated channel, so the others move a little.
    r = np.corrcoef(made.power[:, :, others].ravel(), expected.power[:, :, others].ravel())[0, 1]
    assert r > 0.97


def test_noise_is_no_unit(tmp_path):
    signal = noise(0, seconds=40)
    signal[3] *= 50
    assert [type(part) for part in clips(tmp_path, "uV", signal)] == [Trial, Trial]


def gdf_clips(tmp_path, units, scale=1.0, **options):
    signal = list(noise(0, seconds=40))
    path = tmp_path / "a.gdf"
    write_gdf(path, signal, [128] * 14, SITES, units=units, scale=scale, **options)
    (tmp_path / "c.csv").write_text(HEADER + ",1,x,0,20,0.5,0\n,1,y,20,40,0,0.5\n")
    return list(read_recording(path, tmp_path / "c.csv"))


@pytest.mark.parametrize(
    ("unit", "scale", "second"),
    [
        *((unit, 1, False) for unit in ("uV", "uV\0", b"\xb5V", "µV", "microV")),
        *(("mV", 1e3, False), ("nV", 1e-3, False), ("V", 1e6, False)),
        *((4275, 1, True), (4274, 1e3, True), (4276, 1e-3, True), (4256, 1e6, True)),
        *(("uV", 1, True), ("mV", 1e3, True)),  # the text that GDF 2 no longer uses, without a code
    ],
)
def test_a_gdf_counts_in_the_unit_of_its_header(tmp_path, unit, scale, second):
    first, _ = gdf_clips(tmp_path, unit, scale, second=second)
    np.testing.assert_allclose(first.signal, noise(0, seconds=40)[:, :2560], atol=0.06)


def test_a_gdf_of_several_units_is_one_of_microvolts(tmp_path):
    found = gdf_clips(tmp_path, ["uV", "mV"] * 7)
    first = next(part for part in found if isinstance(part, Trial))
    rows = noise(0, seconds=40)[:, :2560]
    np.testing.assert_allclose(first.signal[::2], rows[::2], atol=0.06)
    np.testing.assert_allclose(first.signal[1::2], rows[1::2] * 1e3, atol=60)


@pytest.mark.parametrize(
    ("unit", "second", "says"),
    [
        ("", False, "without a unit"),
        (0, True, "without a unit"),
        ("degC", False, "'degC'"),
        (512, True, "'code 512'"),  # no dimension
        (4259, True, "'code 4259'"),  # kilovolts
    ],
)
def test_a_gdf_without_a_unit_of_potential_is_left_out(tmp_path, unit, second, says):
    found = gdf_clips(tmp_path, unit, second=second)
    assert all(isinstance(part, LeftOut) for part in found)
    assert says in found[0].reason


@pytest.mark.parametrize("second", [False, True])
def test_the_table_beside_a_gdf_may_say_its_unit(tmp_path, second):
    rows = "".join(f"{site}\tmV\n" for site in SITES)
    (tmp_path / "a_channels.tsv").write_text("name\tunits\n" + rows)
    first, _ = gdf_clips(tmp_path, "", 1e3, second=second)
    np.testing.assert_allclose(first.signal, noise(0, seconds=40)[:, :2560], atol=0.06)
    # What the header says wins.
    first, _ = gdf_clips(tmp_path, "uV", second=second)
    np.testing.assert_allclose(first.signal, noise(0, seconds=40)[:, :2560], atol=0.06)
