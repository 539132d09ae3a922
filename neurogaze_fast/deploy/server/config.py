"""Options of ``serve``; the docstring under each field is its help text."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from neurogaze_fast.deploy.vision.config import EngineChoice
from neurogaze_fast.errors import ConfigError

TOKEN_VARIABLE = "NEUROGAZE_TOKEN"
TOKEN_LENGTH = 16
"""Characters a token needs at least: a shorter one can be guessed over a network."""


@dataclass(frozen=True)
class ServeConfig:
    """Answer pictures over HTTP: Open Inference Protocol v2, raw image bytes, and one web page."""

    model: Path | None = None
    """Run folder, exported graph or model.safetensors; newest: the newest run in runs/; by default
    the model inside the package."""
    engine: EngineChoice = "auto"
    """What computes: the fastest that works here, unless one is named."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None = None
    """Of the exports that are there; by default what the engine does best."""
    threads: int = 0
    """Threads of the engine; 0 leaves it to the engine."""
    strict: bool = False
    """End with an error where the engine that was asked for does not work, with no other tried."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs --token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one and prints it."""
    grpc_port: int | None = None
    """Port for Open Inference Protocol v2 over gRPC, on the same address; 0 takes a free one; by
    default there is none. Needs grpcio."""
    token: str | None = field(default=None, repr=False)
    """Secret that every request must bring as `Authorization: Bearer TOKEN`, health excepted.
    Better given in the environment variable NEUROGAZE_TOKEN: others can read a command line."""

    max_batch: int = 64
    """Images computed together, and in one request, at most."""
    max_wait_ms: float = 2.0
    """Milliseconds an image may wait for others to share its batch; 0 starts at once."""
    queue: int = 256
    """Images that may wait; beyond that a request is answered 503 with Retry-After."""
    deadline_s: float = 2.0
    """Seconds from a complete request to its answer; later it is 504, and not computed."""
    max_body: float = 16.0
    """Megabytes of a request's body at most."""
    max_pixels: float = 25.0
    """Megapixels of a picture at most, by its header, before it is decoded. Faces are looked for in
    4 at most: a larger picture is shrunk."""

    def __post_init__(self) -> None:
        if self.token is None and TOKEN_VARIABLE in os.environ:
            # Not a default of the field, which --help would print.
            object.__setattr__(self, "token", os.environ[TOKEN_VARIABLE])
        limits = {
            "port": (self.port, 0, 65535),
            "grpc-port": (self.grpc_port or 0, 0, 65535),
            "threads": (self.threads, 0, 1024),
            "max-batch": (self.max_batch, 1, 4096),
            "max-wait-ms": (self.max_wait_ms, 0, 1000),
            "queue": (self.queue, 1, 1_000_000),
            "deadline-s": (self.deadline_s, 0.01, 600),
            "max-body": (self.max_body, 0.01, 1024),
            "max-pixels": (self.max_pixels, 0.01, 50),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise ConfigError(f"--{name} is {value}; it must be in [{low}, {high}].")
        if self.queue < self.max_batch:
            raise ConfigError(
                f"--queue {self.queue} is less than --max-batch {self.max_batch}: a full batch "
                "could never wait. Raise --queue or lower --max-batch."
            )
        if self.token is not None and not _good_token(self.token):
            raise ConfigError(
                f"The token has {len(self.token)} characters, or some that cannot stand in a "
                f"header; it must be {TOKEN_LENGTH} or more of plain ASCII without spaces. One is "
                "made by: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached by other machines, and there is no --token: "
                "anybody there could send pictures. Give a --token (or set "
                f"{TOKEN_VARIABLE}), or leave --host at 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address) can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _good_token(token: str) -> bool:
    plain = token.isascii() and token.isprintable() and " " not in token
    return plain and len(token) >= TOKEN_LENGTH
