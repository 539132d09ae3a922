"""The load test's client: what it counts, and when it says nothing."""

import asyncio
import os
import random
import socket

import pytest

from benchmarks import load_client, load_test
from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving

REQUEST = load_client.http("POST", "/predict?detect=0", picture(grey(9)))


def test_a_request_without_a_free_connection_is_no_failure_of_the_server(monkeypatch):
    monkeypatch.setattr(load_client, "CONNECTIONS", 1)
    with serving(FakeEngine(0.2), max_wait_ms=0) as server:
        row = asyncio.run(load_test.open_loop(server.address, REQUEST, 50, 1.0, random.Random(0)))
    assert row["no_connection"] > 0
    assert row["failed"] == 0
    assert row["sent"] > row["no_connection"]


def test_the_client_can_fill_the_servers_queue():
    from neurogaze_fast.deploy.server.config import ServeConfig
    from neurogaze_fast.deploy.server.http_limits import Limits

    config = ServeConfig()
    assert config.queue + 2 * config.max_batch < load_client.CONNECTIONS < Limits().connections


def test_a_slope_is_only_told_where_requests_were_answered():
    with serving() as server:
        row = asyncio.run(load_test.memory(server.address, 20, os.getpid(), REQUEST))
        assert (row["requests"], row["answered_200"]) == (20, 20)
        bad = load_client.http("POST", "/predict?detect=0", b"no picture")
        with pytest.raises(SystemExit, match="Only 0 of 20 requests got a 200"):
            asyncio.run(load_test.memory(server.address, 20, os.getpid(), bad))
    with socket.create_server(("127.0.0.1", 0)) as dead:
        address = dead.getsockname()
    with pytest.raises(SystemExit, match="Only 0 of 20 requests got a 200"):
        asyncio.run(load_test.memory(address, 20, os.getpid(), REQUEST))
