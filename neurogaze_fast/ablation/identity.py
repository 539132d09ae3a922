"""Whether runs may stand in one table: the same code, machine and threads, and a bank a seed.

The last digits of a training depend on all of them, and a difference of half a point can come from
there as well as from an arm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurogaze_fast.ablation.arms import ARMS, PAPER_GRID
from neurogaze_fast.ablation.results import RunResult
from neurogaze_fast.errors import DataError
from neurogaze_fast.training_code import training_code

_CPU = "cpu"


def _code(made: dict[str, Any]) -> str:
    code = made["code"]
    return str(code.get("training_sha256") or code.get("commit") or code["version"])


_FACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "code": _code,
    "number of threads": lambda made: str(made["environment"]["threads"]),
    "version of torch": lambda made: str(made["environment"]["torch"]),
    "processor": lambda made: str(made["environment"].get(_CPU, "")),
    "GPU": lambda made: str(made["environment"].get("gpu")),
}


def differences(results: list[RunResult]) -> list[str]:
    """What the runs differ in that they should not, a line each with two of them; often nothing.

    Runs of versions that wrote no fingerprint.json are compared with each other only by being such.
    """
    lines = []
    known = [r for r in results if r.fingerprint is not None]
    if known and len(known) < len(results):
        without = next(r for r in results if r.fingerprint is None)
        lines.append(f"fingerprint.json: {_name(without)} has none, {_name(known[0])} has one")
    for what, fact in _FACTS.items():
        seen: dict[str, RunResult] = {}
        for result in known:
            assert result.fingerprint is not None
            seen.setdefault(fact(result.fingerprint), result)
        if len(seen) > 1:
            (a, first), (b, second), *_ = seen.items()
            lines.append(f"{what}: {_name(first)} {a[:16]}, {_name(second)} {b[:16]}")
    for seed in sorted({r.seed for r in known}):
        banks: dict[str, RunResult] = {}
        for result in known:
            if result.seed == seed and ARMS[result.arm].grid == PAPER_GRID and result.bank:
                banks.setdefault(result.bank, result)
        if len(banks) > 1:
            (a, first), (b, second), *_ = banks.items()
            lines.append(f"bank: {_name(first)} {a[:16]}, {_name(second)} {b[:16]}")
    return lines


def check_same(results: list[RunResult], *, mixed: bool) -> list[str]:
    """What they differ in, where `mixed` allows it; it then belongs into the tables.

    Raises:
        DataError: they differ, and nobody allowed it.
    """
    found = differences(results)
    if found and not mixed:
        raise DataError(
            f"The runs cannot stand in one table, because they differ in {'; '.join(found)}. Run "
            "those of one kind again, in another --out, or give --mixed: then the tables say so."
        )
    return found


def check_code(results: list[RunResult], *, mixed: bool) -> None:
    """Refuse to add runs of the code that is running to finished ones of another.

    Raises:
        DataError: some of them were trained by other code, and `mixed` does not allow it.
    """
    now = training_code()
    for result in results:
        then = result.fingerprint and result.fingerprint["code"].get("training_sha256")
        if then and then != now and not mixed:
            raise DataError(
                f"{_name(result)} was trained by other code ({then[:16]}) than runs would be now "
                f"({now[:16]}), so they could not stand in one table. Go on with the version that "
                "began, choose another --out, or give --mixed."
            )


def _name(result: RunResult) -> str:
    return f"{result.arm}/seed{result.seed}"
