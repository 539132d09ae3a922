"""Scores from sums equal the plain formulas; intervals are over people; baselines are fair."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from neurogaze_fast.errors import DataError
from neurogaze_fast.teacher.baselines import (
    ALPHAS,
    calibrate,
    calibrated,
    clip_mean_prediction,
    mean_prediction,
    ridge_prediction,
)
from neurogaze_fast.teacher.scores import (
    bootstrap,
    cell_sums,
    draw_weights,
    scores,
    trial_means,
    weighted,
)
from tests.teacher.helpers import map_set, slow_ccc


@pytest.fixture
def answers():
    generator = np.random.default_rng(0)
    target = generator.choice([-1, -0.5, 0, 0.5, 1], (120, 2))
    prediction = 0.4 * target + 0.2 * generator.standard_normal((120, 2))
    return prediction, target, np.repeat(np.arange(6), 20)


def test_scores_are_the_plain_formulas(answers):
    prediction, target, _ = answers
    found = scores(prediction, target)
    for i, name in enumerate(("valence", "arousal")):
        p, t = prediction[:, i], target[:, i]
        assert found[name]["ccc"] == pytest.approx(slow_ccc(p.tolist(), t.tolist()), abs=1e-12)
        assert found[name]["rmse"] == pytest.approx(np.sqrt(((p - t) ** 2).mean()), abs=1e-12)
        assert found[name]["r2"] == pytest.approx(r2_score(t, p), abs=1e-12)


def test_scores_do_not_depend_on_the_order(answers):
    prediction, target, _ = answers
    order = np.random.default_rng(1).permutation(len(target))
    ours, shuffled = scores(prediction, target), scores(prediction[order], target[order])
    for name in ours:
        assert shuffled[name] == pytest.approx(ours[name], abs=1e-12)


def test_undefined_scores_are_none():
    flat = np.full((5, 2), 0.5)
    found = scores(flat, flat)["valence"]
    assert found == {"ccc": None, "rmse": 0.0, "r2": None}
    assert scores(flat + 0.1, flat)["valence"]["ccc"] == pytest.approx(0, abs=1e-12)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="one shape"):
        scores(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(DataError, match="at least 1"):
        scores(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(DataError, match="not finite"):
        scores(np.zeros((3, 2)), np.full((3, 2), np.nan))


def test_a_draw_counts_a_window_as_often_as_its_person_times_its_film(answers):
    prediction, target, person = answers
    film = np.tile(np.arange(5), 24)
    who, what = draw_weights(6, 5, 20, seed=3)
    assert (who.sum(1) == 6).all()
    assert (what.sum(1) == 5).all()
    fast = weighted(cell_sums(prediction, target, person, film), who, what)
    for draw in range(20):
        times = (who[draw][person] * what[draw][film]).astype(int)
        p, t = np.repeat(prediction, times, axis=0), np.repeat(target, times, axis=0)
        expected = cell_sums(p, t, np.zeros(len(p), int))[0, 0]
        np.testing.assert_allclose(fast[draw], expected, atol=1e-9)


def test_films_widen_the_interval(answers):
    """All of the prediction's worth is in the film: what is sure for these films is not for new."""
    generator = np.random.default_rng(0)
    person, film = np.repeat(np.arange(20), 6), np.tile(np.arange(6), 20)
    target = generator.standard_normal((6, 2))[film] + 0.1 * generator.standard_normal((120, 2))
    prediction = target + generator.standard_normal((6, 2))[film]
    widths = []
    for clip in (None, film):
        ccc = bootstrap({"a": prediction}, target, person, clip)["a"]["valence"]["ccc"]
        widths.append(ccc["high"] - ccc["low"])
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(("people", "films"), [(23, 18), (7, 18), (23, 6)])
def test_intervals_cover_the_truth_for_new_people_and_new_films(people, films):
    """Simulated ratings and answers with parts of the person, of the film, and of neither."""
    generator = np.random.default_rng(0)
    share, own = np.array([0.3, 0.6, 0.3]), np.array([0.3, 0.3, 0.4])
    slope = 0.5
    variance = (share**2).sum()
    truth = 2 * slope * variance / (variance * (1 + slope**2) + (own**2).sum())
    person, film = np.repeat(np.arange(people), films), np.tile(np.arange(films), people)

    def parts(size):
        draw = generator.standard_normal
        of_person, of_film = draw((people, 2))[person], draw((films, 2))[film]
        return size[0] * of_person + size[1] * of_film + size[2] * draw((people * films, 2))

    inside = {"crossed": [], "people alone": []}
    for _ in range(150):
        target = parts(share)
        prediction = slope * target + parts(own)
        for name, clip in (("crossed", film), ("people alone", None)):
            found = bootstrap({"a": prediction}, target, person, clip, draws=400)["a"]
            for axis in found.values():
                inside[name].append(axis["ccc"]["low"] <= truth <= axis["ccc"]["high"])
    assert np.mean(inside["crossed"]) >= 0.92
    assert np.mean(inside["people alone"]) < np.mean(inside["crossed"]) - 0.08


