"""One face at a time: memory that is used again leaks neither into answers nor into input."""

import numpy as np
import pytest

from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.open import open_engine
from tests.deploy.small_model import colour_faces


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_answers_are_arrays_of_their_own(exported_run, name):
    engine = open_engine(exported_run, name, precision="fp32", threads=1)
    faces = colour_faces(3)
    kept = [engine.run(faces[i : i + 1]) for i in range(3)]
    copies = [(p.copy(), a.copy()) for p, a in kept]
    before = faces.copy()
    engine.run(255 - faces[:1])
    engine.run(faces)
    np.testing.assert_array_equal(faces, before)
    for (p, a), (first_p, first_a) in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(p, first_p)
        np.testing.assert_array_equal(a, first_a)
    assert np.abs(copies[0][0] - copies[1][0]).max() > 1e-3
    together = engine.run(faces)
    np.testing.assert_allclose(np.concatenate([p for p, _ in kept]), together[0], atol=1e-5)


def test_openvino_is_bound_to_no_core(exported_run):
    """Bound, every call moves to that core first and waits for whatever else runs on it."""
    engine = open_engine(exported_run, "openvino", precision="fp32", threads=1)
    engine.run(colour_faces(1))
    for request in (engine._one, engine._many):
        assert request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 3])
def test_answers_that_are_not_finite_are_refused_by_number(exported_run, monkeypatch, count, value):
    engine = open_engine(exported_run, "onnxruntime", precision="fp32", threads=1)
    real = engine._infer

    def broken(images):
        probabilities, affect = real(images)
        probabilities[-1, :2] = value, -value
        return probabilities, affect

    monkeypatch.setattr(engine, "_infer", broken)
    with pytest.raises(EngineError, match=rf"1 of {count} faces \(the first is number {count - 1}"):
        engine.run(colour_faces(count))


def test_sums_that_overflow_are_no_reason_to_refuse(exported_run, monkeypatch):
    engine = open_engine(exported_run, "onnxruntime", precision="fp32", threads=1)
    huge = (np.full((1, 8), 3e38, np.float32), np.zeros((1, 2), np.float32))
    monkeypatch.setattr(engine, "_infer", lambda _images: huge)
    with np.errstate(all="raise"):
        assert engine.run(colour_faces(1))[0][0, 0] == np.float32(3e38)
