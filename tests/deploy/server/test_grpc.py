"""Open Inference Protocol v2 over gRPC, asked by Triton's own client and by hand."""

import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from neurogaze_fast.deploy.server.grpc_messages import MESSAGES, METHODS, SERVICE
from tests.deploy.server.server_under_test import SIZE, FakeEngine, grey, serving

TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def server():
    with serving(grpc_port=0, max_wait_ms=0, max_body=0.1, max_batch=8, deadline_s=20) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.grpc_address) as one:
        yield one


def tensor(images, name="images", kind="UINT8"):
    given = triton.InferInput(name, images.shape, kind)
    given.set_data_from_numpy(images)
    return given


def test_every_message_is_the_published_one():
    """Compared with the classes that Triton generated from the same definition."""
    for name, message in MESSAGES.items():
        published = getattr(service_pb2, name).DESCRIPTOR
        for one in [message.DESCRIPTOR, *message.DESCRIPTOR.nested_types]:
            other = (
                published if one is message.DESCRIPTOR else published.nested_types_by_name[one.name]
            )
            for field in one.fields:
                twin = other.fields_by_name[field.name]
                assert (field.number, field.type, field.is_repeated) == (
                    twin.number, twin.type, twin.is_repeated,
                ), (name, field.name)  # fmt: skip
            assert set(other.fields_by_name) == set(one.fields_by_name), name
    assert service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name == SERVICE


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("neurogaze")
    assert client.is_model_ready("neurogaze", "1")
    assert client.get_server_metadata().name == "neurogaze_fast"
    metadata = client.get_model_metadata("neurogaze")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("images", "UINT8", [-1, SIZE, SIZE, 3])
    ]
    assert [(t.name, list(t.shape)) for t in metadata.outputs] == [
        ("probabilities", [-1, 8]), ("valence_arousal", [-1, 2]),
    ]  # fmt: skip


def test_images_get_their_outputs(client):
    images = np.concatenate([grey(40, count=1), grey(200, count=1)])
    answer = client.infer("neurogaze", [tensor(images)], request_id="one")
    assert answer.get_response().id == "one"
    assert answer.as_numpy("probabilities").argmax(1).tolist() == [1, 6]
    assert answer.as_numpy("valence_arousal")[:, 0] == pytest.approx([40 / 255, 200 / 255])
    wanted = [triton.InferRequestedOutput("valence_arousal")]
    answer = client.infer("neurogaze", [tensor(images)], outputs=wanted)
    assert answer.as_numpy("probabilities") is None
    assert answer.as_numpy("valence_arousal").shape == (2, 2)


def call(server, name, request, metadata=()):
    with grpc.insecure_channel(server.grpc_address) as channel:
        method = channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[f"{name}Response"].FromString,
        )
        return method(request, timeout=20, metadata=metadata)


def test_numbers_may_come_as_contents_instead_of_bytes(server):
    request = MESSAGES["ModelInferRequest"](model_name="neurogaze")
    given = request.inputs.add(name="images", datatype="UINT8", shape=[1, SIZE, SIZE, 3])
    given.contents.uint_contents.extend([200] * (SIZE * SIZE * 3))
    answer = call(server, "ModelInfer", request)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").argmax() == 6
    given.contents.uint_contents[5] = 256
    with pytest.raises(grpc.RpcError, match="from 0 to 255"):
        call(server, "ModelInfer", request)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda r: setattr(r, "model_name", "other"), "NOT_FOUND", "one model here"),
        (lambda r: setattr(r, "model_version", "2"), "NOT_FOUND", "one model here"),
        (lambda r: r.inputs.add(name="images"), "INVALID_ARGUMENT", "one tensor"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP32"), "INVALID_ARGUMENT", "UINT8"),
        (lambda r: r.inputs[0].shape.append(1), "INVALID_ARGUMENT", "shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2), "INVALID_ARGUMENT", "binary_data_size"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "INVALID_ARGUMENT", "too many"),
        (lambda r: r.raw_input_contents.append(b""), "INVALID_ARGUMENT", "raw_input_contents"),
        (lambda r: r.outputs.add(name="other"), "INVALID_ARGUMENT", "not there"),
        (lambda r: setattr(r, "id", "x" * 300), "INVALID_ARGUMENT", "256 characters"),
        (
            lambda r: r.inputs[0].parameters["shared_memory_region"].CopyFrom(
                MESSAGES["InferParameter"](string_param="x")
            ),
            "INVALID_ARGUMENT", "shared memory",
        ),
        (lambda r: r.raw_input_contents.append(bytes(200_000)), "RESOURCE_EXHAUSTED", "larger"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how(server, change, code, said):
    request = MESSAGES["ModelInferRequest"](model_name="neurogaze")
    request.inputs.add(name="images", datatype="UINT8", shape=[1, SIZE, SIZE, 3])
    request.raw_input_contents.append(grey(9, count=1).tobytes())
    assert call(server, "ModelInfer", request).model_name == "neurogaze"
    change(request)
    with pytest.raises(grpc.RpcError, match=said) as refused:
        call(server, "ModelInfer", request)
    assert refused.value.code() == grpc.StatusCode[code]


def test_unknown_calls_and_broken_messages_do_no_harm(server, client):
    with grpc.insecure_channel(server.grpc_address) as channel:
        for name in ("RepositoryIndex", "ModelInfer"):
            method = channel.unary_unary(f"/{SERVICE}/{name}")  # bytes as they are
            with pytest.raises(grpc.RpcError):
                method(b"\xff" * 50, timeout=20)
    assert client.is_server_live()
    assert set(METHODS) == {name[:-8] for name in MESSAGES if name.endswith("Response")}


def test_a_token_is_wanted_of_all_but_health():
    with serving(grpc_port=0, token=TOKEN) as server:
        server.wait_ready()
        request = MESSAGES["ModelMetadataRequest"](name="neurogaze")
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError) as refused:
                call(server, "ModelMetadata", request, metadata)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        good = (("authorization", f"Bearer {TOKEN}"),)
        assert call(server, "ModelMetadata", request, good).name == "neurogaze"
        assert call(server, "ServerLive", MESSAGES["ServerLiveRequest"]()).live


def test_calls_share_batches_with_http_and_a_full_queue_says_when_to_come_again():
    engine = FakeEngine()
    with serving(engine, grpc_port=0, max_batch=2, queue=2, deadline_s=20) as server:
        server.wait_ready()
        engine.delay_s = 0.5
        answers = []
        with triton.InferenceServerClient(server.grpc_address) as client:

            def ask():
                try:
                    client.infer("neurogaze", [tensor(grey(200, count=1))])
                    answers.append(None)
                except InferenceServerException as refused:
                    answers.append(refused)

            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        refused = [one for one in answers if one is not None]
        assert 0 < len(refused) < 12
        assert all("UNAVAILABLE" in one.status() for one in refused)
        assert max(engine.batches) == 2
        line = 'neurogaze_requests_total{route="grpc",status="503"}'
        assert server.metric(line) == len(refused)


def test_at_the_end_calls_under_way_are_finished():
    engine = FakeEngine()
    answers = []
    with serving(engine, grpc_port=0, deadline_s=20) as server:
        server.wait_ready()
        engine.delay_s = 1.0
        with triton.InferenceServerClient(server.grpc_address) as client:
            images = tensor(grey(200, count=1))
            thread = threading.Thread(
                target=lambda: answers.append(client.infer("neurogaze", [images]))
            )
            thread.start()
            time.sleep(0.3)
            server.stop.set()
            thread.join()
    assert answers[0].as_numpy("probabilities").argmax() == 6
