"""What a request can be refused with: one class, a status, and a sentence for the caller.

The sentences hold only what the caller sent or may know: no paths, no traces, no library's words.
"""

from __future__ import annotations

from neurogaze_fast.errors import NeurogazeError


class RequestError(Exception):
    """A request that gets an error for an answer: `status`, and `message` for the caller."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
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
