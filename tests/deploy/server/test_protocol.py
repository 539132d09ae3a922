"""Open Inference Protocol v2, by raw HTTP and by Triton's own client."""

import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from neurogaze_fast.emotions import EMOTIONS
from tests.deploy.server.server_under_test import SIZE, grey, serving, tensors

INFER = "/v2/models/neurogaze/infer"


@pytest.fixture(scope="module")
def server():
    with serving(max_wait_ms=0) as running:
        yield running


def test_metadata_and_health(server):
    assert server.json("GET", "/v2/health/live") == (200, {"live": True})
    assert server.json("GET", "/v2/health/ready") == (200, {"ready": True})
    assert server.json("GET", "/v2/models/neurogaze/ready")[0] == 200
    status, about = server.json("GET", "/v2")
    assert (status, about["name"], about["extensions"]) == (
        200, "neurogaze_fast", ["binary_tensor_data", "model_configuration", "statistics"]
    )  # fmt: skip
    status, model = server.json("GET", "/v2/models/neurogaze")
    assert status == 200
    assert model["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]}
    ]
    assert [(o["name"], o["shape"]) for o in model["outputs"]] == [
        ("probabilities", [-1, 8]), ("valence_arousal", [-1, 2])
    ]  # fmt: skip
    assert model["parameters"]["emotions"] == list(EMOTIONS)
    assert model["parameters"]["synthetic"] is True
    assert server.json("GET", "/v2/models/neurogaze/versions/1") == (200, model)
    status, _, body = server.ask("HEAD", "/v2/health/live")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("nested", [False, True])
def test_json_tensors_flat_and_nested(server, nested):
    images = np.stack([grey(10), grey(100), grey(250)])
    request = json.loads(tensors(images, id="seven"))
    if nested:
        request["inputs"][0]["data"] = images.tolist()
    status, answer = server.json("POST", INFER, json.dumps(request))
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (
        "neurogaze",
        "1",
        "seven",
    )
    probabilities, points = answer["outputs"]
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP32", [3, 8])
    assert np.reshape(probabilities["data"], (3, 8)).argmax(axis=1).tolist() == [0, 3, 7]
    assert points["name"] == "valence_arousal"
    assert points["data"][2] == pytest.approx(100 / 255)


def test_only_the_outputs_that_are_asked_for_in_the_form_asked_for(server):
    wanted = [
        {"name": "valence_arousal", "parameters": {"binary_data": True}},
        {"name": "probabilities"},
    ]
    status, headers, body = server.ask("POST", INFER, tensors(grey(255, count=2), outputs=wanted))
    assert status == 200
    length = int(headers["Inference-Header-Content-Length"])
    points, probabilities = json.loads(body[:length])["outputs"]
    assert points == {
        "name": "valence_arousal", "datatype": "FP32", "shape": [2, 2],
        "parameters": {"binary_data_size": 16},
    }  # fmt: skip
    assert np.frombuffer(body[length:], "<f4").tolist() == [1, -1, 1, -1]
    assert len(probabilities["data"]) == 16
    status, answer = server.json("POST", INFER, tensors(grey(1, count=1), outputs=wanted[1:]))
    assert [tensor["name"] for tensor in answer["outputs"]] == ["probabilities"]


def test_no_images_give_no_answers(server):
    status, answer = server.json("POST", INFER, tensors(grey(0, count=0)))
    assert status == 200
    assert [tensor["shape"] for tensor in answer["outputs"]] == [[0, 8], [0, 2]]
    assert [tensor["data"] for tensor in answer["outputs"]] == [[], []]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_stock_triton_client(server, binary_in, binary_out):
    client = triton.InferenceServerClient(server.host)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("neurogaze")
    assert client.is_model_ready("neurogaze", "1")
    assert client.get_server_metadata()["name"] == "neurogaze_fast"
    shape = client.get_model_metadata("neurogaze")["inputs"][0]["shape"]
    images = np.random.default_rng(0).integers(0, 256, (5, *shape[1:]), np.uint8)
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary_in)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_out)
        for name in ("probabilities", "valence_arousal")
    ]
    result = client.infer("neurogaze", [tensor], outputs=outputs, request_id="a")
    expected = server.engine.run(images)
    assert np.array_equal(result.as_numpy("probabilities"), expected[0])
    assert np.array_equal(result.as_numpy("valence_arousal"), expected[1])
    assert result.get_response()["id"] == "a"
    client.close()


