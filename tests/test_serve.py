"""The serve command: its options, its start and its end."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from rich.console import Console

from neurogaze_fast.deploy.predictor import Predictor
from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.http_errors import EngineLostError
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.serve import main, open_service, parse
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.resnet import ResNet
from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving, tensors

TOKEN = "a-token-of-enough-characters"
SCRIPT = """
import atexit, functools, sys
from neurogaze_fast import serve
from neurogaze_fast.deploy.server import lifecycle as serving
from neurogaze_fast.deploy.server.service import Service
from tests.deploy.server.server_under_test import FakeEngine, prepare

class Slow(FakeEngine):
    def run(self, images):
        self.delay_s = 0.0
        if images.any():  # the server's own tests are 0
            self.delay_s = float(sys.argv[1])
            print("An inference begins", flush=True)
        return super().run(images)

engine = Slow()
atexit.register(lambda: print("The interpreter's end:", engine.batches[-1]))
serve.open_service = lambda config, console: Service(engine, config, prepare=prepare)
serving.serve_until = functools.partial(serving.serve_until, drain_s=float(sys.argv[2]))
serve.main(["--port", "0", "--max-batch", "1", "--max-wait-ms", "0", "--deadline-s", sys.argv[3]])
"""


def post(body):
    head = (
        f"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("NEUROGAZE_TOKEN", raising=False)


def test_the_defaults_listen_on_this_machine_only():
    config = parse([])
    assert (config.host, config.port, config.engine, config.token) == (
        "127.0.0.1",
        8000,
        "auto",
        None,
    )
    assert (config.max_batch, config.max_wait_ms, config.queue, config.deadline_s) == (
        64,
        2,
        256,
        2,
    )
    assert (config.max_body, config.max_pixels) == (16, 25)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "a.name", ""])
def test_other_machines_may_not_ask_without_a_token(host, monkeypatch):
    with pytest.raises(ConfigError, match="can be reached by other machines, and there is no"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, token=TOKEN).token == TOKEN
    monkeypatch.setenv("NEUROGAZE_TOKEN", TOKEN)
    config = ServeConfig(host=host)
    assert config.token == TOKEN
    assert TOKEN not in repr(config)


def test_the_token_is_not_in_the_help(monkeypatch, capsys):
    monkeypatch.setenv("NEUROGAZE_TOKEN", TOKEN)
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert TOKEN not in capsys.readouterr().out


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_by_any_of_its_names(host):
    assert ServeConfig(host=host).token is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "short"}, "has 5 characters"),
        ({"token": "with a space in its middle"}, "without spaces"),
        ({"token": "ünd-so-weiter-und-so-fort"}, "plain ASCII"),
        ({"port": 70000}, "--port is 70000"),
        ({"max_batch": 0}, "--max-batch is 0"),
        ({"queue": 63}, "--queue 63 is less than --max-batch 64"),
        ({"max_wait_ms": -1}, "--max-wait-ms is -1"),
        ({"deadline_s": float("nan")}, "--deadline-s is nan"),
        ({"max_body": 5000.0}, "--max-body is 5000"),
        ({"max_pixels": 51.0}, "--max-pixels is 51"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        ServeConfig(**options)


def test_a_port_in_use_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(port=port) as server:
            assert isinstance(server.error, ConfigError)
            assert f"--port {port} cannot be listened on" in str(server.error)


def test_the_end_finishes_what_has_begun_and_takes_nothing_new():
    with serving(FakeEngine(0.4), max_batch=1, queue=8, max_wait_ms=0, deadline_s=30) as server:
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    server.ask("POST", "/predict?detect=0", picture(grey(40)))
                )
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        while server.service.in_flight < 3:
            time.sleep(0.01)
        server.stop.set()
        for thread in threads:
            thread.join()
        assert [status for status, _, _ in answers] == [200] * 3
        assert any(headers["Connection"] == "close" for _, headers, _ in answers)
        with pytest.raises(OSError):
            socket.create_connection(server.address, timeout=2).close()
    assert server.error is None


def test_the_end_does_not_wait_for_ever_for_a_request():
    class Hanging(FakeEngine):
        asked, go_on = threading.Event(), threading.Event()

        def run(self, images):
            if images.any():  # the server's own tests are 0
                self.asked.set()
                self.go_on.wait()
            return super().run(images)

    engine = Hanging()
    try:
        # The block's end waits until the server's thread is over.
        with serving(engine, drain_s=0.1, deadline_s=600, max_batch=1) as server:
            link = socket.create_connection(server.address)
            link.sendall(post(picture(grey(40))))
            assert engine.asked.wait(60)
            server.stop.set()
        assert not engine.go_on.is_set()
        assert server.error is None
    finally:
        engine.go_on.set()
    link.settimeout(60)
    assert link.recv(65536).startswith(b"HTTP/1.1 503")
    link.close()


def test_a_sticky_cuda_error_ends_the_server_with_another_exit_code():
    with serving() as server:
        server.engine.error = RuntimeError("CUDA error: device-side assert triggered\nmore")
        assert server.ask("POST", "/predict?detect=0", picture(grey(40)))[0] == 500
        end = time.monotonic() + 10
        while server.error is None and time.monotonic() < end:
            time.sleep(0.02)
        assert isinstance(server.error, EngineLostError)
        assert server.error.exit_code == 5
        assert "start the server anew" in str(server.error)
        assert "more" not in str(server.error).splitlines()[0][:80]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """An untrained student that says it saw drawn faces."""
    torch.manual_seed(0)
    model = ResNet("resnet18", stem="imagenet").eval()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model, model.state_dict(), {"size": 32, "synthetic": True})
    return path


def test_the_server_says_what_the_predictor_says(model_file, tmp_path):
    printed = io.StringIO()
    config = parse(
        [
            "--model",
            str(model_file),
            "--engine",
            "torch",
            "--port",
            "0",
            "--threads",
            "1",
            "--max-batch",
            "4",
        ]
    )
    service = open_service(config, Console(file=printed, soft_wrap=True))
    assert "trained on DRAWN FACES" in printed.getvalue()
    assert "Engine: torch" in printed.getvalue()
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    files = [picture(rng.integers(0, 256, (45, 40, 3), np.uint8), "PNG") for _ in range(2)]
    (tmp_path / "face.png").write_bytes(files[0])
    with serving(service=service) as server:
        answers = [server.json("POST", "/predict?detect=0", data)[1] for data in files]
        status, reply = server.json("POST", "/v2/models/neurogaze/infer", tensors(faces))
        assert status == 200
        page = server.json("GET", "/v2/models/neurogaze")[1]["parameters"]
    assert page["synthetic"] is True
    predictor = Predictor(model_file, "torch", threads=1)
    expected = predictor.predict(tmp_path / "face.png")
    assert answers[0]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-3)
    assert answers[0]["valence"] == pytest.approx(expected.valence, abs=2e-3)
    assert answers[0] != answers[1]
    probabilities, points = predictor.probabilities(faces)
    np.testing.assert_allclose(reply["outputs"][0]["data"], probabilities.ravel(), atol=1e-6)
    np.testing.assert_allclose(reply["outputs"][1]["data"], points.ravel(), atol=1e-6)


@pytest.mark.parametrize("package", ["aiohttp", "prometheus_client"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("neurogaze_fast.deploy.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is missing.*neurogaze_fast\[serve\]"):
        open_service(ServeConfig(), Console())


def test_without_a_run_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", "--model", "newest"])
    assert ended.value.code == 2
    assert "There is no finished run in runs" in capsys.readouterr().err


def ended_under_way(delay_s, drain_s, deadline_s, first="inference"):
    """(answer, output) of a server that SIGTERM ends after the first inference began, or "answer".

    Nothing here depends on how fast the machine is: the server says when an inference begins.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(delay_s), str(drain_s), str(deadline_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        port = int(line.split("http://127.0.0.1:")[1].split()[0])
        with socket.create_connection(("127.0.0.1", port), timeout=100) as link:
            link.sendall(post(picture(grey(200))))
            while "An inference begins" not in line:
                line = process.stdout.readline()
                assert line, process.stderr.read()
            answer = link.recv(65536) if first == "answer" else b""
            process.send_signal(signal.SIGTERM)
            while part := link.recv(65536):
                answer += part
        out, err = process.communicate(timeout=100)
        assert (process.returncode, err) == (0, "")
        return answer, out
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def test_sigterm_answers_what_is_under_way_and_exits_0():
    answer, out = ended_under_way(delay_s=0.8, drain_s=15, deadline_s=60)
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["label"] == "fear"
    assert "everything that had begun was answered" in out
    assert out.endswith("\nThe interpreter's end: closed\n")


def test_sigterm_ends_during_an_inference_that_hangs_and_says_what_was_not_finished():
    answer, out = ended_under_way(delay_s=1000, drain_s=0.3, deadline_s=60)
    assert answer.startswith(b"HTTP/1.1 503")
    assert "the server is ending" in answer.decode()
    assert "1 of the requests that had begun could not be finished in time" in out
    assert "was answered" not in out
    assert "The interpreter's end" not in out  # real engines abort in it while they compute


def test_sigterm_ends_though_the_engine_hangs_on_what_was_answered_504():
    answer, out = ended_under_way(delay_s=1000, drain_s=5, deadline_s=0.2, first="answer")
    assert answer.startswith(b"HTTP/1.1 504")
    assert "everything that had begun was answered" in out
    assert "The interpreter's end" not in out  # real engines abort in it while they compute
