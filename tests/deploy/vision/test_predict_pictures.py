"""Pictures from the network and faces in them: what their limits let through."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.pictures import decode_picture
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder
from tests.deploy.vision.fakes import FixedDetector


def progressive(side, more_scans=0):
    """A progressive JPEG with the usual ten scans, the last of them repeated."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", progressive=True)
    head, *scans = file.getvalue()[:-2].split(b"\xff\xda")
    assert len(scans) == 10
    return b"\xff\xda".join([head, *scans, *scans[-1:] * more_scans]) + b"\xff\xd9"


def test_scans_are_limited_by_the_size_they_are_decoded_at():
    assert decode_picture(progressive(64), 64 * 64, 10**6)[0].shape == (64, 64, 3)
    many = progressive(64, more_scans=40)
    assert decode_picture(many, 20_000, 10**6)[0].shape == (64, 64, 3)
    with pytest.raises(RequestError, match="a JPEG of 50 scans") as refused:
        decode_picture(many, 64 * 64, 10**6)
    assert refused.value.status == 400
    with pytest.raises(RequestError, match="more than 100 scans"):
        decode_picture(progressive(64, more_scans=91), 10**6, 10**6)


def test_odd_exif_does_not_cost_the_picture():
    entries = [(0x0112, 3, 1, b"\6\0\0\0"), (0x011A, 2, 3, b"ab\0\0")]  # text for a resolution
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2)
    exif += b"".join(struct.pack("<HHI4s", *entry) for entry in entries) + bytes(4)
    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=exif)
    assert decode_picture(file.getvalue(), 100, 100)[0].shape == (6, 4, 3)


def test_what_pillow_raises_of_its_own_is_damage(monkeypatch):
    def fail(image):
        raise RuntimeError("Failed to decode frame 0")

    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(RequestError, match="cannot be decoded"):
        decode_picture(file.getvalue(), 100, 100)


def test_what_is_left_out_is_told_with_each_picture():
    detector = FixedDetector(
        [0, 0, 60, 60, 0.9], [70, 0, 130, 60, 0.8], [140, 0, 190, 60, 0.7], [0, 70, 10, 80, 0.6]
    )
    finder, image = FaceFinder(detector, max_faces=2), np.zeros((100, 200, 3), np.uint8)
    for _ in range(2):  # nothing is kept from one to the next
        found = finder.find(image, 8)
        assert (len(found.boxes), found.small, found.many) == (2, 1, 1)
        assert found.faces.shape == (2, 8, 8, 3)
    assert finder.find(image, 8, 1).many == 2
    found = FaceFinder(None).find(image, 8)
    assert (found.small, found.many) == (0, 0)
    assert np.isnan(found.boxes[0, 4])


def test_a_sliver_has_no_face_as_large_as_it_is_long():
    image = np.zeros((30, 3000, 3), np.uint8)
    detector = FixedDetector([0, -1000, 2000, 1000, 0.9], [100, -10, 150, 45, 0.8])
    found = FaceFinder(detector).find(image, 8)
    assert found.boxes[:, 0].tolist() == [100]  # a face that is partly outside stays
    assert (found.small, found.many) == (0, 0)
