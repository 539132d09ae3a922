"""What a client may cost besides inference: connections, headers, bodies, replies and their time.

aiohttp is used at its lowest documented level (a handler, no application): its parser is llhttp in
C, bounds header sizes, refuses smuggling, pauses pipelined requests, closes a connection whose
headers are not whole when the keep-alive time is over, and keeps up a stream with back-pressure;
uvicorn (with httptools or h11) has no deadline for headers or bodies at all. No form is ever
parsed, multipart or other. Added here: a cap on connections, one on a body's size and time, one
on all the bodies held at once, one on the time to take a reply, and errors as JSON that repeat
nothing of what was sent.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from neurogaze_fast.deploy.server.http_errors import RequestError, malformed

_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # a trace per malformed request would fill disks; they are counted
Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


@dataclass(frozen=True)
class Limits:
    """Bounds that users need not set."""

    header_s: float = 5.0
    """Until a request's headers are whole; also how long an idle connection is kept."""
    body_s: float = 10.0
    """Until a request's body is whole; also until a client has taken a reply."""
    bodies: int = 32
    """Bodies of full size that may be held at once, all connections together."""
    connections: int = 1000


class BodyReader:
    """Reads bodies within the limits."""

    def __init__(self, max_body: int, limits: Limits) -> None:
        self.max_body = max_body
        self._limits = limits
        self._left = limits.bodies * max_body

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
        chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
        if length is None and not chunked:
            raise RequestError(411, "a Content-Length is needed")
        if length is not None and length > self.max_body:
            raise self._too_large()
        held = self.max_body if length is None else length
        if held > self._left:
            raise RequestError(503, "too many requests are being received", retry_after_s=1)
        self._left -= held
        try:
            yield await self._receive(request)
        finally:
            self._left += held

    async def _receive(self, request: web.BaseRequest) -> bytes:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the reply proper has not begun
        parts = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while chunk := await request.content.readany():
                    parts += chunk
                    if len(parts) > self.max_body:
                        raise self._too_large()
        except TimeoutError:
            raise RequestError(
                408, f"the body was not whole within {self._limits.body_s:g} s"
            ) from None
        except (web.RequestPayloadError, ConnectionError) as cause:
            raise malformed("the body broke off, or is badly chunked") from cause
        return bytes(parts)

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the body has more than {self.max_body} bytes")


def error_response(error: RequestError) -> web.Response:
    """The error as JSON; after those that leave a body unread the connection is closed."""
    response = web.json_response(
        {"error": error.message, "type": error.type}, status=error.status, headers=PLAIN
    )
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


PLAIN = {
    "Server": "neurogaze_fast",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every reply."""


class _Connection(web.RequestHandler):
    __slots__ = ("_reply_s", "_unread")

    def __init__(self, server: web.Server, reply_s: float, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._reply_s = reply_s
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Paused from the first byte that the system does not take: asyncio waits without end for
        # what is left, even on a connection that was closed.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:  # its client does not read: not for ever
            self._unread = self._loop.call_later(self._reply_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A reply to what was no HTTP request; aiohttp's own would repeat some of it."""
        if request.writer.output_size > 0:
            raise ConnectionError("a reply has begun already")
        response = error_response(RequestError(status, "the request is no valid HTTP"))
        response.force_close()
        return response


class LimitedServer(web.Server):
    """aiohttp's low-level server with a cap on connections, deadlines, and JSON errors."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        # Leaving a client's request must also leave the queue.
        super().__init__(handler, handler_cancellation=True)
        self._reply_s = limits.body_s
        self._options: dict[str, Any] = {
            "keepalive_timeout": limits.header_s,
            "lingering_time": 1.0,
            "auto_decompress": False,
            "access_log": None,
            "logger": _SILENT,
            "max_line_size": 8190,
            "max_field_size": 8190,
            "max_headers": 64,
        }
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = files - 128 if files != resource.RLIM_INFINITY else limits.connections
        self._max_connections = max(16, min(limits.connections, room))

    def __call__(self) -> web.RequestHandler:
        """A protocol for a new connection."""
        return _Connection(self, self._reply_s, **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count the connection, or end it."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._max_connections:
            transport.abort()
