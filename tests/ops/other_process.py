"""A call that may end its process."""

import os

import pytest


def in_another_process(backend, call):
    """What becomes of a call: "refused", "accepted", or the number of the signal that ends it."""
    if backend.device == "cuda":
        with pytest.raises(RuntimeError):
            call()
        return "refused"
    child = os.fork()
    if child == 0:
        try:
            call()
            os._exit(1)
        except RuntimeError:
            os._exit(0)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "refused", 1: "accepted"}.get(code, code)
