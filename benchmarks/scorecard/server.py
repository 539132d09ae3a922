"""S: overload, hostile clients, many requests (lifecycle.py has S4, exposure.py S5)."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

from benchmarks import load_test
from benchmarks.scorecard import exposure, hostile, lifecycle  # noqa: F401 (S5 and S4)
from benchmarks.scorecard.row import Counted, row
from benchmarks.scorecard.server_process import Served, request, served

GOODPUT = 0.9
"""Of the capacity that was measured just before: that measurement itself varies by some percent."""
SLOWEST_MS = 2_500.0
"""99 % of accepted requests at most: the deadline of 2 s and a batch."""
SLACK = 1.25
"""Times what an accepted request can have before it: the queue, a batch, and what is decoded."""
DECODED = 64
ACCEPTED = "p99 of accepted"
SHED_MS = 500.0
RECOVERY_S = 2.0
GROWTH_KIB = 64 * 1024
SLOPE_KIB = 8.0
"""Per 1,000 requests."""


def _overload(folder: Path, scale: float, *options: str) -> Counted:
    cpus = sorted(os.sched_getaffinity(0))
    seconds = max(2.0, 15.0 * scale)
    with served(folder, *options, cpu=cpus[0]) as server:
        os.sched_setaffinity(0, {cpus[-1]})
        try:
            return asyncio.run(_loads(server, request(server), seconds))
        finally:
            os.sched_setaffinity(0, set(cpus))


async def _loads(server: Served, good: bytes, seconds: float) -> Counted:
    from neurogaze_fast.deploy.server.config import ServeConfig

    chance = random.Random(0)
    await load_test.closed_loop(server.address, good, min(seconds, 3.0))  # warm
    capacity = await load_test.closed_loop(server.address, good, min(seconds, 10.0))
    usual = ServeConfig()
    ahead = usual.queue + usual.max_batch + DECODED
    rows, broken, sent = [], [], 0
    for load in load_test.LOADS:
        found = await load_test.open_loop(server.address, good, load * capacity, seconds, chance)
        began = time.perf_counter()
        while (await load_test.ask(server.address, good))[0] != 200:
            if time.perf_counter() - began > 30:
                break
            await asyncio.sleep(0.02)
        found |= {"load": load, "recovery_s": round(time.perf_counter() - began, 2)}
        queue_ms = 1000 * SLACK * ahead / max(found["goodput_per_s"], 1)
        found["p99 limit ms"] = round(min(SLOWEST_MS, queue_ms))
        limits = {
            "goodput": found["goodput_per_s"] >= GOODPUT * min(load, 1.0) * capacity,
            ACCEPTED: (found["p99_ms"] or 0) <= found["p99 limit ms"],
            "p99 of shed": (found["shed_p99_ms"] or 0) <= SHED_MS,
            "recovery": found["recovery_s"] <= RECOVERY_S,
        }
        broken += [f"{load}x: {name}" for name, held in limits.items() if not held]
        broken += [f"{load}x: a request failed"] * found["failed"]
        sent += found["sent"]
        rows.append(found)
    worst = rows[-1]
    return Counted(
        sent, len(broken),
        f"capacity {capacity:.0f}/s; at 5x goodput {worst['goodput_per_s']}/s, p99 "
        f"{worst['p99_ms']} ms, {worst['shed_share']:.0%} shed",
        {"capacity_per_s": round(capacity, 1), "loads": rows, "broken": broken},
    )  # fmt: skip


def canary_s1(folder: Path) -> Counted:
    """A queue without end, and no deadline: what is accepted waits too long."""
    found = _overload(folder, 0.4, "--queue", "1000000", "--deadline-s", "600")
    late = sum(text.endswith(ACCEPTED) for text in found.details["broken"])
    return Counted(found.n, late, found.figure, found.details)


@row(
    "S1",
    "0.8, 1, 2 and 5 times the requests that a server can answer, at Poisson times",
    f"goodput >= {GOODPUT:.0%} of what is possible, p99 of accepted <= {SLACK:g} times "
    f"a full queue's time and {SLOWEST_MS / 1000:g} s, "
    f"p99 of shed <= {SHED_MS:g} ms, no request failed, recovered within {RECOVERY_S:g} s",
    canary_s1,
)
def s1(folder: Path, scale: float) -> Counted:
    """15 s of each load; server and client on a processor each. Wants an idle machine."""
    return _overload(folder, scale)


def _attacked(folder: Path, scale: float, planted: str = "") -> Counted:
    with served(folder, planted=planted) as server:
        good = request(server)
        chance = random.Random(1)
        asyncio.run(load_test.closed_loop(server.address, good, 2.0, clients=16))
        quiet = asyncio.run(load_test.open_loop(server.address, good, 20.0, 5.0, chance))
        before, lines = server.resident_kib, server.lines()

        async def traffic() -> dict[str, Any]:
            return await load_test.open_loop(server.address, good, 20.0, 20.0, chance)

        found, during = asyncio.run(hostile.all_at_once(server.address, good, scale, traffic))
        grown, logged = server.resident_kib - before, server.lines() - lines
        alive = server.process.poll() is None
    clients = sum(map(len, found.values()))
    wrong = {kind: right.count(False) for kind, right in found.items() if not all(right)}
    shed = round((during["shed_share"] + during["late_share"]) * during["sent"])
    broken = {
        "good requests failed": during["failed"],
        "memory": int(grown > GROWTH_KIB),
        "log": int(logged > clients),
        "the server ended": int(not alive),
    }
    ratio = (during["p99_ms"] or 0) / max(quiet["p99_ms"] or 1, 1)
    return Counted(
        clients + during["sent"], sum(wrong.values()) + sum(broken.values()),
        f"{clients} clients of {len(found)} kinds: {sum(wrong.values())} not let go or answered "
        f"wrongly; memory +{grown // 1024} MiB, {logged} lines logged; of {during['sent']} good "
        f"requests {during['failed']} failed, {shed} were told to come later, p99 "
        f"{ratio:.1f} x",
        {"wrong": wrong, "broken": broken, "good": during, "good alone": quiet},
    )  # fmt: skip


PATIENT = """
import dataclasses
from neurogaze_fast.deploy.server import http_limits
usual = http_limits.Limits
http_limits.Limits = lambda: dataclasses.replace(usual(), header_s=3600.0, body_s=3600.0)
"""


def canary_s2(folder: Path) -> Counted:
    """A server whose deadlines for headers, bodies and replies are an hour."""
    return _attacked(folder, 0.05, PATIENT)


@row(
    "S2",
    "hostile clients while good requests come: half-sent, byte by byte, never reading, gone, too "
    "large, endless, compressed, ambiguous, pipelined",
    "each let go or answered 4xx within 25 s; no good request fails; at most 64 MiB and a line of "
    "the log for each",
    canary_s2,
)
def s2(folder: Path, scale: float) -> Counted:
    """960 clients of 15 kinds."""
    return _attacked(folder, scale)


def _for_long(folder: Path, good_ones: int, bad_ones: int, planted: str = "") -> Counted:
    with served(folder, planted=planted) as server:
        good = request(server)
        asyncio.run(load_test.closed_loop(server.address, good, 2.0, clients=16))  # warm
        slope = asyncio.run(load_test.memory(server.address, good_ones, server.pid, good))
        before = server.resident_kib
        bad = asyncio.run(load_test.malformed(server.address, bad_ones, random.Random(2)))
        after = server.resident_kib - before
        threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
    broken = [
        name
        for name, held in {
            f"memory grows by {slope['KiB_per_1000']} KiB per 1,000":
                slope["KiB_per_1000"] <= SLOPE_KIB,
            f"open files change by {slope['open_files_change']}": slope["open_files_change"] <= 2,
            f"bad requests leave {after} KiB": after <= max(8 * 1024, bad_ones * 4),
            "a bad request was answered 5xx, or a good one after it wrongly":
                bad["server_errors"] + bad["good_ones_wrong"] == 0,
        }.items()
        if not held
    ]  # fmt: skip
    return Counted(
        good_ones + bad_ones, len(broken),
        f"{slope['KiB_per_1000']} KiB per 1,000 requests, {slope['open_files_change']} files, "
        f"{threads} threads; after {bad_ones} bad ones {after:+} KiB",
        {"memory": slope, "malformed": bad, "broken": broken},
    )  # fmt: skip


LEAK = """
from neurogaze_fast.deploy.server import service
handle, kept = service.Service.handle, []
async def leaks(self, request):
    kept.append(b"x" * 200_000)  # too large for what is free in the heap
    return await handle(self, request)
service.Service.handle = leaks
"""


def canary_s3(folder: Path) -> Counted:
    """A server that keeps 200 KB of every request."""
    return _for_long(folder, 1_000, 100, LEAK)


@row(
    "S3",
    "10,000 good requests and 2,000 bad ones, one after another",
    f"memory grows by at most {SLOPE_KIB:g} KiB per 1,000 over the last four fifths; no file stays "
    "open",
    canary_s3,
)
def s3(folder: Path, scale: float) -> Counted:
    """At least 3,000: until then a new server's memory still settles."""
    return _for_long(folder, max(3_000, round(10_000 * scale)), max(100, round(2_000 * scale)))
