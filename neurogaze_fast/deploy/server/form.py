"""The one file of a multipart form, as browsers and `curl -F` send it."""

from __future__ import annotations

import re

from neurogaze_fast.deploy.server.http_errors import malformed

TYPE = "multipart/form-data"
_BOUNDARY = re.compile(r"""boundary=(?:"([^"\\]{1,70})"|([^\s;,"]{1,70}))""", re.IGNORECASE)
_HEADERS = 2048
"""Bytes of a part's headers at most."""
_PARTS = 16
"""Parts at most."""


def only_file(body: bytes, content_type: str) -> bytes:
    """The bytes of the one file in a multipart form, or the body itself where it is no form.

    Fields that are no files are passed over. Nothing is decoded: a file's bytes are what lies
    between the boundaries (RFC 7578).

    Raises:
        RequestError: 400, no form as it should be, or not exactly one file in it.
    """
    if content_type.partition(";")[0].strip().lower() != TYPE:
        return body
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise malformed("a form whose Content-Type names no boundary")
    boundary = b"--" + (named[1] or named[2]).encode("latin-1", "replace")
    parts = (b"\r\n" + body).split(b"\r\n" + boundary, _PARTS + 1)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise malformed(f"a form that does not end, or has more than {_PARTS} parts")
    files = []
    for part in parts[1:-1]:
        head, blank, _ = part[: _HEADERS + 4].partition(b"\r\n\r\n")
        if not blank:
            raise malformed("a part of the form has no end of its headers")
        if re.search(rb"(?i)content-disposition:[^\r\n]*;\s*filename", head):
            files.append(part[len(head) + len(blank) :])
    if len(files) != 1:
        raise malformed(f"{len(files)} files in the form; send one picture a request")
    return files[0]
