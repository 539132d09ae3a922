"""The operator against scipy, MNE, and what a map must satisfy."""

import builtins
import itertools

import mne
import numpy as np
import pytest
import torch
from mne.channels.interpolation import _make_interpolation_matrix
from mne.utils.check import _check_sphere
from mne.viz import topomap as mne_topomap
from scipy.interpolate import CloughTocher2DInterpolator
from scipy.spatial import Delaunay

from neurogaze_fast import ops, reference
from neurogaze_fast.eeg.extrapolation import border_rule, triangulate
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.montage import named_positions
from neurogaze_fast.eeg.sphere import find_sphere, flatten
from neurogaze_fast.eeg.spherical_spline import lift
from neurogaze_fast.errors import NeurogazeError, OperatorError
from tests.eeg.caps import BIOSEMI, DREAMER, digitised

MONTAGES = [pytest.param(DREAMER, id="dreamer"), pytest.param(BIOSEMI, id="biosemi")]
EXTRAPOLATE = ["head", "local", "box"]

# Symmetric about x = 0, and no two mirrored pairs share an empty circle: its triangulation is too.
SYMMETRIC = np.array(
    [(0, 0.0811), (0, 0.0303), (0, -0.0257), (0, -0.0807)]
    + [(s * x, y) for x, y in [(0.0613, 0.0509), (0.0757, 0), (0.0601, -0.0553)] for s in (1, -1)]
)
MIRRORED = [0, 1, 2, 3, 5, 4, 7, 6, 9, 8]


@pytest.fixture(scope="module")
def mne_layout():
    """names -> (positions, outlines) as MNE finds them."""

    def find(names):
        info = mne.create_info(list(names), 128.0, "eeg", verbose="error")
        info.set_montage(mne.channels.make_standard_montage("colin27_1020"), verbose="error")
        return mne_topomap._get_pos_outlines(info, None, None)

    return {tuple(names): find(names) for names in (DREAMER, BIOSEMI)}


def grid(positions, size):
    half = 0.095 * max(1, 1.01 * np.linalg.norm(positions, axis=1).max() / 0.095)
    axis = np.linspace(-half, half, size)
    return *np.meshgrid(axis, axis), half


def masked_map(values, operator):
    maps = (values @ operator.matrix).reshape(operator.size, operator.size)
    return np.where(operator.mask, maps, np.nan)


def furthest(a, b):
    """The largest difference; NaN must lie in the same places."""
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    return np.nanmax(np.abs(a - b))


@pytest.mark.parametrize("names", MONTAGES)
def test_positions_are_mnes(mne_layout, names):
    np.testing.assert_allclose(named_positions(names), mne_layout[tuple(names)][0], atol=1e-15)


@pytest.mark.parametrize("extrapolate", EXTRAPOLATE)
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("names", MONTAGES)
def test_cubic_is_scipys_at_every_scale_where_scipys_default_is_not(names, size, extrapolate):
    operator = TopomapOperator.from_names(names, size, "cubic", extrapolate)
    x, y, half = grid(operator.positions, size)
    points = triangulate(operator.positions, extrapolate, half)
    rule = border_rule(points, len(names), "mean")
    rng = np.random.default_rng(0)
    for values in rng.standard_normal((3, len(names))):
        exact = CloughTocher2DInterpolator(points, rule @ values, tol=1e-15, maxiter=100_000)(x, y)
        assert furthest(masked_map(values, operator), exact) < 1e-12

        volts = values * 1e-6
        assert furthest(masked_map(volts, operator) * 1e6, exact) < 1e-12
        default = CloughTocher2DInterpolator(points, rule @ volts)(x, y) * 1e6
        assert furthest(default, exact) > 1e-4 * np.abs(values).max()


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("names", MONTAGES)
def test_equals_mne(mne_layout, names, size):
    positions, outlines = mne_layout[tuple(names)]
    values = np.random.default_rng(1).standard_normal(len(names))
    options = itertools.product(["cubic", "linear", "nearest"], EXTRAPOLATE, ["mean", 0.0])
    for method, extrapolate, border in options:
        operator = TopomapOperator.from_positions(positions, size, method, extrapolate, border)
        _, x, y, theirs = mne_topomap._setup_interp(
            positions, size, method, extrapolate, outlines, border
        )
        mine_x, mine_y, _ = grid(positions, size)
        np.testing.assert_allclose([mine_x, mine_y], [x, y], rtol=0, atol=1e-16)
        expected = theirs.set_values(values).set_locations(x, y)()
        limit = 5e-6 if method == "cubic" else 1e-14
        assert furthest(masked_map(values, operator), expected) < limit, (method, extrapolate)


