"""What a call does, for comparison with what the reference does: values, gradient, or an error."""

import torch

from tests import tolerances


def outcome(function, arguments, leaf):
    """(type of the error, None) or (None, (outputs, gradient with respect to `leaf`))."""
    arguments = dict(arguments)
    given = arguments[leaf]
    differentiable = torch.is_tensor(given) and given.is_floating_point()
    if differentiable:
        # A view of the same memory with the same strides, so that layout reaches the operator.
        arguments[leaf] = given.detach().requires_grad_()
    try:
        outputs = function(**arguments)
        sum(outputs).backward()
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        return type(error), None
    return None, ([x.detach() for x in outputs], arguments[leaf].grad)


def assert_same_outcome(native, reference, arguments, leaf):
    """The same error, or the same values and gradient, NaN and infinities in the same places."""
    wanted_error, want = outcome(reference, arguments, leaf)
    got_error, got = outcome(native, arguments, leaf)
    assert got_error is wanted_error, (got_error, got)
    if want is not None:
        (values, gradient), (wanted_values, wanted_gradient) = got, want
        for value, wanted in zip(values, wanted_values, strict=True):
            torch.testing.assert_close(value, wanted, **tolerances.same_formula(value.dtype))
        assert gradient.dtype == wanted_gradient.dtype
        finite = torch.isfinite(wanted_gradient).all()
        if finite:
            scale = max([1.0, *wanted_gradient.abs().flatten().tolist()])
            limits = tolerances.same_formula(gradient.dtype)
            limits["atol"] *= scale
            torch.testing.assert_close(gradient, wanted_gradient, **limits)
        else:  # a step is skipped if any entry is not finite; which ones are is no promise
            assert not torch.isfinite(gradient).all()
