"""The one picture decoder: depth, colour and orientation of every kind, and what is refused how."""

import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.pictures import decode_picture
from neurogaze_fast.deploy.vision.inputs import read_picture
from neurogaze_fast.faces.decode import plausible
from neurogaze_fast.faces.listed import FileSource
from neurogaze_fast.pictures import (
    CorruptImage,
    TooManyPixels,
    UnknownKind,
    decode_grey,
    decode_rgb,
    picture_size,
)

Y, X = np.mgrid[0:60, 0:80]
RGB = np.dstack([X * 3, Y * 4, np.where((X < 20) & (Y < 15), 255, 20)]).clip(0, 255).astype("u1")
COLOUR = Image.fromarray(RGB)
GREY = np.asarray(COLOUR.convert("L"))
DEEP = GREY.astype(np.uint16) * 257
T = Image.Transpose
STORED = {1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
          6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270}  # fmt: skip


def saved(image, kind, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_tag(tiff, number, value):
    """A little-endian TIFF with the short value of one tag changed."""
    data = bytearray(tiff)
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if int.from_bytes(data[entry : entry + 2], "little") == number:
            data[entry + 8 : entry + 10] = value.to_bytes(2, "little")
    return bytes(data)


def difference(data, wanted):
    """Largest difference of the colour decoder, and of the grey one from what that means."""
    rgb, grey = decode_rgb(data), decode_grey(data)
    if wanted.ndim == 2:
        wanted = np.repeat(wanted[:, :, None], 3, axis=2)
    assert rgb.shape == wanted.shape
    assert grey.shape == wanted.shape[:2]
    assert rgb.dtype == grey.dtype == np.uint8
    luma = wanted @ [0.299, 0.587, 0.114]
    return np.abs(rgb.astype(int) - wanted).max(), np.abs(grey - luma).max()


BITS = (GREY > 128) * np.uint8(255)
FADED = np.where(X < 40, 0, 255).astype(np.uint8)
BIG_ENDIAN = Image.frombytes("I;16B", (80, 60), DEEP.astype(">u2").tobytes())
OVERSHOOTING = (GREY / 255).astype(np.float32)
OVERSHOOTING[0, :2] = 1.0005, -0.0005
ENDS = GREY.copy()
ENDS[0, :2] = 255, 0
EXACT = {
    "16-bit grey PNG": (saved(DEEP, "PNG"), GREY),
    "16-bit grey TIFF": (saved(DEEP, "TIFF"), GREY),
    "16-bit TIFF, big endian": (saved(BIG_ENDIAN, "TIFF"), GREY),
    "16-bit TIFF, white is zero": (with_tag(saved(65535 - DEEP, "TIFF"), 262, 0), GREY),
    "32-bit integers of 16 bits": (saved(DEEP.astype(np.int32), "TIFF"), GREY),
    "32-bit integers of 8 bits": (saved(GREY.astype(np.int32), "TIFF"), GREY),
    "floating point on 0..1": (saved((GREY / 255).astype(np.float32), "TIFF"), GREY),
    "floating point on 0..1 that overshoots": (saved(OVERSHOOTING, "TIFF"), ENDS),
    "floating point on 0..255": (saved(GREY.astype(np.float32), "TIFF"), GREY),
    "1-bit PNG": (saved(GREY > 128, "PNG"), BITS),
    "1-bit fax TIFF": (saved(GREY > 128, "TIFF", compression="group4"), BITS),
    "grey and alpha": (saved(np.dstack([GREY, FADED]), "PNG"), GREY),
    "colour and alpha": (saved(np.dstack([RGB, FADED]), "PNG"), RGB),
    "a transparent grey": (saved(GREY, "PNG", transparency=100), GREY),
    "a transparent colour": (saved(COLOUR, "PNG", transparency=(3, 4, 20)), RGB),
    "palette": (saved(COLOUR.quantize(64), "PNG"), np.asarray(COLOUR.quantize(64).convert("RGB"))),
    "palette with transparencies": (
        saved(COLOUR.quantize(64), "PNG", transparency=bytes(range(64))),
        np.asarray(COLOUR.quantize(64).convert("RGB")),
    ),
    "CMYK TIFF": (saved(COLOUR.convert("CMYK"), "TIFF"), RGB),
    "JPEG stored as RGB": (saved(COLOUR, "JPEG", quality=100, keep_rgb=True), RGB),
    "WebP": (saved(COLOUR, "WEBP", lossless=True), RGB),
    "BMP": (saved(COLOUR, "BMP"), RGB),
    "an animation's first picture": (
        saved(COLOUR, "PNG", save_all=True, append_images=[COLOUR.transpose(T.ROTATE_180)]), RGB
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.filterwarnings("error")
def test_pixels_are_what_was_stored(kind):
    colour, grey = difference(*EXACT[kind])
    rounding = 1 if "JPEG" in kind else 0
    assert colour <= rounding
    assert grey <= rounding + 0.51


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces_come_close(mode):
    found = decode_rgb(saved(COLOUR.convert(mode), "TIFF"))
    assert np.abs(found.astype(int) - RGB).mean() < 2


def tiff(pixels, order="<", photometric=1, packed=False, bits=None, **more):
    """A TIFF of [H, W] or [H, W, channels] in one strip; `more`: tag_NNN=value or values."""
    pixels = np.asarray(pixels)
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or pixels.dtype.itemsize * 8
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strips = [data]
    if more.get("tag_284") == 2 and samples > 1:
        planes = np.moveaxis(pixels.astype(pixels.dtype.newbyteorder(order)), 2, 0)
        strips = [plane.tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    tags = {256: 80, 257: 60, 258: (bits,) * samples, 259: 8 if packed else 1, 262: photometric,
            277: samples, 278: 60, 339: ({"u": 1, "i": 2, "f": 3}[pixels.dtype.kind],) * samples,
            **{int(name[4:]): value for name, value in more.items()},
            279: tuple(map(len, strips)), 273: (0,) * len(strips)}  # fmt: skip
    tags = {tag: value if isinstance(value, tuple) else (value,) for tag, value in tags.items()}
    values = 8 + 2 + 12 * len(tags) + 4
    start = values + sum(4 * len(value) for value in tags.values() if len(value) > 1)
    tags[273] = tuple(start + sum(map(len, strips[:i])) for i in range(len(strips)))
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(tags))
    behind = b""
    for tag in sorted(tags):
        long = struct.pack(f"{order}{len(tags[tag])}I", *tags[tag])
        place = long if len(long) == 4 else struct.pack(order + "I", values + len(behind))
        behind += long if len(long) > 4 else b""
        head += struct.pack(order + "HHI", tag, 4, len(tags[tag])) + place
    return head + bytes(4) + behind + b"".join(strips)


def png16(pixels, colour):
    """A PNG of uint16 [H, W, channels], every row as the difference from the pixel to the left."""
    rows = pixels.astype(">u2").view(np.uint8).reshape(60, 80, -1).astype(np.int16)
    rows[:, 1:] -= rows[:, :-1].copy()
    rows = rows.astype(np.uint8).reshape(60, -1)
    data = zlib.compress(np.insert(rows, 0, 1, axis=1).tobytes())
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 80, 60, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


EVERY = np.random.default_rng(0).permutation(np.linspace(0, 65535, 4800).astype("u2"))
EVERY = EVERY.reshape(60, 80)
ROUNDED = np.rint(EVERY / 257).astype(np.uint8)
EVERY3 = np.dstack([EVERY, EVERY[::-1], EVERY[:, ::-1]])
ROUNDED3 = np.rint(EVERY3 / 257).astype(np.uint8)
LOW7 = GREY & 127
OPAQUE = np.full_like(EVERY, 65535)
DEEP_KINDS = {
    "grey PNG": (saved(EVERY, "PNG"), ROUNDED),
    "colour PNG": (png16(EVERY3, 2), ROUNDED3),
    "colour PNG of greys": (png16(np.dstack([EVERY] * 3), 2), ROUNDED),
    "grey and alpha PNG": (png16(np.dstack([EVERY, EVERY[::-1]]), 4), ROUNDED),
    "colour and alpha PNG": (png16(np.dstack([EVERY3, EVERY]), 6), ROUNDED3),
    **{
        f"{kind} TIFF {order} {'deflate' if packed else 'raw'}": (
            tiff(pixels, order, photometric, packed, **more), wanted
        )
        for order in "<>" for packed in (False, True)
        for kind, pixels, photometric, wanted, more in (
            ("grey", EVERY, 1, ROUNDED, {}),
            ("signed grey", (EVERY // 2).astype("i2"), 1, np.rint(EVERY // 2 / 32767 * 255), {}),
            ("signed 32-bit grey", EVERY.astype("i4"), 1, ROUNDED, {}),
            ("floating-point grey", EVERY.astype("f4") / 65535, 1, ROUNDED, {}),
            ("signed 8-bit grey", LOW7.astype("i1"), 1, np.rint(LOW7 / 127 * 255), {}),
            ("colour", EVERY3, 2, ROUNDED3, {}),
            ("colour and alpha", np.dstack([EVERY3, EVERY]), 2, ROUNDED3, {"tag_338": 2}),
            ("colour and more", np.dstack([EVERY3, EVERY]), 2, ROUNDED3, {"tag_338": 0}),
            ("alpha of one", np.dstack([EVERY3, OPAQUE]), 2, ROUNDED3, {"tag_338": 1}),
            ("CMYK", np.dstack([65535 - EVERY3, OPAQUE * 0]), 5, ROUNDED3, {}),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP_KINDS)
def test_deep_pixels_are_rounded_in_colour_as_in_grey(kind):
    data, wanted = DEEP_KINDS[kind]
    assert difference(data, wanted)[0] == 0
    assert difference(data, wanted)[1] <= 0.51


def test_training_predict_and_the_server_see_the_same_deep_pixels(tmp_path):
    data = png16(EVERY3, 2)
    assert not plausible(np.frombuffer(data, np.uint8))  # so no other decoder gets it
    file = tmp_path / "deep.png"
    file.write_bytes(data)
    for pixels in (read_picture(file), decode_picture(data, 10_000, 10_000)[0]):
        np.testing.assert_array_equal(pixels, ROUNDED3)
    grey = FileSource(tmp_path, np.array(["deep.png"])).read(0)
    np.testing.assert_array_equal(
        decode_grey(grey), np.asarray(Image.fromarray(ROUNDED3).convert("L"))
    )


def test_deep_colour_by_its_alpha_is_divided_by_it():
    half = np.full_like(EVERY, 32768)
    data = tiff(np.dstack([EVERY3 // 2, half]), photometric=2, tag_338=1)
    assert difference(data, ROUNDED3)[0] <= 2


def test_a_deep_colour_picture_is_turned_upright():
    data = tiff(EVERY3.transpose(1, 0, 2)[::-1].reshape(80, 60, 3), photometric=2,
                tag_256=60, tag_257=80, tag_278=80, tag_274=6)  # fmt: skip
    np.testing.assert_array_equal(decode_rgb(data), ROUNDED3)


SUBSAMPLED = np.zeros((60, 40, 3), np.uint8)
LIKE_JPEG = np.asarray(COLOUR.convert("YCbCr"))
PALETTE = tuple(range(256)) * 3
REFUSED = {
    "signed bytes, negative": (tiff(GREY.astype(int).astype("i1") - np.int8(90)), "from -"),
    "signed 16 bits, negative": (tiff(DEEP.astype("i2")), "from -"),
    "signed colour": (tiff(RGB.astype("i1"), photometric=2), "8-bit signed pixels .channels: 3"),
    "double": (tiff(GREY / 255), "64-bit floating-point pixels"),
    "half": (tiff((GREY / 255).astype("f2")), "16-bit floating-point pixels"),
    "colour of 32 bits": (tiff(RGB.astype("f4"), photometric=2), "photometric kind: 2"),
    "deep planes": (tiff(EVERY3, photometric=2, tag_284=2), "16-bit channels in planes"),
    "deep planes, packed": (tiff(EVERY3, ">", 2, True, tag_284=2), "16-bit channels in planes"),
    "white is zero in a plane": (tiff(GREY, photometric=0, tag_284=2), "8-bit channels in planes"),
    "deep grey in a plane": (tiff(EVERY, tag_284=2), "16-bit channels in planes"),
    "multiplied planes": (
        tiff(np.dstack([RGB, GREY]), photometric=2, tag_284=2, tag_338=1), "channels in planes"
    ),
    "Lab planes": (tiff(RGB, photometric=8, tag_284=2), "channels in planes"),
    "subsampled": (tiff(SUBSAMPLED, photometric=6, tag_530=(2, 2)), "YCbCr"),
    "subsampled, unsaid": (tiff(SUBSAMPLED, photometric=6), "YCbCr"),
    "studio range": (
        tiff(LIKE_JPEG, photometric=6, tag_530=(1, 1), tag_532=(16, 235, 128, 240, 128, 240)),
        "YCbCr",
    ),
    "other inks": (tiff(np.dstack([RGB, GREY]), photometric=5, tag_332=2), "inks other"),
    "palette of 8 bits": (tiff(GREY, photometric=3, tag_320=PALETTE), "palette of 8 bits"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tiff_that_pillow_would_mistake_is_refused_with_the_reason(kind):
    data, words = REFUSED[kind]
    for decode in (decode_rgb, decode_grey):
        with pytest.raises(CorruptImage, match=words):
            decode(data)


def test_the_usual_cousins_of_the_refused_are_read():
    assert difference(tiff(GREY, tag_284=2), GREY)[0] == 0
    assert difference(tiff(GREY, photometric=0, packed=True, tag_284=2), 255 - GREY)[0] == 0
    assert difference(tiff(RGB, photometric=2, tag_284=2), RGB)[0] == 0
    assert difference(tiff(RGB, photometric=2, packed=True, tag_284=2), RGB)[0] == 0
    assert difference(tiff(LIKE_JPEG, photometric=6, tag_530=(1, 1)), RGB)[0] <= 3
    palette = tuple(value * 257 for value in PALETTE)
    assert difference(tiff(GREY, photometric=3, tag_320=palette), GREY)[0] == 0


def test_twelve_bits_are_scaled_by_their_own_range():
    high, low = (GREY.astype(np.uint32) * 4095 // 255).reshape(-1, 2).T
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 1).astype(np.uint8)
    assert max(difference(tiff(packed.reshape(60, 120), bits=12), GREY)) <= 1.5


@pytest.mark.parametrize(("pixels", "found"), [
    (DEEP // 257 * 13, "from 260 to 2756 where 16 bits have 0 to 65535.* or one of 12 bits"),
    (GREY.astype(np.int32) * 2**20, "from .* to 2.2.*e.08"),
    (GREY.astype(np.int32) - 30, "from -10 to 182"),
    (GREY.astype(np.float32) * 257, "from 5140 to 54484.* .0 to 1 or 0 to 255"),
    ((GREY / 255).astype(np.float32) * 2, "from 0.15.* to 1.66"),
    ((GREY / 255).astype(np.float32) - 0.5, "from -0.42.* to 0.33"),
    (np.where(GREY > 100, np.nan, 0.5).astype(np.float32), "not finite"),
    (np.where(GREY > 100, np.inf, 0.5).astype(np.float32), "not finite"),
])  # fmt: skip
def test_deep_pixels_of_no_known_range_are_refused_with_what_was_found(pixels, found):
    for decode in (decode_rgb, decode_grey):
        with pytest.raises(CorruptImage, match=found):
            decode(saved(pixels, "TIFF"))


def in_16(bits, pixels=EVERY):
    """Pixels of fewer bits as many cameras store them: low in the 16."""
    return pixels >> (16 - bits)


def stated(pixels, bits, colour):
    """A deep PNG whose sBIT chunk says the bits of each channel."""
    data = png16(pixels, colour)
    return data[:33] + chunk(b"sBIT", bytes(bits)) + data[33:]


NEAR = ROUNDED.astype(int)
DARK8 = GREY // 4 * np.uint16(257)
DEEP14, DARK12 = in_16(14), in_16(12) // 16
LESS_DEEP = {
    "a 14-bit PNG that says so": (stated(DEEP14, [14], 0), NEAR),
    "a 13-bit PNG that says so": (stated(in_16(13), [13], 0), NEAR),
    "a 15-bit PNG that says so": (stated(in_16(15), [15], 0), NEAR),
    "14 bits moved up, as PNG wants it": (stated(DEEP14 << 2, [14], 0), NEAR),
    "a dark one of 14 bits, moved up": (stated(DEEP14 >> 4 << 2, [14], 0), NEAR / 16),
    "12 bits, their first four below them": (stated(in_16(12) * 16 + in_16(4), [12], 0), NEAR),
    "a dark one of such": (stated(DARK12 << 4 | DARK12 >> 8, [12], 0), NEAR / 16),
    "a dark one of 16 bits": (stated(EVERY // 5, [16], 0), NEAR / 5),
    "14 bits of colour": (stated(in_16(14, EVERY3), [14, 14, 14], 2), ROUNDED3),
    "14 bits of colour and alpha": (
        stated(np.dstack([in_16(14, EVERY3), OPAQUE]), [14, 14, 14, 16], 6), ROUNDED3
    ),
    "14 bits of grey and alpha": (stated(np.dstack([DEEP14, OPAQUE]), [14, 16], 4), NEAR),
    "a TIFF whose largest value is 14 bits'": (tiff(DEEP14, tag_281=16383), NEAR),
    "such a signed TIFF": (tiff(DEEP14.astype("i2"), tag_341=16383), NEAR),
    "such a TIFF of colour": (tiff(in_16(14, EVERY3), ">", 2, tag_281=(16383,) * 3), ROUNDED3),
    "a dark TIFF of 16 bits": (tiff(EVERY // 5, tag_281=65535), NEAR / 5),
    "a dark one that had 8 bits": (saved(DARK8, "PNG"), GREY // 4),
    "such a one, moved up": (saved(DARK8 // 257 * 256, "TIFF"), GREY // 4),
    "a dark one of colour that had 8 bits": (png16(RGB // 8 * np.uint16(257), 2), RGB // 8),
    "little ink": (tiff(np.dstack([(65535 - EVERY3) // 5, OPAQUE * 0]), "<", 5),
                   255 - (255 - ROUNDED3.astype(int)) / 5),
}  # fmt: skip


@pytest.mark.parametrize("kind", LESS_DEEP)
def test_sixteen_bits_of_which_fewer_are_used_are_read_by_the_depth_that_is_stated(kind):
    data, wanted = LESS_DEEP[kind]
    assert difference(data, np.asarray(wanted))[0] <= 1


UNSTATED = {
    "14 bits": (saved(DEEP14, "PNG"), "to 16383 .* 0 to 65535, .* one of 14 bits"),
    "13 bits": (saved(in_16(13), "TIFF"), "to 8191 .* one of 13 bits"),
    "signed": (tiff(DEEP14.astype("i2")), "to 16383 .* 0 to 32767, .* one of 14 bits"),
    "in 32 bits": (tiff(DEEP14.astype("i4")), "one of 14 bits"),
    "colour": (png16(in_16(14, EVERY3), 2), "one of 14 bits"),
    "12 bits of colour": (tiff(in_16(12, EVERY3), photometric=2), "one of 12 bits"),
    "colour and alpha": (png16(np.dstack([in_16(14, EVERY3), OPAQUE]), 6), "one of 14 bits"),
    "grey and alpha": (png16(np.dstack([DEEP14, OPAQUE]), 4), "one of 14 bits"),
    "the brightest pixel's value is no depth": (tiff(EVERY // 5, tag_281=13107), "of 14 bits"),
    "a PNG's depth that the pixels exceed": (stated(DEEP14, [12], 0), "of 14 bits"),
    "8 bits that are not, in colour": (stated(in_16(14, EVERY3), [8, 8, 8], 2), "of 14 bits"),
    "a depth that the pixels exceed": (tiff(EVERY // 5, tag_281=4095), "of 14 bits"),
}


@pytest.mark.parametrize("kind", UNSTATED)
def test_dark_or_less_deep_is_refused_where_it_cannot_be_told(kind):
    data, words = UNSTATED[kind]
    for decode in (decode_rgb, decode_grey):
        with pytest.raises(CorruptImage, match=words):
            decode(data)
    if data.startswith(b"\x89PNG"):
        with pytest.raises(RequestError, match=words):
            decode_picture(data, 10_000, 10_000)
    assert not plausible(np.frombuffer(data, np.uint8))  # nor does training's other decoder see it


def test_a_jpeg_of_twelve_bits_is_called_that():
    data = bytearray(saved(GREY, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert not plausible(np.frombuffer(data, np.uint8))
    with pytest.raises(UnknownKind, match="a JPEG of 12 bits, which is not read"):
        decode_rgb(bytes(data))


def test_black_is_black_at_every_depth():
    for kind in (np.uint16, np.int32, np.float32):
        assert not decode_grey(saved(np.zeros((5, 5), kind), "TIFF")).any()


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "TIFF lzw", "16 bits"])
def test_every_orientation_is_applied_in_every_kind(kind, turn):
    image = Image.fromarray(DEEP) if kind == "16 bits" else COLOUR
    image = image.transpose(STORED[turn]) if STORED[turn] is not None else image
    if kind.startswith("TIFF"):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = turn
        data = saved(
            image, "TIFF", tiffinfo=tags, compression="tiff_lzw" if "lzw" in kind else None
        )
    else:
        exif = Image.Exif()
        exif[274] = turn
        options = {} if kind in ("PNG", "16 bits") else {"quality": 95}
        data = saved(image, "PNG" if kind == "16 bits" else kind, exif=exif, **options)
    wanted = GREY if kind == "16 bits" else RGB
    found = decode_rgb(data)
    assert found.shape == RGB.shape
    wanted = wanted[:, :, None] if wanted.ndim == 2 else wanted
    assert np.abs(found.astype(int) - wanted).mean() < 4
    assert decode_grey(data).shape == GREY.shape


# --- PNG's chunks --------------------------------------------------------------------------------


def with_chunks(*chunks):
    png = saved(COLOUR, "PNG")
    return png[:33] + b"".join(chunks) + png[33:]


MUCH = {
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b'{"a": 1}' * 300_000)),
    "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 600_000)),
    "iTXt plain": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 600_000),
    "exif": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"0" * 3_000_000)),
    "not zlib": chunk(b"zTXt", b"Raw profile type exif\0\0not zlib"),
    "tEXt": chunk(b"tEXt", b"workflow\0" + b'{"a": 1}' * 300_000),
    "colour profile": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(range(256)) * 8192)),
    "many": b"".join(
        chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(b"x" * 1_000_000)) for i in range(70)
    ),
    "content credentials": chunk(b"caBX", b"c2pa" * 500_000),
    "damaged note": chunk(b"tEXt", b"Comment\0hello")[:-1] + b"\0",
}


@pytest.mark.parametrize("what", MUCH)
def test_much_text_and_large_profiles_are_no_damage(what):
    data = with_chunks(MUCH[what])
    np.testing.assert_array_equal(decode_rgb(data), RGB)
    assert picture_size(data) == (80, 60)


def test_a_text_chunk_may_still_say_which_way_is_up():
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-'
           b'rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
           b'tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>')  # fmt: skip
    for packed in (b"\0\0\0\0" + xmp, b"\1\0\0\0" + zlib.compress(xmp)):
        data = with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0" + packed))
        np.testing.assert_array_equal(decode_rgb(data), RGB[::-1, ::-1])


def test_a_png_cut_short_or_damaged_is_still_found():
    png = with_chunks(MUCH["zTXt"])
    start = png.index(b"IDAT")
    damaged = png[: start + 40] + bytes([png[start + 40] ^ 255]) + png[start + 41 :]
    for data in (png[: len(png) // 2], png[: start + 50], damaged, png[:20]):
        with pytest.raises(CorruptImage):
            decode_rgb(data)


# --- what is no picture --------------------------------------------------------------------------

NONE = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "an HTML page": b"\n<!DOCTYPE html><html>Access denied</html>",
    "an SVG drawing": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a JPEG XL picture": b"\xff\x0a" + bytes(300),
    "a JPEG 2000 picture": saved(COLOUR, "JPEG2000"),
    "a Photoshop file": b"8BPS\0\1" + bytes(30),
    "a DICOM picture": bytes(128) + b"DICM\2\0\0\0",
    "a PDF document": b"%PDF-1.7\n",
    "a ZIP archive": b"PK\3\4" + bytes(40),
    "a gzip archive": b"\x1f\x8b\x08" + bytes(40),
    "a Matroska or WebM video": b"\x1a\x45\xdf\xa3" + bytes(40),
    "an MP4 file": b"\0\0\0\x18ftypisom" + bytes(40),
    "an AVI video": b"RIFF\0\0\0\0AVI LIST",
    "a TIFF": b"II*\0\x08\0\0\0" + bytes(100),
    "a damaged PNG": saved(COLOUR, "PNG")[:12],
    "a JPEG with 2 stray bytes": b"\r\n" + saved(COLOUR, "JPEG"),
    "4096 zero bytes": bytes(4096),
    "a text that begins 'Not found'": b"Not found",
    "of no known kind": bytes(range(1, 250)),
}  # fmt: skip


@pytest.mark.parametrize("words", NONE)
def test_what_is_no_picture_is_called_what_it_is(words):
    for decode in (decode_rgb, decode_grey):
        with pytest.raises(CorruptImage, match=words) as refused:
            decode(NONE[words])
        assert words == "a damaged PNG" or isinstance(refused.value, UnknownKind)
    assert picture_size(NONE[words]) is None


def test_only_the_formats_asked_for_are_read():
    with pytest.raises(UnknownKind):
        decode_rgb(saved(COLOUR, "BMP"), formats=("JPEG", "PNG"))
    with pytest.raises(UnknownKind, match="no picture that can be read"):
        decode_rgb(HEIC, formats=("JPEG", "PNG"))


def test_too_many_pixels_are_refused_by_the_header():
    with pytest.raises(TooManyPixels, match=r"80 x 60 pixels, more than 0\.004 million"):
        decode_rgb(saved(COLOUR, "PNG"), max_pixels=4000)
    with pytest.raises(CorruptImage, match="empty"):
        decode_rgb(b"")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)


def test_heic_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnknownKind, match="HEIC picture: install pillow-heif"):
        decode_rgb(HEIC)
    assert picture_size(HEIC) is None


def test_heic_is_read_where_its_reader_is_installed(monkeypatch):
    from PIL import ImageFile

    class Reader(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (80, 60), "RGB"
            self.tile = []
            self.im = COLOUR.copy().im

    def register():
        Image.register_open("HEIF", Reader, lambda prefix: prefix[4:8] == b"ftyp")

    monkeypatch.setitem(
        sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register)
    )
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    np.testing.assert_array_equal(decode_rgb(HEIC), RGB)
