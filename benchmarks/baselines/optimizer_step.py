"""The fastest torch there is for one step: its fused AdamW, clipping, and a foreach average."""

from torch import nn
from torch.optim import AdamW

from neurogaze_fast.reference.optimizer_step import move_towards


def fused(parameters, rate):
    """torch's fused AdamW with weight decay, as training loops make it."""
    return AdamW(parameters, lr=rate, weight_decay=0.05, fused=True)


def step(optimizer, parameters, clip):
    """Clip the gradients and step."""
    nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def follow(averages, parameters, share):
    """Move the averages towards the weights."""
    move_towards(averages, parameters, share)
