"""The queue before the engine: batches, deadlines, shedding, failures, without any HTTP."""

import asyncio

import numpy as np
import pytest

from neurogaze_fast.deploy.server import batching
from neurogaze_fast.deploy.server.engine_thread import is_sticky
from tests.deploy.server.queue_under_test import (
    GatedEngine,
    refusal,
    scenario,
    settle,
    start,
)
from tests.deploy.server.server_under_test import FakeEngine, grey


def test_what_waits_together_is_computed_together_and_each_gets_its_own():
    async def play(batcher, engine, watch):
        engine.gate.clear()
        first = start(batcher, 0)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)  # the engine has the first; the others wait for it
        others = start(batcher, 40, 80, 120)
        others.append(asyncio.create_task(batcher.submit(grey(240, count=2), 20)))
        await settle(batcher, 5)
        engine.gate.set()
        answers = [await task for task in (*first, *others)]
        assert [int(p.argmax()) for p, _ in answers] == [0, 1, 2, 3, 7]
        assert answers[-1][0].shape == (2, 8)
        assert engine.batches == [1, 3, 2]  # two more would not fit in the batch of 4
        assert watch.batches == [1, 3, 2]

    scenario(play)


def test_an_image_waits_for_others_but_not_for_long():
    async def play(batcher, engine, watch):
        with batcher.coming(), batcher.coming():
            tasks = start(batcher, 0)
            await asyncio.sleep(0.05)
            assert not engine.batches
            tasks += start(batcher, 1, 2, 3)  # full: no more waiting
            await asyncio.gather(*tasks)
        assert engine.batches == [4]

    scenario(play, max_wait_s=15.0)

    async def long_enough(batcher, engine, watch):
        with batcher.coming(), batcher.coming():
            await batcher.submit(grey(0, count=1), 20)
        assert engine.batches == [1]

    scenario(long_enough, max_wait_s=0.01)


def test_an_image_starts_at_once_where_no_other_is_coming():
    async def alone(batcher, engine, watch):
        with batcher.coming():
            await batcher.submit(grey(0, count=1), 20)
        assert engine.batches == [1]

    scenario(alone, max_wait_s=30.0)

    async def the_other_left(batcher, engine, watch):
        with batcher.coming():
            with batcher.coming():
                tasks = start(batcher, 0)
                await asyncio.sleep(0.05)
                assert not engine.batches
            await asyncio.gather(*tasks)
        assert engine.batches == [1]

    scenario(the_other_left, max_wait_s=30.0)


def test_a_full_queue_refuses_at_once_and_says_when_to_try_again():
    async def play(batcher, engine, watch):
        engine.gate.clear()
        tasks = start(batcher, 0)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)
        tasks += start(batcher, *range(8))
        await settle(batcher, 8)
        error = await refusal(batcher.submit(grey(0, count=1), 20))
        assert (error.status, error.message) == (503, "the queue is full")
        assert error.retry_after_s >= 1
        assert watch.sheds == ["queue_full"]
        engine.gate.set()
        await asyncio.gather(*tasks)
        assert sum(engine.batches) == 9
        await batcher.submit(grey(0, count=1), 20)

    scenario(play)


def test_what_would_come_too_late_is_refused_before_it_waits():
    async def play(batcher, engine, watch):
        batcher._full_batch_s = 3.0
        engine.gate.clear()
        tasks = start(batcher, 0)
        await asyncio.sleep(0.02)
        tasks += start(batcher, 0, 0, 0, 0)
        await settle(batcher, 4)
        error = await refusal(batcher.submit(grey(0, count=1), 4.0))  # 6 of 4 in 3 s
        assert (error.status, error.retry_after_s) == (503, 5)
        assert watch.sheds == ["too_late"]
        engine.gate.set()
        await asyncio.gather(*tasks)

    scenario(play)


