"""How far a result may lie from the exact one: the one place such numbers are written.

An operator is compared with the float64 reference, and so is the same formula in plain torch with
the operator's own dtypes. The operator may be wrong by at most TIMES_TORCH times what torch is,
because it adds the same numbers in another order, plus a floor of a few units in the last place:
torch is sometimes exact by luck (a sum of two numbers, a loss of 0), which no other order of sums
can promise.

Errors are relative to the largest exact value of the tensor. A loss is the difference of numbers
near 1 (1 - cosine, log-probabilities), whose rounding remains where they cancel: its error is
relative to 1, that of "kl" to T^2, by which it multiplies such a difference.
"""

import torch

TIMES_TORCH = 2.0

FLOOR_ULPS = 8
"""Units in the last place of the dtype a result is stored in."""


def floor(dtype):
    return FLOOR_ULPS * torch.finfo(dtype).eps


def same_formula(dtype):
    """Two right ways to compute one thing in `dtype`, on a few dozen rows of values near 1."""
    eps = torch.finfo(dtype).eps
    return {"rtol": 64 * eps, "atol": 64 * eps, "equal_nan": True}
