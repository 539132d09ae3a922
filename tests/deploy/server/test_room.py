"""Clients that take room, in bodies, connections and time, and those that just ask."""

import http.client
import json
import re
import select
import socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from neurogaze_fast.deploy.server.early_refusal import whole_post
from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.http_limits import Limits
from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving

INFER = "/v2/models/neurogaze/infer"
GOOD = picture(grey(200))
TOKEN = "a-token-of-enough-characters"
DAWDLING = b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
PATIENT = Limits(header_s=30.0, body_s=30.0)


def post(path, body, more=b""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode()
        + more
        + b"\r\n"
        + body
    )


@contextmanager
def connected(server, count, sent):
    """That many connections, on each of which this was sent, and no more comes."""
    with ExitStack() as stack:
        links = []
        for _ in range(count):
            link = stack.enter_context(socket.create_connection(server.address, timeout=20))
            link.sendall(sent)
            links.append(link)
        yield links


def all_of(link):
    """What comes until the server closes."""
    answer = b""
    while part := link.recv(65536):
        answer += part
    return answer


def is_closed(link):
    link.settimeout(5)
    try:
        return link.recv(1000) == b""
    except ConnectionResetError:
        return True


def slowest_liveness(server, hostile):
    """Seconds a liveness probe waits at most while six such requests come at once."""
    refused, good, waits = [], [], []
    over = threading.Event()

    def attack():
        refused.append(server.raw(hostile, wait_s=60).split()[1])

    def ask():
        while not over.is_set():
            good.append(server.ask("POST", "/predict?detect=0", GOOD)[0])
            time.sleep(0.02)

    attackers = [threading.Thread(target=attack) for _ in range(6)]
    asker = threading.Thread(target=ask)
    for thread in (*attackers, asker):
        thread.start()
    while any(thread.is_alive() for thread in attackers):
        began = time.perf_counter()
        assert server.ask("GET", "/v2/health/live")[0] == 200
        waits.append(time.perf_counter() - began)
        time.sleep(0.01)
    over.set()
    asker.join()
    assert refused == [b"400"] * 6
    assert set(good) == {200}
    return max(waits)


@pytest.mark.parametrize(
    "hostile",
    [
        post(INFER, b'{"inputs":[' + b"[]," * 2_600_000 + b"[]]}", b"Connection: close\r\n"),
        f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 100_000
        + b"0\r\n\r\n",
    ],
    ids=["8 MB of brackets", "chunks of one byte"],
)
def test_liveness_answers_within_half_a_second_whatever_comes(hostile):
    limits = Limits(body_s=60.0)
    with serving(max_wait_ms=0, deadline_s=20, limits=limits) as server:
        # Another process may have the processor for a moment, but not three times in a row.
        assert min(slowest_liveness(server, hostile) for _ in range(3)) < 0.5


def test_bytes_count_when_they_come_and_not_when_they_are_announced():
    with (
        serving(max_wait_ms=0, max_body=0.1, limits=PATIENT) as server,
        connected(server, 100, DAWDLING + b"x"),
    ):
        time.sleep(0.1)
        for _ in range(20):
            assert server.json("POST", "/predict?detect=0", GOOD)[0] == 200


