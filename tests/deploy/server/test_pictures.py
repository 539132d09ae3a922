"""POST /predict: what a picture gets, what is refused, overload, failures and metrics."""

import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.deploy.server.form import only_file
from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.pictures import decode_picture
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder, Found
from neurogaze_fast.emotions import EMOTIONS
from tests.deploy.server.server_under_test import FakeEngine, grey, picture, serving


@pytest.fixture(scope="module")
def server():
    with serving(max_wait_ms=0, max_body=0.1, max_pixels=0.1, deadline_s=20) as running:
        yield running


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def bomb(width, height):
    """A PNG that says it is this large, with next to no data."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_gets_its_answer(server, kind):
    status, answer = server.json("POST", "/predict?detect=0", picture(grey(200, side=50), kind))
    assert status == 200
    assert answer["label"] == EMOTIONS[6]
    assert list(answer["probabilities"]) == list(EMOTIONS)
    assert answer["probabilities"][EMOTIONS[6]] == 1
    assert answer["valence"] == pytest.approx(200 / 255, abs=0.01)
    assert answer["arousal"] == pytest.approx(-answer["valence"])
    assert answer["latency_ms"] > 0
    assert answer["synthetic"] is True


def test_grey_alpha_palette_and_16_bits_mean_the_same(server):
    flat = np.full((20, 20), 100, np.uint8)
    forms = [
        Image.fromarray(flat),
        Image.fromarray(np.dstack([flat] * 3 + [np.zeros_like(flat)])),
        Image.fromarray(flat).convert("P"),
        Image.fromarray(np.full((20, 20), 100 * 257, np.uint16)),
    ]
    for form in forms:
        file = io.BytesIO()
        form.save(file, "PNG")
        status, answer = server.json("POST", "/predict?detect=0", file.getvalue())
        assert (status, answer["valence"]) == (200, pytest.approx(100 / 255, abs=0.005))


def test_exif_orientation_is_applied():
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, 16:] = 255
    turned, _ = decode_picture(picture(image, "JPEG", exif=exif(6)), 10_000, 10_000)
    assert turned.shape == (32, 16, 3)
    assert turned[4].mean() < 10
    assert turned[-4].mean() > 245


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"GIF89a" + bytes(100), {}, 415),
        (b"<svg></svg>", {}, 415),
        (b"\xff\xd8\xff" + bytes(100), {}, 400),
        (picture(grey(9, side=40))[:-60], {}, 400),
        (picture(grey(9, side=40), "JPEG")[:300], {}, 400),
        (picture(grey(9, side=400)), {}, 413),
        (bomb(30_000, 30_000), {}, 413),
        (bomb(8_000, 8_000), {}, 413),
        (b"\xff\xd8\xff" + b"\xff\xda" * 101, {}, 400),
        (bytes(100_001), {}, 413),
        (picture(grey(9)), {"Content-Type": "multipart/form-data; boundary=x"}, 400),
        (picture(grey(9)), {"Content-Type": "text/plain"}, 415),
        (picture(grey(9), "WEBP"), {"Content-Type": "image/webp"}, 200),
        (b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(50), {}, 400),
        (picture(grey(9)), {"Content-Encoding": "gzip"}, 415),
        (picture(grey(9)), {"Content-Type": "image/png"}, 200),
        (picture(grey(9)), {"Content-Type": "image/x-png"}, 200),
        (picture(grey(9), "JPEG"), {"Content-Type": "image/jpg"}, 200),
        (picture(grey(9), "JPEG"), {"Content-Type": "Image/PJPEG; q=1"}, 200),
        (picture(grey(9)), {"Content-Type": "application/x-www-form-urlencoded"}, 200),
    ],
)
def test_pictures_that_are_refused_and_how(server, body, headers, status):
    got, answer = server.json("POST", "/predict?detect=0", body, headers)
    assert got == status, answer
    assert status == 200 or set(answer) == {"error", "type"}


def test_faces_too_small_too_large_or_too_many_are_left_out():
    class Detector:
        detail = "these boxes"

        def detect(self, image):
            side = [10, 30, 1e7, 40, 50]  # the third would be cut out at 10 million pixels a side
            return np.array([[5, 5, 5 + s, 5 + s, 0.9] for s in side], np.float32)

    image = np.full((100, 120, 3), 77, np.uint8)
    found = FaceFinder(Detector()).find(image, 8, 2)
    assert (found.boxes[:, 2] - found.boxes[:, 0]).tolist() == [30, 40]
    assert found.faces.shape == (2, 8, 8, 3)
    assert (found.faces == 77).all()
    assert (found.small, found.many) == (1, 1)


def test_faces_that_are_found_come_with_their_boxes():
    class Two:
        def find(self, image, size, limit=None):
            assert image.shape == (60, 80, 3)
            boxes = np.array([[1, 2, 30, 31, 0.9], [40, 5, 70, 35, 0.6]], np.float32)
            return Found(boxes, np.stack([grey(10, size), grey(250, size)]), small=3, many=1)

    class Nobody:
        def find(self, image, size, limit=None):
            nobody = np.zeros((0, size, size, 3), np.uint8)
            return Found(np.zeros((0, 5), np.float32), nobody, small=0, many=0)

    body = picture(np.zeros((60, 80, 3), np.uint8))
    with serving(faces=Two()) as server:
        status, answer = server.json("POST", "/predict?detect=1", body)
        assert status == 200
        assert [face["label"] for face in answer["faces"]] == [EMOTIONS[0], EMOTIONS[7]]
        assert answer["faces"][1]["box"] == [40, 5, 70, 35]
        assert answer["left_out"] == {"small": 3, "many": 1}
        assert server.json("GET", "/v2/models/neurogaze")[1]["parameters"]["detect"] is True
        assert server.json("POST", "/predict?detect=0", body)[1]["label"] == EMOTIONS[0]
    with serving(faces=Nobody()) as server:
        assert server.json("POST", "/predict?detect=1", body)[1]["faces"] == []


def test_faces_that_take_too_much_memory_are_the_pictures_fault():
    class Large:
        def find(self, image, size, limit=None):
            raise MemoryError

    with serving(faces=Large()) as server:
        status, answer = server.json("POST", "/predict?detect=1", picture(grey(9)))
        assert (status, answer["type"]) == (413, "too_large")


def test_overload_is_shed_with_retry_after_and_counted():
    with serving(FakeEngine(0.3), max_batch=2, queue=2, max_wait_ms=0, deadline_s=20) as server:
        answers = []

        def ask():
            answers.append(server.ask("POST", "/predict?detect=0", picture(grey(40))))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served = [answer for answer in answers if answer[0] == 200]
        shed = [answer for answer in answers if answer[0] == 503]
        assert len(served) + len(shed) == 12
        assert len(served) >= 2
        assert shed
        assert all(int(headers["Retry-After"]) >= 1 for _, headers, _ in shed)
        assert sum(server.engine.batches) == len(served)
        assert server.metric('neurogaze_shed_total{reason="queue_full"}') == len(shed)


def test_a_slow_engine_means_504():
    with serving(FakeEngine(0.5), deadline_s=0.1, max_wait_ms=0) as server:
        status, answer = server.json("POST", "/predict?detect=0", picture(grey(40)))
        assert (status, answer["type"]) == (504, "deadline_passed")
        server.engine.delay_s = 0


def test_a_failing_engine_shows_in_readiness_and_its_words_are_not_repeated():
    with serving() as server:
        server.engine.error = RuntimeError("/secret/model.onnx")
        status, _, body = server.ask("POST", "/predict?detect=0", picture(grey(40)))
        assert (status, b"secret" in body) == (500, False)
        assert server.ask("GET", "/v2/health/ready")[0] == 503
        assert server.ask("GET", "/v2/models/neurogaze/ready")[0] == 503
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.metric("neurogaze_ready") == 0
        server.engine.error = None
        server.wait_ready()
        assert server.metric("neurogaze_inference_failures_total") >= 1


def test_metrics_in_prometheus_text(server):
    server.json("POST", "/predict?detect=0", picture(grey(1)))
    server.json("GET", "/nothing/of/mine")
    status, headers, body = server.ask("GET", "/metrics")
    text = body.decode()
    assert (status, headers["Content-Type"].startswith("text/plain; version=0.0.4")) == (200, True)
    assert server.metric('neurogaze_requests_total{route="predict",status="200"}') >= 1
    assert server.metric('neurogaze_requests_total{route="other",status="404"}') >= 1
    assert 'neurogaze_request_seconds_bucket{le="0.005",route="predict"}' in text
    assert server.metric('neurogaze_batch_images_bucket{le="1.0"}') >= 1
    assert server.metric("neurogaze_queue_images") == 0
    assert server.metric("neurogaze_ready") == 1
    assert "/nothing" not in text


def test_a_phones_picture_is_refused_with_advice(server):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for kind in ("image/heic", "image/heif", "", "application/octet-stream"):
        status, answer = server.json("POST", "/predict?detect=0", heic, {"Content-Type": kind})
        assert (status, answer["type"]) == (415, "unsupported_type")
        assert "HEIC picture, which is not taken here: convert it to JPEG" in answer["error"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/predict", "no face detector is installed here"),
        ("/predict?detect=1", "no face detector is installed here"),
        ("/predict?detect=2", "detect must be 0 or 1"),
        ("/predict?detect=", "detect must be 0 or 1"),
        ("/predict?detect=0&detect=1", "detect is there twice"),
        ("/predict?detct=0", "did you mean detect?"),
        ("/predict?size=48", "an unknown parameter; detect is taken"),
        ("/v2/models/neurogaze/infer?detect=0", "an unknown parameter; none is taken here"),
    ],
)
def test_a_parameter_that_is_unknown_or_mistyped_is_refused(server, path, said):
    status, answer = server.json("POST", path, picture(grey(9)))
    assert (status, answer["type"]) == (400, "malformed")
    assert said in answer["error"]


def form(*parts, boundary="Xy-7"):
    """(body, Content-Type) of a multipart form: parts are (headers, content)."""
    body = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), head, content) for head, content in parts
    )
    return body + b"--%s--\r\n" % boundary.encode(), f'multipart/form-data; boundary="{boundary}"'


FIELD = b'Content-Disposition: form-data; name="note"'
FILE = b'content-disposition: form-data; name="f"; filename="a;b.png"\r\nContent-Type: image/png'


def test_a_form_with_one_file_is_that_file(server):
    data = picture(grey(200)) + b"\r\n--Xy"  # a part of the boundary is none
    for parts in ([(FILE, data)], [(FIELD, b"hello"), (FILE, data), (FIELD, b"")]):
        body, kind = form(*parts)
        assert only_file(body, kind) == data
        status, answer = server.json("POST", "/predict?detect=0", body, {"Content-Type": kind})
        assert (status, answer["label"]) == (200, EMOTIONS[6])
    body, kind = form((FILE, data))
    assert only_file(body, kind.replace('"', "").upper().replace("XY", "Xy")) == data
    assert only_file(data, "image/png") == data


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (*form((FILE, b"a"), (FILE, b"b")), "2 files"),
        (*form((FIELD, b"a")), "0 files"),
        (*form(*[(FIELD, b"a")] * 17), "more than 16 parts"),
        (form((FILE, b"a"))[0][:-4], form()[1], "does not end"),
        (b"", form()[1], "does not end"),
        (form((FILE, b"a"))[0], "multipart/form-data", "no boundary"),
        (form((b"x" * 3000, b"a"))[0], form()[1], "no end of its headers"),
    ],
)
def test_a_form_without_exactly_one_file_is_refused(body, kind, said):
    with pytest.raises(RequestError, match=said) as refused:
        only_file(body, kind)
    assert refused.value.status == 400


class Everywhere:
    """Finds one face, which is the whole picture but a border of a tenth."""

    def __init__(self):
        self.shapes = []
        self.gate = threading.Event()
        self.gate.set()

    def find(self, image, size, limit=None):
        assert self.gate.wait(20)
        height, width = image.shape[:2]
        self.shapes.append((height, width))
        box = np.array([[width / 10, height / 10, width * 0.9, height * 0.9, 0.9]], np.float32)
        return Found(box, grey(image.mean(), size)[None], small=0, many=0)


def test_a_photo_of_12_megapixels_is_shrunk_and_its_boxes_are_not():
    faces = Everywhere()
    with serving(faces=faces) as server:
        for kind in ("JPEG", "PNG"):
            photo = picture(np.full((3000, 4000, 3), 200, np.uint8), kind)
            status, answer = server.json("POST", "/predict", photo)
            assert status == 200
            assert answer["faces"][0]["box"] == [400, 300, 3600, 2700]
    assert faces.shapes == [(1500, 2000)] * 2


def test_a_face_alone_never_waits_behind_photos_and_photos_that_would_be_late_are_refused():
    faces, photo = Everywhere(), picture(np.full((300, 400, 3), 90, np.uint8))
    with serving(faces=faces, max_wait_ms=0, deadline_s=2) as server:
        search = server.service._cutting._search
        search._takes_s = 0.75  # seconds that a photo takes
        faces.gate.clear()
        answers = []

        def ask():
            answers.append(server.ask("POST", "/predict", photo))

        clients = [threading.Thread(target=ask) for _ in range(16)]
        for client in clients:
            client.start()
        end = time.monotonic() + 10
        while len(answers) + search.jobs < 16 and time.monotonic() < end:
            time.sleep(0.01)
        refused = len(answers)
        assert 16 - refused == 2 * search._threads  # two rounds are in time, three are not
        assert all(a[0] == 503 and int(a[1]["Retry-After"]) >= 1 for a in answers)
        began = time.monotonic()
        assert server.json("POST", "/predict?detect=0", picture(grey(9)))[0] == 200
        assert time.monotonic() - began < 1.0
        faces.gate.set()
        for client in clients:
            client.join()
        assert [a[0] for a in answers[refused:]] == [200] * (16 - refused)
        text = server.ask("GET", "/metrics")[2].decode()
        assert f'neurogaze_shed_total{{reason="too_late"}} {refused}.0' in text


def test_a_search_whose_deadline_has_passed_is_not_begun():
    faces, photo = Everywhere(), picture(np.full((300, 400, 3), 90, np.uint8))
    with serving(faces=faces, max_wait_ms=0, deadline_s=0.3) as server:
        search = server.service._cutting._search
        faces.gate.clear()
        answers = []
        clients = [
            threading.Thread(target=lambda: answers.append(server.ask("POST", "/predict", photo)))
            for _ in range(2 * search._threads)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert {a[0] for a in answers} <= {503, 504}
        faces.gate.set()
        end = time.monotonic() + 10
        while search.jobs and time.monotonic() < end:
            time.sleep(0.01)
        assert search.jobs == 0
        assert len(faces.shapes) <= search._threads  # those that ran, and none that waited
        assert server.ask("POST", "/predict", photo)[0] == 200


def test_a_large_photo_waits_a_moment_at_the_door_and_is_then_told_to_come_later():
    faces = Everywhere()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    photo = picture(noise)
    assert len(photo) > 100_000
    with serving(faces=faces, max_wait_ms=0, deadline_s=20) as server:
        search = server.service._cutting._search
        search._takes_s = 12.0
        faces.gate.clear()
        answers = []

        def ask():
            began = time.monotonic()
            answers.append((*server.ask("POST", "/predict", photo), time.monotonic() - began))

        clients = [threading.Thread(target=ask) for _ in range(search._threads + 1)]
        for client in clients:
            client.start()
        end = time.monotonic() + 10
        while not answers and time.monotonic() < end:
            time.sleep(0.01)
        (status, headers, _, took), *others = answers
        assert (status, headers["Retry-After"], others) == (503, "1", [])
        assert took > 0.4
        clients.append(threading.Thread(target=ask))  # at the door when the others end
        clients[-1].start()
        time.sleep(0.1)
        assert search.jobs == search._threads
        faces.gate.set()
        for client in clients:
            client.join()
        assert [answer[0] for answer in answers[1:]] == [200] * (search._threads + 1)
