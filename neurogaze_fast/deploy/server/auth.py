"""Who may ask: by token where there is one, else only this machine and the server's own page."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from neurogaze_fast.deploy.server.config import is_loopback
from neurogaze_fast.deploy.server.http_errors import RequestError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?")
"""A name or an address, maybe with a port, and nothing else that a URL may have there."""
OPEN = ("health", "page")
"""Routes without a token: they tell nothing, and probes and browsers cannot bring one."""


def check_caller(headers: Mapping[str, str], route: str, token: str | None) -> None:
    """Pass, or refuse.

    Without a token a server listens on loopback, where any web page in a local browser can still
    reach it: by a name that it points at 127.0.0.1 (so the Host must be a local one), or by posting
    across origins (so an Origin must be the server's own).

    Raises:
        RequestError: 401 or 403.
    """
    host = headers.get("Host", "")
    if token is not None and route not in OPEN:
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        secret = given.strip(" ").encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(secret, token.encode()):
            raise RequestError(401, "this server wants Authorization: Bearer TOKEN")
    if token is None and host and not is_loopback(_name(host)):
        raise RequestError(403, "this server answers to localhost only")
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise RequestError(403, "pages of other origins are not served")


def _name(host: str) -> str:
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""
