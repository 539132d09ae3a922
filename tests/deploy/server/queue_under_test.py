"""A queue before an engine with a gate, and what a test asks of them."""

import asyncio
import threading

import pytest

from neurogaze_fast.deploy.server.batching import Batcher
from neurogaze_fast.deploy.server.http_errors import RequestError
from tests.deploy.server.server_under_test import FakeEngine, grey


class Watch:
    """Records what it is told."""

    def __init__(self):
        self.batches, self.sheds, self.failures = [], [], 0
        self.computed_batches, self.failed_requests = [], 0

    def computed(self, images, queued_s, took_s):
        self.computed_batches.append((images, queued_s, took_s))

    def failed(self, requests, took_s):
        self.failed_requests += requests

    def batch(self, images):
        self.batches.append(images)

    def shed(self, reason):
        self.sheds.append(reason)

    def inference_failed(self):
        self.failures += 1


class GatedEngine(FakeEngine):
    """Computes only while its gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def run(self, images):
        assert self.gate.wait(20)
        return super().run(images)


def scenario(play, engine=None, **options):
    """Run `play(batcher, engine, watch)` with a batcher that is ready."""
    engine = engine or GatedEngine()
    watch = Watch()

    async def run():
        batcher = Batcher(
            engine, watch, **{"max_batch": 4, "max_wait_s": 0.0, "capacity": 8, **options}
        )
        await batcher.start()
        while not batcher.ready:
            await asyncio.sleep(0.001)
        engine.batches.clear()
        try:
            await asyncio.wait_for(play(batcher, engine, watch), 30)
        finally:
            if isinstance(engine, GatedEngine):
                engine.gate.set()
            await batcher.stop()

    asyncio.run(run())


async def settle(batcher, depth):
    """Until that many images wait."""
    while batcher.depth != depth:
        await asyncio.sleep(0.001)


def start(batcher, *levels, deadline_s=20.0):
    return [asyncio.create_task(batcher.submit(grey(n, count=1), deadline_s)) for n in levels]


async def refusal(task):
    with pytest.raises(RequestError) as caught:
        await task
    return caught.value
