"""A2: banks whose hashes hold and whose contents do not."""

from __future__ import annotations

import json
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.scorecard.artifacts import seal_again
from benchmarks.scorecard.row import Counted, row

MOST_CPU_S = 0.25
"""Processor time for refusing a file; 50 ms where the machine does nothing else."""
MOST_MEMORY = 32 << 20
"""Bytes of memory it may take beyond what the process had."""
EXAMPLES = 5000
"""Banks whose hashes are right and whose contents were drawn."""


def _packed(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


class Hostile:
    """Banks whose hashes are right and whose contents are not."""

    def __init__(self) -> None:
        import numpy as np
        from safetensors.numpy import load, save

        from neurogaze_fast.emotions import EMOTIONS
        from neurogaze_fast.prototypes.bank import KIND, demo_bank

        bank = demo_bank(width=16)
        names = ("prototypes", "counts", "subjects", "filled_from", "centres")
        self.data = save({name: np.ascontiguousarray(getattr(bank, name)) for name in names})
        self.facts = {"kind": KIND, "emotions": list(EMOTIONS), "grid": 5, "width": 16,
                      **bank.provenance}  # fmt: skip
        (length,) = struct.unpack("<Q", self.data[:8])
        self.header = json.loads(self.data[8 : 8 + length])
        self.body = self.data[8 + length :]
        self.tensors = load(self.data)
        self._save = save

    def with_entry(self, name: str, **entry: Any) -> bytes:
        """The file with another description of one tensor."""
        header = {**self.header, name: {**self.header[name], **entry}}
        return _packed(header, self.body)

    def with_tensors(self, **tensors: Any) -> bytes:
        """The file with other tensors; None leaves one out."""
        merged = {**self.tensors, **tensors}
        return self._save({name: value for name, value in merged.items() if value is not None})

    def files(self) -> dict[str, bytes]:
        """Name -> bytes that must be refused."""
        import numpy as np

        header, body, tensors = self.header, self.body, self.tensors
        start, end = header["prototypes"]["data_offsets"]
        prototypes = tensors["prototypes"]
        twice = json.dumps(header)[:-1] + ', "prototypes": ' + json.dumps(header["counts"]) + "}"
        many = {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [len(body)] * 2}
                for i in range(100_000)}  # fmt: skip
        broken = prototypes.copy()
        broken[3, 3] = np.nan
        far = tensors["centres"].copy()
        far[7] = np.nan
        return {
            "empty": b"",
            "half of the length": self.data[:4],
            "header of no length": struct.pack("<Q", 0) + body,
            "header longer than the file": struct.pack("<Q", len(self.data)) + self.data[8:],
            "header of 2^63 bytes": struct.pack("<Q", 1 << 63) + self.data[8:],
            "header that is no JSON": _packed(b"{" * 64, body),
            "header that is no UTF-8": _packed(b"\xff" * 64, body),
            "header that is a list": _packed([header], body),
            "header 200,000 levels deep": _packed(b"[" * 200_000, body),
            "header of 64 MB": _packed(json.dumps(header).encode() + b" " * (64 << 20), body),
            "body of 64 MB more": self.data + bytes(64 << 20),
            "a tensor twice": _packed(twice.encode(), body),
            "100,000 tensors more": _packed({**header, **many}, body),
            "offsets beyond the end": self.with_entry("counts", data_offsets=[0, 1 << 40]),
            "offsets backwards": self.with_entry("prototypes", data_offsets=[end, start]),
            "offsets that overlap": self.with_entry("counts", data_offsets=[start, start + 200]),
            "a byte between tensors": _packed(header, body + b"\0"),
            "cut in its last tensor": self.data[:-1],
            "a dtype nobody knows": self.with_entry("prototypes", dtype="F33"),
            "a negative side": self.with_entry("prototypes", shape=[-25, -16]),
            "sides that overflow": self.with_entry("prototypes", shape=[1 << 62, 4]),
            "float64 prototypes": self.with_tensors(prototypes=prototypes.astype(np.float64)),
            "int32 counts": self.with_tensors(counts=tensors["counts"].astype(np.int32)),
            "24 cells": self.with_tensors(prototypes=prototypes[:24].copy()),
            "cells of no width": self.with_tensors(prototypes=prototypes[:, :0].copy()),
            "one dimension": self.with_tensors(prototypes=prototypes[:, 0].copy()),
            "one prototype not finite": self.with_tensors(prototypes=broken),
            "lengths of 2": self.with_tensors(prototypes=2 * prototypes),
            "centres of another grid": self.with_tensors(centres=-tensors["centres"]),
            "a centre not finite": self.with_tensors(centres=far),
            "counts below 0": self.with_tensors(counts=tensors["counts"] - 1),
            "people below 0": self.with_tensors(subjects=tensors["subjects"] - 1),
            "no counts": self.with_tensors(counts=None),
            "a tensor more": self.with_tensors(payload=np.zeros(4)),
        }

    def statements(self) -> dict[str, Any]:
        """Name -> what its manifest says, which must be refused."""
        facts = self.facts
        order = facts["emotions"]
        return {
            "no facts": None,
            "facts in a list": [facts],
            "facts as text": "prototype bank",
            "another kind": {**facts, "kind": "student"},
            "emotions in another order": {**facts, "emotions": order[::-1]},
            "an emotion less": {**facts, "emotions": order[:-1]},
            "no emotions": {**facts, "emotions": None},
            "another grid": {**facts, "grid": 7},
            "another width": {**facts, "width": 512},
            "width as text": {**facts, "width": "16"},
        }


