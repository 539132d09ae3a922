"""A small HTTP client for the load test: requests as bytes, over connections used again."""

import asyncio
import io
import json

import numpy as np

CONNECTIONS = 850
"""Open at once at most; a request that finds none is counted as such, not sent later. Fewer than
the server takes (1000, or 896 where 1024 files may be open), more than its queue holds (256)."""
NO_CONNECTION = -1
"""In place of a status: this client had no connection free, and the server was not asked."""


async def good_request(address, kind, seed):
    """The bytes of one valid request, for the size the server says."""
    status, body = await ask(address, http("GET", "/v2/models/neurogaze", b""))
    if status != 200:
        raise SystemExit(f"{address[0]}:{address[1]} is no neurogaze server (status {status})")
    side = json.loads(body)["inputs"][0]["shape"][1]
    face = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    if kind == "predict":
        return http("POST", "/predict?detect=0", picture(face), "Content-Type: image/jpeg")
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, side, side, 3]}
    tensor["parameters"] = {"binary_data_size": face.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = f"Inference-Header-Content-Length: {len(head)}"
    return http("POST", "/v2/models/neurogaze/infer", head + face.tobytes(), length)


def picture(face):
    """A JPEG's bytes."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=90)
    return file.getvalue()


def http(method, path, body, *headers):
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


class Pool:
    """Connections that are used again."""

    def __init__(self, address):
        self.address, self.idle, self.open = address, [], 0

    async def ask(self, request):
        """(status, body); 0 where the server hung up, NO_CONNECTION where none is free."""
        if not self.idle and self.open >= CONNECTIONS:
            return NO_CONNECTION, b""
        link = self.idle.pop() if self.idle else None
        fresh = link is None
        self.open += fresh
        try:
            link = link or await asyncio.open_connection(*self.address)
            status, body, keep = await exchange(*link, request)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            status, body, keep = 0, b"", False
        if keep:
            self.idle.append(link)
        else:
            self.open -= 1
            if link:
                link[1].close()
            if not fresh and status == 0:  # it was closed while it was idle
                return await self.ask(request)
        return status, body

    def close(self):
        """Close what is idle."""
        for _, writer in self.idle:
            writer.close()


async def exchange(reader, writer, request):
    """(status, body, whether the connection stays) of one request."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = await reader.readexactly(length)
    return int(head.split(" ", 2)[1]), body, "connection: close" not in head


async def ask(address, request):
    """(status, body) over a connection of its own."""
    pool = Pool(address)
    try:
        return await pool.ask(request)
    finally:
        pool.close()
