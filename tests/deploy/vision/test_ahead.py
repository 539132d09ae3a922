"""Work ahead in a thread: in order, bounded, and never left running."""

import threading
import time

import pytest

from neurogaze_fast.deploy.vision.ahead import ahead


def test_items_come_in_order_from_another_thread():
    def items():
        for number in range(50):
            yield number, threading.get_ident()

    found = list(ahead(items(), 3))
    assert [number for number, _ in found] == list(range(50))
    assert {thread for _, thread in found} != {threading.get_ident()}


@pytest.mark.parametrize(("limit", "weight", "waiting"), [(4, 1, 4), (10, 4, 2), (1, 7, 1)])
def test_no_more_waits_than_may(limit, weight, waiting):
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    work = ahead(items(), limit, weigh=lambda item: weight)
    assert next(work) == 0
    for taken in range(1, 6):
        deadline = time.monotonic() + 5
        while len(made) < taken + waiting and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        # Those taken, those that wait, and the one that is in its hands.
        assert taken + waiting <= len(made) <= taken + waiting + 1
        assert next(work) == taken
    work.close()


def test_an_error_of_the_thread_is_raised_where_the_items_are_taken():
    def items():
        yield 1
        raise ValueError("broken")

    work = ahead(items(), 2)
    assert next(work) == 1
    with pytest.raises(ValueError, match="broken"):
        next(work)


def test_who_ends_early_ends_the_thread_and_its_generator():
    closed = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    before = threading.active_count()
    work = ahead(items(), 2)
    assert next(work) == 0
    work.close()
    assert closed.is_set()
    assert threading.active_count() == before
