"""The queue after a stall of the machine, and its end during an inference that hangs."""

import asyncio

from neurogaze_fast.deploy.server.http_errors import RequestError
from tests.deploy.server.queue_under_test import refusal, scenario, settle, start
from tests.deploy.server.server_under_test import grey


def test_after_a_stall_the_estimate_falls_again_though_no_batch_is_large():
    async def play(batcher, engine, watch):
        batcher._full_batch_s = 6.0  # a full batch took 20 s: the machine stood still
        tasks = start(batcher, *range(8), deadline_s=2.0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert {error.status for error in answers if isinstance(error, RequestError)} == {503}
        for _ in range(20):
            await batcher.submit(grey(0, count=1), 2.0)
        assert set(engine.batches) == {1}
        await asyncio.gather(*start(batcher, *range(8), deadline_s=2.0))

    scenario(play)


def test_a_small_batch_does_not_raise_the_estimate():
    async def play(batcher, engine, watch):
        before = batcher._full_batch_s
        engine.delay_s = 0.05
        await batcher.submit(grey(0, count=1), 20)
        assert batcher._full_batch_s == before

    scenario(play)


def test_the_end_frees_whoever_waits_for_an_inference_that_hangs():
    async def play(batcher, engine, watch):
        engine.gate.clear()
        tasks = start(batcher, 0)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)
        tasks += start(batcher, 1)
        await settle(batcher, 1)
        await batcher.stop()
        for task in tasks:
            error = await asyncio.wait_for(refusal(task), 5)
            assert (error.status, error.message) == (503, "the server is ending")
        assert batcher.engine_busy

    scenario(play)
