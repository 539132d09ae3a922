"""The web page at /: one file, and a policy that lets it talk to this server only.

It is sent as one, so that nothing else has to be asked for, and written in several: page.html, its
style and its scripts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

_FOLDER = "neurogaze_fast.deploy.server"
_PARTS = {
    "style": ("page.css",),
    "script": ("page_ask.js", "page_csv.js", "page_show.js", "page_video.js"),
}
"""What stands inside the empty tag of page.html; the scripts in the order in which they run."""


def load_page() -> tuple[bytes, dict[str, str]]:
    """The page and its headers. Its own script and style are allowed by their hashes, no others."""
    page = _read("page.html")
    for tag, names in _PARTS.items():
        open_tag, close_tag = f"<{tag}>".encode(), f"</{tag}>".encode()
        inside = b"\n" + b"\n".join(map(_read, names))
        page = page.replace(open_tag + close_tag, open_tag + inside + close_tag)
    sources = {tag: " ".join(_hashes(page, tag)) for tag in ("script", "style")}
    policy = {
        "default-src": "'none'",
        "script-src": sources["script"],
        "style-src": sources["style"],
        "img-src": "'self' blob: data:",
        "media-src": "blob: mediastream:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return page, {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _read(name: str) -> bytes:
    return resources.files(_FOLDER).joinpath(name).read_bytes()


def _hashes(page: bytes, tag: str) -> list[str]:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(b).digest()).decode()}'" for b in bodies]
