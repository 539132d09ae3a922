"""R6, R8 and R9: a run that is stopped and taken up, poisoned, or repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.scorecard import runs
from benchmarks.scorecard.processes import finish, start
from benchmarks.scorecard.row import Counted, row

STOPS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)
"""Steps of 15, three epochs of five: warm-up, mid-epoch, an epoch's last and first."""
PARTS = ("step/model", "step/objective", "step/optimizer", "step/average", "step/totals",
         "position", "history", "best", "rng")  # fmt: skip
"""What a checkpoint must give back."""
POISONED = 20
"""Bad steps for each site."""


def run_through(data: Path, folder: Path) -> None:
    """The run that nothing interrupts."""
    trainer = runs.trainer(data, folder)
    trainer.fit()
    (folder / "digest").write_text(runs.digest(trainer.state_dict()))


def run_until(data: Path, folder: Path, steps: int) -> None:
    """The same run, stopped as SIGTERM stops it."""
    from tests.student.trainers import stop_after

    stop_after(runs.trainer(data, folder), steps)


def run_on(data: Path, folder: Path, taken: Path, forget: str = "") -> None:
    """Another process takes the run up from `taken`, without the part `forget` of its state."""
    import torch

    from neurogaze_fast.training.checkpoint import newest_checkpoint

    trainer = runs.trainer(data, folder)
    torch.manual_seed(999)  # nothing may hang on the process's own generator
    state, path, _ = newest_checkpoint(taken, "last")
    if forget:
        fresh, inner = trainer.state_dict(), state
        *above, last = forget.split("/")
        for key in above:
            fresh, inner = fresh[key], inner[key]
        inner[last] = fresh[last]
    trainer.load_state_dict(state, str(path))
    trainer.fit()
    (folder / "digest").write_text(runs.digest(trainer.state_dict()))


def _run(target: Callable[..., None], *arguments: Any, folder: Path) -> str:
    """The digest that a child process leaves in `folder`; "" where it broke."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    if finish(start(target, *arguments, log=log)) != 0:
        raise RuntimeError(f"a child process failed: {log.read_text()[-300:]}")
    written = folder / "digest"
    return written.read_text() if written.exists() else ""


def _resumed(folder: Path, cases: list[tuple[int, str]]) -> list[bool]:
    """Whether each run, stopped after a step and taken up without a part, ends the same."""
    data = runs.pixel_set(folder / "data")
    expected = _run(run_through, data, folder / "straight", folder=folder / "straight")
    equal = []
    for steps, forget in cases:
        stopped = folder / f"stopped{steps}"
        if not stopped.exists():
            _run(run_until, data, stopped, steps, folder=stopped)
        place = folder / f"{steps}-{forget.replace('/', '-')}"
        equal.append(_run(run_on, data, place, stopped, forget, folder=place) == expected)
    return equal


def _forgotten(folder: Path) -> Counted:
    equal = _resumed(folder, [(7, part) for part in PARTS])
    unnoticed = [part for part, same in zip(PARTS, equal, strict=True) if same]
    found = len(PARTS) - len(unnoticed)
    figure = f"{found} of {len(PARTS)} forgotten parts of the state are noticed"
    return Counted(len(PARTS), found, figure, {"unnoticed": unnoticed}, needed=len(PARTS))


@row(
    "R6",
    "a run stopped after any step and taken up by another process",
    "weights, optimiser, average, generators, position and history end bit for bit the same",
    _forgotten,
)
def resumed(folder: Path, scale: float) -> Counted:
    count = max(1, round(len(STOPS) * scale))
    stops = STOPS[:: len(STOPS) // count][:count]
    equal = _resumed(folder, [(steps, "") for steps in stops])
    figure = f"{sum(equal)} of {len(stops)} end with the same SHA-256"
    return Counted(len(stops), len(stops) - sum(equal), figure)


class Poison:
    """Puts NaN or infinity into one place of a training step while `active`."""

    SITES = ("pixel", "label", "class weight", "logits", "teacher logits", "prototype", "loss",
             "gradient")  # fmt: skip

    def __init__(self, step: Any, site: str) -> None:
        self.active, self._step, self._site = False, step, site
        self._images, self._targets = step.images, step.targets
        step.images, step.targets = self._poisoned_images, self._poisoned_targets
        step.model.fc.register_forward_hook(self._logits)
        step._network.register_forward_hook(self._loss)
        step.model.fc.weight.register_hook(self._gradient)

    def here(self, site: str) -> bool:
        """Whether `site` is poisoned now."""
        return self.active and self._site == site

    def switch(self, active: bool) -> None:
        """Poison the steps to come, or no longer."""
        objective = self._step.objective
        for site, tensor in (
            ("class weight", objective.class_weights),
            ("prototype", objective.prototypes),
        ):
            if site == self._site and active != self.active:
                first = tensor.view(-1)[:1]
                if active:
                    self._kept = first.clone()
                first.copy_(self._kept * float("nan") if active else self._kept)
        self.active = active

    def _poisoned_images(self, batch: Any) -> Any:
        images = self._images(batch)
        if self.here("pixel"):
            images[0, 0, 0, 0] = float("nan")
        return images

    def _poisoned_targets(self, batch: Any) -> Any:
        targets = self._targets(batch)
        for site, name in (("label", "targets"), ("teacher logits", "teacher_logits")):
            if self.here(site):
                value = getattr(targets, name).clone()
                value[0, 0] = float("inf")
                targets = replace(targets, **{name: value})
        return targets

    def _logits(self, module: Any, inputs: Any, output: Any) -> Any:
        return output * float("nan") if self.here("logits") else output

    def _loss(self, module: Any, inputs: Any, output: Any) -> Any:
        return output * float("inf") if self.here("loss") else output

    def _gradient(self, gradient: Any) -> Any:
        return gradient * float("nan") if self.here("gradient") else gradient


class Watched:
    """A run's steps, some of them poisoned at one site."""

    def __init__(self, data: Path, folder: Path, site: str, guarded: bool) -> None:
        import torch

        trainer = runs.trainer(data, folder)
        self.step = trainer.run_step
        if not guarded:
            self.step.guard.after_backward = lambda loss, norm, number: torch.zeros(())
        self._poison = Poison(self.step, site)
        self.step.begin_epoch(0, 16, trainer.loader.source, len(trainer.rows.images))
        self._batches = list(trainer.loader.epoch(0, 0))
        self._number = 0

    def good(self) -> None:
        """A step as it should be."""
        self.step(self._batches[self._number % len(self._batches)], self._number, 1e-3, 1.0)
        self._number += 1

    def bad(self) -> bool:
        """A poisoned step; whether it left everything as it was."""
        before = self._state()
        self._poison.switch(True)
        self.good()
        self._poison.switch(False)
        return self._state() == before

    def finite(self) -> bool:
        """Whether the weights and their average are."""
        import torch

        models = self.step.model, self.step.ema.module
        tensors = [value for model in models for value in model.state_dict().values()]
        return all(bool(torch.isfinite(value).all()) for value in tensors)

    def _state(self) -> str:
        state = self.step.state_dict()
        named = ("model", "optimizer", "objective", "totals", "counted")
        return runs.digest({name: state[name] for name in named})


