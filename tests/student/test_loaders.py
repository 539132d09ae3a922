"""Every loader gives the same training; the choice is made by what fits, and said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces import loaders
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.shards import read_shards
from neurogaze_fast.faces.write_shards import write_shards
from neurogaze_fast.training.checkpoint import newest_checkpoint
from tests.student.trainers import differences, make, stop_after

CPU = torch.device("cpu")
LOADERS = ["resident", "torch", "dali"]


@pytest.fixture(scope="module")
def pixels(small_set):
    return load_faces("ferplus", small_set)


@pytest.fixture(scope="module")
def shards(pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "set"
    write_shards(pixels, folder)
    return read_shards(folder)


class Damaged:
    """A source one of whose images is cut in half."""

    def __init__(self, source, position):
        self.source, self.position = source, position

    def read(self, position):
        data = self.source.read(position)
        return data[: len(data) // 2] if position == self.position else data

    def where(self, position):
        return self.source.where(position)


def need(loader):
    if loader == "dali":
        pytest.importorskip("nvidia.dali")


@pytest.fixture(scope="module")
def expected(pixels, tmp_path_factory):
    trainer = make(pixels, tmp_path_factory.mktemp("pixels"))
    trainer.fit()
    return trainer.state_dict()


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_trains_bit_for_bit_alike(shards, tmp_path, expected, loader):
    """PNG files decode to the very pixels, and everything after that is the same operator."""
    need(loader)
    assert isinstance(shards["train"], EncodedSplit)
    trainer = make(shards, tmp_path, loader=loader, workers=1)
    trainer.fit()
    state = trainer.state_dict()
    state["loader"] = expected["loader"]  # which images were damaged: none
    assert differences(expected, state) == []


@pytest.mark.parametrize("loader", ["torch", "dali"])
def test_a_streamed_run_is_taken_up_bit_for_bit(shards, tmp_path, expected, loader):
    need(loader)
    stop_after(make(shards, tmp_path, loader=loader, workers=1), 7)
    state, path, _ = newest_checkpoint(tmp_path, "last")
    resumed = make(shards, tmp_path, loader=loader, workers=1)
    resumed.load_state_dict(state, str(path))
    resumed.fit()
    assert differences(expected["step"], resumed.state_dict()["step"]) == []


@pytest.mark.parametrize("loader", LOADERS)
def test_a_damaged_image_does_not_end_a_run(shards, tmp_path, loader):
    need(loader)
    train = shards["train"]
    broken = replace(train, source=Damaged(train.source, int(train.positions[5])))
    said = []
    order = EpochOrder(len(broken), 16, seed=0)
    loader = loaders.open_loader(loader, broken, order, CPU, said.append, workers=1)
    shown = torch.cat([p.rows for epoch in range(2) for p in loader.epoch(epoch)])
    loader.close()
    assert 5 not in shown
    assert len(shown) == 160
    assert len(said) == 1
    assert str(train.names[5]) in said[0]


def test_auto_streams_what_does_not_fit(shards, monkeypatch):
    order = EpochOrder(len(shards["train"]), 16, seed=0)
    fits = loaders.open_loader("auto", shards["train"], order, CPU, print, workers=1)
    assert fits.reason.startswith("resident (184 kB fit in")
    monkeypatch.setattr(loaders, "free_memory", lambda device: 300_000)
    streamed = loaders.open_loader("auto", shards["train"], order, CPU, print, workers=1)
    assert "184 kB are more than half of the 300 kB free on cpu" in streamed.reason
    assert streamed.source == (48, 48)

    def no_nvidia_package(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(loaders.importlib.util, "find_spec", no_nvidia_package)
    without_dali = loaders.open_loader("auto", shards["train"], order, CPU, print, workers=1)
    assert without_dali.reason.startswith("torch, 1 worker (")


@pytest.mark.parametrize("loader", ["dali", "torch"])
def test_pixels_cannot_be_decoded(pixels, loader):
    order = EpochOrder(80, 16, seed=0)
    with pytest.raises(ConfigError, match="prepare shards"):
        loaders.open_loader(loader, pixels["train"].images, order, CPU, print)


def test_a_trainer_names_rows_of_an_encoded_set(shards, tmp_path):
    trainer = make(shards, tmp_path, loader="torch", workers=1)
    first = int(trainer.order.global_rows(0, 0)[0])
    assert f"{shards['train'].rows[first]} ({shards['train'].names[first]})" in (
        trainer._name_batch(0)
    )
    assert np.array_equal(trainer.rows.source_rows, shards["train"].rows)
