"""The real ``serve`` command as a child process, for rows that knock at it."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scorecard.row import CannotRun

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0
"""Until a server must be ready, on a machine that has much else to do."""
MAIN = "import sys; from neurogaze_fast.serve import main; main(sys.argv[1:])"


@functools.cache
def model() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """(what keeps it, run folder) of a ResNet-18 for 32 x 32 pixels, fitted in seconds."""
    try:
        import aiohttp  # noqa: F401
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError as missing:
        raise CannotRun(
            f"{missing.name} is missing: pip install 'neurogaze_fast[serve]'"
        ) from missing
    from tests.deploy.small_model import write_run

    kept = tempfile.TemporaryDirectory(prefix="scorecard-model-")
    return kept, write_run(Path(kept.name) / "run")


class Served:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path, address: tuple[str, int]) -> None:
        self.process, self.log, self.address = process, log, address

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def resident_kib(self) -> int:
        """Memory it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def ask(
        self, method: str, path: str, body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, bytes]:  # fmt: skip
        """(status, headers, body) on a connection of its own."""
        link = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            link.request(method, path, body, headers or {})
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            link.close()

    def predicted(self, body: bytes) -> Any:
        """The probabilities of a picture, or the status."""
        status, _, answer = self.ask("POST", "/predict?detect=0", body)
        return json.loads(answer)["probabilities"] if status == 200 else status

    def lines(self) -> int:
        """Lines it has written to its log."""
        return self.log.read_bytes().count(b"\n")

    def end(self, seconds: float = 30.0) -> int:
        """SIGTERM; its exit code, or -9 where it did not end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def command(*options: str, planted: str = "", run: Path | None = None) -> list[str]:
    """The command line; `planted` is Python that runs before it."""
    folder = str(run or model()[1])
    options = ("--model", folder, "--engine", "torch", "--threads", "1", *options)
    return [sys.executable, "-u", "-c", f"{planted}\n{MAIN}", *options]


@contextmanager
def served(
    folder: Path,
    *options: str,
    planted: str = "",
    run: Path | None = None,
    cpu: int | None = None,
    **environment: str,
) -> Iterator[Served]:
    """A server on a free port of 127.0.0.1, ready, until the block ends."""
    log, said = folder / "server.err", folder / "server.out"
    line = command("--port", "0", *options, planted=planted, run=run)
    place = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
    where = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    with open(log, "w") as errors, open(said, "w") as out:
        process = subprocess.Popen(
            line, stdout=out, stderr=errors, text=True, cwd=folder, env=where, preexec_fn=place
        )
    try:
        yield _ready(process, log, said)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[str], log: Path, said: Path) -> Served:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", said.read_text()):
            server = Served(process, log, ("127.0.0.1", int(found[1])))
            if server.ask("GET", "/v2/health/ready")[0] == 200:
                return server
        time.sleep(0.05)
    raise RuntimeError(f"the server did not become ready: {log.read_text()[-500:]}")


def request(server: Served) -> bytes:
    """The bytes of one valid /predict?detect=0 request."""
    from benchmarks.load_client import good_request

    return asyncio.run(good_request(server.address, "predict", 0))
