"""A server's life: listen, answer until told to stop, finish what has begun, end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.http_errors import EngineLostError
from neurogaze_fast.deploy.server.http_limits import LimitedServer, Limits
from neurogaze_fast.deploy.server.service import Service
from neurogaze_fast.errors import ConfigError

DRAIN_S = 15.0
"""Seconds that requests under way get at the end: a slow body and a deadline fit."""
_LOOK_S = 0.05


async def serve_until(
    service: Service,
    config: ServeConfig,
    stop: threading.Event,
    *,
    announce: Callable[[str, str | None], None],
    limits: Limits | None = None,
    drain_s: float = DRAIN_S,
) -> int:
    """Serve until `stop` is set, then close the port and finish what has begun, within `drain_s`.

    `announce` is called with the server's address once it listens, and with its gRPC address.

    Returns:
        How many requests were not finished by then.

    Raises:
        ConfigError: the address or port cannot be used.
        EngineLostError: the engine met an error after which it cannot work in this process.
    """
    loop = asyncio.get_running_loop()
    server = LimitedServer(service.handle, limits or Limits(), service.refuse)
    try:
        # Clients that find no room while they connect try again only after a second.
        listener = await loop.create_server(
            server, config.host, config.port, backlog=server.max_connections
        )
    except OSError as cause:
        raise ConfigError(
            f"--host {config.host} --port {config.port} cannot be listened on "
            f"({cause.strerror or cause}). Choose another --port (0 takes a free one), or end what "
            "uses this one."
        ) from cause
    host = f"[{config.host}]" if ":" in config.host else config.host
    calls, address = None, None
    if config.grpc_port is not None:
        from neurogaze_fast.deploy.server import grpc_service

        try:
            calls, port = await grpc_service.start(service, config)
        except ConfigError:
            listener.close()
            raise
        address = f"{host}:{port}"
    await service.batcher.start()
    announce(f"http://{host}:{listener.sockets[0].getsockname()[1]}", address)
    unfinished = 0
    try:
        while not stop.is_set() and service.batcher.lost is None:
            await asyncio.sleep(_LOOK_S)
        service.batcher.draining = True
        listener.close()
        ending = asyncio.create_task(calls.stop(drain_s)) if calls is not None else None
        if service.batcher.lost is None:
            unfinished = await _finish(service, drain_s)
        if ending is not None:
            await asyncio.wait([ending], timeout=_LOOK_S)
    finally:
        listener.close()
        await service.batcher.stop()
        await asyncio.sleep(_LOOK_S)  # the last errors on their way out
        await server.shutdown(1.0)
        if calls is not None:
            await calls.stop(0)
        service.close()
    if service.batcher.lost is not None:
        error = service.batcher.lost
        raise EngineLostError(
            f"The engine is lost ({type(error).__name__}: {str(error).splitlines()[0][:200]}). "
            "Nothing in this process can use the GPU again: start the server anew, which a "
            "supervisor such as systemd or Kubernetes does by itself."
        ) from error
    return unfinished


async def _finish(service: Service, drain_s: float) -> int:
    """Wait for the requests under way; new ones on open connections are still answered."""
    end = time.monotonic() + drain_s
    while service.in_flight and time.monotonic() < end:
        await asyncio.sleep(_LOOK_S)
    return service.in_flight
