"""K5: gradients and registration of the operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.scorecard.isolated import examples, verdicts
from benchmarks.scorecard.operator_cases import operators
from benchmarks.scorecard.row import Counted, row

SHAPES = 2_000
"""Drawn at random for the comparison with plain torch, at scale 1."""
MOST = 1e-6
"""Relative to the largest entry: a float64 gradient against the reference's."""
Check = tuple[str, Callable[[], None]]


def _differences(ops: Any) -> Iterator[Check]:
    """Finite differences of every operator in float64, and that a second derivative is refused."""
    import torch

    from neurogaze_fast.errors import OperatorError
    from tests.ops import exactness, test_topomap

    calls: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
    for kd in ("kl", "mse"):
        z, *rest = exactness.logit_inputs((7, 4), torch.float64)
        options = exactness.LOGIT_OPTIONS | {"kd": kd}
        calls[f"logit_loss, {kd}"] = (
            z, lambda x, r=rest, o=options: ops.logit_loss(x, *r, **o)
        )  # fmt: skip
    for seed in range(4):
        f, *rest = exactness.proto_inputs((6, 3, 4, 3), torch.float64, seed)
        options = exactness.PROTO_OPTIONS | {"num_classes": 3, "margin": 1.5}
        calls[f"proto_geo_loss, {seed}"] = (
            f, lambda x, r=rest, o=options: ops.proto_geo_loss(x, *r, **o)
        )  # fmt: skip
    operator = test_topomap.operator("dreamer", 8, extrapolate="local")
    for normalise in ("none", "zscore"):
        values = test_topomap.values_for(operator, 2, 2)
        calls[f"topomap, {normalise}"] = (
            values, lambda v, n=normalise: ops.topomap(v, operator, normalise=n)
        )  # fmt: skip

    def once(leaf: Any, call: Callable[[Any], Any]) -> None:
        x = leaf.detach().clone().requires_grad_()
        outputs = call(x)
        total = sum(outputs) if isinstance(outputs, tuple) else outputs.square().sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        try:
            gradient.square().sum().backward()
        except OperatorError:
            return
        raise AssertionError("a second derivative is given")

    def first(leaf: Any, call: Callable[[Any], Any]) -> None:
        if not torch.autograd.gradcheck(call, leaf.detach().clone().requires_grad_()):
            raise AssertionError("gradcheck fails")

    for name, (leaf, call) in calls.items():
        yield f"finite differences of {name}", lambda x=leaf, c=call: first(x, c)
        yield f"second derivative of {name}", lambda x=leaf, c=call: once(x, c)


def _registrations(namespace: Any) -> Iterator[Check]:
    """torch.library.opcheck of every raw operator."""
    import torch

    from tests.ops import augment_cases, test_raw_operators, test_topomap

    def check(name: str, arguments: tuple[Any, ...]) -> Check:
        operator = getattr(namespace, name).default
        return f"opcheck of {name}", lambda: torch.library.opcheck(operator, arguments) and None

    for shape in test_raw_operators.SHAPES:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            arguments = test_raw_operators.calls(namespace, shape, dtype)
            for name in test_raw_operators.NAMES:
                yield check(name, arguments[name])
    store, size = augment_cases.make((5, 12, 14), 8, batch=4), 8
    yield check("augment", (*store, size, 3, torch.bfloat16))
    operator = test_topomap.operator("dreamer", 8)
    t = operator.tensors("cpu", torch.float32)
    values = test_topomap.values_for(operator, 2, 3, torch.float32)
    tensors = (values, t.matrix, t.mask, t.mean, t.factor)
    for zscore in (False, True):
        yield check("topomap", (*tensors, True, zscore, torch.float16, zscore))


def _shapes(ops: Any, count: int) -> Iterator[Check]:
    """Values and gradients of shapes at random against plain torch, in float64."""
    import random

    import torch

    from tests.ops.exactness import LOGIT, PROTO

    def near(name: str, one: Any, shape: tuple[Any, ...], seed: int) -> Check:
        def check() -> None:
            tensors = one.inputs(shape, torch.float64, seed)
            found = one.run(getattr(ops, one.name), tensors, shape)
            exact = one.run(one.reference, tensors, shape)
            wide = zip([*found[0], found[1]], [*exact[0], exact[1]], strict=True)
            scales = [*one.magnitudes(shape), one.least_gradient(tensors)]
            for (got, want), least in zip(wide, scales, strict=True):
                scale = max(float(want.abs().max()), least)
                error = float((got - want).abs().max()) / scale
                if not error <= MOST:
                    raise AssertionError(f"{error:.2g} of the largest entry off")

        return f"{name} of {shape}", check

    chance = random.Random(4)
    for seed in range(count):
        if seed % 2:
            shape = (chance.randint(1, 200), chance.randint(1, 40), chance.choice(("kl", "mse")))
            yield near("logit_loss", LOGIT, shape, seed)
        else:
            most = (90, 130, 60, 32)
            yield near("proto_geo_loss", PROTO, tuple(chance.randint(1, n) for n in most), seed)


def _checked(checks: list[Check]) -> Counted:
    def judge(number: int) -> str | None:
        checks[number][1]()
        return None

    found = verdicts(len(checks), judge)
    failures = sum(text is not None for text in found)
    kinds = [name.partition(" of ")[0] for name, _ in checks]
    by_kind = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return Counted(
        len(checks), failures,
        ", ".join(f"{count} {kind}" for kind, count in by_kind.items()),
        {"failed": examples(found, [name for name, _ in checks])},
    )  # fmt: skip


def canary_k5(folder: Path) -> Counted:
    """Gradients that are a hundredth too large, and a shape function that is wrong."""
    import torch

    ops = operators()

    class Larger(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 1.01

    class Planted:
        def __getattr__(self, name: str) -> Any:
            return lambda leaf, *rest, **options: getattr(ops, name)(
                Larger.apply(leaf), *rest, **options
            )

    library = torch.library.Library("neurogaze_planted", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: torch.cat((x, x)), "CPU")
    torch.library.register_fake("neurogaze_planted::twice", lambda x: x.new_empty(x.shape))
    planted = torch.ops.neurogaze_planted.twice.default
    wrong = ("opcheck of twice", lambda: torch.library.opcheck(planted, (torch.ones(3),)) and None)
    checks = [c for c in _differences(Planted()) if c[0].startswith("finite")]
    found = _checked([*checks, *_shapes(Planted(), 40), wrong])
    del library
    return Counted(found.n, found.failures, found.figure, found.details, needed=found.n)


@row(
    "K5",
    "gradients against finite differences and plain torch, and what torch.compile is told of "
    "every operator",
    f"float64 within {MOST:g} of plain torch's; no second derivative without an error; "
    "torch.library.opcheck passes",
    canary_k5,
)
def k5(folder: Path, scale: float) -> Counted:
    """Every operator by finite differences and opcheck, and 2,000 shapes."""
    ops = operators()
    import torch

    raw = torch.ops.neurogaze_fast
    return _checked(
        [*_differences(ops), *_registrations(raw), *_shapes(ops, round(SHAPES * scale))]
    )
