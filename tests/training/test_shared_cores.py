"""A run whose cores are taken by others is told so once, and one that is merely slow is not."""

import pytest

from neurogaze_fast.training.shared_cores import EVERY_S, WARM_UP, WINDOW, SharedCores


class Machine:
    """A clock that moves with the steps, and a load average."""

    def __init__(self, threads=2, load=1.5):
        self.now, self.load, self.said = 0.0, load, []
        self.watch = SharedCores(
            self.said.append, threads=threads, cores=2, clock=lambda: self.now,
            load=lambda: self.load,
        )  # fmt: skip

    def run(self, seconds, steps=2 * WINDOW, size=48):
        for _ in range(steps):
            self.now += seconds
            self.watch.step(seconds, 64, size)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_a_collapse_is_told_once_with_the_remedy():
    machine = Machine(load=5.12)
    machine.run(0.2, 40)
    assert machine.said == []
    machine.run(10.0, 60)
    (said,) = machine.said
    assert "fell from 320 to 6.4 images/s" in said
    assert "load average is 5.1 on 2 cores" in said
    assert "--threads 1" in said
    assert "OMP_WAIT_POLICY=passive" in said


def test_a_collapse_is_told_where_the_system_knows_no_load():
    machine = Machine(load=None)
    machine.run(0.2, 40)
    machine.run(10.0, 40)
    assert len(machine.said) == 1
    assert "load average" not in machine.said[0]


def test_a_run_that_starts_beside_a_busy_process_is_told():
    machine = Machine(load=3.4)
    machine.run(1.0, int(EVERY_S) + 5)
    assert machine.said == []  # the load may be of what ran before
    machine.run(1.0, 3 * int(EVERY_S))
    (said,) = machine.said
    assert said.startswith("The load average is 3.4 on 2 cores")


def test_a_short_burst_of_load_is_not_told():
    machine = Machine()
    for load in (1.5, 4.0, 1.5, 4.0, 1.5):
        machine.load = load
        machine.run(1.0, int(EVERY_S))
    assert machine.said == []


@pytest.mark.parametrize("kind", ["slow first steps", "a pause", "a fair share", "larger images"])
def test_what_is_no_collapse_is_not_told(kind):
    machine = Machine(load=2.0)
    if kind == "slow first steps":
        machine.run(5.0, WARM_UP)
    machine.run(0.2, 40, size=32)
    if kind == "a pause":
        machine.run(500.0, 1, size=32)
    if kind == "a fair share":
        machine.run(0.5, 40, size=32)
    if kind == "larger images":
        machine.run(1.5, 40, size=112)
    machine.run(0.2, 40, size=32)
    assert machine.said == []


def test_one_thread_and_a_passive_wait_have_no_such_trouble(monkeypatch):
    single = Machine(threads=1, load=9.0)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    passive = Machine(load=9.0)
    for machine in (single, passive):
        machine.run(0.2, 40)
        machine.run(10.0, 40)
        assert machine.said == []