def sound(bank: Any) -> bool:
    """Whether a bank is what its definition asks for, judged by other code than its own."""
    import numpy as np

    cells, width = bank.prototypes.shape
    lengths = np.sqrt((bank.prototypes.astype(np.float64) ** 2).sum(1))
    return bool(
        bank.prototypes.dtype == np.float32
        and round(cells**0.5) ** 2 == cells
        and width > 0
        and np.isfinite(bank.prototypes).all()
        and np.allclose(lengths, 1, atol=1e-3)
        and all(v.shape == (cells,) and (v >= 0).all() for v in (bank.counts, bank.subjects))
        and bank.filled_from.shape == (cells, cells)
    )


def _drawn(hostile: Hostile, draw: random.Random) -> tuple[bytes, Any]:
    """A bank with a few random changes of header, body or facts."""
    header, body = json.loads(json.dumps(hostile.header)), bytearray(hostile.body)
    facts = json.loads(json.dumps(hostile.facts))
    values = (-1, 0, 1, 5, 16, 1 << 31, 1 << 63, 1e308, None, True, "", "F16", [], {}, [25, 16])
    for _ in range(draw.randint(1, 3)):
        kind = draw.randrange(5)
        if kind == 0:
            entry = header[draw.choice(list(header))]
            if isinstance(entry, dict):
                entry[draw.choice(["dtype", "shape", "data_offsets"])] = draw.choice(values)
        elif kind == 1:
            place = draw.randrange(len(body))
            body[place : place + 4] = draw.randbytes(4)
        elif kind == 2:
            facts[draw.choice(list(facts))] = draw.choice(values)
        elif kind == 3:
            header[draw.choice(["counts", "x", "__metadata__"])] = draw.choice(values)
        else:
            del body[draw.randrange(len(body)) :]
    data = bytearray(_packed(header, bytes(body)))
    if draw.random() < 0.2:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data), facts


def _hostile(folder: Path, examples: int, load: Callable[[Path], Any]) -> Counted:
    from neurogaze_fast.errors import BankError

    hostile, path = Hostile(), folder / "bank.safetensors"
    seal_again(path, hostile.data, hostile.facts)
    load(path)  # the original is accepted
    accepted, other, dear = [], [], []
    slowest, largest = 0.0, 0

    def attempt(name: str, must_refuse: bool) -> None:
        nonlocal slowest, largest
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        try:
            bank = load(path)
            if must_refuse or not sound(bank):
                accepted.append(name)
        except BankError:
            pass
        except Exception as error:
            other.append(f"{name}: {type(error).__name__}")
        spent = time.process_time() - began
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if spent > MOST_CPU_S or grown > MOST_MEMORY:
            dear.append(f"{name}: {spent:.2f} s, {grown >> 20} MiB")
        slowest, largest = max(slowest, spent), max(largest, grown)

    files, statements = hostile.files(), hostile.statements()
    for name, data in files.items():
        seal_again(path, data, hostile.facts)
        del data
        attempt(name, True)
    for name, facts in statements.items():
        seal_again(path, hostile.data, facts)
        attempt(name, True)
    stated = ({"schema": 0}, {"schema": 2}, {"schema": "1"}, {"file": "../bank.safetensors"},
              {"file": None}, {"bytes": -1}, {"bytes": None}, {"sha256": None},
              {"sha256": "00"})  # fmt: skip
    for change in stated:
        seal_again(path, hostile.data, hostile.facts, **change)
        attempt(f"manifest with {change}", True)
    draw = random.Random(0)
    for number in range(examples):
        data, facts = _drawn(hostile, draw)
        seal_again(path, data, facts)
        attempt(f"drawn {number}", False)
    n = len(files) + len(statements) + len(stated) + examples
    figure = (
        f"{n - examples} by hand and {examples:,} drawn: {len(accepted)} accepted, {len(other)} "
        f"untyped; dearest {1000 * slowest:.0f} ms, {largest >> 20} MiB"
    )
    details = {
        "accepted": accepted[:20],
        "without a typed error": other[:20],
        "too dear": dear[:20],
    }
    return Counted(n, len(accepted) + len(other) + len(dear), figure, details)


def load_bank(path: Path) -> Any:
    """As every command does."""
    from neurogaze_fast.prototypes.bank import PrototypeBank

    return PrototypeBank.load(path)


def load_as_it_is(path: Path) -> Any:
    """The peer and planted fault: safetensors alone, with what the tensors are called."""
    from safetensors.numpy import load

    return SimpleNamespace(**load(path.read_bytes()))


def _safetensors_alone(folder: Path) -> Counted:
    found = _hostile(folder, 100, load_as_it_is)
    return Counted(found.n, found.failures, f"safetensors alone: {found.figure}", found.details)


@row(
    "A2",
    "hostile banks with hashes that hold: headers, offsets, values, facts, 5,000 drawn",
    f"a typed error in {MOST_CPU_S:.2f} s of processor and {MOST_MEMORY >> 20} MiB",
    _safetensors_alone,
)
def hostile_banks(folder: Path, scale: float) -> Counted:
    return _hostile(folder, max(50, round(EXAMPLES * scale)), load_bank)
