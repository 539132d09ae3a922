"""What a request can be refused with: one class, a status, and a sentence for the caller.

The sentences hold only what the caller sent or may know: no paths, no traces, no library's words.
"""

from __future__ import annotations

from neurogaze_fast.errors import NeurogazeError

_LONGEST = 300
"""Characters of a message: a backstop, should one ever repeat what was sent."""


class RequestError(Exception):
    """A request that gets an error for an answer: `status`, and `message` for the caller.

    A 503 or 504 always says after how many seconds to try again: one, unless it is known better.
    """

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message if len(message) <= _LONGEST else f"{message[: _LONGEST - 3]}..."
        if retry_after_s is None and status in (503, 504):
            retry_after_s = 1
        self.retry_after_s = retry_after_s

    @property
    def type(self) -> str:
        """A word for programs to go by."""
        return TYPES.get(self.status, "error")


TYPES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    411: "length_required",
    413: "too_large",
    415: "unsupported_type",
    500: "inference_failed",
    503: "unavailable",
    504: "deadline_passed",
}
"""The `type` in an error's JSON, by status."""


class EngineLostError(NeurogazeError):
    """The engine cannot work again in this process; start the server anew."""

    exit_code = 5


def malformed(message: str) -> RequestError:
    """A 400."""
    return RequestError(400, message)
