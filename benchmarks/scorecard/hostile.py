"""Clients that mean no good, each kind a coroutine that says how the server took it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Address = tuple[str, int]
PATIENCE_S = 25.0
"""Headers may take 5 s and bodies 10 s; by then a client that sends nothing is let go."""
HEAD = b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class Taken:
    """What became of one client."""

    answer: bytes
    """All that the server sent."""
    closed: bool
    """Whether the server ended the connection."""


async def talk(
    address: Address, data: bytes, *, drip: tuple[bytes, float] | None = None, read: bool = True,
    wait_s: float = PATIENCE_S,
) -> Taken:  # fmt: skip
    """Send `data`, then perhaps one byte after another, and read until the server hangs up."""
    answer, dripping = b"", None
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(*address), 10)
    except (OSError, TimeoutError):
        return Taken(b"", True)  # not let in
    try:
        async with asyncio.timeout(wait_s):
            writer.write(data)
            if drip is not None:
                dripping = asyncio.create_task(_drip(writer, *drip))
            if not read:
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                while not writer.transport.is_closing():
                    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await asyncio.sleep(0.05)
                return Taken(b"", True)
            while part := await reader.read(65536):
                answer += part
        return Taken(answer, True)
    except TimeoutError:
        return Taken(answer, False)
    except OSError:
        return Taken(answer, True)
    finally:
        if dripping:
            dripping.cancel()
        writer.transport.abort()


async def _drip(writer: asyncio.StreamWriter, byte: bytes, seconds: float) -> None:
    while not writer.transport.is_closing():
        writer.write(byte)
        await asyncio.sleep(seconds)


async def leaves(address: Address, data: bytes, after_s: float) -> Taken:
    """Send, and hang up."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*address), 10)
    except (OSError, TimeoutError):
        return Taken(b"", True)
    writer.write(data)
    await asyncio.sleep(after_s)
    writer.transport.abort()
    return Taken(b"", True)


def status(*allowed: int) -> Callable[[Taken], bool]:
    """Answered once, with one of these, and hung up; nothing at all is right too."""

    def right(taken: Taken) -> bool:
        heads = taken.answer.count(b"HTTP/1.1 ") + taken.answer.count(b"HTTP/1.0 ")
        found = not taken.answer or int(taken.answer.split(b" ", 2)[1]) in allowed
        return taken.closed and heads <= 1 and found

    return right


def let_go(taken: Taken) -> bool:
    """Ended by the server, with or without words."""
    return taken.closed


Attack = tuple[str, int, Callable[[], Awaitable[Taken]], Callable[[Taken], bool]]


def attacks(address: Address, good: bytes, scale: float) -> list[Attack]:
    """(kind, how many, one client of it, whether it was taken rightly)."""
    half, body = good[: len(good) // 2], good.partition(b"\r\n\r\n")[2]
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    smuggled = (
        HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics "
        b"HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    two_lengths = HEAD + b"Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc" + bytes(27)
    announced = HEAD + b"Content-Length: 90\r\n\r\n"
    gets = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50

    def n(count: int) -> int:
        return max(1, round(count * scale))

    def fifty(taken: Taken) -> bool:
        return taken.answer.count(b"HTTP/1.1 200") == 50

    return [
        ("half a request", n(300), lambda: talk(address, half), status(408, 503)),
        ("headers byte by byte", n(50),
         lambda: talk(address, HEAD + b"X: ", drip=(b"a", 1.0)), status(400, 408)),
        ("a body byte by byte", n(50),
         lambda: talk(address, announced, drip=(b"a", 1.0)), status(408, 503)),
        ("replies never read", n(20), lambda: talk(address, gets, read=False), let_go),
        ("gone in mid-body", n(200), lambda: leaves(address, half, 0.2), let_go),
        ("gone before the answer", n(200), lambda: leaves(address, good, 0.0), let_go),
        ("200 MB announced", n(20),
         lambda: talk(address, HEAD + b"Content-Length: 200000000\r\n\r\n"), status(413)),
        ("chunks without end", n(10),
         lambda: talk(address, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 400 * chunk),
         status(413, 503)),
        ("a gzip bomb", n(10),
         lambda: talk(address, HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
                      + bytes(9)), status(415)),
        ("1,000 headers", n(20),
         lambda: talk(address, HEAD + b"X-A: b\r\n" * 1000 + b"\r\n"), status(400, 431)),
        ("a header of 1 MB", n(10),
         lambda: talk(address, HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n"), status(400, 431)),
        ("two lengths", n(20), lambda: talk(address, two_lengths), status(400)),
        ("a length and chunks", n(20), lambda: talk(address, smuggled), status(400)),
        ("no HTTP", n(20), lambda: talk(address, b"\x16\x03\x01" + body), status(400)),
        ("50 requests at once", n(10), lambda: talk(address, gets, wait_s=8), fifty),
    ]  # fmt: skip


async def all_at_once(
    address: Address, good: bytes, scale: float, traffic: Callable[[], Awaitable[dict[str, Any]]]
) -> tuple[dict[str, list[bool]], dict[str, Any]]:
    """(kind -> whether each client was taken rightly, what `traffic` found meanwhile)."""
    kinds = attacks(address, good, scale)
    meanwhile = asyncio.create_task(traffic())
    began = time.monotonic()
    tasks = {
        kind: [asyncio.create_task(_later(number * 0.01, one)) for number in range(count)]
        for kind, count, one, _ in kinds
    }
    results = {kind: await asyncio.gather(*tasks[kind]) for kind, *_ in kinds}
    found = {kind: [right(taken) for taken in results[kind]] for kind, _, _, right in kinds}
    good_ones = await meanwhile
    good_ones["seconds"] = round(time.monotonic() - began, 1)
    return found, good_ones


async def _later(seconds: float, one: Callable[[], Awaitable[Taken]]) -> Taken:
    await asyncio.sleep(seconds)
    return await one()
