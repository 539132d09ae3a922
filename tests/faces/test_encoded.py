"""Encoded images to grey pixels, and the split that holds them."""

import hashlib
import pickle
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.decode import MAX_PIXELS, CorruptImage, decode_grey, image_size, plausible
from neurogaze_fast.faces.faceset import FaceSet, FaceSplit, hash_image
from tests.faces.encoded_sets import SIDE, encode, file_of, folder_split, pixels

GREY, COLOUR = pixels(1), pixels(2, channels=3)
JPEG = encode(pixels(3, 64), "JPEG", quality=90)
PROGRESSIVE = encode(pixels(3, 64, 3), "JPEG", quality=90, progressive=True)
PNG = encode(pixels(4, 64))


def luma(rgb):
    """float: the luma of Rec. 601."""
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise for display
    return exif


def as_uint8(data):
    return np.frombuffer(data, np.uint8)


def test_a_grey_png_comes_back_as_it_was():
    np.testing.assert_array_equal(decode_grey(encode(GREY), SIDE), GREY)
    np.testing.assert_array_equal(decode_grey(as_uint8(encode(GREY)), None), GREY)


@pytest.mark.parametrize("alpha", [255, 40])
def test_colour_becomes_luma_and_transparency_is_ignored(alpha):
    rgba = np.dstack([COLOUR, np.full((SIDE, SIDE), alpha, np.uint8)])
    for image in (COLOUR, rgba):
        assert np.abs(decode_grey(encode(image), SIDE) - luma(COLOUR)).max() <= 1


def test_palettes_bits_and_grey_with_alpha():
    palette = Image.fromarray(COLOUR).quantize(64)
    wanted = luma(np.asarray(palette.convert("RGB")))
    assert np.abs(decode_grey(encode(palette), SIDE) - wanted).max() <= 1
    bits = GREY > 128
    np.testing.assert_array_equal(decode_grey(encode(bits), SIDE), bits * 255)
    np.testing.assert_array_equal(
        decode_grey(encode(Image.fromarray(GREY).convert("LA")), 32), GREY
    )


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_grey(encode(deep), SIDE), GREY)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_every_kind_are_close_to_what_was_stored(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    data = encode(image, "JPEG", quality=98, subsampling=0)
    # Quality 98 and the rounding of two colour conversions.
    assert np.abs(decode_grey(data, SIDE) - luma(COLOUR)).max() <= 8


def test_exif_orientation_is_applied():
    for kind in ("PNG", "JPEG"):
        turned = decode_grey(encode(GREY, kind, exif=rotated()), SIDE)
        np.testing.assert_array_equal(turned, np.rot90(decode_grey(encode(GREY, kind), SIDE), -1))


def test_halving_is_a_weighted_mean_with_antialiasing():
    image = pixels(5, 64)
    small = decode_grey(encode(image), 32).astype(float)
    # A triangle two source pixels wide each way: weights 1 3 3 1 over 8, in both directions.
    rows = sum(w * image[1 + k : 61 + k : 2].astype(float) for k, w in enumerate((1, 3, 3, 1))) / 8
    both = sum(w * rows[:, 1 + k : 61 + k : 2] for k, w in enumerate((1, 3, 3, 1))) / 8
    assert np.abs(small[1:31, 1:31] - both).max() <= 1


def test_other_proportions_are_stretched():
    wide = np.repeat(GREY, 3, axis=1)
    assert image_size(encode(wide)) == (96, 32)
    assert decode_grey(encode(wide), SIDE).shape == (SIDE, SIDE)
    assert decode_grey(encode(wide), None).shape == (32, 96)


OTHERS = [encode(GREY, kind) for kind in ("GIF", "BMP", "TIFF", "WEBP")]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"some text", b"\xff\xd8\xff\xe0" + b"x" * 99, *OTHERS]
)
def test_what_is_no_jpeg_or_png_is_refused(data):
    assert not plausible(as_uint8(data))
    with pytest.raises(CorruptImage, match=r"\w"):
        decode_grey(data, SIDE)


def test_too_many_pixels_are_refused_before_decoding():
    side = struct.pack(">I", int(MAX_PIXELS**0.5) + 1)
    header = PNG[12:16] + side + side + PNG[24:29]
    png = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    frame = JPEG.index(b"\xff\xc0")
    jpeg = JPEG[: frame + 5] + b"\x1f\x40\x1f\x40" + JPEG[frame + 9 :]
    for data in (png, jpeg):
        assert not plausible(as_uint8(data))
        with pytest.raises(CorruptImage, match="50 million"):
            decode_grey(data, SIDE)


