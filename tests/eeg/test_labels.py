"""What recorders write around a site's name, and what only looks like a site."""

import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.labels import sites_of, tidy_label
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.trials import noise


@pytest.mark.parametrize(
    ("label", "site"),
    [
        ("Fp1", "Fp1"),
        ("FP1", "Fp1"),
        (" fz ", "Fz"),
        ("Cz.", "Cz"),
        ("Fc5.", "FC5"),
        ("Oz..", "Oz"),
        ("EEG Fp1", "Fp1"),
        ("EEG F3-Ref", "F3"),
        ("EEG FPZ-REF", "Fpz"),
        ("EEG:Pz", "Pz"),
        ("EEGO2", "O2"),
        ("eeg_C4", "C4"),
        ("F7-LE", "F7"),
        ("F8-A1", "F8"),
        ("EEG T3-A2", "T7"),
        ("T4", "T8"),
        ("t5", "P7"),
        ("T6-AR", "P8"),
        ("T7", "T7"),
        ("POz", "POz"),
        ("C3-M2", "C3"),
        ("EOG1", None),
        ("ECG", None),
        ("EEG", None),
        ("", None),
        ("A1", None),
        ("M2", None),
        ("Fp1-F7", None),
        ("EXG1", None),
        ("Status", None),
        ("GSR1", None),
        ("EEG 1", None),
    ],
)
def test_labels_and_their_sites(label, site):
    assert sites_of([label]) == [site]


def test_tidy_keeps_the_name_itself():
    assert [tidy_label(x) for x in ("EEG Fp1.-Ref", "O1.", "CP1")] == ["Fp1", "O1", "CP1"]


def test_biosemis_lettered_caps_are_no_1020_names():
    labels = [f"{letter}{i}" for letter in "ABCD" for i in range(1, 33)]
    assert sites_of([*labels, "Cz"]) == [None] * 128 + ["Cz"]
    assert sites_of(["C1", "C3", "A1"]) == ["C1", "C3", None]


def test_a_second_channel_of_a_site_is_none():
    assert sites_of(["T3", "T7", "EEG T7", "Cz"]) == ["T7", None, None, "Cz"]


FORMS = """EEG {}-CPz|EEG {}-REF|{}-LE|{}-CLE|EEG {}-A1+A2|{}-(A1+A2)/2|{}-M1/M2|EEG {}-linked ears
{}-LinkedEars|{}-Org|{}:A1|{}/A2|C_{}-x1|{}.Ref|EEG.{}|POL {}|EEG1 {}|{}(uV)|{} [µV]|{} uV|RAW_{}
{}–Ref|{}−LE|{}\u200b|\ufeff{}|EEG\xa0{}|{}-TP9|{}-Cz|EEG {} - REF|{}-Ref-0|Ch1 {}|{} EEG|'{}'
XX-{}-YY|EEG({})|headset_{}|{}_left|{}-AVG|{}-G2|SEEG {}"""


@pytest.mark.parametrize("form", [form for line in FORMS.split("\n") for form in line.split("|")])
def test_what_all_channels_share_is_taken_off(form):
    found = sites_of([form.format(site) for site in SITES])
    # CPz, Cz and TP9 as references are no channels of this headset.
    assert found == list(SITES)


@pytest.mark.parametrize("form", ["EOG {}", "CQ_{}", "EQ.{}", "POW.{}.Alpha", "ECG-{}", "{} theta"])
def test_what_is_no_potential_of_the_scalp_is_no_site(form):
    assert sites_of([form.format(site) for site in SITES]) == [None] * len(SITES)


BANANA = "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp1-F3 F3-C3 C3-P3 P3-O1 Fz-Cz Cz-Pz Fp2-F8 F8-T8 T8-P8 P8-O2"


@pytest.mark.parametrize("prefix", ["", "EEG "])
@pytest.mark.parametrize(
    "chain", [BANANA, "Fp1-F7 F7-T3 T3-T5", "F3-F7 F4-F8 C3-T7 C4-T8", "Fpz-Cz Pz-Oz"]
)
def test_a_bipolar_chain_has_no_sites(chain, prefix):
    assert not any(sites_of([prefix + label for label in chain.split()]))


def test_contact_quality_beside_the_signal_does_not_take_its_place():
    labels = [form.format(site) for form in ("CQ_{}", "EEG.{}") for site in SITES]
    assert sites_of(labels) == [None] * 14 + list(SITES)


def test_zeros_in_a_number_and_primed_electrodes():
    # C3' is no C3: a prime marks a place a centimetre behind it.
    assert sites_of(["Fp01", "F07", "AF03", "C3'"]) == ["Fp1", "F7", "AF3", None]


def test_the_error_names_what_was_found_and_what_is_known(tmp_path):
    from neurogaze_fast.eeg.files import read_recording

    path = write_edf(tmp_path / "a.edf", list(noise(0)), 128, BANANA.split())
    (tmp_path / "c.csv").write_text(
        "file,subject,clip,start_s,end_s,valence,arousal\n,1,x,0,20,0,0\n"
    )
    last = list(read_recording(path, tmp_path / "c.csv"))[-1]
    assert last.reason == "fewer than 4 channels are sites of the 10-20 system"
    assert "found: Fp1-F7, F7-T7" in last.what
    assert "known are Fp1, AF3" in last.what
