"""The web page at /: one file, and a policy that lets it talk to this server only."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources


def load_page() -> tuple[bytes, dict[str, str]]:
    """The page and its headers. Its own script and style are allowed by their hashes, no others."""
    page = resources.files("neurogaze_fast.deploy.server").joinpath("page.html").read_bytes()
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


def _hashes(page: bytes, tag: str) -> list[str]:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(b).digest()).decode()}'" for b in bodies]
