"""D: malformed pictures, pixels of another request, damaged data sets (leaks.py has D4)."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scorecard import damage, leaks, pictures  # noqa: F401 (leaks enters D4)
from benchmarks.scorecard.isolated import examples, verdicts
from benchmarks.scorecard.row import CannotRun, Counted, row

GIB = 1 << 30
CPU_S = 1.0
"""Processor time that one picture of 64 x 64, or a bomb, may take."""
Decode = Callable[[bytes], np.ndarray]


def _decoders() -> dict[str, Decode]:
    """What turns bytes from outside into pixels: the data sets' reader, and the server's."""
    try:
        from neurogaze_fast.deploy.server.pictures import decode_picture
    except ModuleNotFoundError as missing:
        raise CannotRun(f"{missing.name} is not installed") from missing
    from neurogaze_fast.pictures import decode_grey

    return {
        "data sets": lambda data: decode_grey(data, 48),
        "server": lambda data: decode_picture(data, 4_000_000, 4_000_000)[0],
    }


def _refusals() -> tuple[type[Exception], ...]:
    from neurogaze_fast.deploy.server.http_errors import RequestError
    from neurogaze_fast.errors import NeurogazeError
    from neurogaze_fast.pictures import CorruptImage

    return CorruptImage, RequestError, NeurogazeError


def _malformed(decoders: dict[str, Decode], count: int, served: int) -> Counted:
    from neurogaze_fast.deploy.server.http_errors import RequestError

    sound, chance = pictures.whole(), random.Random(0)
    cases = [pictures.damaged(sound, chance) for _ in range(count)]
    refusals, good = _refusals(), sound["colour PNG"]
    wanted = {name: decode(good) for name, decode in decoders.items() if name != "planted"}

    def judge(number: int) -> str | None:
        for name, decode in decoders.items():
            began = time.process_time()
            try:
                image = decode(cases[number][1])
                if image.dtype != np.uint8 or image.ndim not in (2, 3):
                    return f"{name} gives {image.dtype} {image.shape}"
            except refusals as error:
                if isinstance(error, RequestError) and not 400 <= error.status < 500:
                    return f"{name} answers {error.status}"
            if (took := time.process_time() - began) > CPU_S:
                return f"{name} takes {took:.1f} s of the processor"
            if name in wanted and not np.array_equal(decode(good), wanted[name]):
                return f"{name} decodes the next picture wrongly"
        return None

    found = verdicts(count, judge, seconds=30, more_bytes=GIB)
    failures = sum(text is not None for text in found)
    details: dict[str, Any] = {"failed": examples(found, [name for name, _ in cases])}
    if served:
        from benchmarks import load_test
        from tests.deploy.server.server_under_test import serving

        with serving(max_wait_ms=0, deadline_s=20) as server:
            answer = asyncio.run(load_test.malformed(server.address, served, chance))
        details["over HTTP"] = answer
        failures += answer["server_errors"] + answer["good_ones_wrong"]
    crashes = sum(bool(text and text.startswith("ended")) for text in found)
    return Counted(
        count + served, failures,
        f"{crashes} crashes in {count} x {len(decoders)} decodings within 1 GiB and {CPU_S:g} s of "
        f"processor each; {served} over HTTP, every 100th followed by a sound one",
        details,
    )  # fmt: skip


def canary_d1(folder: Path) -> Counted:
    """Pillow as it is, in place of the readers: untyped errors, and bombs that are decoded."""
    from PIL import Image

    return _malformed(
        {"planted": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))}, 300, 0
    )


@row(
    "D1",
    "malformed pictures (flips, cuts, splices, wrong magic, 14 kinds, bombs of 81 to 196 "
    "megapixels) to the data sets' reader, the server's, and a server",
    "pixels or a typed refusal (4xx), within 1 GiB; no crash; the next picture is right",
    canary_d1,
)
def d1(folder: Path, scale: float) -> Counted:
    """10,000 pictures to two readers in children, and 2,000 over HTTP."""
    return _malformed(_decoders(), round(10_000 * scale), round(2_000 * scale))


def _leaks(decoders: dict[str, Decode], pairs: int) -> Counted:
    sound, chance = pictures.whole(), random.Random(1)
    refusals = _refusals()
    kinds = [name for name in sound if "JPEG" in name or "PNG" in name]
    rng = np.random.default_rng(2)
    cases = []
    for _ in range(pairs):
        name = chance.choice(kinds)
        data = sound[name]
        at = chance.randrange(len(data) // 3, len(data))
        cases.append((name, data[:at] + (b"\xff\xd9" if chance.random() < 0.7 else b"")))
    noise = [
        pictures.encoded(_noise(rng), kind, **options)
        for kind, options in (("JPEG", {}), ("PNG", {})) for _ in range(2)
    ]  # fmt: skip

    def outcome(decode: Decode, data: bytes) -> bytes:
        try:
            return decode(data).tobytes()
        except refusals as error:
            return type(error).__name__.encode()

    def judge(number: int) -> str | None:
        _, data = cases[number]
        for name, decode in decoders.items():
            seen = []
            for before in noise:
                outcome(decode, before)
                seen.append(outcome(decode, data))
            if len(set(seen)) > 1:
                return f"{name}: half a picture depends on the one before it"
        return None

    found = verdicts(pairs, judge)
    failures = sum(text is not None for text in found)
    return Counted(
        pairs, failures,
        f"{failures} of {pairs} cut pictures x {len(decoders)} readers depend on the one before",
        {"failed": examples(found, [name for name, _ in cases])},
    )  # fmt: skip


def _noise(rng: np.random.Generator) -> Any:
    from PIL import Image

    return Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))


def canary_d2(folder: Path) -> Counted:
    """A decoder that keeps its buffer and writes the rows it has."""
    from PIL import Image, ImageFile

    kept = np.zeros((64, 64, 3), np.uint8)

    def decode(data: bytes) -> np.ndarray:
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # in a child process
        try:
            image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            return kept
        written = image.std(axis=(1, 2)) > 0
        kept[written] = image[written]
        return kept

    return _leaks({"planted": decode}, 100)


@row(
    "D2",
    "half a picture decoded after each of four others",
    "the same bytes whatever came before, or a refusal",
    canary_d2,
)
def d2(folder: Path, scale: float) -> Counted:
    """1,000 cut pictures, each after four others, by two readers."""
    return _leaks(_decoders(), round(1_000 * scale))


def _damaged_sets(folder: Path, scale: float, *, verify: bool = True) -> Counted:
    sealed = damage.sealed(verify=verify)
    foreign = damage.foreign(folder) if verify else damage.unchecked(folder)
    count, silent, failures, failed = 0, {}, 0, []
    for name, (source, read) in (sealed | foreign).items():
        flips = round(damage.FLIPS[name] * scale) if verify else 200
        is_sealed = name in sealed
        found = verdicts(
            flips, damage.judge(source, read, folder, seed=len(name), sealed=is_sealed),
            seconds=30, more_bytes=GIB,
        )  # fmt: skip
        notes = [text for text in found if text == damage.SILENT]
        bad = [text for text in found if text and (is_sealed or text != damage.SILENT)]
        silent[name] = len(notes)
        count, failures = count + flips, failures + len(bad)
        failed += [f"{name}: {text}" for text in bad[:3]]
    more, wrong = damage.skipped(round(20 * scale) or 1) if verify else (0, [])
    crashes = sum("ended its process" in text for text in failed)
    outside = {name: n for name, n in silent.items() if name not in sealed}
    return Counted(
        count + more, failures + len(wrong),
        f"{sum(silent[n] for n in sealed)} of the package's own files' flips undetected; {crashes} "
        "crashes; in others' files, which hold no hash, values changed unseen: "
        + ", ".join(f"{n} in {name}" for name, n in outside.items()),
        {"failed": failed + wrong, "changed unseen": outside},
    )  # fmt: skip


def canary_d3(folder: Path) -> Counted:
    """Shards opened without comparing hashes, and scipy without the check of tags before it."""
    return _damaged_sets(folder, 1.0, verify=False)


@row(
    "D3",
    "one bit flipped in a prepared set (maps, shards) or in a recording, table or csv of others; "
    "damaged images among sound ones",
    "the package's own files: every flip refused; others': a typed error or values, never a crash; "
    "up to 1 in 1,000 images is left out by name, more ends the run",
    canary_d3,
)
def d3(folder: Path, scale: float) -> Counted:
    """2,500 flips each of maps, shards and a .mat file, 1,000 of the others."""
    return _damaged_sets(folder, scale)
