"""What must hold on a CUDA device; run with ``make gpu``."""

import numpy as np
import pytest
import torch

from neurogaze_fast.student.inference import predict_logits
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.train import train
from tests.test_commands import QUICK

pytestmark = pytest.mark.gpu


def test_logits_agree_with_the_cpu(drawn):
    model = ResNet().eval().to(memory_format=torch.channels_last)
    expected = predict_logits(model, drawn[0], size=48, device=torch.device("cpu"))
    model = model.cuda()
    got = predict_logits(model, drawn[0], size=48, device=torch.device("cuda"))
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)  # cuDNN may use TF32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_deterministic_run_repeats_bitwise(small_set, tmp_path, precision):
    from neurogaze_fast.train import parse

    models = []
    for number in range(2):
        out = tmp_path / str(number)
        options = ["--amp-dtype", precision, "--deterministic", "--device", "cuda"]
        train(parse([*QUICK, *options, "--data", str(small_set), "--out", str(out)]))
        models.append((out / "model.safetensors").read_bytes())
    assert models[0] == models[1]
