"""TensorRT and a GPU as far as TensorRTEngine sees them, on the CPU's own memory.

A captured graph records what a step would do and does it when it is replayed, as CUDA does; an
execution context reads and writes the addresses it was given.
"""

import ctypes
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neurogaze_fast.deploy.engines import tensorrt_engine
from neurogaze_fast.deploy.engines.tensorrt_build import Library

DECLARED = 64
"""Bytes of scratch memory that the fake engine says it needs."""


class Gpu:
    """What a test sets and looks at: which captures fail, what is recorded, what ran."""

    def __init__(self):
        self.recording = None
        self.ran = []
        """("context" or "graph", batch) of each execution outside a capture."""
        self.uncapturable = {}
        """Batch -> the exception that ends its capture."""
        self.profile_bytes = (DECLARED,) * 4
        self.broken_after_capture = False

    def library(self, **changes):
        """TensorRT as a module; `changes` replace parts of it, or with None leave them out."""
        parts = {
            "__version__": "10.9.0",
            "ILogger": Logger,
            "Runtime": lambda log: SimpleNamespace(
                deserialize_cuda_engine=lambda data: FakeEngine(self, log)
            ),
            "ExecutionContextAllocationStrategy": SimpleNamespace(USER_MANAGED="given"),
        } | changes
        return SimpleNamespace(**{k: v for k, v in parts.items() if v is not None})

    def open(self, graph, **changes):
        return tensorrt_engine.TensorRTEngine(Library("tensorrt", self.library(**changes)), graph)

    def installed(self, monkeypatch):
        """Let tensorrt_engine find this GPU."""
        stream = SimpleNamespace(cuda_stream=7, wait_stream=lambda _: None, synchronize=int)
        cuda = SimpleNamespace(
            is_available=lambda: True,
            current_device=lambda: 0,
            get_device_name=lambda *_: "Imaginary",
            current_stream=lambda *_: stream,
            Stream=lambda *_: stream,
            stream=lambda _: nullcontext(),
            CUDAGraph=lambda: FakeGraph(self),
            graph=self.capture,
        )
        monkeypatch.setattr(tensorrt_engine, "torch", Torch(cuda))
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        monkeypatch.setattr(tensorrt_engine, "built_engine", lambda *_: (b"plan", "x.engine", ""))
        return self

    @contextmanager
    def capture(self, graph, **_):
        self.recording = graph.done
        try:
            with Recorder(graph.done):
                yield
        finally:
            self.recording = None


class Torch:
    """torch, whose CUDA device is the CPU."""

    def __init__(self, cuda):
        self.cuda, self.device = cuda, lambda *_: torch.device("cpu")

    def __getattr__(self, name):
        return getattr(torch, name)


class Recorder(TorchDispatchMode):
    """Keeps torch's operations for later and does none of them."""

    def __init__(self, done):
        super().__init__()
        self.done = done

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.done.append(lambda: function(*args, **(kwargs or {})))
        return args[0]


class FakeGraph:
    def __init__(self, gpu):
        self.gpu, self.done = gpu, []

    def replay(self):
        for act in self.done:
            act()
        _, batch = self.gpu.ran[-1]
        self.gpu.ran[-1] = ("graph", batch)


class Logger:
    ERROR, INTERNAL_ERROR = "error", "internal error"


class FakeEngine:
    """Probabilities that tell which face they are of: its mean grey over 255, times 1..8."""

    device_memory_size_v2 = DECLARED

    def __init__(self, gpu, log):
        self.gpu, self.log = gpu, log

    def get_device_memory_size_for_profile_v2(self, profile):
        return self.gpu.profile_bytes[profile]

    def create_execution_context(self, given):
        assert given == "given"
        return FakeContext(self.gpu, self.log)


class FakeContext:
    def __init__(self, gpu, log):
        self.gpu, self.log, self.at = gpu, log, {}

    def set_optimization_profile_async(self, profile, stream):
        self.profile = profile
        return stream == 7

    def set_device_memory(self, address, size):
        self.memory = address, size

    def set_input_shape(self, name, shape):
        self.batch, self.pixels = shape[0], int(np.prod(shape))
        return True

    def set_tensor_address(self, name, address):
        self.at[name] = address
        return True

    def execute_async_v3(self, stream):
        if self.gpu.recording is None:
            return self.run()
        if self.batch in self.gpu.uncapturable:
            raise self.gpu.uncapturable[self.batch]
        self.gpu.recording.append(self.run)
        return True

    def run(self):
        needed = self.gpu.profile_bytes[self.profile]
        if self.memory[1] < needed:
            self.log.log("error", f"needs {needed} bytes and was given {self.memory[1]}")
            return False
        ctypes.memset(self.memory[0], 0xFF, needed)  # scratch memory, whoever else uses it
        images = view(self.at["images"], ctypes.c_uint8, self.pixels).reshape(self.batch, -1)
        grey = images.mean(1, dtype=np.float64) / 255
        view(self.at["probabilities"], ctypes.c_float, self.batch * 8)[:] = np.outer(
            grey, np.arange(1, 9)
        ).ravel()
        view(self.at["valence_arousal"], ctypes.c_float, self.batch * 2)[:] = np.outer(
            grey, (1, -1)
        ).ravel()
        self.gpu.ran.append(("context", self.batch))
        return True


def view(address, kind, count):
    return np.ctypeslib.as_array((kind * count).from_address(address))
