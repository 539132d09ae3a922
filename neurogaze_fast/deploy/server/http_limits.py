"""What a client may cost besides inference: connections, headers, bodies, replies and their time.

aiohttp is used at its lowest documented level (a handler, no application): its parser is llhttp in
C, bounds header sizes, refuses smuggling, pauses pipelined requests, closes a connection whose
headers are not whole when the keep-alive time is over, and keeps up a stream with back-pressure;
uvicorn (with httptools or h11) has no deadline for headers or bodies at all. aiohttp parses no form
here: form.py takes the one file out of a body that is whole. Added here: a cap on connections, one
on a body's size and time, one on all the bodies held at once, one on the time to take a reply,
answers to clients that close their half of a connection once they have asked, and errors as JSON
that repeat nothing of what was sent.

Where there are too many connections, of those that keep the server waiting, be it for headers or
for a body, the one goes from which nothing came for longest: idle and slow clients, however many,
never keep out one that says what it wants.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import StreamReader, web

from neurogaze_fast.deploy.server.early_refusal import (
    error_body,
    error_bytes,
    error_headers,
    whole_post,
)
from neurogaze_fast.deploy.server.http_errors import RequestError

_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # a trace per malformed request would fill disks; they are counted
_AT_ONCE, _OF_CHUNKS = 16_384, 2048
"""Bytes of one connection that are read before it is the others' turn; chunks may be of one byte,
and then take the parser a microsecond or more each."""
Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]
Refuse = Callable[[str], RequestError | None]
"""Why a POST to this target is not even read now, or None; each error given is then answered."""


@dataclass(frozen=True)
class Limits:
    """Bounds that users need not set."""

    header_s: float = 5.0
    """Until a request's headers are whole; also how long an idle connection is kept."""
    body_s: float = 10.0
    """Until a request's body is whole; also until a client has taken a reply."""
    bodies: int = 16
    """What may be held of bodies at once, all connections together, in bodies of full size."""
    connections: int = 1000


def error_response(error: RequestError) -> web.Response:
    """The error as JSON; after those that leave a body unread the connection is closed."""
    return web.Response(
        text=error_body(error),
        content_type="application/json",
        status=error.status,
        headers=error_headers(error),
    )


class Connection(web.RequestHandler):
    """One connection; what is added to aiohttp's is said at the top of this file."""

    __slots__ = ("_between", "_body", "_half_closed", "_refuse", "_reply_s", "_silent", "_unread")

    def __init__(self, server: LimitedServer, reply_s: float, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._reply_s, self._silent, self._refuse = reply_s, server.silent, server.refuse
        self._between = True  # all that the parser was given were whole requests
        self._unread: asyncio.TimerHandle | None = None
        self._body: StreamReader | None = None
        self._half_closed = False

    @property
    def asks_no_more(self) -> bool:
        """Its client has closed its half, and nothing that it asked is left but this."""
        return self._half_closed and not self._messages

    @contextmanager
    def awaits_body(self, body: StreamReader, chunked: bool) -> Iterator[Callable[[], None]]:
        """Around waiting for this body; to be told whenever some of it came."""
        self._body = body
        self._read_at_once(_OF_CHUNKS if chunked else _AT_ONCE)
        try:
            self._came()
            if self._half_closed:
                self._break_off()
            yield self._came
        finally:
            self._silent.pop(self, None)
            self._body = None
            self._read_at_once(_AT_ONCE)

    def _read_at_once(self, count: int) -> None:
        if self.transport is not None:
            self.transport.max_size = count  # type: ignore[attr-defined]  # asyncio's reads it

    def _came(self) -> None:
        self._silent.pop(self, None)
        self._silent[self] = None

    def data_received(self, data: bytes) -> None:
        """Bytes came. What is one whole request is refused here where it would be refused."""
        if self._between and data:  # aiohttp calls this with nothing, to go on
            target = whole_post(data)
            self._between = target is not None and self._is_idle
            if self._between and target is not None and self._unread is None:
                error = self._refuse(target.decode("ascii"))
                if error is not None and self.transport is not None:
                    self.transport.write(error_bytes(error))
                    self._came()
                    self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout
                    return
        super().data_received(data)

    @property
    def _is_idle(self) -> bool:
        return self._current_request is None and not self._messages and not self._half_closed

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more. Where it has asked something, its answer is still sent."""
        if self._waiter is not None and not self._waiter.done():
            return None  # asyncio closes the connection
        self._half_closed = True
        self._break_off()
        return True

    def _break_off(self) -> None:
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(ConnectionError("half a body"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Paused from the first byte that the system does not take: asyncio waits without end for
        # what is left, even on a connection that was closed.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=0)
        self._read_at_once(_AT_ONCE)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:  # its client does not read: not for ever
            self._unread = self._loop.call_later(self._reply_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._silent.pop(self, None)
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

    def __init__(
        self, handler: Handler, limits: Limits, refuse: Refuse = lambda target: None
    ) -> None:
        # A client whose connection is reset must also leave the queue.
        super().__init__(self._answer, handler_cancellation=True)
        self.silent: dict[Connection, None] = {}
        """Those that are waited for, the one first from which nothing came for longest."""
        self._handler, self.refuse = handler, refuse
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
        self.max_connections = max(16, min(limits.connections, room))

    def __call__(self) -> web.RequestHandler:
        """A protocol for a new connection."""
        return Connection(self, self._reply_s, **self._options)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        connection = cast(Connection, request.protocol)
        self.silent.pop(connection, None)
        try:
            response = await self._handler(request)
            if connection.asks_no_more:
                response.force_close()
            return response
        finally:
            if connection.transport is not None:
                self.silent[connection] = None

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count the connection, and end one where they are too many."""
        super().connection_made(handler, transport)
        connection = cast(Connection, handler)
        self.silent[connection] = None
        if len(self.connections) > self.max_connections:
            silent = next(iter(self.silent))
            del self.silent[silent]
            if silent.transport is not None:
                silent.transport.abort()
