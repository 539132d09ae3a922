"""The paper's .npz layout: what is written can be read, guesses are bounded, the rest refused."""

import numpy as np
import pytest

from neurogaze_fast.errors import BankError, OutputExistsError
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.prototypes.npz import export_npz, import_npz, open_bank


@pytest.fixture
def bank():
    return demo_bank(width=16)


def test_round_trip(bank, tmp_path):
    export_npz(bank, tmp_path / "deep" / "bank.npz")
    read = import_npz(tmp_path / "deep" / "bank.npz", synthetic=True)
    np.testing.assert_allclose(read.prototypes, bank.prototypes, atol=1e-6)
    assert read.synthetic
    assert len(read.provenance["source"]["sha256"]) == 64
    with pytest.raises(OutputExistsError):
        export_npz(bank, tmp_path / "deep" / "bank.npz")


def test_centres_decide_the_order(bank, tmp_path):
    order = np.arange(25).reshape(5, 5).T.ravel()  # valence rows, arousal columns
    np.savez(
        tmp_path / "b.npz",
        protos=3 * bank.prototypes[order].reshape(5, 5, 16),
        bin_centers=bank.centres[order].reshape(5, 5, 2),
        counts=order,
    )
    read = import_npz(tmp_path / "b.npz")
    np.testing.assert_allclose(read.prototypes, bank.prototypes, atol=1e-6)
    assert read.counts.tolist() == list(range(25))


def test_prototypes_alone_are_enough(bank, tmp_path):
    np.savez(tmp_path / "b.npz", prototypes=bank.prototypes)
    read = import_npz(tmp_path / "b.npz")
    np.testing.assert_allclose(read.prototypes, bank.prototypes, atol=1e-6)
    assert read.counts.sum() == 0
    assert read.provenance["order"] == "assumed: arousal rows, valence columns"


def test_names_nobody_knows_are_told_apart_by_shape(bank, tmp_path):
    order = np.arange(25)[::-1]
    np.savez(
        tmp_path / "b.npz",
        arr_0=bank.centres[order],
        arr_1=np.arange(25.0)[order].reshape(5, 5),
        arr_2=bank.prototypes[order],
        tau=0.7,
        subjects=np.array(["a", "b"]),
    )
    read = import_npz(tmp_path / "b.npz")
    np.testing.assert_allclose(read.prototypes, bank.prototypes, atol=1e-6)
    assert read.counts.tolist() == list(range(25))
    assert read.provenance["order"] == "arr_0"


def test_of_several_that_fit_the_named_one_is_taken(bank, tmp_path):
    both = {"std": np.ones((25, 16)), "prototypes": bank.prototypes}
    np.savez(tmp_path / "b.npz", **both)
    np.testing.assert_allclose(
        import_npz(tmp_path / "b.npz").prototypes, bank.prototypes, atol=1e-6
    )


def test_a_bank_is_opened_whatever_its_kind(bank, tmp_path):
    export_npz(bank, tmp_path / "b.npz")
    bank.save(tmp_path / "b.safetensors")
    for name in ("b.npz", "b.safetensors"):
        read = open_bank(tmp_path / name, width=16, grid=5)
        np.testing.assert_allclose(read.prototypes, bank.prototypes, atol=1e-6)
        with pytest.raises(BankError, match="width 16"):
            open_bank(tmp_path / name, width=512)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds nothing"),
        ({"weights": np.ones((26, 4))}, r"weights \[26, 4\], and none"),
        ({"prototypes": np.ones((24, 4))}, "24, 4"),
        ({"a": np.ones((25, 4)), "b": np.ones((5, 5, 4))}, r"a \[25, 4\].*a and b may each be"),
        ({"prototypes": np.ones((25, 4)), "mean_va": np.zeros((25, 2))}, r"centres \(mean_va\)"),
        ({"prototypes": np.zeros((25, 4))}, "zero or not finite"),
        ({"prototypes": np.full((25, 4), np.nan)}, "zero or not finite"),
        ({"prototypes": np.ones((25, 4)), "counts": np.ones(24)}, "24 counts"),
        ({"prototypes": np.ones((25, 4)), "centers": np.zeros((25, 2))}, "centres"),
        ({"prototypes": np.array([{}], object)}, "no .npz file of plain arrays"),
    ],
)
def test_what_is_no_bank_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(BankError, match=message):
        import_npz(tmp_path / "b.npz")


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(BankError, match="cannot be read"):
        import_npz(tmp_path / "absent.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(BankError, match=r"no \.npz file"):
        import_npz(tmp_path / "b.npz")
    np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(BankError, match=r"no \.npz file"):
        import_npz(tmp_path / "b.npy")