def _poisoned(folder: Path, sites: tuple[str, ...], steps: int, guarded: bool = True) -> Counted:
    data = runs.pixel_set(folder / "data")
    changed, not_finite, not_ended = [], [], []
    for site in sites:
        run = Watched(data, folder / site, site, guarded)
        for _ in range(steps):
            run.good()
            if not run.bad():
                changed.append(site)
        if not run.finite():
            not_finite.append(site)
        for _ in range(8):
            run.bad()
        if not run.step.guard.read()[1]:
            not_ended.append(site)
    n = len(sites) * steps
    figure = (
        f"{n} bad steps in {len(sites)} places, {len(changed)} changed anything; "
        f"given up after 8 in a row in {len(sites) - len(not_ended)} of {len(sites)}"
    )
    details = {"changed": sorted({*changed}), "not finite": not_finite, "not ended": not_ended}
    failures = len(changed) + len(not_finite) + len(not_ended)
    return Counted(n, failures, figure, details)


def _unguarded(folder: Path) -> Counted:
    found = _poisoned(folder, ("pixel", "loss", "gradient"), 2, guarded=False)
    return Counted(found.n, found.failures, f"without the guard: {found.figure}", found.details)


@row(
    "R8",
    "NaN or infinity in a pixel, label, class weight, logit, teacher, prototype, loss or gradient",
    "weights, optimiser, batch statistics and sums stay as they were; given up after 8 in a row",
    _unguarded,
)
def poisoned(folder: Path, scale: float) -> Counted:
    return _poisoned(folder, Poison.SITES, max(1, round(POISONED * scale)))


def _repeated(folder: Path, seeds: tuple[int, ...]) -> set[str]:
    """Hashes of the models that new interpreters train, each with another hash seed and folder."""
    data = runs.pixel_set(folder / "data")
    hashes = set()
    for number, seed in enumerate(seeds):
        place = folder / f"run{number}"
        place.mkdir()
        arguments = [*runs.OPTIONS, "--data", str(data), "--out", str(place / "run"),
                     "--seed", str(seed)]  # fmt: skip
        code = f"from benchmarks.scorecard.runs import train; train({arguments!r})"
        path = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
        subprocess.run(
            [sys.executable, "-c", code], cwd=place, check=True, capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": str(number), "PYTHONPATH": path},
        )  # fmt: skip
        hashes.add(runs.model_hash(place / "run"))
    return hashes


def _seeds_differ(folder: Path) -> Counted:
    different = len(_repeated(folder, (0, 1))) - 1
    return Counted(2, different, f"another seed: {different + 1} different models")


@row(
    "R9",
    "the same run again in a new interpreter, with another hash seed and folder",
    "the same bytes of the model file",
    _seeds_differ,
)
def repeated(folder: Path, scale: float) -> Counted:
    count = 3 if scale >= 1 else 2
    different = len(_repeated(folder, (0,) * count))
    return Counted(count, different - 1, f"{different} model in {count} runs")
