"""``neurogaze-fast serve``: answer pictures over HTTP, with a page to try it at /."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.errors import ConfigError, run_command

if TYPE_CHECKING:
    from rich.console import Console

    from neurogaze_fast.deploy.server.service import Service

SYNTHETIC = (
    "This model was trained on DRAWN FACES: its answers show that the server runs, and say "
    "nothing about people."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and serve until SIGTERM or Ctrl-C."""
    run_command(lambda: serve(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> ServeConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        ServeConfig,
        args=argv,
        description=ServeConfig.__doc__,
        prog="neurogaze-fast serve",
    )


def serve(config: ServeConfig) -> None:
    """Open the model and answer requests; SIGTERM and Ctrl-C finish what has begun, and end.

    Raises:
        ConfigError: a package is missing, or the port is in use.
        EngineLostError: CUDA failed for good.
    """
    from rich.console import Console

    from neurogaze_fast.signals import stop_on_signal

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    console = Console(soft_wrap=True)
    service = open_service(config, console)
    from neurogaze_fast.deploy.server.lifecycle import serve_until

    def announce(address: str, grpc_address: str | None) -> None:
        console.print(f"Listening on {address} (a page to try it, /predict, and Open Inference "
                      "Protocol v2). Ctrl-C ends.", markup=False, highlight=False)  # fmt: skip
        if grpc_address is not None:
            console.print(f"gRPC, Open Inference Protocol v2: {grpc_address}", markup=False,
                          highlight=False)  # fmt: skip

    with stop_on_signal() as stop:
        unfinished = asyncio.run(serve_until(service, config, stop, announce=announce))
    console.print(
        f"Ended: {unfinished} of the requests that had begun could not be finished in time."
        if unfinished
        else "Ended: everything that had begun was answered.",
        markup=False,
    )
    if service.batcher.engine_busy:
        # It may hang: closing would wait for it, and the interpreter's end abort in its thread.
        sys.stdout.flush()
        os._exit(0)
    service.engine.close()


def open_service(config: ServeConfig, console: Console) -> Service:
    """The engine of the options, warmed up by the server later, and what answers with it."""
    try:
        from neurogaze_fast.deploy.server.service import Service

        if config.grpc_port is not None:
            import_module("neurogaze_fast.deploy.server.grpc_service")
    except ModuleNotFoundError as missing:
        wanted = ("aiohttp", "prometheus_client", "grpc", "google")
        if (missing.name or "").partition(".")[0] not in wanted:
            raise
        raise ConfigError(
            f"The package {missing.name} is missing, which the server needs: "
            "pip install 'neurogaze_fast[serve]'"
        ) from missing
    from neurogaze_fast.deploy.predictor import prepare_face
    from neurogaze_fast.deploy.shipped import describe, find_model, open_model
    from neurogaze_fast.deploy.vision.faces_in_picture import open_faces

    path = find_model(config.model)
    engine = open_model(
        path,
        config.engine,
        precision=config.precision,
        threads=config.threads,
        strict=config.strict,
    )
    for line in (*describe(path), f"Engine: {engine.detail}"):
        console.print(line, markup=False, highlight=False)
    for text in engine.passed_over:
        console.print(f"  not used: {text}", markup=False, highlight=False)
    if engine.synthetic:
        console.print(SYNTHETIC, style="bold white on red", markup=False)
    return Service(engine, config, prepare=prepare_face, faces=open_faces())


if __name__ == "__main__":
    main()
