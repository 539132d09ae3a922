"""The bank's format: what is saved comes back, anything else is refused with the reason."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from neurogaze_fast.artifacts import manifest_path, verified_open, write_artifact
from neurogaze_fast.errors import BankError, OutputExistsError
from neurogaze_fast.prototypes import bank as bank_module
from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "bank.safetensors"
    demo_bank(width=16).save(path)
    return path


def rewrite(path, *, provenance=None, **tensors):
    """Write a bank whose hashes are right but whose contents are not."""
    data, metadata = verified_open(path)
    write_artifact(path, save({**load(data), **tensors}), {**metadata, **(provenance or {})})


def test_round_trip(saved):
    bank, original = PrototypeBank.load(saved, width=16, grid=5), demo_bank(width=16)
    for name in ("prototypes", "counts", "subjects", "filled_from"):
        np.testing.assert_array_equal(getattr(bank, name), getattr(original, name))
    assert bank.synthetic
    assert bank.sha256 == json.loads(manifest_path(saved).read_bytes())["sha256"]


def test_demo_bank_is_deterministic_unit_and_smooth():
    bank = demo_bank()
    np.testing.assert_array_equal(bank.prototypes, demo_bank().prototypes)
    assert not np.array_equal(bank.prototypes, demo_bank(seed=1).prototypes)
    cosine = bank.prototypes @ bank.prototypes.T
    np.testing.assert_allclose(np.diag(cosine), 1, atol=1e-5)
    assert cosine[0, 1] > 0.7 > 0.3 > abs(cosine[0, 24])


def test_every_flipped_byte_is_refused(saved):
    generator = np.random.default_rng(0)
    for victim in (saved, manifest_path(saved)):
        intact = victim.read_bytes()
        bits = generator.integers(0, 8, len(intact))
        for position, bit in enumerate(bits):
            damaged = bytearray(intact)
            damaged[position] ^= 1 << bit
            victim.write_bytes(damaged)
            with pytest.raises(BankError):
                PrototypeBank.load(saved)
        victim.write_bytes(intact)
    PrototypeBank.load(saved)


def test_existing_bank_is_not_overwritten(saved):
    before = saved.read_bytes()
    with pytest.raises(OutputExistsError, match="left alone"):
        demo_bank(width=32).save(saved)
    assert saved.read_bytes() == before


def test_other_emotion_order_is_refused(saved):
    names = json.loads(manifest_path(saved).read_bytes())["provenance"]["emotions"]
    rewrite(saved, provenance={"emotions": sorted(names)})
    with pytest.raises(BankError, match="emotion order"):
        PrototypeBank.load(saved)


def test_wrong_width_and_grid_are_refused(saved):
    with pytest.raises(BankError, match="width 16, expected 512"):
        PrototypeBank.load(saved, width=512)
    with pytest.raises(BankError, match="5 x 5 grid, expected 7 x 7"):
        PrototypeBank.load(saved, grid=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prototypes": np.zeros((25, 16), np.float32)}, "length 0"),
        ({"prototypes": np.full((25, 16), np.nan, np.float32)}, "length nan"),
        ({"prototypes": np.full((25, 16), 0.25, np.float64)}, "float64"),
        ({"prototypes": np.full((24, 16), 0.25, np.float32)}, r"\(24"),
        ({"counts": np.zeros(24, np.int64)}, "counts"),
        ({"filled_from": np.zeros((25, 24), bool)}, "filled_from"),
        ({"extra": np.zeros(1)}, "holds"),
        ({"centres": np.zeros((25, 2))}, "centres"),
        ({"centres": np.full((25, 2), np.nan)}, "centres"),
        ({"counts": np.full(25, -1)}, "counts hold -1"),
        ({"subjects": np.full(25, -3)}, "subjects hold -3"),
        ({f"t{i}": np.zeros(0) for i in range(2000)}, "header"),
    ],
)
def test_malformed_contents_are_refused(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(BankError, match=message):
        PrototypeBank.load(saved)


def test_a_file_too_large_for_a_bank_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(bank_module, "MAX_BYTES", 1000)
    monkeypatch.setattr(bank_module, "verified_open", lambda *_: pytest.fail("it was read"))
    with pytest.raises(BankError, match="was not read"):
        PrototypeBank.load(saved)


def test_other_artifacts_and_other_bytes_are_refused(saved):
    rewrite(saved, provenance={"kind": "student"})
    with pytest.raises(BankError, match="not a prototype bank"):
        PrototypeBank.load(saved)
    write_artifact(saved, b"not safetensors", {"kind": "prototype bank"})
    with pytest.raises(BankError):
        PrototypeBank.load(saved)
    with pytest.raises(BankError, match="cannot be read"):
        PrototypeBank.load(saved.with_name("absent"))
