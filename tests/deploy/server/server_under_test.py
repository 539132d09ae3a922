"""A server on a free port in a thread, with an engine whose answers and moods the tests set."""

import asyncio
import http.client
import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

from neurogaze_fast.deploy.engines.base import Engine
from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.http_limits import Limits
from neurogaze_fast.deploy.server.lifecycle import serve_until
from neurogaze_fast.deploy.server.service import Service

SIZE = 8


class FakeEngine(Engine):
    """Probability of the class `mean grey // 32` is 1; records the sizes of its batches."""

    name = "fake"
    detail = "fake 1.0, CPU"

    def __init__(self, delay_s=0.0):
        super().__init__(SIZE, synthetic=True)
        self.delay_s = delay_s
        self.error = None
        self.batches = []

    def _infer(self, images):
        self.batches.append(len(images))
        time.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        probabilities = np.zeros((len(images), 8), np.float32)
        means = images.reshape(len(images), -1).mean(axis=1)
        probabilities[np.arange(len(images)), (means // 32).astype(int)] = 1
        return probabilities, np.stack([means / 255, -means / 255], axis=1).astype(np.float32)

    def _free(self):
        self.batches.append("closed")


def prepare(image, size):
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


class Running:
    """A server that runs; the tests' way to talk to it."""

    def __init__(self, service):
        self.service, self.engine = service, service.engine
        self.address = None
        self.error = None
        self.stop = threading.Event()

    @property
    def host(self):
        return f"127.0.0.1:{self.address[1]}"

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None):
        status, _, answer = self.ask(method, path, body, headers)
        return status, json.loads(answer)

    def raw(self, data, wait_s=5.0):
        """Everything the server sends back to these bytes until it closes, or says no more."""
        with socket.create_connection(self.address, timeout=wait_s) as link:
            link.sendall(data)
            answer = b""
            try:
                while part := link.recv(65536):
                    answer += part
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    def metric(self, line):
        """The number after a line of the metrics."""
        for text in self.ask("GET", "/metrics")[2].decode().splitlines():
            if text.startswith(line + " "):
                return float(text.rpartition(" ")[2])
        return None

    def wait_ready(self, state=200):
        end = time.monotonic() + 10
        while self.ask("GET", "/v2/health/ready")[0] != state:
            assert time.monotonic() < end, f"readiness never became {state}"
            time.sleep(0.01)


@contextmanager
def serving(engine=None, *, service=None, limits=None, faces=None, drain_s=5.0, **options):
    """Run a server around the block; what it raised is in `error` afterwards."""
    config = service.config if service else ServeConfig(**{"port": 0, **options})
    limits = limits or Limits()
    started = threading.Event()
    running = []

    async def life():
        served = service or Service(
            engine or FakeEngine(), config, prepare=prepare, faces=faces, limits=limits
        )
        running.append(Running(served))

        def announce(address, grpc_address):
            running[0].address = ("127.0.0.1", int(address.rpartition(":")[2]))
            running[0].grpc_address = grpc_address
            started.set()

        await serve_until(
            served, config, running[0].stop, announce=announce, limits=limits, drain_s=drain_s
        )

    def run():
        try:
            asyncio.run(life())
        except Exception as error:
            running[0].error = error
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        if running[0].error is None:
            running[0].wait_ready()
            if isinstance(running[0].engine, FakeEngine):
                running[0].engine.batches.clear()
        yield running[0]
    finally:
        running[0].stop.set()
        thread.join(20)
        assert not thread.is_alive()


def grey(level, side=SIZE, count=None):
    """One face of one level, or `count` of them."""
    shape = (side, side, 3) if count is None else (count, side, side, 3)
    return np.full(shape, level, np.uint8)


def picture(image, kind="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def tensors(images, **more):
    """The JSON of an infer request with these images."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    tensor["data"] = images.ravel().tolist()
    return json.dumps({"inputs": [tensor], **more}).encode()
