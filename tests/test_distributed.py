"""Processes that train together do what one does alone, and lose nothing when one is killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from neurogaze_fast.artifacts import verified_open
from neurogaze_fast.distributed import World, synchronise_batch_norm
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import TrainConfig, train_config_from_json
from neurogaze_fast.train import after_restart

OPTIONS = ["--size", "16", "--batch-size", "16", "--device", "cpu", "--epochs", "3"]
LIMIT_S = 250


def launch(arguments, folder, processes=1, restarts=0):
    """A training as its own command: plain, or by torchrun."""
    start = ["-m", "neurogaze_fast.train"]
    if processes > 1:
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        start = [*run, "--max-restarts", str(restarts), *start]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(
        [sys.executable, *start, *arguments], cwd=folder, text=True, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out + errors
    return out


def history(folder):
    return json.loads((folder / "history.json").read_text())


def losses(folder):
    return np.array([list(entry["train"].values()) for entry in history(folder)])


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + LIMIT_S
    while not list((folder / "checkpoints").glob("last_*.manifest.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def together(small_set, tmp_path_factory):
    """The run of one process, and the same by two."""
    folder = tmp_path_factory.mktemp("together")
    finish(launch([*OPTIONS, "--data", str(small_set), "--out", "one"], folder))
    said = finish(launch([*OPTIONS, "--data", str(small_set), "--out", "two"], folder, 2))
    return folder, said


def test_two_processes_have_the_losses_of_one(small_set, tmp_path):
    """One step an epoch: rounding is all that differs, until Adam's early steps make it larger."""
    options = [*OPTIONS, "--batch-size", "80", "--data", str(small_set)]
    finish(launch([*options, "--out", "one"], tmp_path))
    finish(launch([*options, "--out", "two"], tmp_path, 2))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.shape == (3, 6)
    assert (one[:, 3:] > 0).all()
    for step, tolerance in enumerate([5e-6, 5e-4, 2e-2]):
        np.testing.assert_allclose(two[step], one[step], rtol=tolerance)


def test_the_first_process_alone_speaks_and_writes(together):
    folder, said = together
    assert said.count("Run folder: two") == 1
    assert "2 processes share each batch of 16" in said
    assert {p.name for p in (folder / "one").iterdir()} == {
        p.name for p in (folder / "two").iterdir()
    }


def test_a_run_of_two_processes_is_resumed_by_one(together, small_set, tmp_path):
    folder, _ = together
    options = [*OPTIONS, "--data", str(small_set), "--log-every", "1", "--out", "stopped"]
    options += ["--checkpoint-minutes", "0.0001"]
    process = launch(options, tmp_path, 2)
    wait_for_checkpoint(process, tmp_path / "stopped")
    process.send_signal(signal.SIGTERM)  # torchrun passes it on
    process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    finish(launch(["--resume", "stopped"], tmp_path))
    resumed, straight = losses(tmp_path / "stopped"), losses(folder / "two")
    np.testing.assert_allclose(resumed[:, 0], straight[:, 0], rtol=0.05)


def test_a_killed_process_is_replaced_and_the_run_goes_on(together, small_set, tmp_path):
    folder, _ = together
    options = [*OPTIONS, "--data", str(small_set), "--out", "killed"]
    process = launch([*options, "--checkpoint-minutes", "0.0001"], tmp_path, 2, restarts=1)
    wait_for_checkpoint(process, tmp_path / "killed")
    children = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out = finish(process)
    assert "Continuing killed from step" in out
    assert np.array_equal(losses(tmp_path / "killed"), losses(folder / "two"))
    models = [root / name / "model.safetensors" for root, name in
              ((tmp_path, "killed"), (folder, "two"))]  # fmt: skip
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_run_without_a_checkpoint_yet_is_started_again_by_several(together, tmp_path):
    folder, _ = together
    (tmp_path / "begun").mkdir()
    for name in ("config.json", "bank.safetensors", "bank.manifest.json"):
        shutil.copy(folder / "two" / name, tmp_path / "begun")
    recorded = train_config_from_json(tmp_path / "begun" / "config.json")
    again = replace(recorded, out=tmp_path / "begun")
    environment = {"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_RESTART_COUNT": "1"}
    assert after_restart(again, environment).resume == tmp_path / "begun"
    out = finish(launch(["--resume", "begun"], tmp_path, 2))
    assert "starting at step 0" in out
    models = [root / "model.safetensors" for root in (tmp_path / "begun", folder / "two")]
    weights = [verified_open(path)[0] for path in models]
    assert weights[0] == weights[1]