def test_the_stock_triton_client_without_outputs_and_with_a_mistake(server):
    client = triton.InferenceServerClient(server.host)
    images = grey(200, count=1)
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    result = client.infer("neurogaze", [tensor], model_version="1")
    assert result.as_numpy("probabilities").argmax() == 6
    wrong = triton.InferInput("images", [1, 9, 9, 3], "UINT8")
    wrong.set_data_from_numpy(grey(0, side=9, count=1))
    with pytest.raises(InferenceServerException, match=r"must be \[N, 8, 8, 3\]"):
        client.infer("neurogaze", [wrong])
    assert not client.is_model_ready("other")
    client.close()


def body(change):
    request = json.loads(tensors(grey(5, count=1)))
    change(request["inputs"][0], request)
    return json.dumps(request).encode()


def put(**values):
    return lambda tensor, request: tensor.update(values)


def outputs(value):
    return lambda tensor, request: request.update(outputs=value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be parsed"),
        (b"\xff\xfe{}", "cannot be parsed"),
        (b"[" * 200_000, "cannot be parsed"),
        (b'{"inputs": NaN}', "cannot be parsed"),
        (b"[]", "not an object"),
        (b"{}", "inputs must be a list of one tensor"),
        (b'{"inputs": [1]}', "inputs must be"),
        (body(put(name="image")), "name must be 'images'"),
        (body(put(datatype="FP32")), "must be UINT8"),
        (body(put(shape=[1, 8, 8])), r"must be [N, 8, 8, 3]"),
        (body(put(shape=[True, 8, 8, 3])), r"must be [N, 8, 8, 3]"),
        (body(put(shape=[-1, 8, 8, 3])), r"must be [N, 8, 8, 3]"),
        (body(put(shape=[10**30, 8, 8, 3])), "at most 64"),
        (body(put(shape=[65, 8, 8, 3])), "at most 64"),
        (body(put(shape=[2, 8, 8, 3])), "data has 192 values; its shape needs 384"),
        (body(put(data=[0.5] * 192)), "whole numbers"),
        (body(put(data=["1"] * 192)), "whole numbers"),
        (body(put(data=[True] * 192)), "whole numbers"),
        (body(put(data=[256] * 192)), "0 to 255"),
        (body(put(data=[-1] * 192)), "0 to 255"),
        (body(put(data=[10**40] * 192)), "0 to 255"),
        (body(put(data=[[0] * 8] * 8)), "does not have its tensor's shape"),
        (body(put(data="x")), "needs data"),
        (body(put(parameters={"binary_data_size": 192})), "both data and"),
        (body(put(parameters=[])), "parameters must be an object"),
        (body(put(parameters={"shared_memory_region": "x"})), "shared memory is not supported"),
        (body(outputs([{"name": "logits"}])), "an output that is not there"),
        (body(outputs([{"name": []}])), "an output that is not there"),
        (body(outputs({})), "outputs must be a list"),
        (body(outputs([{"name": "probabilities"}] * 2)), "asked for twice"),
        (
            body(outputs([{"name": "probabilities", "parameters": {"binary_data": 1}}])),
            "binary_data must be true or false",
        ),
        (
            body(outputs([{"name": "probabilities", "parameters": {"classification": 3}}])),
            "only the binary_data parameter",
        ),
        (body(lambda tensor, request: request.update(id=5)), "id must be a text"),
    ],
)
def test_what_is_wrong_is_said_with_400(server, data, message):
    status, answer = server.json("POST", INFER, data)
    assert status == 400
    assert answer["type"] == "malformed"
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("header", "size", "tail", "message"),
    [
        ("x", 192, 192, "must be a whole number"),
        ("-1", 192, 192, "must be a whole number"),
        ("9" * 40, 192, 192, "must be a whole number"),
        ("99999", 192, 192, "but the body has"),
        (None, 192, 192, "cannot be parsed"),
        ("right", 192, 191, "191 do"),
        ("right", 192, 193, "193 do"),
        ("right", 191, 191, "must be 192"),
        ("right", "192", 192, "must be 192"),
        ("right", None, 192, "no tensor says"),
    ],
)
def test_binary_tensors_of_the_wrong_size(server, header, size, tail, message):
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
    if size is not None:
        tensor["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {}
    if header is not None:
        headers["Inference-Header-Content-Length"] = str(len(head)) if header == "right" else header
    status, answer = server.json("POST", INFER, head + bytes(tail), headers)
    assert (status, message in answer["error"]) == (400, True), answer
