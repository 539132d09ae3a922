"""Plain-torch definitions of every operator: the documentation and the tests' truth.

Each works on any device and dtype, accumulates in float32 (float64 for float64 input), and is what
runs where no native operator is built.
"""

from neurogaze_fast.reference.augment import augment, augment_params
from neurogaze_fast.reference.conv3x3 import conv3x3
from neurogaze_fast.reference.logit_loss import logit_loss
from neurogaze_fast.reference.optimizer_step import gradient_norm, optimizer_step
from neurogaze_fast.reference.proto_geo_loss import proto_geo_loss
from neurogaze_fast.reference.topomap import topomap

__all__ = [
    "augment",
    "augment_params",
    "conv3x3",
    "gradient_norm",
    "logit_loss",
    "optimizer_step",
    "proto_geo_loss",
    "topomap",
]