def test_a_montage_whose_gradients_flicker_is_built_quickly_and_exactly():
    montage = mne.channels.make_standard_montage("GSN-HydroCel-257")
    info = mne.create_info(montage.ch_names, 1.0, "eeg", verbose="error").set_montage(montage)
    positions, _ = mne_topomap._get_pos_outlines(info, None, None)
    operator = TopomapOperator.from_positions(positions, 24, extrapolate="local")
    x, y, half = grid(positions, 24)
    points = triangulate(positions, "local", half)
    values = np.random.default_rng(6).standard_normal(len(positions))
    mixed = border_rule(points, len(positions), "mean") @ values
    exact = CloughTocher2DInterpolator(points, mixed, tol=1e-14, maxiter=1000)(x, y)
    assert furthest(masked_map(values, operator), exact) < 1e-12


@pytest.mark.parametrize("method", ["cubic", "linear", "nearest"])
def test_electrodes_are_reproduced(method):
    # Sites on nodes of the grid: half is 0.095, so 39 nodes lie 0.005 apart.
    nodes = np.array(
        [(0, 0.05), (0.04, 0.03), (-0.04, 0.03), (0.05, -0.03), (-0.03, -0.05), (0, 0)]
    )
    operator = TopomapOperator.from_positions(nodes, 39, method)
    values = np.random.default_rng(2).standard_normal(len(nodes))
    column, row = np.round(nodes / 0.005).astype(int).T + 19
    np.testing.assert_allclose(masked_map(values, operator)[row, column], values, atol=1e-13)


@pytest.mark.parametrize("extrapolate", EXTRAPOLATE)
@pytest.mark.parametrize("method", ["cubic", "linear", "nearest", "spherical_spline"])
def test_equal_values_give_a_constant_map(method, extrapolate):
    operator = TopomapOperator.from_names(BIOSEMI, 32, method, extrapolate)
    total = operator.matrix.sum(axis=0).reshape(32, 32)
    np.testing.assert_allclose(total[operator.mask], 1, atol=1e-13)
    assert operator.unit_sum
    assert (total[~operator.mask] == 0).all()
    assert operator.mask.all() == (
        method == "nearest" or (extrapolate == "box" and method != "spherical_spline")
    )


@pytest.mark.parametrize("border", ["mean", 0])
@pytest.mark.parametrize("method", ["cubic", "linear", "nearest", "spherical_spline"])
@pytest.mark.parametrize("names", MONTAGES)
def test_moments_are_the_pixels(names, method, border):
    operator = TopomapOperator.from_names(names, 32, method, "local", border)
    kept = operator.matrix[:, operator.mask.ravel()]
    rng = np.random.default_rng(3)
    for offset in (0.0, 1e6):
        spread = rng.standard_normal(len(names))
        spread -= spread.mean()
        extended = np.append(spread, offset)
        # The truth keeps the offset apart where it is a constant of the map, or loses ten digits.
        ground = 0 if operator.unit_sum else offset * kept.sum(axis=0)
        pixels = spread @ kept + ground
        scale = max(1.0, np.abs(ground).max())
        variance = np.square(operator.factor @ extended).sum()
        assert variance == pytest.approx(pixels.var(), abs=1e-12 * scale**2, rel=1e-12)
        constant = offset if operator.unit_sum else 0
        mean = operator.mean @ extended
        assert mean == pytest.approx(pixels.mean() + constant, abs=1e-12 * max(1, offset))
    assert operator.unit_sum == (border == "mean" or method == "spherical_spline")
    if operator.unit_sum:
        assert operator.mean[-1] == 1
        assert (operator.factor[:, -1] == 0).all()


