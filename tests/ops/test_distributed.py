"""Two processes whose hook adds class sums and counts: D-Geo is that of the whole batch.

The gradient. Each rank's loss is proto_r + cap + margin: proto_r the mean over its own rows, cap
and margin the same numbers everywhere, made from all rows. The backward of a differentiable
all_reduce adds the ranks' gradients, so each row receives d(cap + margin) once from each of the W
ranks: W times too much. DistributedDataParallel divides the sum over ranks by W: what is left is
d(cap + margin), and for proto the mean of the ranks' means, which is the mean over all rows where
ranks have equally many.
"""

import torch
import torch.distributed as dist
from torch import multiprocessing

from neurogaze_fast import ops, reference
from tests import tolerances
from tests.ops.exactness import PROTO_OPTIONS, proto_inputs

WORLD, ROWS, WIDTH = 2, 20, 12
# Classes 0 and 1 on the first rank alone, 4 and 5 on the second; of 2 and 3 one sample on each, so
# that only both together have the two that a class needs.
LABELS = [[0] * 11 + [1] * 7 + [2, 3], [4] * 3 + [5] * 15 + [2, 3]]
OPTIONS = PROTO_OPTIONS | {"high_valence": (2, 5), "margin": 0.9}


def batch():
    x, p, q, _ = proto_inputs((WORLD * ROWS, WIDTH, 5, 8), torch.float64)
    return x, p, q, torch.tensor(LABELS).flatten()


def losses(function, rows, theta, reduce=None):
    x, p, q, labels = batch()
    values = function(x[rows] @ theta, p, q[rows], labels[rows], **OPTIONS, reduce=reduce)
    sum(values).backward()
    return torch.stack(values).detach(), theta.grad


def start():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()


def add_up(sums, counts):
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(sums), all_reduce(counts)


def one_rank(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=WORLD)
    rows = slice(rank * ROWS, (rank + 1) * ROWS)
    values, gradient = losses(ops.proto_geo_loss, rows, start(), add_up)
    dist.all_reduce(gradient)
    torch.save({"values": values, "gradient": gradient / WORLD}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_terms_and_the_gradient_of_the_whole_batch(cpu, tmp_path):
    multiprocessing.spawn(one_rank, (tmp_path,), WORLD)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(WORLD)]
    limits = tolerances.same_formula(torch.float64)
    for function in (ops.proto_geo_loss, reference.proto_geo_loss):
        values, gradient = losses(function, slice(None), start())
        assert (values > 0).all()
        for rank in ranks:
            torch.testing.assert_close(rank["values"][1:], values[1:], **limits)
            torch.testing.assert_close(rank["gradient"], gradient, **limits)
        mean = sum(rank["values"][0] for rank in ranks) / WORLD
        torch.testing.assert_close(mean, values[0], **limits)


def test_processes_alone_would_give_something_else(cpu):
    apart, _ = losses(ops.proto_geo_loss, slice(0, ROWS), start())
    whole, _ = losses(ops.proto_geo_loss, slice(None), start())
    assert (apart[1:] - whole[1:]).abs().min() > 1e-3
