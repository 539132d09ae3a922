"""augment with inputs nobody should pass: a typed error or the right answer, never a bad access."""

import math

import pytest
import torch

from neurogaze_fast import reference
from neurogaze_fast.errors import OperatorError
from neurogaze_fast.ops.augment import augment
from neurogaze_fast.reference.augment import PARAMS
from tests.ops.augment_cases import assert_same, in_float64, make, native

COLUMNS = ["a00", "a01", "a02", "a10", "a11", "a12", "x0", "y0", "x1", "y1", "gain", "bias"]
IDENTITY = [1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]


def call(op=augment, **changes):
    store, index, params = make((5, 12, 14), 8, batch=4)
    arguments = {"store": store, "index": index, "params": params, "size": 8, "channels": 3}
    return op(**(arguments | {"dtype": torch.float32} | changes))


def one(size=8, shape=(1, 12, 14), channels=1, **columns):
    """One image under the identity but for `columns`: the result and the definition's."""
    store = make(shape, size)[0]
    row = [columns.get(name, value) for name, value in zip(COLUMNS, IDENTITY, strict=True)]
    tensors = store, torch.zeros(1, dtype=torch.int64), torch.tensor([row], dtype=torch.float32)
    result = augment(*tensors, size=size, channels=channels, dtype=torch.float32)
    return result, in_float64(*tensors, size=size, channels=channels)


def store_of(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize("op", [augment, reference.augment], ids=["ops", "reference"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store": store_of(5, 12, 14, dtype=torch.float32)}, "uint8"),
        ({"store": store_of(5, 12, 14, dtype=torch.int8)}, "uint8"),
        ({"store": store_of(5, 12, 14, dtype=torch.bool)}, "uint8"),
        ({"store": store_of(12, 14)}, "uint8"),
        ({"store": store_of(5, 12, 14, 4)}, "uint8"),
        ({"store": store_of(5, 12, 14, 1)}, "uint8"),
        ({"store": store_of(5, 1, 12, 14, 3)}, "uint8"),
        ({"store": store_of(5, 0, 14)}, "at least one pixel"),
        ({"store": store_of(5, 12, 0, 3)}, "at least one pixel"),
        ({"store": store_of(0, 12, 14)}, "index must lie in"),
        ({"index": torch.zeros(4)}, "index must be"),
        ({"index": torch.zeros(4, dtype=torch.bool)}, "index must be"),
        ({"index": torch.zeros(4, dtype=torch.uint8)}, "index must be"),
        ({"index": torch.zeros(2, 2, dtype=torch.int64)}, "index must be"),
        ({"index": torch.tensor(3)}, "index must be"),
        ({"index": torch.tensor([0, 1, 2, 5])}, "index must lie in 0..4, found"),
        ({"index": torch.tensor([0, -1, 2, 3])}, "index must lie in"),
        ({"index": torch.tensor([0, 1, 2**62, 3])}, "index must lie in"),
        ({"index": torch.tensor([0, 1, 2, -(2**63)])}, "index must lie in"),
        ({"index": torch.tensor([0, 1, 2, 5], dtype=torch.int32)}, "index must lie in"),
        ({"index": torch.arange(3)}, "params must be"),
        ({"params": torch.zeros(4, PARAMS - 1)}, "params must be"),
        ({"params": torch.zeros(4, PARAMS + 1)}, "params must be"),
        ({"params": torch.zeros(4 * PARAMS)}, "params must be"),
        ({"params": torch.zeros(4, PARAMS, dtype=torch.int64)}, "floating"),
        ({"params": torch.zeros(4, PARAMS, dtype=torch.complex64)}, "floating"),
        ({"params": torch.zeros(4, PARAMS, device="meta")}, "one device"),
        ({"channels": 0}, "channels"),
        ({"channels": 2}, "channels"),
        ({"channels": -3}, "channels"),
        ({"channels": 1, "store": store_of(5, 12, 14, 3)}, "channels"),
        ({"size": 0}, "size"),
        ({"size": -8}, "size"),
        ({"dtype": torch.uint8}, "dtype"),
        ({"dtype": torch.complex64}, "dtype"),
        ({"dtype": torch.bool}, "dtype"),
    ],
)
def test_refused_with_a_typed_error(op, changes, message):
    with pytest.raises(OperatorError, match=message):
        call(op, **changes)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s, i, p: (s.mT, i, p), id="transposed store"),
        pytest.param(lambda s, i, p: (s[:, ::2, 1::3], i, p), id="store with steps"),
        pytest.param(lambda s, i, p: (s[1:], i.clamp(max=3), p), id="store not at the start"),
        pytest.param(lambda s, i, p: (s[:1].expand(5, -1, -1), i, p), id="expanded store"),
        pytest.param(lambda s, i, p: (s, i[:1].expand(4), p), id="expanded index"),
        pytest.param(lambda s, i, p: (s, i.repeat(2)[::2], p), id="index with steps"),
        pytest.param(lambda s, i, p: (s, i.int(), p), id="int32 index"),
        pytest.param(lambda s, i, p: (s, i, p.T.contiguous().T), id="transposed params"),
        pytest.param(lambda s, i, p: (s, i, p[:1].expand(4, -1)), id="expanded params"),
        pytest.param(lambda s, i, p: (s, i, p.double()), id="float64 params"),
        pytest.param(lambda s, i, p: (s, i[:0], p[:0]), id="empty batch"),
        pytest.param(lambda s, i, p: (s[:0], i[:0], p[:0]), id="empty store and batch"),
        pytest.param(lambda s, i, p: (s, i[:1], p[:1]), id="one image"),
        pytest.param(lambda s, i, p: (s.movedim(0, 2), i.clamp(max=0), p), id="permuted store"),
    ],
)
def test_unusual_tensors(change):
    store, index, params = change(*make((5, 12, 14), 8, batch=4))
    result = augment(store, index, params, size=8, channels=3, dtype=torch.float32)
    expected = in_float64(store, index, params, size=8, channels=3)
    assert_same(result, expected, torch.float32)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 33])