@pytest.mark.parametrize("names", MONTAGES)
def test_spherical_spline_is_mnes(names):
    operator = TopomapOperator.from_names(names, 32, "spherical_spline")
    x, y, half = grid(operator.positions, 32)
    np.testing.assert_array_equal(operator.mask, np.hypot(x, y) <= half)
    nodes = np.stack([x, y], axis=-1)[operator.mask]
    theirs = _make_interpolation_matrix(lift(operator.positions), lift(nodes)).T
    np.testing.assert_allclose(operator.matrix[:, operator.mask.ravel()], theirs, atol=1e-9)


def test_lifting_puts_the_head_circle_on_the_equator():
    points = np.array([(0, 0), (0.095, 0), (0, -0.0475)])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(lift(points), [(0, 0, 1), (1, 0, 0), (0, -half, half)], atol=1e-15)


@pytest.mark.parametrize("method", ["cubic", "linear", "nearest", "spherical_spline"])
def test_mirrored_values_give_mirrored_maps(method):
    for extrapolate in ("box", "local"):
        operator = TopomapOperator.from_positions(SYMMETRIC, 20, method, extrapolate)
        values = np.random.default_rng(4).standard_normal(len(SYMMETRIC))
        maps = masked_map(values, operator)
        assert furthest(masked_map(values[MIRRORED], operator), maps[:, ::-1]) < 1e-10


def test_right_is_right_and_front_is_last_row():
    operator = TopomapOperator.from_names(BIOSEMI, 32, "linear")
    rows, columns = np.mgrid[:32, :32]
    for name, row, column in [("Fp1", 1, -1), ("O2", -1, 1), ("T8", 0, 1), ("Oz", -1, 0)]:
        weight = operator.matrix[BIOSEMI.index(name)].reshape(32, 32)
        centre = (weight * rows).sum() / weight.sum(), (weight * columns).sum() / weight.sum()
        for at, side in zip(centre, (row, column), strict=True):
            assert abs(at - 15.5) < 4 if side == 0 else (at - 15.5) * side > 2, (name, centre)


def test_names_old_new_and_in_any_case():
    new = TopomapOperator.from_names(["T7", "T8", "P7", "P8", "Cz", "Fz"], 16)
    old = TopomapOperator.from_names(["t3", "T4", "T5", "t6", "CZ", " fz"], 16)
    assert old.fingerprint == new.fingerprint
    assert old.names == ("t3", "T4", "T5", "t6", "CZ", " fz")
    np.testing.assert_array_equal(old.matrix, new.matrix)


def test_names_are_found_where_mne_has_only_the_older_montage(monkeypatch):
    expected = named_positions(DREAMER)
    make = mne.channels.make_standard_montage
    asked = []

    def older(name):
        asked.append(name)
        return make("colin27_1020")

    monkeypatch.setattr(mne.channels, "get_builtin_montages", lambda: ["standard_1020"])
    monkeypatch.setattr(mne.channels, "make_standard_montage", older)
    np.testing.assert_array_equal(named_positions(DREAMER), expected)
    assert asked == ["standard_1020"]


