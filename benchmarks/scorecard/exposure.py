"""S5: what a server gives away, writes and listens on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from benchmarks.scorecard.row import Counted, row
from benchmarks.scorecard.server_process import served

OWN_FILES = ("server.err", "server.out", "detector-parity.json")
"""The log, and in the cache folder the verdict on the detector's engine."""
MARK = b"N3uR0-marker-7f1c"
MANAGEMENT = (
    "/admin", "/config", "/debug", "/debug/pprof", "/.env", "/models",
    "/v2/repository/index", "/v2/repository/models/neurogaze/load", "/v2/trace/setting",
    "/v2/logging", "/v2/systemsharedmemory/status", "/v2/cudasharedmemory/status", "/shutdown",
    "/ping", "/api", "/login",
)  # fmt: skip
SAID = re.compile(rb"Traceback|File \"|/[a-z]+/[a-z_]+\.py|site-packages|\bshm\b|depress|diagnos")


def _given_away(folder: Path, planted: str = "") -> Counted:
    from tests.deploy.server.server_under_test import picture

    places = {name: folder / name for name in ("home", "tmp", "cwd")}
    for place in places.values():
        place.mkdir()
    face = np.full((40, 40, 3), 90, np.uint8)
    whole = len(MARK) // 3
    face[3, :whole] = np.frombuffer(MARK[: 3 * whole], np.uint8).reshape(whole, 3)
    marked = picture(face) + MARK
    environment = {"HOME": str(places["home"]), "TMPDIR": str(places["tmp"])}
    hits, bodies, checks = [], [], 0
    with served(places["cwd"], planted=planted, **environment) as server:
        name = MARK.decode()
        asks: list[tuple[str, str, bytes | None, dict[str, str]]] = [
            ("POST", "/predict?detect=0", marked, {}),
            ("POST", "/predict", marked, {}),
            ("POST", "/predict?detect=0", marked[:200], {"X-Name": name}),
            ("POST", "/predict?detect=0", MARK * 100, {}),
            ("POST", f"/predict?detect={name}", marked, {}),
            ("GET", f"/{name}", None, {"User-Agent": name}),
            ("POST", "/v2/models/neurogaze/infer", b'{"inputs": "' + MARK + b'"', {}),
            ("POST", "/v2/models/neurogaze/infer", b'{"inputs": [{"name": "' + MARK + b'"}]}', {}),
            ("DELETE", "/v2", None, {"Cookie": name}),
            ("POST", "/predict?detect=0", marked, {"Content-Type": f"image/{name}"}),
            ("GET", "/v2", None, {"Origin": f"http://{name}.example"}),
        ]
        for method, path, body, headers in asks:
            bodies.append(server.ask(method, path, body, headers)[2])
        model = "/v2/models/neurogaze"
        about = ("/metrics", "/v2", model, f"{model}/config", f"{model}/stats", "/docs")
        bodies += [server.ask("GET", path)[2] for path in about]
        checks += len(bodies)
        hits += [f"an answer repeats it: {text[:80]!r}" for text in bodies if MARK in text]
        hits += [f"an answer says too much: {text[:120]!r}" for text in bodies if SAID.search(text)]
        for path in MANAGEMENT:
            checks += 1
            if (status := server.ask("GET", path)[0]) != 404:
                hits.append(f"{path} answers {status}")
        checks += 1
        if open_to := [place for place in _listens(server.pid) if not place.startswith("127.")]:
            hits.append(f"listens on {', '.join(open_to)}")
        server.end()
    written = [path for place in places.values() for path in place.rglob("*") if path.is_file()]
    for path in written:
        checks += 1
        data = path.read_bytes()
        if MARK in data or face.tobytes()[:240] in data:
            hits.append(f"{path.relative_to(folder)} holds what a client sent")
    new = [str(path.relative_to(folder)) for path in written if path.name not in OWN_FILES]
    hits += [f"{path} was written" for path in new]
    return Counted(
        checks, len(hits),
        f"{checks} answers, paths, ports and files looked at; {len(new)} files in HOME, "
        "TMPDIR and the working folder that are neither the log nor the detector's verdict",
        {"hits": hits[:20]},
    )  # fmt: skip


def _listens(pid: int) -> list[str]:
    """Addresses that a process listens on."""
    import ipaddress

    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                raw = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.append(str(ipaddress.ip_address(raw)))
    return found


CHATTY = """
import logging, tempfile
from neurogaze_fast.deploy.server import cutting
decode = cutting.decode_picture
def keeps(data, most, shrunk):
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(data)
    logging.getLogger("planted").warning("picture %r", data[-40:])
    return decode(data, most, shrunk)
cutting.decode_picture = keeps
"""


def canary_s5(folder: Path) -> Counted:
    """A server that keeps pictures in TMPDIR and logs some of their bytes."""
    return _given_away(folder, CHATTY)


@row(
    "S5",
    "a marked picture, headers, paths and JSON sent; then answers, metrics, log, HOME, TMPDIR, the "
    "working folder, open ports and 20 management paths searched",
    "the mark is nowhere, and no file is written; only 127.0.0.1 is listened on; no management "
    "route; no path, trace or diagnosis in any answer",
    canary_s5,
)
def s5(folder: Path, scale: float) -> Counted:
    """The same at every scale."""
    return _given_away(folder)