@pytest.mark.parametrize(
    "shape", [(3, 1, 1), (3, 1, 9), (3, 9, 1), (3, 2, 2), (3, 1, 1, 3), (3, 1, 9, 3), (3, 9, 1, 3)]
)
def test_tiny_images_and_sizes(shape, size):
    tensors = make(shape, size, batch=6)
    result = augment(*tensors, size=size, channels=3, dtype=torch.float32)
    assert_same(result, in_float64(*tensors, size=size, channels=3), torch.float32)


@pytest.mark.parametrize(
    "columns",
    [
        {"a02": 1e9},
        {"a02": -1e9, "a12": 1e30},
        {"a02": 3.4e38},
        {"a00": 1e6, "a02": 0.25},
        {"a00": 0.0, "a11": 0.0},
        {"a00": -1.0, "a02": 13.0},
        {"a00": 1e-30},
        {"x0": -5.0, "y0": -5.0, "x1": 99.0, "y1": 99.0},
        {"x0": 20.0, "y0": 20.0, "x1": 30.0, "y1": 30.0},
        {"x0": -9.0, "y0": -9.0, "x1": -1.0, "y1": -1.0},
        {"x0": 5.0, "y0": 5.0, "x1": 2.0, "y1": 7.0},
        {"x0": 2.0, "y0": 3.0, "x1": 5.0, "y1": 6.0},
        {"x0": 1.5, "y0": 2.5, "x1": 4.01, "y1": 6.99},
        {"x0": -math.inf, "y0": 1e9, "x1": math.inf, "y1": math.inf},
        {"x0": -math.inf, "y0": -math.inf, "x1": math.inf, "y1": math.inf},
        {"x0": 1e-38, "y0": 0.0, "x1": 8.0, "y1": 8.0},
        {"gain": 0.0},
        {"gain": -2.0, "bias": 1.0},
    ],
    ids=str,
)
def test_extreme_parameters(columns):
    result, expected = one(**columns)
    assert_same(result, expected, torch.float32)


@native
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("shape", [(1, 12, 14), (1, 12, 14, 3), (1, 70, 70, 3), (1, 1, 1)])
def test_parameters_that_are_not_finite(column, value, shape):
    channels = 3 if len(shape) == 4 else 1
    columns = {"x1": 8.0, "y1": 4.0} | {column: value}  # the upper half is cut out
    result, expected = one(shape=shape, channels=channels, **columns)
    assert_same(result, expected, torch.float32)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_other_images_do_not_feel_bad_parameters(value):
    store, index, params = make((5, 12, 14), 8, batch=6)
    options = {"size": 8, "channels": 1, "dtype": torch.float32}
    clean = augment(store, index, params, **options)
    params[[0, 3]] = value
    result = augment(store, index, params, **options)
    others = [1, 2, 4, 5]
    assert torch.equal(result[others], clean[others])


def test_a_gradient_of_the_parameters_is_that_of_the_reference():
    store, index, params = make((5, 12, 14), 8, batch=4)
    params.requires_grad_()
    options = {"size": 8, "channels": 1, "dtype": torch.float32}
    result = augment(store, index, params, **options)
    result.sum().backward()
    gradient, params.grad = params.grad, None
    reference.augment(store, index, params, **options).sum().backward()
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(gradient, params.grad)
    with torch.no_grad():
        assert not augment(store, index, params, **options).requires_grad
    assert not augment(store, index, params.detach(), **options).requires_grad