def test_fingerprint_says_what_determines_the_operator():
    build = TopomapOperator.from_positions
    first = build(SYMMETRIC, 8)
    assert len(first.fingerprint) == 64
    assert build(SYMMETRIC.tolist(), np.int64(8)).fingerprint == first.fingerprint
    negative_zero = np.where(SYMMETRIC == 0, -0.0, SYMMETRIC)
    assert build(negative_zero, 8).fingerprint == first.fingerprint
    others = [
        build(SYMMETRIC[MIRRORED], 8),
        build(SYMMETRIC, 9),
        build(SYMMETRIC, 8, "linear"),
        build(SYMMETRIC, 8, "spherical_spline"),
        build(SYMMETRIC, 8, extrapolate="box"),
        build(SYMMETRIC, 8, border=0),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 7
    ignored = build(SYMMETRIC, 8, "spherical_spline", "box", 0)
    assert ignored.fingerprint == others[3].fingerprint


def test_tensors_are_kept_and_arrays_are_read_only():
    operator = TopomapOperator.from_positions(SYMMETRIC, 8, border=0)
    single = operator.tensors("cpu", torch.float32)
    assert operator.tensors(torch.device("cpu"), torch.float32) is single
    double = operator.tensors("cpu", torch.float64)
    np.testing.assert_array_equal(double.matrix.numpy(), operator.matrix)
    np.testing.assert_array_equal(double.mask.numpy(), operator.mask.ravel())
    np.testing.assert_array_equal(double.mean.numpy(), operator.mean)
    np.testing.assert_array_equal(double.factor.numpy(), operator.factor)
    assert single.matrix.shape == (10, 64)
    assert single.mean.shape == (11,)
    assert single.factor.shape == (11, 11)
    assert single.matrix.dtype == single.mean.dtype == single.factor.dtype == torch.float32
    for array in (operator.matrix, operator.mask, operator.positions, operator.factor):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_callers_positions_are_left_alone():
    mine = SYMMETRIC.copy()
    operator = TopomapOperator.from_positions(mine, 8)
    mine[0] = 7
    assert operator.positions[0, 1] == 0.0811


def changed(index, value):
    positions = SYMMETRIC.copy()
    positions[index] = value
    return positions


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (SYMMETRIC[:, :1], {}, r"must be \[C, 2\]"),
        (SYMMETRIC[0], {}, r"must be \[C, 2\]"),
        ("Cz", {}, "must be numbers"),
        ([[0, 1], [2]], {}, "must be numbers"),
        (SYMMETRIC[:3], {}, "at least 4 sites, got 3"),
        (changed(2, np.nan), {}, "site 2 is not"),
        (changed(5, np.inf), {}, "site 5 is not"),
        (SYMMETRIC * 1000, {}, "positions are in metres"),
        (SYMMETRIC * 100, {}, "positions are in metres"),
        (changed(4, SYMMETRIC[7]), {}, "site 4 and site 7"),
        (SYMMETRIC[:4], {}, "on one line"),
        (np.outer(np.linspace(-1, 1, 7), [0.03, 0.05]), {}, "on one line"),
        (np.zeros((5, 2)), {}, "coincide"),
        (SYMMETRIC, {"size": 1}, "size must be"),
        (SYMMETRIC, {"size": 8.0}, "size must be"),
        (SYMMETRIC, {"size": True}, "size must be"),
        (SYMMETRIC, {"method": "quintic"}, "method must be one of cubic"),
        (SYMMETRIC, {"extrapolate": "auto"}, "extrapolate must be one of head"),
        (SYMMETRIC, {"border": "zero"}, "border must be 'mean' or 0"),
        (SYMMETRIC, {"border": None}, "border must be 'mean' or 0"),
        (SYMMETRIC, {"border": 1.5}, "a linear operator cannot hold"),
        (SYMMETRIC, {"border": float("nan")}, "a linear operator cannot hold"),
        (SYMMETRIC * 3, {"method": "spherical_spline"}, "south pole"),
    ],
)
def test_what_cannot_be_used_is_refused(positions, options, message):
    with pytest.raises(OperatorError, match=message) as caught:
        TopomapOperator.from_positions(positions, **{"size": 8, **options})
    assert isinstance(caught.value, NeurogazeError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*DREAMER, "Status", "F11"], "'Status'.*'F11'.*nearest: F1"),
        (["T3", "T7", "Cz", "Pz", "Oz", "C4"], "T3 and T7"),
        (["Cz", "Pz"], "at least 4"),
        ([], "at least 4"),
        (["Fz", "FCz", "Cz", "Cz"], "Cz and Cz"),
        ("Cz", "must be a list"),
    ],
)
def test_names_that_cannot_be_used_are_refused(names, message):
    with pytest.raises(OperatorError, match=message):
        TopomapOperator.from_names(names, 8)


def test_without_mne_names_are_refused_with_the_way_out(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "mne":
            raise ModuleNotFoundError("No module named 'mne'", name="mne")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OperatorError, match=r"neurogaze_fast\[eeg\]"):
        TopomapOperator.from_names(DREAMER, 8)


