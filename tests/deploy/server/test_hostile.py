"""Limits, callers, and clients that mean no good."""

import asyncio
import http.client
import json
import random
import socket
import time

import pytest
from aiohttp import web

from neurogaze_fast.deploy.server.http_limits import LimitedServer, Limits
from neurogaze_fast.emotions import EMOTIONS
from tests.deploy.server.server_under_test import grey, picture, serving, tensors

INFER = "/v2/models/neurogaze/infer"
SHORT = Limits(header_s=1.0, body_s=1.0)
TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def server():
    with serving(
        max_wait_ms=0, max_body=0.1, max_pixels=0.1, deadline_s=20, limits=SHORT
    ) as running:
        yield running


def test_routes_methods_and_questions(server):
    assert server.json("GET", "/v2/models/other")[0] == 404
    assert server.json("GET", "/../../etc/passwd")[0] == 404
    status, headers, body = server.ask("GET", "/predict?detect=0")
    assert (status, headers["Allow"], json.loads(body)["type"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
    status, headers, _ = server.ask("DELETE", "/v2/health/live")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert server.json("POST", "/predict?detect=2", picture(grey(1)))[0] == 400
    status, answer = server.json("POST", "/predict?detect=1", picture(grey(1)))
    assert (status, "no face detector" in answer["error"]) == (400, True)
    assert server.json("POST", INFER, b"{}", {"Content-Type": "text/plain"})[0] == 415


def test_the_body_limit_holds_before_and_while_it_streams(server):
    head = b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\n"
    began = time.monotonic()
    answer = server.raw(head + b"Content-Length: 200000000\r\n\r\n", wait_s=10)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in server.raw(
        head + b"Content-Length: 200000000\r\nExpect: 100-continue\r\n\r\n"
    )
    chunk = b"1000\r\n" + bytes(0x1000) + b"\r\n"
    answer = server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 30, wait_s=10)
    assert answer.startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 25
    assert server.raw(head + b"\r\n").startswith(b"HTTP/1.1 411")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server):
    body = picture(grey(200))
    with socket.create_connection(server.address, timeout=10) as link:
        link.sendall(
            b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        assert link.recv(100).startswith(b"HTTP/1.1 100 Continue")
        link.sendall(body)
        answer = b""
        while part := link.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n",
        b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_gets_400_that_repeats_nothing(server, request_bytes):
    answer = server.raw(request_bytes)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
    assert b"aaaa" not in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "malformed"


def test_half_sent_requests_are_closed_by_the_deadlines(server):
    links = []
    for sent in (
        b"",
        b"GET /v2/health/live HTTP/1.1\r\nHo",
        b"POST /predict?detect=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\nabc",
    ) * 10:
        link = socket.create_connection(server.address, timeout=15)
        link.sendall(sent)
        links.append(link)
    assert server.ask("GET", "/v2/health/live")[0] == 200  # nobody else is held up
    answers = []
    for link in links:
        answer = b""
        try:
            while part := link.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        answers.append(answer)
        link.close()
    assert sum(answer.startswith(b"HTTP/1.1 408") for answer in answers) == 10
    assert sum(answer == b"" for answer in answers) == 20


def test_a_drop_a_second_does_not_keep_a_connection(server):
    def drip(link):
        for letter in b"GET / HTTP/1.1\r\nX: " + b"a" * 100:
            link.sendall(bytes([letter]))
            time.sleep(0.1)

    began = time.monotonic()
    with (
        socket.create_connection(server.address, timeout=15) as link,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        drip(link)
    assert time.monotonic() - began < 10


def test_a_client_that_never_reads_its_replies_is_let_go(server):
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(0.5)
        link.connect(server.address)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
            except TimeoutError:  # nor does the server read any more
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("the connection was kept")


def test_a_small_rest_of_a_reply_that_nobody_reads_does_not_keep_its_connection():
    async def answer(request):
        return web.Response(body=bytes(40_000))  # less than asyncio would hold back by default

    async def play():
        server = LimitedServer(answer, Limits(header_s=0.2, body_s=0.2))
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        with socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect(listener.sockets[0].getsockname())
            while not server.connections:
                await asyncio.sleep(0.01)
            its_end = server.connections[0].transport.get_extra_info("socket")
            its_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(10):
                while server.connections:
                    await asyncio.sleep(0.01)
        listener.close()

    asyncio.run(play())


def test_a_client_that_reads_slowly_gets_all(server):
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        link.connect(server.address)
        link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        answer = b""
        while part := link.recv(30_000):
            answer += part
            time.sleep(0.01)
        assert answer.count(b"HTTP/1.1 200") == 100


def test_300_malformed_bodies_are_all_400s_and_the_next_good_one_is_right(server):
    random_ = random.Random(0)
    good = [
        picture(grey(200, side=30)),
        picture(grey(200, side=30), "JPEG"),
        tensors(grey(200, count=1)),
    ]
    seen = set()
    connection = None
    for turn in range(300):
        which = turn % 3
        body = bytearray(good[which])
        for _ in range(random_.randint(1, 12)):
            mood = random_.random()
            at = random_.randrange(len(body))
            if mood < 0.5:
                body[at] ^= 1 << random_.randrange(8)
            elif mood < 0.7:
                del body[at : at + random_.randint(1, 40)]
            elif mood < 0.9:
                body[at:at] = random_.randbytes(random_.randint(1, 40))
            else:
                del body[max(1, at) :]
            if not body:
                body = bytearray(b"x")
        connection = connection or http.client.HTTPConnection(*server.address, timeout=20)
        connection.request("POST", INFER if which == 2 else "/predict?detect=0", bytes(body))
        answer = connection.getresponse()
        content = json.loads(answer.read())
        seen.add(answer.status)
        assert answer.status in (200, 400, 413, 415), (answer.status, content)
        if answer.headers.get("Connection") == "close":
            connection.close()
            connection = None
    assert 400 in seen
    if connection:
        connection.close()
    assert server.json("POST", "/predict?detect=0", good[0])[1]["label"] == EMOTIONS[6]


def test_other_names_and_origins_are_refused_without_a_token(server):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "0.0.0.0"):
        assert server.json("GET", "/v2", headers={"Host": host})[0] == 403, host
    for host in ("localhost", "localhost:1", "127.0.0.1", "127.9.9.9:5", "[::1]:8000"):
        assert server.json("GET", "/v2", headers={"Host": host})[0] == 200, host
    for origin in ("https://evil.example", "null", f"http://{server.host}.evil.example"):
        assert (
            server.json("POST", "/predict?detect=0", picture(grey(1)), {"Origin": origin})[0] == 403
        )
    own = {"Origin": f"http://{server.host}"}
    assert server.json("POST", "/predict?detect=0", picture(grey(1)), own)[0] == 200


def test_with_a_token_only_health_and_the_page_are_open():
    with serving(token=TOKEN) as server:
        assert server.ask("GET", "/")[0] == 200
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.ask("GET", "/v2", headers={"Host": "a.name"})[0] == 401
        for path in ("/v2", "/metrics", "/v2/models/neurogaze", "/nothing"):
            status, headers, _ = server.ask("GET", path)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        wrong = {"Authorization": "Bearer " + TOKEN[:-1]}
        assert server.ask("POST", "/predict?detect=0", picture(grey(1)), wrong)[0] == 401
        right = {"Authorization": "Bearer " + TOKEN, "Host": "a.name"}
        assert server.ask("POST", "/predict?detect=0", picture(grey(1)), right)[0] == 200