@pytest.mark.parametrize("whole", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
@settings(max_examples=60, deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_jpeg_cut_short_anywhere_is_found(whole, fraction):
    data = whole[: int(len(whole) * fraction)]
    assert not plausible(as_uint8(data))
    with pytest.raises(CorruptImage):
        decode_grey(data, SIDE)


@settings(max_examples=60, deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_png_cut_short_is_found_where_pixels_are_missing(fraction):
    data = PNG[: int((len(PNG) - 8) * fraction)]
    assert not plausible(as_uint8(data))
    try:
        image = decode_grey(data, 64)
    except CorruptImage:
        return
    np.testing.assert_array_equal(image, decode_grey(PNG, 64))  # only checksums were missing
    assert fraction > 0.99


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from([JPEG, PROGRESSIVE, PNG]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
)
def test_damage_gives_pixels_or_corrupt_image_and_never_anything_else(data, flips):
    damaged = bytearray(data)
    for place, bits in flips:
        # Half of them in the headers.
        damaged[int(place * place * len(damaged))] ^= bits
    plausible(as_uint8(bytes(damaged)))
    try:
        image = decode_grey(bytes(damaged), SIDE)
    except CorruptImage:
        return
    assert image.shape == (SIDE, SIDE)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, PNG, JPEG + b"\0" * 100,
                                  encode(COLOUR, "JPEG", exif=rotated())])  # fmt: skip
def test_whole_images_are_plausible(data):
    assert plausible(as_uint8(data))


def test_a_split_reads_decodes_and_picks_rows(tmp_path):
    split = folder_split(tmp_path, 6)
    assert len(split) == 6
    assert split.images.shape == (6, SIDE, SIDE)
    index = np.array([4, 0, 4])
    part = split.subset(index)
    np.testing.assert_array_equal(part.images, split.images[index])
    np.testing.assert_array_equal(part.names, split.names[index])
    np.testing.assert_array_equal(part.votes, split.votes[index])
    np.testing.assert_array_equal(part.pixel_hashes, split.pixel_hashes[index])
    assert part.read(1).tobytes() == file_of(split, 0).read_bytes()
    assert pickle.loads(pickle.dumps(part)).read(0).tobytes() == part.read(0).tobytes()


def test_a_damaged_image_is_named_where_all_are_decoded(tmp_path):
    split = folder_split(tmp_path, 4)
    file_of(split, 2).write_bytes(b"no image")
    with pytest.raises(DataError) as error:
        _ = split.images
    assert str(file_of(split, 2)) in str(error.value)
    assert "no JPEG or PNG" in str(error.value)
    file_of(split, 2).unlink()
    with pytest.raises(CorruptImage, match="No such file"):
        split.decode(2)
    assert len(set(split.pixel_hashes.tolist())) == 4


def test_the_sets_hash_needs_no_decoding_and_notices_every_change(tmp_path, monkeypatch):
    def digest(split):
        return FaceSet({"train": split}, "x", "folder", False).sha256

    split = folder_split(tmp_path, 4)
    monkeypatch.setattr(type(split), "decode", lambda *_: pytest.fail("it was decoded"))
    seen = {digest(split), digest(split.subset(np.array([0, 1, 2]))),
            digest(split.subset(np.array([1, 0, 2, 3])))}  # fmt: skip
    votes = split.votes.copy()
    votes[1, 5] += 1
    seen |= {digest(replace(split, votes=votes)), digest(replace(split, side=SIDE + 1))}
    file_of(split, 3).write_bytes(encode(pixels(99)))
    seen.add(digest(replace(split, side=SIDE)))
    assert len(seen) == 6


def test_the_hash_of_a_set_in_memory_is_what_it_always_was():
    votes = np.arange(20, dtype=np.uint8).reshape(2, 10)
    images = np.stack([pixels(1), pixels(2)])
    split = FaceSplit("train", images, votes, np.array(["a", "b"]), np.array([1, 2]))
    wanted = hashlib.sha256(b"train (2, 32, 32)" + images.tobytes() + votes.tobytes()).hexdigest()
    assert FaceSet({"train": split}, "x", "csv", False).sha256 == wanted
    assert split.pixel_hashes[1].tobytes() == hash_image(images[1].tobytes())
    np.testing.assert_array_equal(split.subset(np.array([1])).images, images[1:])
