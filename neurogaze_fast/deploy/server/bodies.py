"""The bodies of requests: read within the limits, and counted by the bytes that came.

What a client announces costs nothing, so it is not counted. Where there is no room, the largest
body that still arrives must go: a small one is never kept out by large ones that come slowly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from neurogaze_fast.deploy.server.http_errors import RequestError, malformed
from neurogaze_fast.deploy.server.http_limits import Connection, Limits


@dataclass(eq=False)
class _Held:
    """What is held of one body."""

    size: int = 0
    time_left: asyncio.Timeout | None = None
    """While it arrives."""
    given_up: bool = False
    """Others needed the room."""


class BodyReader:
    """Reads bodies within the limits."""

    def __init__(self, max_body: int, limits: Limits) -> None:
        self.max_body = max_body
        self._limits = limits
        self._room = limits.bodies * max_body
        self._arriving: set[_Held] = set()

    @asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """The whole body, which counts as held until the context ends.

        Raises:
            RequestError: 413 too large (by its header, before a byte of it is read), 408 too slow,
                415 compressed, 411 without a length, 503 too many at once, 400 broken off.
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RequestError(415, "compressed bodies are not taken")
        length = request.content_length
        if length is None and not _is_chunked(request):
            raise RequestError(411, "a Content-Length is needed")
        if length is not None and length > self.max_body:
            raise self._too_large()
        held = _Held()
        try:
            yield await self._receive(request, held)
        finally:
            self._room += held.size

    async def _receive(self, request: web.BaseRequest, held: _Held) -> bytes:
        connection = cast(Connection, request.protocol)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the reply proper has not begun
        parts = bytearray()
        self._arriving.add(held)
        try:
            async with asyncio.timeout(self._limits.body_s) as held.time_left:
                with connection.awaits_body(request.content, _is_chunked(request)) as came:
                    while chunk := await request.content.readany():
                        came()
                        parts += chunk
                        if len(parts) > self.max_body:
                            raise self._too_large()
                        self._hold(held, len(chunk))
        except TimeoutError:
            if held.given_up:
                raise RequestError(503, "too much is being received") from None
            raise RequestError(
                408, f"the body was not whole within {self._limits.body_s:g} s"
            ) from None
        except (web.RequestPayloadError, ConnectionError) as cause:
            raise malformed("the body broke off, or is badly chunked") from cause
        finally:
            self._arriving.discard(held)
        return bytes(parts)

    def _hold(self, held: _Held, count: int) -> None:
        """Count bytes that came; where there is no room, the largest body that arrives must go."""
        held.size += count
        self._room -= count
        while self._room < 0 and self._arriving:
            largest = max(self._arriving, key=lambda one: one.size)
            self._arriving.discard(largest)
            self._room += largest.size
            largest.size, largest.given_up = 0, True
            if largest is held:
                raise RequestError(503, "too much is being received")
            if largest.time_left is not None:
                largest.time_left.reschedule(asyncio.get_running_loop().time())

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the body has more than {self.max_body} bytes")


def _is_chunked(request: web.BaseRequest) -> bool:
    return "chunked" in request.headers.get("Transfer-Encoding", "").lower()
