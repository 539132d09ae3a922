"""The decoders that the tests of loaders, shards and streams ask for pixels."""

import pytest
import torch

from neurogaze_fast.faces.dali_decoder import DaliDecoder

CPU = torch.device("cpu")


def dali(threads=1):
    """DALI on the CPU; the test is skipped where it is not installed."""
    pytest.importorskip("nvidia.dali.fn", exc_type=ImportError)
    return DaliDecoder(CPU, threads=threads)
