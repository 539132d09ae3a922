"""optimizer_step beside torch's fused AdamW with clipping and an average, eager and compiled.

Also what the network would gain from bf16 weights of its own, which would save autocast's casts.

    python -m pytest benchmarks/bench_optimizer_step.py -s
"""

import statistics
import time

import pytest
import torch
from torch import nn

from benchmarks.baselines import optimizer_step as baseline
from benchmarks.measure import DEVICE, compiled, record, synchronise
from neurogaze_fast.student.networks import build_student
from neurogaze_fast.training.optimizer import adamw

CLIP, RATE, SHARE = 1.0, 1e-4, 1e-3


class Side:
    """One network's parameters with gradients, and their averages."""

    def __init__(self, name, make):
        torch.manual_seed(0)
        network = build_student(name, stem="small").to(DEVICE)
        self.parameters = list(network.to(memory_format=torch.channels_last).parameters())
        for p in self.parameters:
            p.grad = torch.randn_like(p)
        self.averages = {p: p.detach().clone() for p in self.parameters}
        self.share = torch.full((), SHARE, device=DEVICE)
        self.optimizer = make(self.parameters)


def ours(parameters):
    rate = torch.full((), RATE, device=DEVICE)
    return adamw(parameters, learning_rate=rate, weight_decay=0.05, capturable=DEVICE == "cuda")


@pytest.mark.benchmark(group="optimizer_step")
@pytest.mark.parametrize("average", [False, True], ids=["", "average"])
@pytest.mark.parametrize("name", ["compact", "resnet18"])
def test_step(benchmark, name, average):
    torch_s, native = (Side(name, make) for make in (lambda p: baseline.fused(p, RATE), ours))

    def eager(side=torch_s):
        baseline.step(side.optimizer, side.parameters, CLIP)
        if average:
            weights = [p.detach() for p in side.parameters]
            baseline.follow(list(side.averages.values()), weights, side.share)

    def own():
        native.optimizer.gradient_norm(CLIP)
        if average:
            native.optimizer.lead(native.averages, native.share)
        native.optimizer.step()

    other = Side(name, lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.05, foreach=True))
    quick = compiled(lambda: eager(other))
    rivals = {"eager": eager, "torch.compile": quick, "native": own}
    count = sum(p.numel() for p in native.parameters)
    moved = count * 4 * (8 + 2 * average)  # the gradient twice; weights and moments in and out
    shape = f"{name}, {count / 1e6:.2f} M{', average' if average else ''}, f32"
    record(benchmark, "optimizer_step", shape, rivals, moved)


@pytest.mark.timeout(900)
@pytest.mark.skipif(DEVICE != "cpu", reason="on a GPU casts are hidden in the graph")
@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", ["compact", "resnet18"])
def test_network_on_bf16_weights(benchmark, name, size):
    """Forward and backward under autocast, which casts each weight once a step, and without."""

    def network(bf16):
        torch.manual_seed(0)
        made = build_student(name, stem="small").to(memory_format=torch.channels_last).train()
        for module in made.modules() if bf16 else ():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
        return made

    networks = {"f32 weights": network(False), "bf16 weights": network(True)}
    channels = networks["f32 weights"].channels
    images = torch.randn(64, channels, size, size).to(torch.bfloat16)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(64) % 8

    def step(made):
        made.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            _, logits = made(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()

    seconds = {key: [] for key in networks}

    def turn():
        for key, made in networks.items():
            synchronise()
            began = time.process_time()
            step(made)
            seconds[key].append(time.process_time() - began)

    turn()
    for values in seconds.values():
        values.clear()
    benchmark.pedantic(turn, rounds=9, iterations=1)
    pairs = zip(seconds["f32 weights"], seconds["bf16 weights"], strict=True)
    benchmark.extra_info |= {
        "size": f"{name}, {size} px, batch 64",
        "processor_ms": {k: round(1e3 * statistics.median(v), 1) for k, v in seconds.items()},
        "times": round(statistics.median(a / b for a, b in pairs), 3),
    }
