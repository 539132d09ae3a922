"""What a server that is full answers before it does anything else for a request.

At several times the load that a server can take, most of its work would be to take requests in only
to refuse them: parsing, a task's turn, a reply object. A request that arrives in one piece, as a
small face does, is therefore refused by looking at its bytes alone, at about a tenth of that cost,
and the rest of the time goes to requests that are answered. Whatever is not plainly such a request
goes the usual way.
"""

from __future__ import annotations

import functools
import json
import re
import time
from email.utils import formatdate
from http import HTTPStatus

from neurogaze_fast.deploy.server.http_errors import RequestError

PLAIN = {
    "Server": "neurogaze_fast",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every reply."""
_POST = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n")
_OTHER = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|[ \t])|\r\nconnection:(?![ \t]*keep-alive[ \t]*\r\n)"
)
"""Headers, and folded lines, that make a request more than its head and a body of known length."""


def whole_post(data: bytes) -> bytes | None:
    """The target of the one POST request that these bytes are from first to last, or None.

    None also wherever that is in doubt: a parser then decides.
    """
    start = _POST.match(data)
    if start is None or (end := data.find(b"\r\n\r\n") + 4) < 4:
        return None
    head = data[:end].lower()
    lengths = _LENGTH.findall(head)
    if len(lengths) != 1 or head.count(b"content-length") != 1 or _OTHER.search(head):
        return None
    if head.count(b"\n") != head.count(b"\r\n") or len(data) != end + int(lengths[0]):
        return None
    return start[1]


def error_headers(error: RequestError) -> dict[str, str]:
    """Headers of an error's reply besides its type and length."""
    headers = dict(PLAIN)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_body(error: RequestError) -> str:
    """An error's JSON."""
    return json.dumps({"error": error.message, "type": error.type})


def error_bytes(error: RequestError) -> bytes:
    """The whole reply, after which the connection stays open."""
    return _reply(error.status, error.message, error.retry_after_s, int(time.time()))


@functools.lru_cache(64)
def _reply(status: int, message: str, retry_after_s: int | None, now: int) -> bytes:
    error = RequestError(status, message, retry_after_s=retry_after_s)
    body = error_body(error).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        **error_headers(error),
        "Content-Length": str(len(body)),
        "Date": formatdate(now, usegmt=True),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
