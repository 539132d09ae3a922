"""Encoded images to grey pixels, and the split that holds them."""

import hashlib
import os
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
from neurogaze_fast.faces.decode import plausible
from neurogaze_fast.faces.faceset import FaceSet, FaceSplit, hash_image
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.pictures import MAX_PIXELS, CorruptImage, decode_grey, picture_size
from tests.faces.encoded_sets import SIDE, encode, file_of, folder_split, memory_split, pixels

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
    assert picture_size(encode(wide)) == (96, 32)
    assert decode_grey(encode(wide), SIDE).shape == (SIDE, SIDE)
    assert decode_grey(encode(wide), None).shape == (32, 96)


@pytest.mark.parametrize("data", [b"", b"\xff", b"some text", b"\xff\xd8\xff\xe0" + b"x" * 99])
def test_what_is_no_picture_is_refused(data):
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


UNUSUAL = {
    "16 bits": encode(GREY.astype(np.uint16) * 257),
    "palette": encode(Image.fromarray(COLOUR).quantize(64)),
    "transparency": encode(Image.fromarray(GREY).convert("LA")),
    "turned PNG": encode(GREY, exif=rotated()),
    "CMYK": encode(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    **{kind: encode(GREY, kind) for kind in ("GIF", "BMP", "TIFF", "WEBP")},
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_read_but_never_given_to_other_decoders_as_they_are(kind):
    assert not plausible(as_uint8(UNUSUAL[kind]))
    assert decode_grey(UNUSUAL[kind], SIDE).shape == (SIDE, SIDE)


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
    assert "no picture that can be read" in str(error.value)
    file_of(split, 2).unlink()
    with pytest.raises(CorruptImage, match="No such file"):
        split.decode(2)
    assert len(set(split.pixel_hashes.tolist())) == 4


def test_a_few_damaged_images_are_left_out_counted_and_named(tmp_path):
    split = folder_split(tmp_path, 5)
    file_of(split, 2).write_bytes(b"no image")
    faces = FaceSet({"train": split}, "x", "folder", False)
    part = faces.usable("train")
    assert part.names.tolist() == np.delete(split.names, 2).tolist()
    np.testing.assert_array_equal(part.images[2], split.decode(3))
    assert part is faces.usable("train")
    assert faces.provenance()["left_out"] == {"train": {"damaged image": 1}}
    (note,) = faces.provenance()["notes"]
    assert note.startswith(
        f"Left out 1 of the 5 train images, which cannot be used: {split.names[2]}"
    )
    file_of(split, 0).unlink()  # two of five are more than an accident
    with pytest.raises(DataError, match=r"2 of the 5 train images cannot be used: .*No such file"):
        FaceSet({"train": folder_like(split)}, "x", "folder", False).usable("train")


def folder_like(split):
    """The same rows, with nothing decoded yet."""
    return split.subset(np.arange(len(split)))


def test_pixels_are_found_again_in_whatever_kind_of_file(tmp_path):
    image = pixels(7, 48)
    kinds = {"a.png": encode(image), "b.webp": encode(image, "WEBP", lossless=True),
             "c.bmp": encode(image, "BMP"), "d.png": encode(image.astype(np.uint16) * 257),
             "e.jpg": encode(image, "TIFF"), "f.gif": encode(image, "GIF"),
             "g.png": encode(pixels(8, 48))}  # fmt: skip
    folder = tmp_path / "train" / "fear"
    folder.mkdir(parents=True)
    for name, data in kinds.items():
        (folder / name).write_bytes(data)
    split = read_folder(tmp_path, side=32)["train"]  # another side changes nothing
    memory = FaceSplit("train", image[None], split.votes[:1], split.names[:1], split.rows[:1])
    found = split.pixel_hashes == memory.pixel_hashes[0]
    assert found.tolist() == [True] * 6 + [False]


def test_names_need_not_be_unicode(tmp_path):
    folder = tmp_path / "train" / "fear"
    folder.mkdir(parents=True)
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:
        file.write(encode(GREY))
    assert len(read_folder(tmp_path).sha256) == 64


COLUMNS = {
    "nan": ("votes", lambda v: np.where(np.eye(3, 10) > 0, np.nan, 1.0), "row 1 .neutral nan"),
    "infinite": ("votes", lambda v: np.where(v > 9, np.inf, 1.0), "3 row.s. with votes.*inf"),
    "negative": ("votes", lambda v: v.astype(np.int64) - 1, "row 1 .happiness -1"),
    "huge": ("votes", lambda v: v.astype(np.int64) * 10**6, "row 1 .neutral 1e"),
    "fractions": ("votes", lambda v: v / 4, "row 1 .neutral 2.5"),
    "short": ("votes", lambda v: v[:2], r"shape \[2, 10\] for 3 images"),
    "narrow": ("votes", lambda v: v[:, :8], r"shape \[3, 8\] for 3 images"),
    "text": ("votes", lambda v: v.astype(str), "votes of type"),
    "names": ("names", lambda v: v[:2], "2 names for 3 rows"),
    "images": ("images", lambda v: v[:2], "2 images for 3 rows"),
    "affect": ("valence_arousal", lambda v: np.full((3, 2), 5.0), r"such as row 1 \(\[5.0, 5.0"),
    "few affect": ("valence_arousal", lambda v: np.zeros((2, 2)), r"shape \[2, 2\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_that_are_no_votes_or_do_not_fit_are_refused(case):
    column, change, message = COLUMNS[case]
    good = {"images": np.stack([pixels(i) for i in range(3)]),
            "votes": np.eye(3, 10, dtype=np.uint8) * 10, "names": np.array(["a", "b", "c"]),
            "rows": np.array([1, 2, 3]), "valence_arousal": None}  # fmt: skip
    FaceSplit("train", **good)
    with pytest.raises(DataError, match=message):
        FaceSplit("train", **{**good, column: change(good[column])})
    if column != "images":
        split = memory_split([encode(GREY)] * 3)
        changed = change(split.votes if column == "votes" else getattr(split, column))
        with pytest.raises(DataError, match=message):
            replace(split, **{column: changed})


def test_whole_numbers_of_any_type_are_votes():
    votes = np.eye(2, 10) * 10
    split = replace(memory_split([encode(GREY)] * 2), votes=votes)
    assert split.votes.dtype == np.uint8
    np.testing.assert_array_equal(split.votes, votes)


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