def test_triangles_too_thin_are_refused(monkeypatch):
    class Restless(CloughTocher2DInterpolator):
        def __init__(self, *args, tol, maxiter):
            super().__init__(*args, tol=tol, maxiter=1)

    monkeypatch.setattr("neurogaze_fast.eeg.planar.CloughTocher2DInterpolator", Restless)
    with pytest.raises(OperatorError, match="too thin"):
        TopomapOperator.from_positions(SYMMETRIC, 8)


def test_an_extra_point_beside_no_electrode_takes_the_mean_of_the_others():
    inner = np.array([(0, 0), (1, 0), (0, 1), (1, 1.1)])
    ring = np.array([(x, y) for x in (-5, 5.5) for y in (-5, 5)])
    points = Delaunay(np.concatenate([inner, ring, [(40, 0.3)]]))
    rule = border_rule(points, 4, "mean")
    np.testing.assert_allclose(rule.sum(axis=1), 1)
    np.testing.assert_allclose(rule[8], rule[4:8].mean(axis=0))
    np.testing.assert_array_equal(border_rule(points, 4, 0.0)[4:], 0)


# --- another sphere, other sides ------------------------------------------------------------------


SPHERES = [None, 0.09, (0.004, -0.012, 0.03, 0.088), "auto", "extra", "eeglab", ["extra", "eeg"]]


@pytest.mark.parametrize("form", SPHERES, ids=str)
def test_every_form_of_a_sphere_is_mnes(form):
    info = digitised()
    found = find_sphere(form, info)
    np.testing.assert_allclose(found, _check_sphere(form, info), rtol=0, atol=1e-12)
    positions, outlines = mne_topomap._get_pos_outlines(info, None, form)
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    np.testing.assert_allclose(flatten(places, found), positions, atol=1e-12)
    values = np.random.default_rng(1).standard_normal(len(positions)) * 10
    for method, extrapolate in itertools.product(("cubic", "linear", "nearest"), EXTRAPOLATE):
        _, xi, yi, interpolator = mne_topomap._setup_interp(
            positions, 33, method, extrapolate, outlines, "mean"
        )
        theirs = interpolator.set_values(values).set_locations(xi, yi)()
        operator = TopomapOperator.from_positions(
            flatten(places, found), 33, method, extrapolate, sphere=found
        )
        ours = masked_map(values, operator)
        inside = np.hypot(xi - found[0], yi - found[1]) <= outlines["clip_radius"][0]
        np.testing.assert_array_equal(np.isnan(ours[inside]), np.isnan(theirs[inside]))
        assert np.nanmax(np.abs(ours - theirs)[inside]) < 1e-6 * np.abs(values).max(), method


def test_a_sphere_that_cannot_be_found_is_refused():
    with pytest.raises(OperatorError, match="none without an Info"):
        find_sphere("auto")
    with pytest.raises(OperatorError, match="T7, T8 has no position"):
        find_sphere("eeglab", digitised(["Fpz", "Oz", "Cz", "C3"]))
    for form in ("round", (0, 0, 0), 95.0, [0, 0, 0, np.nan]):
        with pytest.raises(OperatorError, match="radius"):
            find_sphere(form)
    assert find_sphere(None, digitised(extra=0)) == (0, 0, 0, 0.095)


@pytest.mark.parametrize("method", ["cubic", "nearest", "spherical_spline"])
def test_other_sides_are_other_nodes_of_the_same_map(method):
    square = TopomapOperator.from_names(DREAMER, 31, method)
    wide = TopomapOperator.from_names(DREAMER, (16, 31), method)
    assert wide.shape == (16, 31)
    assert square.shape == (31, 31)
    every_other = square.matrix.reshape(14, 31, 31)[:, ::2]
    np.testing.assert_allclose(wide.matrix.reshape(14, 16, 31), every_other, atol=1e-12)
    values = torch.randn(3, 2, 14)
    maps = ops.topomap(values, wide)
    assert maps.shape == (3, 2, 16, 31)
    np.testing.assert_allclose(maps, reference.topomap(values, wide), atol=1e-5)
    last = ops.topomap(values, wide, channels_last=True)
    np.testing.assert_allclose(last, maps, atol=1e-6)
    assert wide.fingerprint != square.fingerprint
    with pytest.raises(OperatorError, match="rows, columns"):
        TopomapOperator.from_names(DREAMER, (16, 1), method)
