"""Calls of the operators out of their contract, and whether a function withstands them.

The changes of arguments are those of the tests (tests/ops/test_*_inputs.py); here they are also
combined with one another, with every dtype, and, of `augment`, drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from benchmarks.scorecard.row import CannotRun
from neurogaze_fast import reference
from neurogaze_fast.errors import OperatorError

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
EXTREMES = (0.0, -1.0, 1e9, -1e30, 3.4e38, 1e-38, float("nan"), float("inf"), -float("inf"))
BRIGHTNESS = (0.0, -1.0, 4.0, float("nan"), float("inf"), -float("inf"))
"""Extremes of gain and bias: the error of larger ones is relative, and the limit is not."""


NO_DIRECTION = "opposite features"
"""A class whose mean is 0: what direction rounding gives it differs from one sum to another."""


def operators() -> Any:
    """``neurogaze_fast.ops``, where the native ones and the tests' tables are there."""
    try:
        import pytest  # noqa: F401
    except ModuleNotFoundError:
        raise CannotRun("pytest is missing: pip install 'neurogaze_fast[test]'") from None
    from neurogaze_fast import ops
    from neurogaze_fast.ops import _library

    loaded, why = _library.status("cpu")
    if not loaded:
        raise CannotRun(why)
    return ops


class Case(NamedTuple):
    """One call."""

    name: str
    check: Callable[[Callable[..., Any]], None]
    """Raises where the function given is not withstanding it."""


def losses(name: str, pairs: int, seed: int) -> Iterator[Case]:
    """Of ``logit_loss`` or ``proto_geo_loss``: each change in each dtype, and pairs of changes."""
    if name == "logit_loss":
        from tests.ops import test_logit_loss_inputs as inputs
    else:
        from tests.ops import test_proto_geo_loss_inputs as inputs
    right = getattr(reference, name)
    leaf = inputs.NAMES[0]
    single = inputs.VALUES | inputs.ERRORS | getattr(inputs, "BAD_LABELS", {})

    def case(
        title: str, dtype: torch.dtype, changes: list[Any], more: dict[str, Any]
    ) -> Case | None:
        arguments = inputs.base(dtype) | more
        try:
            for change in changes:
                arguments |= change(arguments)
        except (RuntimeError, IndexError, AttributeError):
            return None  # the second change does not fit upon the first: this is no call
        return Case(
            f"{name}, {title}, {dtype}",
            lambda function: same_as_reference(function, right, arguments, leaf),
        )

    kinds = ({"kd": "kl"}, {"kd": "mse"}) if name == "logit_loss" else ({},)
    for title, change in single.items():
        for dtype in FLOATS:
            for more in kinds:
                one = case(f"{title} {more or ''}", dtype, [change], more)
                if one and (title != NO_DIRECTION or dtype in FLOATS[:2]):
                    yield one
    chance, names = random.Random(seed), sorted(single.keys() - {NO_DIRECTION})
    while pairs:
        two = chance.sample(names, 2)
        dtype = chance.choice(FLOATS[:2])
        if one := case(" + ".join(two), dtype, [single[title] for title in two], {}):
            yield one
            pairs -= 1


def same_as_reference(
    function: Callable[..., Any], right: Callable[..., Any], arguments: dict[str, Any], leaf: str
) -> None:
    """The same values and gradient as the reference's, or a typed error from both."""
    from tests.ops.outcomes import assert_same_outcome, outcome

    wanted = outcome(right, arguments, leaf)[0]
    if wanted is not None and wanted is not OperatorError:
        raise AssertionError(f"the reference raises {wanted.__name__}")
    assert_same_outcome(function, right, arguments, leaf)


