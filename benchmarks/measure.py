"""Rivals timed in turns in one process, so that a busy moment of the machine hits all of them."""

import functools
import statistics
import time
from pathlib import Path

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TURNS = 9
TURN_S = 0.03
"""Each rival runs for about this long in each turn, and at least once."""


def synchronise():
    """Wait for the device, where there is one to wait for."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(call, repeats):
    """Mean time of one of `repeats` calls."""
    synchronise()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronise()
    return (time.perf_counter() - begin) / repeats


def in_turns(rivals, turns=TURNS):
    """{name: [seconds of one call, a value per turn]} of {name: call}; each is warmed up first."""
    repeats = {}
    for name, call in rivals.items():
        call()
        repeats[name] = max(1, min(1000, int(TURN_S / max(seconds(call, 1), 1e-7))))
    times = {name: [] for name in rivals}
    for _ in range(turns):
        for name, call in rivals.items():
            times[name].append(seconds(call, repeats[name]))
    return times


def ratio(times, rival, ours="native"):
    """Median over turns of rival / ours."""
    pairs = zip(times[rival], times[ours], strict=True)
    return statistics.median(theirs / mine for theirs, mine in pairs)


def in_graph_seconds(call, replays=200):
    """Time of one replay of `call` captured in a CUDA graph, or None without CUDA."""
    if DEVICE != "cuda":
        return None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    return statistics.median(seconds(graph.replay, replays) for _ in range(TURNS))


@functools.cache
def copy_bandwidth():
    """Bytes a second of a large copy, read and written counted: the memory roofline."""
    source = torch.ones(1 << (28 if DEVICE == "cuda" else 24), device=DEVICE)
    target = torch.empty_like(source)
    best = min(in_turns({"copy": lambda: target.copy_(source)})["copy"])
    return 2 * source.nbytes / best


@functools.cache
def matmul_rate():
    """FLOP a second of a large bf16 matrix product: the compute roofline."""
    side = 8192 if DEVICE == "cuda" else 2048
    a = torch.ones(side, side, device=DEVICE, dtype=torch.bfloat16)
    best = min(in_turns({"product": lambda: a @ a})["product"])
    return 2 * side**3 / best


def compiled(function):
    """torch.compile for exactly the shapes of one case, its best case."""
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def record(benchmark, op, size, rivals, moved_bytes, turns=TURNS, **more):
    """Time rivals["native"] by pytest-benchmark and all rivals in turns; fill in a table's row.

    `rivals` needs "eager", "torch.compile" and "native"; `moved_bytes` is what must be read and
    written at least once.
    """
    times = in_turns(rivals, turns)
    benchmark.pedantic(rivals["native"], rounds=5, warmup_rounds=1)
    median = {name: statistics.median(values) for name, values in times.items()}
    graph = in_graph_seconds(rivals["native"]) if more.pop("capture", True) else None
    best = median["native"] if graph is None else graph
    benchmark.extra_info |= {
        "op": op,
        "size": size,
        "device": DEVICE,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "turns": turns,
        "us": {name: round(value * 1e6, 2) for name, value in median.items()},
        "in_graph_us": None if graph is None else round(graph * 1e6, 2),
        "times_eager": round(ratio(times, "eager"), 2),
        "times_compile": round(ratio(times, "torch.compile"), 2),
        "roofline_percent": round(100 * moved_bytes / copy_bandwidth() / best, 1),
        "copy_GB_per_s": round(copy_bandwidth() / 1e9, 1),
        "hardware": hardware(),
        **more,
    }


def hardware():
    """Name of the GPU, or of the processor."""
    if DEVICE == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'CPU'}, {torch.get_num_threads()} threads"
