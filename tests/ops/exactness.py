"""Whether an operator is as exact as plain torch, in value and gradient."""

from dataclasses import dataclass
from typing import Any

import torch

from neurogaze_fast import ops, reference
from tests import tolerances

PROTO_OPTIONS = {"tau": 0.9, "variance_cap": 0.2, "margin": 0.5, "high_valence": (0, 2)}
LOGIT_OPTIONS = {"label_smoothing": 0.055, "kd": "kl", "temperature": 5.0}
WEIGHTS = (0.7, 0.9, 1.3)
"""Of the outputs in the scalar whose gradient is compared."""


@dataclass(frozen=True)
class Operator:
    name: str
    inputs: (
        Any  # (shape, dtype, seed) -> tuple of tensors, the first of them the differentiated one
    )
    options: Any  # shape -> keyword arguments
    magnitudes: Any  # shape -> of each output: of the numbers it is the difference of
    least_gradient: Any  # tensors -> what its largest entry is at least taken for

    def run(self, function, tensors, shape, weights=WEIGHTS, **changes):
        """Outputs and the gradient of their weighted sum with respect to the first tensor."""
        leaf = tensors[0].detach().clone().requires_grad_()
        outputs = function(leaf, *tensors[1:], **self.options(shape) | changes)
        loss = sum(w * x for w, x in zip(weights, outputs, strict=False))
        loss.backward()
        return [x.detach() for x in outputs], leaf.grad

    @property
    def native(self):
        return getattr(ops, self.name)

    @property
    def reference(self):
        return getattr(reference, self.name)


def proto_inputs(shape, dtype, seed=0, device="cpu"):
    """Features of a class, and all features, have something in common, so both D-Geo terms act."""
    batch, width, cells, classes = shape
    generator = torch.Generator().manual_seed(seed)

    def randn(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    labels = torch.randint(classes, (batch,), generator=generator)
    features = randn(batch, width) + 0.5 * randn(classes, width)[labels] + randn(width)
    targets = (3 * randn(batch, cells)).softmax(1)
    tensors = [x.to(device, dtype) for x in (features, randn(cells, width), targets)]
    return *tensors, labels.to(device)


def logit_inputs(shape, dtype, seed=0, device="cpu"):
    batch, classes = shape[:2]
    generator = torch.Generator().manual_seed(seed)

    def randn(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    logits, targets = 3 * randn(batch, classes), randn(batch, classes).softmax(1)
    weights = randn(classes).exp()
    teacher = logits + randn(batch, classes)
    return tuple(x.to(device, dtype) for x in (logits, targets, weights, teacher))


def proto_least_gradient(tensors):
    """A gradient is what is left beside the row itself: nothing, where there is one column."""
    features = tensors[0]
    norms = features.norm(dim=1).clamp_min(1e-12)
    return float(1 / norms.min() / len(features)) if features.shape[1] == 1 else 1e-30


PROTO = Operator(
    "proto_geo_loss",
    proto_inputs,
    lambda shape: (
        PROTO_OPTIONS
        | {"num_classes": shape[3], "high_valence": [c for c in (0, 2) if c < shape[3]]}
    ),
    lambda shape: (1.0, 1.0, 1.0),
    proto_least_gradient,
)
LOGIT = Operator(
    "logit_loss",
    logit_inputs,
    lambda shape: LOGIT_OPTIONS | {"kd": shape[2] if len(shape) > 2 else "kl"},
    lambda shape: (1.0, 1.0 if shape[2:] == ("mse",) else LOGIT_OPTIONS["temperature"] ** 2),
    lambda tensors: 1 / tensors[0].numel(),
)


def relative_errors(found, exact, magnitudes, least_gradient):
    """Of each output, then of the gradient."""
    (values, gradient), (exact_values, exact_gradient) = found, exact
    pairs = [*zip(values, exact_values, strict=True), (gradient, exact_gradient)]
    scales = [max(x.abs().item(), m) for x, m in zip(exact_values, magnitudes, strict=True)]
    scales.append(max(exact_gradient.abs().max().item(), least_gradient))
    return [
        (got.double() - want).abs().max().item() / scale
        for (got, want), scale in zip(pairs, scales, strict=True)
    ]


def errors_beside_torch(operator, shape, dtype, seeds=3, device="cpu", weights=WEIGHTS):
    """(native, torch, floor), each a list: the largest error over seeds of each output, gradient.

    What is exact to float64 is not to be had in torch; there the error of float32 is scaled down.
    """
    in_torch = torch.float32 if dtype == torch.float64 else dtype
    shrink = torch.finfo(dtype).eps / torch.finfo(in_torch).eps
    native, own = [], []
    for seed in range(seeds):
        for function, kind, errors in (
            (operator.native, dtype, native),
            (operator.reference, in_torch, own),
        ):
            tensors = operator.inputs(shape, kind, seed, device)
            wide = [x.double() if x.is_floating_point() else x for x in tensors]
            exact = operator.run(operator.reference, wide, shape, weights)
            found = operator.run(function, tensors, shape, weights)
            assert found[1].dtype == kind
            limits = operator.magnitudes(shape), operator.least_gradient(wide)
            errors.append(relative_errors(found, exact, *limits))
    own = [shrink * max(x) for x in zip(*own, strict=True)]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    floors = [tolerances.floor(wide)] * (len(own) - 1) + [tolerances.floor(dtype)]
    return [max(x) for x in zip(*native, strict=True)], own, floors


def assert_as_exact_as_torch(operator, shape, dtype, seeds=3, device="cpu"):
    for native, own, floor in zip(
        *errors_beside_torch(operator, shape, dtype, seeds, device), strict=True
    ):
        limit = tolerances.TIMES_TORCH * own + floor
        assert native <= limit, (operator.name, shape, dtype, f"{native:.3g} > {limit:.3g}")