def maps() -> Iterator[Case]:
    """Of ``topomap``: each layout, dtype in and out, normalisation and memory format."""
    from tests.ops import test_topomap as inputs

    def case(layout: str, dtype: torch.dtype, out: torch.dtype, normalise: str, last: bool) -> Case:
        def check(function: Callable[..., Any]) -> None:
            operator = inputs.operator("dreamer", 10, extrapolate="local")
            values = inputs.LAYOUTS[layout](inputs.values_for(operator, 4, 3, dtype))
            options = {"normalise": normalise, "channels_last": last, "dtype": out}
            found = function(values, operator, **options)
            wide = options | {"dtype": torch.float64}
            exact = reference.topomap(values.double(), operator, **wide).to(out).double()
            finite = values.nan_to_num(0, 0, 0).abs()
            scale = float(finite.max()) if values.numel() else 1.0
            scale = max(scale, 1e-30) if normalise == "none" else 1.0
            coarse = max(torch.finfo(out).eps * 4, 1e-4)
            assert found.dtype == out
            torch.testing.assert_close(
                found.double() / scale, exact / scale, rtol=coarse, atol=coarse, equal_nan=True
            )

        return Case(f"topomap, {layout}, {dtype}, {out}, {normalise}, {last}", check)

    for layout in inputs.LAYOUTS:
        for dtype in FLOATS[:2]:
            for out in FLOATS:
                for normalise in ("none", "zscore"):
                    for last in (False, True):
                        yield case(layout, dtype, out, normalise, last)
    for title, bad in inputs.BAD.items():
        for dtype in FLOATS:
            yield Case(f"topomap, {title}, {dtype}", _refused_map(bad, dtype))


def _refused_map(bad: Callable[..., Any], dtype: torch.dtype) -> Callable[..., None]:
    from tests.ops import test_topomap as inputs

    def check(function: Callable[..., Any]) -> None:
        operator = inputs.operator("dreamer", 8)
        values = inputs.values_for(operator, 2, 2, dtype)
        now, inputs.topomap = inputs.topomap, function  # the table calls it by its global name
        try:
            bad(values, operator)
        except OperatorError:
            return
        finally:
            inputs.topomap = now
        raise AssertionError("accepted")

    return check


def images(drawn: int, seed: int) -> Iterator[Case]:
    """Of ``augment``: the tests' bad and unusual arguments, and extreme parameters at random."""
    from tests.ops import test_augment_inputs as inputs
    from tests.ops.augment_cases import assert_same, in_float64, make

    def refused(changes: dict[str, Any]) -> Callable[..., None]:
        def check(function: Callable[..., Any]) -> None:
            try:
                inputs.call(function, **changes)
            except OperatorError:
                return
            raise AssertionError("accepted")

        return check

    def exact(tensors: Callable[[], tuple[Any, ...]], **options: Any) -> Callable[..., None]:
        def check(function: Callable[..., Any]) -> None:
            given = tensors()
            dtype = options["dtype"]
            about = {name: options[name] for name in ("size", "channels")}
            assert_same(function(*given, **options), in_float64(*given, **about), dtype)

        return check

    for changes, message in _parameters(inputs.test_refused_with_a_typed_error, "changes"):
        yield Case(f"augment, {message}: {str(changes)[:60]}", refused(changes))
    for change, *_ in _parameters(inputs.test_unusual_tensors, "change"):
        for dtype in FLOATS:
            three = exact(
                lambda change=change: change(*make((5, 12, 14), 8, batch=4)),
                size=8, channels=3, dtype=dtype,
            )  # fmt: skip
            yield Case(f"augment, unusual tensors, {dtype}", three)
    chance = random.Random(seed)
    for number in range(drawn):
        shape = chance.choice([(1, 12, 14), (1, 12, 14, 3), (1, 1, 1), (1, 70, 70, 3), (1, 3, 90)])
        row = [1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
        for at in chance.sample(range(12), chance.randint(1, 3)):
            row[at] = chance.choice(EXTREMES if at < 10 else BRIGHTNESS)
        size, colour = chance.choice([1, 8, 17]), len(shape) == 4

        def tensors(shape: Any = shape, row: Any = row, size: int = size) -> tuple[Any, ...]:
            params = torch.tensor([row], dtype=torch.float32)
            return make(shape, size)[0], torch.zeros(1, dtype=torch.int64), params

        check = exact(tensors, size=size, channels=3 if colour else 1, dtype=torch.float32)
        yield Case(f"augment, drawn {number}: {shape} {row}", check)


def _parameters(test: Any, names: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a test's table."""
    for mark in test.pytestmark:
        first = mark.args[0] if isinstance(mark.args[0], str) else mark.args[0][0]
        if mark.name == "parametrize" and first == names:
            for entry in mark.args[1]:
                values = entry.values if hasattr(entry, "values") else entry
                yield values if isinstance(values, tuple) else (values,)
