"""Runs operators of a library over odd shapes and layouts: a process of its own, for sanitizers.

    python -m tests.native.exercise

reads runs from standard input, one line of JSON each: the library, its kind ("cpu" or "emulated"),
the names of operators, variables of the environment, and a file for what the run says. It answers
each with its exit code. A run is a fork, because loading torch takes longer than most of them.

Every tensor has memory of its own, as small as it can be, so that a read past its end is seen.
"""

import importlib
import json
import os
import sys
import traceback

import numpy as np
import torch

from neurogaze_fast import ops
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.ops import _library
from neurogaze_fast.reference import augment_params
from neurogaze_fast.reference.augment import Augmentation
from tests.ops.exactness import LOGIT, PROTO, PROTO_OPTIONS

SHAPES = [
    (1, 1, 1, 1), (2, 3, 2, 2), (7, 31, 25, 8), (9, 32, 31, 8), (16, 33, 32, 5), (17, 64, 33, 8),
    (8, 96, 5, 8), (33, 127, 40, 12), (16, 128, 2, 32), (5, 160, 100, 3), (65, 8, 3, 7),
    (24, 512, 25, 8), (2, 20, 256, 1),
]  # fmt: skip
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
UNUSUAL = (float("nan"), float("inf"), 1e30, 1e-40, 0.0)


def proto_geo_loss(kind):
    for shape in SHAPES:
        for dtype in DTYPES:
            tensors = PROTO.inputs(shape, dtype)
            PROTO.run(ops.proto_geo_loss, tensors, shape)
            PROTO.run(ops.proto_geo_loss, tensors, shape, reduce=lambda s, c: (s, c))
            shifted = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in tensors]
            ops.proto_geo_loss(*shifted, **PROTO.options(shape))
    f, p, q, labels = PROTO.inputs((20, 6, 5, 8), torch.float32)
    for bad in (-1, 8, 2**62, -(2**62)):
        labels[7] = bad
        f.requires_grad_()
        try:
            sum(ops.proto_geo_loss(f, p, q, labels, **PROTO_OPTIONS)).backward()
            assert kind == "emulated"
        except ValueError:
            assert kind == "cpu"
    for value in UNUSUAL:
        tensors = list(PROTO.inputs((9, 6, 5, 8), torch.float32))
        tensors[0][2] = value
        PROTO.run(ops.proto_geo_loss, tensors, (9, 6, 5, 8))


def logit_loss(kind):
    for batch, _, _, classes in SHAPES:
        for dtype in DTYPES:
            for kd in ("kl", "mse"):
                shape = (batch, classes, kd)
                LOGIT.run(ops.logit_loss, LOGIT.inputs(shape, dtype), shape)
    for value in UNUSUAL:
        tensors = [x.clone() for x in LOGIT.inputs((19, 8), torch.float32)]
        tensors[0][2, 3] = tensors[3][4, 5] = value
        LOGIT.run(ops.logit_loss, tensors, (19, 8))


def topomap(kind):
    for channels, size in ((4, 3), (14, 8), (33, 9), (32, 16), (70, 5)):
        positions = 0.08 * (np.random.default_rng(0).random((channels, 2)) - 0.5)
        operator = TopomapOperator.from_positions(positions, size)
        for windows, features in ((1, 1), (3, 3), (13, 4), (17, 5)):
            for dtype in (torch.float64, torch.float32):
                values = torch.randn(windows, features, channels).to(dtype)
                for out in (torch.float32, torch.float16):
                    for last in (False, True):
                        options = {"normalise": "zscore", "dtype": out, "channels_last": last}
                        made = ops.topomap(values, operator, **options)
                        layout = torch.channels_last if last else torch.contiguous_format
                        made = torch.empty_like(made, memory_format=layout)
                        ops.topomap(values, operator, **options, out=made)

    if kind == "cpu":  # more than caches hold
        positions = 0.08 * (np.random.default_rng(0).random((4, 2)) - 0.5)
        operator = TopomapOperator.from_positions(positions, 32)
        values = torch.randn(6201, 1, 4)
        ops.topomap(values, operator, out=torch.empty(6201, 1, 32, 32))


def optimizer_step(kind):
    for shapes in ([(1,)], [(3, 5), (0, 4), (16384,), (2, 3, 3, 3)], [(7,)] * 50, [(16401,)]):
        weights, gradients, means, averages = (
            [torch.randn(shape) for shape in shapes] for _ in range(4)
        )
        squares = [mean.square() for mean in means]
        steps = [torch.zeros(()) for _ in shapes]
        for value in (1.0, *UNUSUAL):
            gradients[-1][0] = value
            norm = ops.gradient_norm(gradients)
            bad = (~norm.isfinite()).float()
            for averaged in (averages, [None] * len(shapes)):
                ops.optimizer_step(
                    weights, gradients, means, squares, steps, averaged, rate=1e-2, norm=norm,
                    clip=1.0, skip=bad, follow=torch.full((), 0.1),
                )  # fmt: skip


def conv3x3(kind):
    for shape in ((1, 32, 32, 1, 1), (2, 32, 64, 5, 4), (3, 64, 32, 7, 9), (5, 32, 32, 33, 31)):
        batch, channels, out, height, width = shape
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(batch, channels, height, width).to(torch.bfloat16, memory_format=layout)
            x[-1, -1, -1, -1] = float("inf")
            weight = torch.randn(out, channels, 3, 3).contiguous(memory_format=layout)
            for tensor in (x, weight):
                tensor.requires_grad_()
            ops.conv3x3(x, weight).float().sum().backward()


def augment(kind):
    ranges = Augmentation(rotation=90, scale=0.5, shift=0.9, cutout=1.5)
    for shape in ((3, 1, 1), (5, 48, 48), (2, 7, 13), (3, 20, 20, 3), (2, 300, 310)):
        store = torch.randint(0, 256, shape, dtype=torch.uint8)
        for size in (1, 5, 16, 33, 48):
            index = torch.arange(shape[0]).repeat(2)
            params = augment_params(
                index, seed=0, epoch=0, source=shape[1:3], size=size, augmentation=ranges
            )
            for row, value in enumerate((float("nan"), float("inf"), -1e30)):
                params[row % len(params), 2 + row] = value
            for dtype in (torch.float32, torch.bfloat16):
                for channels in (3,) if len(shape) == 4 else (1, 3):
                    ops.augment(store, index, params, size=size, channels=channels, dtype=dtype)


def run(library, kind, operators):
    torch.ops.load_library(library)
    _library.native = lambda device: True
    if kind == "emulated":
        _library.define("neurogaze_emulated")
        _library.operators = lambda: torch.ops.neurogaze_emulated
        module = importlib.import_module("neurogaze_fast.ops.proto_geo_loss")
        split = module.rows_per_sum
        module.rows_per_sum = lambda batch, device: split(batch, "cuda")
    for name in operators:
        globals()[name](kind)
    print("clean", flush=True)


def main():
    for line in sys.stdin:
        library, kind, operators, environment, said = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(file, 1)
                os.dup2(file, 2)
                os.environ.update(environment)
                run(library, kind, operators)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
