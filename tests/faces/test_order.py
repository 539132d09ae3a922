"""The order's promises: it depends on (seed, epoch) alone, and processes share each batch."""

import pytest
import torch

from neurogaze_fast.faces.order import EpochOrder


def test_rows_are_each_seen_once_and_the_partial_batch_is_left_out():
    order = EpochOrder(120, 50, seed=3)
    seen = order.local(0).flatten()
    assert len(order) == 2
    assert len(seen.unique()) == len(seen) == 100
    assert torch.equal(order.batch_rows(0, 1), seen[50:])


def test_other_rows_are_left_out_in_other_epochs():
    order = EpochOrder(120, 50, seed=3)
    assert set(order.local(0).flatten().tolist()) != set(order.local(1).flatten().tolist())


def test_a_set_smaller_than_a_batch_is_one_batch():
    order = EpochOrder(5, 128, seed=0)
    assert (len(order), order.global_batch, order.local_batch) == (1, 5, 5)
    shared = EpochOrder(5, 128, seed=0, rank=1, world=2)
    assert (len(shared), shared.global_batch, shared.local_batch) == (1, 4, 2)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_the_batches_of_one_process(world):
    alone = EpochOrder(203, 24, seed=7)
    parts = [EpochOrder(203, 24, seed=7, rank=rank, world=world) for rank in range(world)]
    for epoch in range(2):
        for batch in range(len(alone)):
            together = torch.cat([part.batch_rows(epoch, batch) for part in parts])
            assert torch.equal(together, alone.batch_rows(epoch, batch))
            assert torch.equal(parts[-1].global_rows(epoch, batch), together)
        assert torch.equal(parts[0].local(epoch, 3), parts[0].local(epoch)[3:])


def test_seeds_and_epochs_differ():
    first = EpochOrder(64, 8, seed=1).local(0)
    assert not torch.equal(first, EpochOrder(64, 8, seed=2).local(0))
    assert not torch.equal(first, EpochOrder(64, 8, seed=1).local(1))
