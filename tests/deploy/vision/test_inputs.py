"""Which files are looked at, what their copies are called, and pictures as people have them."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from neurogaze_fast.deploy.vision.inputs import find_inputs, read_picture
from neurogaze_fast.pictures import CorruptImage


def picture(path, size=(6, 4), colour=(200, 40, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def test_folders_are_read_with_their_subfolders_and_without_the_output(tmp_path):
    faces = tmp_path / "faces"
    for name in ("b.PNG", "a/x.jpg", "a/x.jpeg", ".hidden.png", ".git/y.png", "predictions/b.png"):
        picture(faces / name, format="PNG")
    (faces / "notes.txt").write_text("hello")
    (faces / "film.MOV").write_bytes(b"x")
    found, skipped = find_inputs([faces, faces / "b.PNG"], faces / "predictions")
    assert [item.path.relative_to(faces).as_posix() for item in found] == [
        "b.PNG", "film.MOV", "a/x.jpeg", "a/x.jpg",
    ]  # fmt: skip
    assert [item.video for item in found] == [False, True, False, False]
    assert [(s.path.name, s.reason) for s in skipped] == [
        ("notes.txt", "no picture or video by its name")
    ]


def test_copies_never_share_a_name(tmp_path):
    files = [picture(tmp_path / n, format="PNG") for n in ("a/x.jpg", "b/x.JPG", "x.webp", "plain")]
    found, skipped = find_inputs([*files, tmp_path / "missing.png"], tmp_path / "out")
    assert [item.name.as_posix() for item in found] == [
        "x.jpg", "x-2.jpg", "x.webp.png", "plain.png",
    ]  # fmt: skip
    assert [s.reason for s in skipped] == ["there is no such file or folder"]
    assert find_inputs([tmp_path / "a"], None)[0][0].name == Path("a/x.jpg")


@pytest.mark.parametrize("name", ["m" * 250 + ".webp", "顔" * 83 + ".bmp", "b" * 251 + ".jpg"])
def test_names_of_copies_are_no_longer_than_names_can_be(tmp_path, name):
    folders = [tmp_path / "a" / name, tmp_path / "b" / name]
    found, skipped = find_inputs([picture(path, format="PNG") for path in folders], None)
    names = [item.name.name for item in found]
    assert not skipped
    assert len(set(names)) == 2
    for short in names:
        assert len(short.encode()) <= 255
        assert short.startswith(name[:70])
        (tmp_path / short).write_bytes(b"")  # the system takes it


def test_what_is_no_file_is_left_out_and_named(tmp_path):
    folder = tmp_path / "in"
    picture(folder / "good.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    given = [folder, tmp_path / ("x" * 300), folder / "circle.png"]
    found, skipped = find_inputs(given, None)
    assert [item.path.name for item in found] == ["good.png"]
    assert [(s.path.name[:10], s.reason) for s in skipped] == [
        ("circle.png", "no file, or a link to none"),
        ("gone.png", "no file, or a link to none"),
        ("pipe.png", "no file, or a link to none"),
        ("x" * 10, "there is no such file or folder"),
        ("circle.png", "there is no such file or folder"),
    ]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "in/locked/x.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, skipped = find_inputs([tmp_path / "in"], None)
    assert found == []
    assert [(s.path.name, s.reason) for s in skipped] == [
        ("locked", "this folder cannot be read (Permission denied)")
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "MPO"])
def test_the_usual_formats(tmp_path, kind):
    image = read_picture(picture(tmp_path / "x", format=kind))
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - (200, 40, 10)).max() < 12


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (6, 4), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 3, 4))  # stored: the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown: turned clockwise
    image.save(tmp_path / "x.png", exif=exif)
    upright = read_picture(tmp_path / "x.png")
    assert upright.shape == (6, 4, 3)
    assert (upright[:3] == 255).all()
    assert (upright[3:] == 0).all()


def test_grey_transparent_palette_and_deep_pictures(tmp_path):
    deep = (np.arange(24, dtype=np.uint16) * 2800).reshape(4, 6)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = np.round(deep / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png")[:, :, 1], expected)
    Image.new("L", (6, 4), 77).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == 77).all()
    Image.new("RGBA", (6, 4), (9, 8, 7, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == (9, 8, 7)).all()


def test_damaged_files_give_a_reason(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG")
    for name, data, reason in [
        ("empty", b"", "the file is empty"),
        ("text", b"hello, this is no picture", "no picture that can be read"),
        ("half", buffer.getvalue()[:600], "(?i)truncated"),
        ("evil", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptImage, match=reason):
            read_picture(tmp_path / name)
    with pytest.raises(CorruptImage, match="cannot be read"):
        read_picture(tmp_path / "nowhere")


def test_a_damaged_avif_is_a_reason_too(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data = picture(tmp_path / "x.avif", (40, 40)).read_bytes()
    start = data.index(b"mdat") + 4
    (tmp_path / "x.avif").write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(CorruptImage, match=r"(?i)decod"):
        read_picture(tmp_path / "x.avif")


@pytest.mark.parametrize("turn", range(10))
def test_every_orientation_is_as_pillow_turns_it(tmp_path, turn):
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png"), expected)


def test_odd_exif_does_not_cost_the_picture(tmp_path):
    def entry(tag, kind, count, value):
        return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")

    turned = entry(0x0112, 3, 1, b"\6\0")
    for number, (odd, shape) in enumerate([
        (entry(0x011A, 2, 3, b"ab"), (6, 4, 3)),  # text for a resolution
        (entry(0x0100, 9, 1, b"\xff" * 4), (6, 4, 3)),  # a negative width
        (None, (4, 6, 3)),  # no EXIF at all, by its first bytes
    ]):  # fmt: skip
        entries = sorted([turned, odd]) if odd else [turned]
        head = b"II*\0\x08\0\0\0" if odd else b"II++\x08\0\0\0"
        data = b"Exif\0\0" + head + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
        image = read_picture(picture(tmp_path / f"{number}.jpg", exif=data))
        assert image.shape == shape


def test_a_bomb_is_refused_by_its_header(tmp_path):
    def chunk(kind, data):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = (60_000).to_bytes(4) + (60_000).to_bytes(4) + bytes((1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(CorruptImage, match="more than 50 million"):
        read_picture(tmp_path / "bomb.png")
    with pytest.raises(CorruptImage, match="6 x 4 pixels, more than 1e-05 million"):
        read_picture(picture(tmp_path / "x.png"), max_pixels=10)