def test_a_passed_deadline_is_504_and_costs_no_inference():
    async def play(batcher, engine, watch):
        engine.gate.clear()
        running = start(batcher, 0)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)
        late = start(batcher, 1, 2, deadline_s=0.05)
        stays = start(batcher, 255)
        for task in late:
            error = await refusal(task)
            assert (error.status, error.message) == (504, "no answer within the deadline")
        assert batcher.depth == 1
        engine.gate.set()
        await asyncio.gather(*running, *stays)
        assert engine.batches == [1, 1]
        assert watch.sheds == ["deadline", "deadline"]

    scenario(play)


def test_a_client_that_leaves_costs_no_inference():
    async def play(batcher, engine, watch):
        engine.gate.clear()
        running = start(batcher, 0)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)
        gone = start(batcher, 1, 2)
        await settle(batcher, 2)
        for task in gone:
            task.cancel()
        await settle(batcher, 0)
        engine.gate.set()
        await asyncio.gather(*running)
        await batcher.submit(grey(0, count=1), 20)
        assert engine.batches == [1, 1]

    scenario(play)


def test_more_than_a_batch_is_refused_and_nothing_is_answered_with_nothing():
    async def play(batcher, engine, watch):
        error = await refusal(batcher.submit(grey(0, count=5), 20))
        assert (error.status, error.message) == (400, "5 images; 4 at most are taken at once")
        probabilities, points = await batcher.submit(grey(0, count=0), 20)
        assert (probabilities.shape, points.shape) == ((0, 8), (0, 2))
        assert not engine.batches

    scenario(play)


def test_a_failing_engine_is_not_ready_until_a_test_inference_works(monkeypatch):
    monkeypatch.setattr(batching, "PROBE_EVERY_S", 0.01)

    async def play(batcher, engine, watch):
        engine.error = RuntimeError("/secret/path: out of luck")
        error = await refusal(batcher.submit(grey(0, count=1), 20))
        assert (error.status, error.message) == (500, "the inference failed")
        assert not batcher.ready
        assert batcher.lost is None
        engine.error = None
        while not batcher.ready:
            await asyncio.sleep(0.005)
        assert watch.failures >= 1

    scenario(play)


@pytest.mark.parametrize("wrong", ["nan", "shape"])
def test_outputs_that_make_no_sense_are_a_failure(wrong):
    class Odd(FakeEngine):
        odd = False

        def _infer(self, images):
            probabilities, points = super()._infer(images)
            if self.odd and wrong == "nan":
                probabilities[:] = np.nan
            return (probabilities[:, : 7 if self.odd and wrong == "shape" else 8], points)

    async def play(batcher, engine, watch):
        engine.odd = True
        assert (await refusal(batcher.submit(grey(0, count=1), 20))).status == 500
        assert not batcher.ready

    scenario(play, Odd())


def test_an_engine_that_hangs_is_not_ready(monkeypatch):
    monkeypatch.setattr(batching, "HANGS_S", 0.05)

    async def play(batcher, engine, watch):
        engine.gate.clear()
        error = await refusal(batcher.submit(grey(0, count=1), 0.2))
        assert error.status == 504
        assert not batcher.ready

    scenario(play)


def test_a_sticky_error_loses_the_engine_and_frees_whoever_waits():
    class Breaks(GatedEngine):
        def run(self, images):
            outputs = super().run(images)
            if images.mean() == 200:
                raise RuntimeError("CUDA error: device-side assert triggered")
            return outputs

    async def play(batcher, engine, watch):
        engine.gate.clear()
        tasks = start(batcher, 200)
        await asyncio.sleep(0.02)
        await settle(batcher, 0)
        tasks += start(batcher, 1)
        await settle(batcher, 1)
        engine.gate.set()
        assert (await refusal(tasks[0])).status == 500
        assert (await refusal(tasks[1])).status == 503
        assert "device-side assert" in str(batcher.lost)
        assert not batcher.ready
        assert (await refusal(batcher.submit(grey(1, count=1), 20))).status == 503

    scenario(play, Breaks())


def test_which_errors_are_sticky():
    assert is_sticky(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert is_sticky(RuntimeError("[TRT] Cuda failure: unspecified launch failure"))
    assert not is_sticky(RuntimeError("CUDA error: out of memory"))
    assert not is_sticky(ValueError("bad shape"))
