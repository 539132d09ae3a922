"""A1 and A5: altered banks, and engines that were kept for another machine."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.scorecard.row import Counted, row


def unverified(path: Path, error: type[Exception] = Exception) -> tuple[bytes, dict[str, Any]]:
    """The planted fault: what a file and its manifest say, whether they agree or not."""
    from neurogaze_fast.artifacts import manifest_path

    try:
        facts = json.loads(manifest_path(path).read_bytes())["provenance"]
    except (ValueError, KeyError) as cause:  # what cannot even be parsed
        raise error(str(cause)) from cause
    return path.read_bytes(), facts


def without_hashes(*modules: str) -> AbstractContextManager[Any]:
    """Modules that read artifacts without comparing hashes."""
    from contextlib import ExitStack

    stack = ExitStack()
    for module in modules:
        stack.enter_context(mock.patch(f"neurogaze_fast.{module}.verified_open", unverified))
    return stack


def flipped(victim: Path, every: int) -> Iterator[None]:
    """The file with one bit changed, for every so manieth of its bits; whole again afterwards."""
    whole = victim.read_bytes()
    with open(victim, "r+b", buffering=0) as file:
        for bit in range(0, 8 * len(whole), every):
            place = bit // 8
            os.pwrite(file.fileno(), bytes([whole[place] ^ 1 << bit % 8]), place)
            yield
            os.pwrite(file.fileno(), whole[place : place + 1], place)


def seal_again(path: Path, data: bytes, facts: Any, **stated: Any) -> None:
    """Write an artifact whose hashes are right, whatever it holds."""
    from neurogaze_fast.artifacts import canonical_json, manifest_path, sha256_bytes

    manifest = {"schema": 1, "file": path.name, "bytes": len(data), "sha256": sha256_bytes(data),
                "provenance": facts, **stated, "manifest_sha256": ""}  # fmt: skip
    manifest["manifest_sha256"] = sha256_bytes(canonical_json(manifest))
    path.write_bytes(data)
    manifest_path(path).write_bytes(canonical_json(manifest))


def _flips(folder: Path, width: int, every: int, patch: AbstractContextManager[Any]) -> Counted:
    from neurogaze_fast.artifacts import manifest_path
    from neurogaze_fast.errors import NeurogazeError
    from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank
    from neurogaze_fast.student.config import TrainConfig, train_config_from_json
    from neurogaze_fast.training.run_folder import write_config

    bank = folder / "bank.safetensors"
    demo_bank(width=width).save(bank)
    write_config(folder, TrainConfig(), {})
    config = folder / "config.json"
    as_written = train_config_from_json(config)
    n, accepted, other = 0, {}, 0
    readers: list[tuple[Path, Callable[[], bool]]] = [
        (bank, lambda: bool(PrototypeBank.load(bank))),
        (manifest_path(bank), lambda: bool(PrototypeBank.load(bank))),
        # White space is no part of what is sealed: another value would be.
        (config, lambda: train_config_from_json(config) != as_written),
    ]
    with patch:
        for victim, accepts in readers:
            for _ in flipped(victim, every):
                n += 1
                try:
                    missed = accepts()
                except NeurogazeError:
                    missed = False
                except Exception:
                    missed, other = False, other + 1
                accepted[victim.name] = accepted.get(victim.name, 0) + missed
    undetected = sum(accepted.values())
    figure = f"{n:,} bits flipped one by one, {undetected:,} undetected"
    details = {"undetected": accepted, "without a typed error": other}
    return Counted(n, undetected + other, figure, details)


def _hashes_ignored(folder: Path) -> Counted:
    found = _flips(folder, 16, 7, without_hashes("prototypes.bank"))
    return Counted(found.n, found.failures, f"without hashes: {found.figure}", found.details)


@row(
    "A1",
    "every bit of a prototype bank, of its manifest and of a run's config.json flipped",
    "refused before a tensor is used",
    _hashes_ignored,
)
def every_bit(folder: Path, scale: float) -> Counted:
    return _flips(folder, 512, max(1, round(1 / scale)), nullcontext())


def _engines(folder: Path, every: int, patch: AbstractContextManager[Any]) -> Counted:
    """Kept engines that were altered, or made for something else, are built anew."""
    from neurogaze_fast.artifacts import manifest_path
    from neurogaze_fast.deploy.engines import tensorrt_build as kept
    from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph

    device = {"driver": "1", "gpu": "Imaginary", "sm": "9.0"}
    trt = kept.Library("tensorrt", SimpleNamespace(__version__="11.1"))
    graph = OpenedGraph(folder / "fp32.onnx", b"", "ab" * 32, {"precision": "fp32"})
    ours, anew = random.Random(0).randbytes(512), b"built anew"
    n, wrong = 0, 0

    def loaded(library: Any = trt, of: Any = graph, where: Any = device) -> bytes:
        with (
            mock.patch.object(kept, "device_key", return_value=where),
            mock.patch.object(kept, "build", return_value=anew),
            mock.patch.object(kept, "write_artifact", return_value=""),
        ):
            return kept.built_engine(library, of)[0]

    with (
        mock.patch.object(kept, "device_key", return_value=device),
        mock.patch.object(kept, "build", return_value=ours),
    ):
        path = kept.built_engine(trt, graph)[1]
    assert path is not None
    if loaded() != ours:
        raise RuntimeError("an engine that was kept is not used again")
    with patch:
        for victim in (path, manifest_path(path)):
            for _ in flipped(victim, every):
                n += 1
                wrong += loaded() != anew
        newer = kept.Library("tensorrt", SimpleNamespace(__version__="11.2"))
        rtx = kept.Library("tensorrt-rtx", SimpleNamespace(__version__="11.1"))
        half = OpenedGraph(graph.path, b"", "ab" * 32, {"precision": "fp16"})
        another = OpenedGraph(graph.path, b"", "cd" * 32, {"precision": "fp32"})
        others: list[dict[str, Any]] = [{"library": newer}, {"library": rtx}, {"of": half},
                                        {"of": another}]  # fmt: skip
        others += [{"where": {**device, key: "other"}} for key in device]
        for change in others:
            n += 1
            wrong += loaded(**change) != anew
    figure = f"{n:,} altered or of another library, graph, driver or GPU, {wrong} loaded"
    return Counted(n, wrong, figure)


def _kept_unverified(folder: Path) -> Counted:
    found = _engines(folder, 16, without_hashes("deploy.engines.tensorrt_build"))
    return Counted(found.n, found.failures, f"without hashes: {found.figure}")


@row(
    "A5",
    "a kept TensorRT engine altered, or kept for another library, graph, driver or GPU",
    "never loaded: built anew (what is kept and why, without a GPU)",
    _kept_unverified,
)
def kept_engines(folder: Path, scale: float) -> Counted:
    return _engines(folder, max(1, round(1 / scale)), nullcontext())
