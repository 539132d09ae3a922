"""What the server says of itself: OpenAPI, configuration, statistics; asked by Triton's client."""

import html.parser
import json

import pytest
import tritonclient.http as triton

from neurogaze_fast.emotions import EMOTIONS
from tests.deploy.server.server_under_test import SIZE, FakeEngine, grey, picture, serving

MODEL = "/v2/models/neurogaze"


@pytest.fixture(scope="module")
def server():
    with serving(max_wait_ms=3, max_body=0.1, max_pixels=0.1, max_batch=4, deadline_s=20) as one:
        one.wait_ready()
        yield one


def test_every_path_of_the_description_is_there_and_no_other(server):
    status, document = server.json("GET", "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    for path, methods in document["paths"].items():
        (method,) = methods
        got = server.ask(method.upper(), path, b"" if method == "post" else None)[0]
        assert got == (200 if method == "get" else 400), path
    known = {path for path in server.service._routes if "/versions/" not in path}
    assert known == set(document["paths"])


def resolve(schema, document):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_answers_have_the_fields_that_are_described(server):
    document = server.json("GET", "/openapi.json")[1]
    face = document["components"]["schemas"]["Face"]
    answer = server.json("POST", "/predict?detect=0", picture(grey(200)))[1]
    faces = document["components"]["schemas"]["Faces"]["properties"]
    assert set(answer) == (set(face["properties"]) | {"latency_ms", "synthetic"}) - {"box", "score"}
    assert {"latency_ms", "synthetic"} <= set(faces)
    assert list(face["properties"]["probabilities"]["properties"]) == list(EMOTIONS)
    error = server.json("POST", "/predict?detect=0", b"x")[1]
    described = resolve(
        document["paths"]["/predict"]["post"]["responses"]["415"]["content"]["application/json"][
            "schema"
        ],
        document,
    )
    assert set(error) == set(described["properties"])
    assert error["type"] in described["properties"]["type"]["enum"]


def test_a_token_is_described_and_the_description_needs_none():
    with serving(token="a-token-of-enough-characters") as server:
        document = server.json("GET", "/openapi.json")[1]
        assert document["security"] == [{"token": []}]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                status = server.ask(method.upper(), path, b"" if method == "post" else None)[0]
                assert (status == 401) == (operation.get("security") != []), path


def test_the_page_to_read_is_whole_and_takes_nothing_from_elsewhere(server):
    status, headers, body = server.ask("GET", "/docs")
    assert (status, headers["Content-Security-Policy"]) == (200, "default-src 'none'")
    links = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag not in ("script", "style", "link", "img", "iframe")
            links.extend(value for name, value in attributes if name in ("href", "src"))

    Reader().feed(body.decode())
    assert links == ["/openapi.json", "/"]
    for path in server.json("GET", "/openapi.json")[1]["paths"]:
        assert path in body.decode()


def test_configuration_as_tritons_client_reads_it(server):
    with triton.InferenceServerClient(server.host) as client:
        config = client.get_model_config("neurogaze")
    assert config["max_batch_size"] == 4
    assert config["input"][0]["dims"] == [SIZE, SIZE, 3]
    assert [one["dims"] for one in config["output"]] == [[8], [2]]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 3000


def test_statistics_count_what_requests_asked_for():
    engine = FakeEngine(0.02)
    with serving(engine, max_wait_ms=0) as server:
        server.wait_ready()
        with triton.InferenceServerClient(server.host) as client:
            (before,) = client.get_inference_statistics("neurogaze")["model_stats"]
            assert (before["inference_count"], before["execution_count"]) == (0, 0)  # test ones not
            for _ in range(3):
                assert server.json("POST", "/predict?detect=0", picture(grey(9)))[0] == 200
            engine.error = RuntimeError("boom")
            assert server.json("POST", "/predict?detect=0", picture(grey(9)))[0] == 500
            (after,) = client.get_inference_statistics("neurogaze")["model_stats"]
        assert (after["inference_count"], after["execution_count"]) == (3, 3)
        stats = after["inference_stats"]
        assert {name: one["count"] for name, one in stats.items()} == {
            "success": 3, "fail": 1, "queue": 3, "compute_infer": 3,
        }  # fmt: skip
        assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] > 3 * 0.02 * 1e9
        assert after["batch_stats"] == [{"batch_size": 1, "compute_infer": stats["compute_infer"]}]
        json.dumps(after)