def test_where_there_is_no_room_the_largest_body_that_arrives_goes():
    limits = Limits(header_s=30.0, body_s=30.0, bodies=4)
    with (
        serving(max_wait_ms=0, max_body=0.1, limits=limits) as server,
        connected(server, 4, DAWDLING + bytes(99_000)) as links,
        until(lambda: server.service._bodies._room == 4_000),  # all of it came
        connected(server, 1, DAWDLING + bytes(90_000)) as small,
    ):
        told, _, _ = select.select(links, [], [], 20)
        assert len(told) == 1
        told[0].settimeout(20)  # it is closed only a while after its answer
        answer = all_of(told[0])
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 1\r\n" in answer
        for _ in range(20):
            assert server.json("POST", "/predict?detect=0", GOOD)[0] == 200
        small[0].sendall(bytes(10_000))
        assert small[0].recv(100).startswith(b"HTTP/1.1 415")  # taken, and no picture


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /v2/health/live HTTP/1.1\r\nHo", DAWDLING + b"x"],
    ids=["nothing", "half a head", "half a body"],
)
def test_silent_connections_make_room_for_those_that_ask(sent):
    limits = Limits(header_s=30.0, body_s=30.0, connections=50)
    with (
        serving(max_wait_ms=0, max_body=0.1, limits=limits) as server,
        connected(server, 45, sent) as first,
        connected(server, 30, sent) as later,
    ):
        for _ in range(40):
            assert server.json("POST", "/predict?detect=0", GOOD)[0] == 200
        assert is_closed(first[0])  # the oldest went
        later[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            later[-1].recv(1)  # the newest did not


def test_connections_with_a_request_under_way_are_kept():
    limits = Limits(header_s=30.0, body_s=30.0, connections=20)
    engine = FakeEngine(delay_s=0.5)
    with (
        serving(engine, max_wait_ms=0, deadline_s=20, limits=limits) as server,
        connected(server, 1, post("/predict?detect=0", GOOD, b"Connection: close\r\n")) as asked,
    ):
        time.sleep(0.1)
        with connected(server, 40, b""):
            assert all_of(asked[0]).startswith(b"HTTP/1.1 200")


def test_every_503_and_504_says_when_to_try_again():
    assert {RequestError(status, "x").retry_after_s for status in (503, 504)} == {1}
    assert RequestError(503, "x", retry_after_s=7).retry_after_s == 7
    assert RequestError(500, "x").retry_after_s is None
    engine = FakeEngine()
    with serving(engine, max_wait_ms=0, deadline_s=0.2) as server:
        engine.delay_s = 0.6
        status, headers, _ = server.ask("POST", "/predict?detect=0", GOOD)
        assert (status, headers["Retry-After"]) == (504, "1")
        server.service.batcher.draining = True
        status, headers, _ = server.ask("GET", "/v2/health/ready")
        assert (status, headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_a_request_followed_by_a_half_close_gets_its_answer(delay_s):
    request = post("/predict?detect=0", GOOD)
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(FakeEngine(delay_s), max_wait_ms=0, deadline_s=20, limits=PATIENT) as server:
        for sent, count in ((live, 1), (request, 1), (request * 3 + live, 4)):
            with connected(server, 1, sent) as links:
                links[0].shutdown(socket.SHUT_WR)
                began = time.monotonic()
                answer = all_of(links[0])
                assert answer.count(b"HTTP/1.1 200") == count
                assert time.monotonic() - began < 10  # not the time an idle connection is kept


def test_half_a_request_followed_by_a_half_close_is_ended_at_once():
    with serving(max_wait_ms=0, max_body=0.1, limits=PATIENT) as server:
        began = time.monotonic()
        for sent, answered in ((b"", b""), (b"GET / HT", b""), (DAWDLING + b"x", b"HTTP/1.1 400")):
            with connected(server, 1, sent) as links:
                time.sleep(0.05)
                links[0].shutdown(socket.SHUT_WR)
                assert all_of(links[0])[: len(answered) or 1] == answered
        assert time.monotonic() - began < 10


def test_a_client_whose_connection_is_reset_costs_no_inference():
    engine = FakeEngine()
    with serving(engine, max_batch=1, max_wait_ms=0, deadline_s=20) as server:
        engine.delay_s = 0.5
        with connected(server, 1, post("/predict?detect=0", GOOD)):
            time.sleep(0.1)
            with connected(server, 5, post("/predict?detect=0", GOOD)) as links:
                time.sleep(0.1)
                for link in links:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(1.5)
        assert len(engine.batches) == 1


def test_the_scheme_of_the_token_is_of_any_case():
    with serving(token=TOKEN) as server:
        for given, status in (
            (f"bearer {TOKEN}", 200), (f"BEARER {TOKEN}", 200), (f"Bearer  {TOKEN}", 200),
            (TOKEN, 401), (f"Basic {TOKEN}", 401), (f"Bearer{TOKEN}", 401),
            (f"Bearer {TOKEN.upper()}", 401), ("bearer", 401), ("", 401),
        ):  # fmt: skip
            assert server.ask("GET", "/v2", headers={"Authorization": given})[0] == status, given


def test_a_host_is_a_name_and_a_port_and_nothing_else():
    with serving() as server:
        for host in (
            *("evil@127.0.0.1", "evil:x@127.0.0.1", "127.0.0.1@evil", "127.0.0.1/evil"),
            *("localhost?", "localhost#", "localhost:80:80", "localhost:x", "a localhost"),
            *("::1", "[::1", "[::1]x", "@", "localhost:80@", "%6cocalhost"),
        ):  # fmt: skip
            assert server.json("GET", "/v2", headers={"Host": host})[0] == 403, host
        for host in ("LOCALHOST:1", "[::1]", "127.0.0.1:65535"):
            assert server.json("GET", "/v2", headers={"Host": host})[0] == 200, host
        two = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n"
        assert server.raw(two).split()[1] == b"400"


def test_no_error_repeats_long_input():
    long = "9" * 4000
    body = '{"inputs":[{"name":"images","datatype":"UINT8","shape":[%s,8,8,3],"data":[]}]}'
    with serving(max_wait_ms=0) as server:
        asked = [
            ("POST", INFER, body % long, {}),
            ("POST", INFER, body % 1, {"Inference-Header-Content-Length": long}),
            ("POST", INFER, body.replace("images", long) % 1, {}),
            ("POST", INFER, json.dumps({"id": long}), {}),
            ("POST", INFER, "{}", {"Content-Type": long}),
            ("POST", f"/predict?detect={long}", GOOD, {}),
            ("GET", f"/{long}", None, {}),
            ("GET", "/v2", None, {"Host": long}),
            ("GET", "/v2", None, {"Origin": long}),
            ("D" * 4000, "/v2", None, {}),
        ]  # fmt: skip
        for method, path, body, headers in asked:
            try:
                status, told, answer = server.ask(method, path, body, headers)
            except http.client.RemoteDisconnected:
                pytest.fail(f"no answer to {path[:20]}")
            assert 400 <= status < 500, path[:20]
            assert len(answer) < 400, path[:20]
            assert "9999999999" not in f"{told}{json.loads(answer)}"
    assert len(RequestError(400, long).message) <= 300


def replies(link, count):
    """So many replies of one connection: (head, body) each."""
    came, found = b"", []
    while len(found) < count:
        part = link.recv(65536)
        assert part, f"closed after {len(found)} replies"
        came += part
        while b"\r\n\r\n" in came:
            head, rest = came.split(b"\r\n\r\n", 1)
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            if len(rest) < length:
                break
            found.append((head, rest[:length]))
            came = rest[length:]
    assert not came
    return found


def plain(head):
    """A reply's status line and headers, without their order and without the time."""
    first, *lines = head.decode().split("\r\n")
    return first, sorted(line for line in lines if not line.startswith("Date: "))


class Gated(FakeEngine):
    """Computes only while its gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def _infer(self, images):
        assert self.gate.wait(20)
        return super()._infer(images)


def until(held):
    """Wait for it; also to be written between connections that a test opens."""
    end = time.monotonic() + 10
    while not held():
        assert time.monotonic() < end
        time.sleep(0.005)
    return nullcontext()


@contextmanager
def full_server():
    """A server that computes one image while another waits, which is all that may."""
    engine = Gated()
    with serving(engine, max_batch=1, queue=1, max_wait_ms=0, deadline_s=20) as server:
        batcher = server.service.batcher
        until(lambda: batcher.ready)
        engine.gate.clear()
        with connected(server, 1, post("/predict?detect=0", GOOD)) as computed:
            until(lambda: batcher.engine_busy and batcher.depth == 0)
            with connected(server, 1, post("/predict?detect=0", GOOD)) as waiting:
                until(lambda: batcher.depth == 1)
                try:
                    yield server
                finally:
                    engine.gate.set()
                for link in (*computed, *waiting):
                    assert replies(link, 1)[0][0].startswith(b"HTTP/1.1 200")


def test_a_full_server_refuses_a_whole_request_unread_and_in_the_same_words():
    with full_server() as server, connected(server, 1, post("/predict?detect=0", GOOD)) as links:
        early = replies(links[0], 1)
        links[0].sendall(post("/predict?detect=0", GOOD, b"Expect: 100-nothing\r\n"))
        usual = replies(links[0], 1)
        assert early[0][0].startswith(b"HTTP/1.1 503")
        assert [(plain(h), b) for h, b in early] == [(plain(h), b) for h, b in usual]
        text = server.ask("GET", "/metrics")[2]
        assert b'neurogaze_requests_total{route="predict",status="503"} 2.0' in text
        assert b'neurogaze_shed_total{reason="queue_full"} 2.0' in text
        # What needs no engine is answered as ever, on the same connection, too.
        links[0].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert replies(links[0], 1)[0][0].startswith(b"HTTP/1.1 200")


def test_requests_refused_unread_and_others_keep_their_order_on_a_connection():
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with full_server() as server, connected(server, 1, post("/predict?detect=0", GOOD)) as links:
        assert replies(links[0], 1)[0][0].startswith(b"HTTP/1.1 503")
        whole = post("/predict?detect=0", GOOD)
        links[0].sendall(live + whole[:100])  # half a request stays with the parser
        assert replies(links[0], 1)[0][0].startswith(b"HTTP/1.1 200")
        links[0].sendall(whole[100:] + whole)
        found = replies(links[0], 2)
        assert [head.split()[1] for head, _ in found] == [b"503", b"503"]


@pytest.mark.parametrize(
    ("changed", "whole"),
    [
        (lambda data: data, True),
        (lambda data: data.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n", 1), True),
        (lambda data: data + b"x", False),
        (lambda data: data[:-1], False),
        (lambda data: data.replace(b"POST", b"GET"), False),
        (lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (lambda data: data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), False),
        (lambda data: data.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n", 1), False),
        (lambda data: data.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1), False),
        (lambda data: data.replace(b"Content-Length", b"Transfer-Encoding: x\r\nContent-Length"),
         False),
        (lambda data: data.replace(b"Content-Length", b"Content-Length : 1\r\nContent-Length"),
         False),
        (lambda data: data.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n", 1), False),
        (lambda data: data.replace(b"Host: localhost\r\n", b"Host: localhost\n"), False),
    ],
)  # fmt: skip
def test_only_what_is_plainly_one_post_counts_as_whole(changed, whole):
    assert (whole_post(changed(post("/predict?detect=1", b"body"))) is not None) == whole