def test_bootstrap_repeats_and_compares(answers):
    prediction, target, subject = answers
    both = {"good": prediction, "mean": mean_prediction(target, len(target))}
    first, again = (bootstrap(both, target, subject, seed=0) for _ in range(2))
    assert first == again
    lead = first["good - mean"]["valence"]["ccc"]
    assert 0 < lead["low"] < lead["value"] < lead["high"]
    one = bootstrap({"good": prediction[:20]}, target[:20], subject[:20])["good"]["valence"]["ccc"]
    assert one["low"] == pytest.approx(one["high"])  # one person: no spread to speak of


def test_trials_are_means_over_their_windows():
    prediction = np.arange(12.0).reshape(6, 2)
    trial = np.array([4, 4, 9, 9, 9, 2])
    np.testing.assert_allclose(trial_means(prediction, trial), [[10, 11], [1, 2], [6, 7]])
    np.testing.assert_array_equal(trial_means(np.array([1, 1, 1, 1, 1, 0]), trial), [0, 1, 1])


def test_the_clips_mean_is_the_mean_of_its_people():
    target = np.array([[1, 0], [1, 0], [0, 1], [-1, -1], [0.5, 0.5]])
    clip, person = np.array([3, 3, 3, 8, 8]), np.array([0, 0, 1, 0, 1])
    found = clip_mean_prediction(target, clip, person, np.array([8, 3, 5, 9]))
    np.testing.assert_allclose(found[:2], [[-0.25, -0.25], [0.5, 0.5]])
    np.testing.assert_allclose(found[2:], [[0.125, 0.125]] * 2)  # nobody rated these


def test_calibration_has_the_least_error_and_turns_chance_into_the_mean():
    generator = np.random.default_rng(0)
    target = generator.uniform(-1, 1, (4000, 2))
    prediction = np.stack([0.3 + 2 * target[:, 0], generator.standard_normal(4000)], axis=1)
    prediction[:, 0] += generator.standard_normal(4000)
    line = calibrate(prediction, target)
    fitted = np.polyfit(prediction[:, 0], target[:, 0], 1)
    np.testing.assert_allclose(line[0], fitted[::-1], atol=1e-9)
    assert abs(line[1, 1]) < 0.03
    np.testing.assert_allclose(calibrate(-prediction, target)[0], [target[:, 0].mean(), 0])
    before, after = scores(prediction, target), scores(calibrated(prediction, line), target)
    assert after["arousal"]["rmse"] < 0.6 * before["arousal"]["rmse"]
    assert after["valence"]["rmse"] < 0.6 * before["valence"]["rmse"]


def test_the_ridges_penalty_is_the_one_a_search_finds():
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    maps = map_set(subjects=4, trials=10, windows=2, noise=3.0)
    target = np.stack([maps.valence, maps.arousal], axis=1)
    features = maps.power.reshape(len(maps), -1).astype(np.float64)
    search = GridSearchCV(
        Ridge(), {"alpha": ALPHAS}, cv=PredefinedSplit(maps.subject), refit=False,
        scoring="neg_mean_squared_error",
    ).fit(features, target)  # fmt: skip
    _, alpha = ridge_prediction(maps.power, target, maps.subject, maps.power)
    assert alpha == search.best_params_["alpha"]
    assert ALPHAS[0] < alpha < ALPHAS[-1]


def test_with_films_out_the_penalty_is_chosen_with_films_out():
    """Power says which film it is and the film decides the rating: worthless for a new film."""
    generator = np.random.default_rng(1)
    maps = map_set(subjects=8, trials=12, windows=2, signal=0)
    target = generator.standard_normal((12, 2))[maps.clip].clip(-1, 1)
    power = generator.standard_normal((12, *maps.power.shape[1:]))[maps.clip] + maps.power
    _, by_people = ridge_prediction(power, target, maps.subject, power)
    _, by_both = ridge_prediction(power, target, maps.subject, power, maps.clip)
    assert by_people < 100
    assert by_both >= 100 * by_people


def test_ridge_finds_a_planted_signal_and_gives_up_on_noise():
    for signal, least, most in ((2.0, 0.6, 1.0), (0.0, -0.1, 0.1)):
        maps = map_set(subjects=8, trials=20, windows=2, signal=signal)
        target = np.stack([maps.valence, maps.arousal], axis=1)
        train = maps.subject < 5
        found, alpha = ridge_prediction(
            maps.power[train], target[train], maps.subject[train], maps.power[~train]
        )
        assert least <= scores(found, target[~train])["valence"]["ccc"] <= most
        assert np.abs(found).max() <= 1
        if signal == 0:
            assert alpha >= 1000


def test_ridge_with_one_training_subject_takes_the_largest_penalty():
    maps = map_set(subjects=1)
    target = np.stack([maps.valence, maps.arousal], axis=1)
    _, alpha = ridge_prediction(maps.power, target, maps.subject, maps.power)
    assert alpha == ALPHAS[-1]


def test_mean_of_nothing_is_refused():
    with pytest.raises(DataError):
        mean_prediction(np.zeros((0, 2)), 3)
