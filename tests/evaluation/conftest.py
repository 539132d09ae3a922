"""One small finished run for the tests that read runs back."""

import os
import shutil

import pytest

from neurogaze_fast import train as train_command


@pytest.fixture(scope="session")
def finished(small_set, tmp_path_factory):
    """A finished B3 run on the small set, without its checkpoints. Do not write to it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    quick = ["--epochs", "1", "--size", "16", "--batch-size", "16", "--threads", "1"]
    train_command.main([*quick, "--data", str(small_set), "--out", str(folder)])
    shutil.rmtree(folder / "checkpoints")
    shutil.rmtree(folder / "tensorboard")
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run to change; its large files are links, to be replaced and not written to."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, copy_function=os.link)
    for path in folder.glob("*.json"):
        if ".manifest" not in path.name:
            text = path.read_bytes()
            path.unlink()
            path.write_bytes(text)
    return folder