def test_a_killed_process_without_restarts_ends_with_a_clear_error(small_set, tmp_path):
    options = [*OPTIONS, "--epochs", "200", "--data", str(small_set), "--out", "lost"]
    process = launch([*options, "--checkpoint-minutes", "0.0001"], tmp_path, 2)
    wait_for_checkpoint(process, tmp_path / "lost")
    children = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors  # torchrun's own report
    assert not (tmp_path / "lost" / "model.safetensors").exists()
    assert list((tmp_path / "lost" / "checkpoints").glob("last_*.manifest.json"))


def test_an_existing_run_is_refused_once(together, small_set):
    folder, _ = together
    process = launch([*OPTIONS, "--data", str(small_set), "--out", "one"], folder, 2)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert errors.count("OutputExistsError: one exists and was left alone") == 1


def test_lost_contact_is_said_in_one_paragraph():
    world = World(1, 2, 1)
    error = world.blame(RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by x"))
    assert "Process 1 of 2 lost contact" in str(error)
    assert "--resume" in str(error)
    assert world.blame(RuntimeError("")) is None
    assert world.blame(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert World().blame(RuntimeError("gloo")) is None


@pytest.mark.parametrize(("size", "batch"), [(3, 16), (4, 2)])
def test_a_batch_that_cannot_be_shared_is_refused(size, batch):
    with pytest.raises(ConfigError, match=f"multiple of {size}"):
        World(0, size).share_batch(batch)


def test_a_restart_takes_up_its_own_run_only(together):
    folder, _ = together
    environment = {"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_RESTART_COUNT": "1"}
    recorded = train_config_from_json(folder / "two" / "config.json")
    again = replace(recorded, out=folder / "two")
    assert after_restart(again, environment).resume == folder / "two"
    assert after_restart(replace(again, epochs=7), environment).resume is None
    first = environment | {"TORCHELASTIC_RESTART_COUNT": "0"}
    assert after_restart(again, first).resume is None


def test_restarts_need_a_folder_to_find_again():
    with pytest.raises(ConfigError, match="Add --out RUN"):
        after_restart(TrainConfig(), {"TORCHELASTIC_MAX_RESTARTS": "3"})
    config = TrainConfig()
    assert after_restart(config, {}) is config


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _batch_norm(rank, size, port, result):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=size)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5))
    images = (torch.randn(6, 2, 7, 7) * 3 + 40).requires_grad_()
    weight = torch.randn(6, 5, 5, 5)
    synchronise_batch_norm(network)
    part = slice(2 * rank, 2 * rank + 2)
    (network(images)[...] * 0).sum()  # a first call on all, so that running statistics move twice
    network[1].reset_running_stats()
    loss = (network(images[part]) * weight[part]).sum()
    gradients = torch.autograd.grad(loss, [*network.parameters(), images])
    for value in gradients:
        dist.all_reduce(value)
    if rank == 0:
        torch.save([loss.detach(), *gradients, *network[1].buffers()], result)
    dist.destroy_process_group()


def test_shared_batch_norm_is_that_of_the_whole_batch(tmp_path):
    mp.spawn(_batch_norm, (3, free_port(), tmp_path / "result"), nprocs=3)
    got = torch.load(tmp_path / "result")[1:]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5))
    images = (torch.randn(6, 2, 7, 7) * 3 + 40).requires_grad_()
    weight = torch.randn(6, 5, 5, 5)
    loss = (network(images) * weight).sum()
    expected = [*torch.autograd.grad(loss, [*network.parameters(), images]), *network[1].buffers()]
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-4)


def _patient(rank, port, folder):
    """The first process is slower, whenever it is alone, than the group they compute in allows."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    meet, short = dist.init_process_group, timedelta(seconds=2)
    dist.init_process_group = lambda *args, **options: meet(*args, **options, timeout=short)
    world, cpu = World.from_environment(), torch.device("cpu")
    world.join(cpu)

    def slow():
        time.sleep(4)
        return {"accuracy": 0.5}

    seen = [world.once(slow), world.ahead(lambda: (rank or slow(), time.monotonic()))[1]]
    seen.append(world.broadcast("run" if world.first else None))
    seen.append(float(world.mean(torch.tensor(float(rank)))))  # in the group they compute in

    def failing():
        time.sleep(4)
        raise ConfigError("no")

    try:
        world.once(failing)
    except (ConfigError, SystemExit) as error:
        seen.append(repr(error))
    world.leave()
    torch.save(seen, folder / str(rank))


def test_processes_wait_for_what_one_does_alone_however_long(tmp_path):
    mp.spawn(_patient, (free_port(), tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / str(rank)) for rank in (0, 1))
    assert first[0] == second[0] == {"accuracy": 0.5}
    assert first[1] < second[1]  # the cache is filled before the others read
    assert first[2:4] == second[2:4] == ["run", 0.5]
    assert first[4] == "ConfigError('no')"
    assert second[4] == "SystemExit(2)"
