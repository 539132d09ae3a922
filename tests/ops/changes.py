"""Changes of an operator's arguments: functions of the dict of arguments to those that change."""

import torch


def filled(name, value, where=...):
    def change(arguments):
        tensor = arguments[name].clone()
        tensor[where] = value
        return {name: tensor}

    return change


def mapped(name, function):
    return lambda arguments: {name: function(arguments[name])}


def option(**values):
    return lambda arguments: values


def cast(**dtypes):
    return lambda arguments: {name: arguments[name].to(dtype) for name, dtype in dtypes.items()}


def several(*changes):
    def change(arguments):
        for one in changes:
            arguments = arguments | one(arguments)
        return arguments

    return change


def shifted(tensor):
    """The same values one element into a buffer: the address is no multiple of 16."""
    return torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)


def strided(tensor):
    return tensor.repeat_interleave(2, -1)[..., ::2]


def transposed(tensor):
    return tensor.T.contiguous().T


def every(function, names):
    return lambda arguments: {name: function(arguments[name]) for name in names}
