"""S4: a server's end under load, its start with what is bad, and engines that are lost."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scorecard.row import Counted, row
from benchmarks.scorecard.server_process import START_S, command, model, served

CLIENTS = 6
LOST_S = 5.0
"""Until a server whose engine is lost has ended."""


class Clients:
    """Threads that ask without pause on connections of their own until the server closes them."""

    def __init__(self, address: tuple[str, int], body: bytes) -> None:
        self.answered, self.failed, self._stopped_at = 0, [], float("inf")
        self._threads = [
            threading.Thread(target=self._ask, args=(address, body)) for _ in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stopping(self) -> None:
        """The server is being told to end: what is sent from now on may be refused with 503."""
        self._stopped_at = time.monotonic()

    def join(self) -> None:
        """Until all were sent away."""
        for thread in self._threads:
            thread.join(60)

    def _ask(self, address: tuple[str, int], body: bytes) -> None:
        link = http.client.HTTPConnection(*address, timeout=30)
        try:
            while True:
                sent = time.monotonic()
                try:
                    link.request("POST", "/predict?detect=0", body)
                    answer = link.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{type(error).__name__} {error}"[:100])
                    return
                late = sent > self._stopped_at - 0.01  # it was on its way when the server was told
                if answer.status == 200 or (answer.status == 503 and late):
                    self.answered += 1
                else:
                    self.failed.append(f"status {answer.status}")
                if answer.headers.get("Connection") == "close":
                    return
        finally:
            link.close()


def _rolling(count: int, drain_s: float) -> tuple[int, list[str]]:
    """(requests, failed ones) of servers in this process that end under load."""
    from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving

    asked, failed = 0, []
    for turn in range(count):
        engine = FakeEngine(0.02 + 0.02 * (turn % 4))
        with serving(engine, max_wait_ms=turn % 3, drain_s=drain_s, deadline_s=20) as server:
            clients = Clients(server.address, picture(grey(40)))
            time.sleep(0.2 + 0.03 * (turn % 5))
            clients.stopping()
            server.stop.set()
            clients.join()
        asked += clients.answered + len(clients.failed)
        failed += [f"restart {turn}: {text}" for text in clients.failed]
        if server.error is not None:
            failed.append(f"restart {turn}: the server raised {server.error!r}")
    return asked, failed


def _by_signal(folder: Path, count: int, body: bytes) -> tuple[int, list[str], list[float]]:
    """The same of the real command and SIGTERM, with the seconds until it had ended."""
    asked, failed, seconds = 0, [], []
    for turn in range(count):
        with served(folder) as server:
            clients = Clients(server.address, body)
            time.sleep(0.5)
            clients.stopping()
            began = time.monotonic()
            code = server.end()
            seconds.append(time.monotonic() - began)
            clients.join()
        asked += clients.answered + len(clients.failed)
        failed += [f"SIGTERM {turn}: {text}" for text in clients.failed]
        failed += [f"SIGTERM {turn}: exit code {code}"] if code not in (0, 143) else []
    return asked, failed, seconds


def _engine_lost(folder: Path) -> str | None:
    from neurogaze_fast.deploy.server.http_errors import EngineLostError
    from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving

    with serving(FakeEngine()) as server:
        server.engine.error = RuntimeError("CUDA error: device-side assert triggered")
        status = server.ask("POST", "/predict?detect=0", picture(grey(40)))[0]
        end = time.monotonic() + LOST_S
        while server.error is None and time.monotonic() < end:
            time.sleep(0.01)
        if status not in (500, 503) or not isinstance(server.error, EngineLostError):
            return f"a lost engine answered {status}, and the server has {server.error!r}"
    return None


def _engine_fails_once(folder: Path) -> str | None:
    from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving

    with serving(FakeEngine()) as server:
        server.engine.error = RuntimeError("no")
        server.ask("POST", "/predict?detect=0", picture(grey(40)))
        not_ready = server.ask("GET", "/v2/health/ready")[0]
        alive = server.ask("GET", "/v2/health/live")[0]
        server.engine.error = None
        server.wait_ready()
        right = server.json("POST", "/predict?detect=0", picture(grey(200)))[1].get("valence")
    if (not_ready, alive) != (503, 200) or right is None:
        return f"ready {not_ready} and live {alive} after a failure, then {right}"
    return None


def _never_ready(folder: Path, run: Path, *options: str) -> str | None:
    """A start that must be refused: exit code 2, one paragraph, and never an address."""
    done = subprocess.run(
        command(*options, run=run), capture_output=True, text=True, timeout=START_S, cwd=folder
    )
    if done.returncode == 2 and "Listening" not in done.stdout and "Traceback" not in done.stderr:
        return None
    return f"exit code {done.returncode}: {done.stderr[-300:]}"


def _damaged_model(folder: Path) -> str | None:
    run = shutil.copytree(model()[1], folder / "damaged")
    data = bytearray((run / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (run / "model.safetensors").write_bytes(data)
    return _never_ready(folder, run, "--port", "0")


def _no_model(folder: Path) -> str | None:
    return _never_ready(folder, folder / "nothing", "--port", "0")


def _port_in_use(folder: Path) -> str | None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return _never_ready(folder, model()[1], "--port", str(taken.getsockname()[1]))


def _swapped_and_killed(folder: Path, body: bytes) -> str | None:
    """The model's file is replaced under a server, which is then killed and started anew."""
    run = shutil.copytree(model()[1], folder / "swapped")
    with served(folder, run=run) as server:
        before, port = server.predicted(body), server.address[1]
        (run / "model.safetensors").write_bytes(b"other")
        after = server.predicted(body)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    if before != after or not isinstance(before, dict):
        return f"answers changed with the file: {before}, {after}"
    with served(folder, "--port", str(port)) as server:
        again = server.predicted(body)
    return None if again == before else f"after kill -9 and a start: {again}, before: {before}"


def _lives(folder: Path, restarts: int, signals: int, drain_s: float = 5.0) -> Counted:
    from tests.deploy.server.server_under_test import picture

    body = picture(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8))
    asked, failed = _rolling(restarts, drain_s)
    seconds: list[float] = []
    starts: list[Callable[[Path], Any]] = [_engine_lost, _engine_fails_once]
    if signals:
        more, wrong, seconds = _by_signal(folder, signals, body)
        asked, failed = asked + more, failed + wrong
        starts += [_damaged_model, _no_model, _port_in_use]
        starts.append(lambda where: _swapped_and_killed(where, body))
    found = [text for start in starts if (text := start(folder))]
    return Counted(
        asked + len(starts), len(failed) + len(found),
        f"{restarts + signals} ends under load: {len(failed)} of {asked} accepted requests failed; "
        f"SIGTERM to exit at most {max(seconds, default=0):.1f} s; {len(found)} of {len(starts)} "
        "other scenes wrong",
        {"failed": failed[:20], "scenes": found},
    )  # fmt: skip


def canary_s4(folder: Path) -> Counted:
    """Servers that do not wait for what has begun."""
    return _lives(folder, 3, 0, drain_s=0.0)


@row(
    "S4",
    "servers ended under load, a lost or failing engine, a damaged or missing model, a port in "
    "use, a model file replaced, kill -9 and a start on the same port",
    "no request that was accepted fails; what is bad never becomes ready (exit code 2)",
    canary_s4,
)
def s4(folder: Path, scale: float) -> Counted:
    """30 servers in this process and 3 real ones end under load."""
    return _lives(folder, max(3, round(30 * scale)), max(1, round(3 * scale)))
