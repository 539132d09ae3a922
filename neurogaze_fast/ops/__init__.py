"""The operators a program calls: native where built, otherwise the reference, same results."""

from neurogaze_fast.ops.augment import augment
from neurogaze_fast.ops.conv3x3 import conv3x3
from neurogaze_fast.ops.logit_loss import logit_loss
from neurogaze_fast.ops.optimizer_step import gradient_norm, optimizer_step
from neurogaze_fast.ops.proto_geo_loss import proto_geo_loss
from neurogaze_fast.ops.topomap import topomap

__all__ = [
    "augment",
    "conv3x3",
    "gradient_norm",
    "logit_loss",
    "optimizer_step",
    "proto_geo_loss",
    "topomap",
]
