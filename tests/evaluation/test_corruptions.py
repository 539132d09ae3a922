"""Corruptions: the same for every run, stronger at each step, and what they say they are."""

import csv
import json

import numpy as np
import pytest

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.errors import ConfigError, DataError, OutputExistsError
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.corruption_scores import summary
from neurogaze_fast.evaluation.corruptions import KINDS, STRENGTHS, corrupt
from tests.helpers import is_picture


@pytest.fixture(scope="module")
def faces(drawn):
    return drawn[0][:24]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_stay_pictures_and_more_is_lost_at_each_strength(faces, kind):
    before = faces.copy()
    lost = []
    for strength in STRENGTHS:
        found = corrupt(faces, kind, strength)
        assert (found.dtype, found.shape) == (np.uint8, faces.shape)
        lost.append(np.abs(found.astype(float) - faces).mean())
    assert np.array_equal(faces, before)
    assert lost == sorted(lost)
    assert lost[0] > 0.3
    assert lost[4] > 1.4 * lost[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_draw_hangs_on_the_seed_and_the_place_alone(faces, kind):
    found = corrupt(faces, kind, 3, seed=7)
    assert np.array_equal(found, corrupt(faces.copy(), kind, 3, seed=7))
    other = corrupt(faces, kind, 3, seed=8)
    fixed = kind in ("blur", "jpeg", "contrast", "low-resolution")  # nothing random in them
    assert np.array_equal(found, other) == fixed
    single = corrupt(faces[:1], kind, 3, seed=7)  # what it does to a face is the face's own
    if fixed:
        assert np.array_equal(single[0], found[0])


def test_noise_has_the_spread_it_says():
    grey = np.full((40, 48, 48), 128, np.uint8)
    for strength in (1, 3):
        found = corrupt(grey, "noise", strength).astype(float) - 128
        assert found.std() == pytest.approx(255 * KINDS["noise"][1][strength - 1], rel=0.03)
        assert abs(found.mean()) < 0.5
        assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 0.1


def test_light_is_what_arithmetic_gives(faces):
    x = faces.astype(np.float64)
    means = x.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(corrupt(faces, "contrast", 2), means + 0.4 * (x - means), atol=0.51)
    moved = corrupt(faces, "brightness", 2).astype(float)
    up, down = np.clip(x + 51, 0, 255), np.clip(x - 51, 0, 255)
    is_up = np.abs(moved - up).max((1, 2)) < 1
    assert np.array_equal(is_up, np.abs(moved - down).max((1, 2)) >= 1)
    assert 0 < is_up.sum() < len(faces)
    bent = corrupt(faces, "gamma", 1).astype(float)
    each = [np.abs(bent - 255 * (x / 255) ** g).max((1, 2)) < 1 for g in (1.4, 1 / 1.4)]
    assert (each[0] ^ each[1]).all()


def test_what_is_covered_is_grey_and_the_rest_untouched(faces):
    for kind, share in (("block", 0.4**2), ("mask", 0.35 * 0.76)):
        found = corrupt(faces, kind, 3)
        changed = found != faces
        assert set(np.unique(found[changed])) == {127}
        covered = (found == 127).mean((1, 2))
        assert covered == pytest.approx(share, abs=0.06)
    low = corrupt(faces, "mask", 3) != faces
    assert not low[:, :28].any()  # the eyes stay


def test_turning_and_moving_agree_with_scipy(faces):
    from scipy.ndimage import rotate, shift

    turned = corrupt(faces, "rotation", 2).astype(float)
    for image, found in zip(faces[:6], turned, strict=False):
        inner = slice(14, 34)
        each = [
            rotate(image.astype(float), angle, reshape=False, order=1, mode="nearest")
            for angle in (15, -15)
        ]
        assert min(np.abs(e - found)[inner, inner].max() for e in each) < 2
    moved = corrupt(faces, "shift", 2, seed=3).astype(float)
    draw = np.random.Generator(np.random.PCG64([3, list(KINDS).index("shift"), 2]))
    angle = 2 * np.pi * draw.random(len(faces))
    for image, found, a in zip(faces, moved, angle, strict=True):
        by = 0.09 * 48 * np.array([np.sin(a), np.cos(a)])
        expected = shift(image.astype(float), by, order=1, mode="nearest")
        assert np.abs(expected - found).max() < 2


def test_motion_is_a_mean_along_a_line():
    dot = np.zeros((32, 33, 33), np.uint8)
    dot[:, 16, 16] = 255
    found = corrupt(dot, "motion", 4).astype(float)
    np.testing.assert_allclose(found.sum((1, 2)), 255, rtol=0.05)  # light is kept
    y, x = np.mgrid[:33, :33] - 16
    for image in found:
        moments = np.cov(np.stack((y.ravel(), x.ravel())), aweights=image.ravel() + 1e-9)
        small, large = np.linalg.eigvalsh(moments)
        assert large > 8 * small  # long and thin


def test_what_cannot_be_corrupted_is_refused(faces):
    with pytest.raises(DataError, match="no corruption 'fog'"):
        corrupt(faces, "fog", 1)
    with pytest.raises(DataError, match="strengths 1 to 5"):
        corrupt(faces, "noise", 6)
    with pytest.raises(DataError, match="uint8"):
        corrupt(faces.astype(np.float32), "noise", 1)
    assert corrupt(faces[:0], "motion", 1).shape == (0, 48, 48)


def run_of(clean, **errors):
    kinds = {kind: [{"accuracy": 1 - e} for e in every] for kind, every in errors.items()}
    return {"clean": {"accuracy": clean}, "kinds": kinds}


def test_mean_corruption_errors_by_hand():
    reference = run_of(0.9, noise=[0.2, 0.3], blur=[0.2, 0.2])
    run = run_of(0.8, noise=[0.3, 0.3], blur=[0.1, 0.3])
    found = summary(run, reference)
    assert found["mce"] == pytest.approx((0.6 / 0.5 + 0.4 / 0.4) / 2)
    assert found["relative_mce"] == pytest.approx(((0.6 - 0.4) / (0.5 - 0.2) + 0.0 / 0.2) / 2)
    assert found["mean_accuracy"] == pytest.approx(0.75)
    own = summary(reference, reference)
    assert (own["mce"], own["relative_mce"]) == (1, 1)
    unhurt = run_of(0.8, noise=[0.2, 0.2], blur=[0.2, 0.3])
    assert summary(run, unhurt)["by_kind"]["noise"]["relative_ce"] is None
    assert summary(run, unhurt)["relative_mce"] == pytest.approx(0.0)


def test_runs_are_compared_on_the_same_pictures(finished, copied, tmp_path, capsys):
    out = tmp_path / "out"
    words = [str(finished), "--corruptions", "--against", str(copied), "--out", str(out)]
    evaluate_command.main(words)
    printed = capsys.readouterr().out
    for word in ("clean", "corrupted", "relative mCE", *KINDS):  # none is cut at 80 columns
        assert f" {word} " in printed, word
    assert "…" not in printed
    result = json.loads((out / "corruptions.json").read_text())
    first, second = result["runs"].values()
    assert first == second  # the same model, and so the same answers
    assert first["mce"] == 1
    trained = json.loads((finished / "metrics.json").read_text())["valid"]["8way"]
    assert first["clean"]["accuracy"] == pytest.approx(trained["accuracy"])
    with open(out / "corruptions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + len(KINDS) * len(STRENGTHS))
    found = [float(r["accuracy"]) for r in rows if r["kind"] == "noise"][:5]
    assert found == pytest.approx([s["accuracy"] for s in first["kinds"]["noise"]], abs=1e-6)
    assert is_picture(out / "corruptions.png")
    assert is_picture(out / "corruption_examples.png")
    (out / "corruptions.json").write_text("{}")
    with pytest.raises(OutputExistsError):
        evaluate_command.corruptions(EvaluateConfig(finished, corruptions=True, out=out))
    with pytest.raises(ConfigError, match="names a run twice"):
        evaluate_command.corruptions(
            EvaluateConfig(finished, corruptions=True, against=(finished,), out=tmp_path / "b")
        )
    with pytest.raises(ConfigError, match="--against"):
        EvaluateConfig(finished, against=(copied,))
