"""A damaged image never ends a run: it is named once, replaced, and the run goes on."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.stream import STUCK, DecodedStream, DecodeFailed
from neurogaze_fast.faces.torch_decoder import TorchDecoder
from tests.faces.decoders import CPU, dali
from tests.faces.encoded_sets import SIDE, encode, memory_split, pixels

IMAGES = [pixels(seed) for seed in range(7)]
PNGS = [encode(image) for image in IMAGES]
JPEG = encode(pixels(50, 64), "JPEG")
DAMAGE = {
    "cut short": (JPEG[: len(JPEG) // 2], "truncated"),
    "empty": (b"", "empty"),
    "text": (b"this is no image\n" * 20, "it is a text that begins"),
    "wrong magic": (b"\xff\xd8\xff\xe0" + PNGS[0][4:], r"\w"),
    "another format": (encode(IMAGES[0], "JPEG2000"), "JPEG 2000"),
    "deleted": (FileNotFoundError(2, "No such file or directory"), "cannot be read: No such file"),
}


@pytest.fixture(params=["dali", "torch"])
def decoder(request):
    made = dali() if request.param == "dali" else TorchDecoder(CPU, 1)
    yield made
    made.close()


class InOrder:
    """Every row once, in order."""

    def __init__(self, count, batch):
        self.parts = torch.arange(count).split(batch)

    def __len__(self):
        return len(self.parts)

    def batch_rows(self, epoch, batch):
        return self.parts[batch]


def loader_of(faces, decoder, order=None, batch=4):
    said = []
    order = order or InOrder(len(faces), batch)
    return DecodedStream(faces, order, device=CPU, decoder=decoder, console_line=said.append), said


def shown(batches):
    """(rows of all batches, whether every image is the one of its row)."""
    rows, right = [], True
    for images, these in batches:
        wanted = np.stack([IMAGES[row % len(IMAGES)] for row in these.tolist()])
        right &= bool((images.numpy() == wanted).all())
        rows += these.tolist()
    return rows, right


def test_epochs_follow_the_order_and_can_be_entered_anywhere(decoder):
    faces = memory_split(PNGS, 22)
    order = EpochOrder(22, 4, seed=3)
    loader, said = loader_of(faces, decoder, order)
    for epoch in (0, 1):
        rows, right = shown(loader.epoch(epoch))
        assert rows == torch.cat([order.batch_rows(epoch, b) for b in range(5)]).tolist()
        assert right
    assert shown(loader.epoch(1, start=3))[0] == rows[12:]
    assert list(loader.epoch(1, start=5)) == []
    assert said == []


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("row", [0, 13, 23])
def test_a_damaged_image_is_named_and_replaced(decoder, damage, row):
    faces = memory_split(PNGS, 24)
    faces.source.images[row], reason = DAMAGE[damage]
    loader, said = loader_of(faces, decoder)
    wanted = list(range(24))
    wanted[row] = (row + 1) % 24
    for _ in range(2):  # in the second epoch it is known
        assert shown(loader.epoch(0)) == (wanted, True)
    assert list(loader.bad) == [row]
    (line,) = said
    assert f"face {row} (memory/{row})" in line
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(loader.bad[row])
    assert loader.bad[row] in line


def test_neighbours_and_several_in_one_batch(decoder):
    faces = memory_split(PNGS, 5000)
    for row in (1000, 1001, 1003, 4999):
        faces.source.images[row] = b"damaged"
    loader, said = loader_of(faces, decoder, batch=500)
    rows, right = shown(loader.epoch(0))
    wanted = list(range(5000))
    for row, instead in {1000: 1002, 1001: 1002, 1003: 1004, 4999: 0}.items():
        wanted[row] = instead
    assert (rows, right) == (wanted, True)
    assert sorted(loader.bad) == [1000, 1001, 1003, 4999]
    assert len(said) == 4


def test_too_many_end_the_run_with_their_count_and_names(decoder):
    faces = memory_split(PNGS, 60)
    faces.source.images[20] = faces.source.images[40] = b"damaged"
    loader, _ = loader_of(faces, decoder)
    seen = []
    with pytest.raises(DataError, match=r"2 of the 60 .*face 20 .*face 40 "):
        seen.extend(loader.epoch(0))
    assert len(seen) == 10  # everything before the second one


def test_a_set_of_nothing_but_damage_ends(decoder):
    loader, _ = loader_of(memory_split([b"damaged"]), decoder)
    with pytest.raises(DataError, match="1 of the 1"):
        list(loader.epoch(0))


@pytest.mark.parametrize("stop", [2, 9])
def test_resuming_gives_what_an_uninterrupted_run_gives(decoder, stop):
    """Whether the damaged row was met before the interruption or comes after it."""
    faces = memory_split(PNGS, 48)
    order = EpochOrder(48, 4, seed=1)
    row = int(order.batch_rows(0, 5)[2])
    faces.source.images[row] = JPEG[:200]
    whole, _ = loader_of(faces, decoder, order)
    expected = [rows.tolist() for _, rows in whole.epoch(0)]

    first, _ = loader_of(faces, decoder, order)
    stream = first.epoch(0)
    before = [next(stream)[1].tolist() for _ in range(stop)]
    stream.close()
    state = json.loads(json.dumps(first.state_dict()))
    second, said = loader_of(faces, decoder, order)
    second.load_state_dict(state)
    after = [rows.tolist() for _, rows in second.epoch(0, start=stop)]
    assert before + after == expected
    assert second.bad == whole.bad
    assert len(said) == (stop == 2)  # named once in all


def test_damage_that_only_a_checksum_shows_is_found_by_every_decoder(decoder):
    faces = memory_split(PNGS, 21)
    damaged = bytearray(PNGS[1])
    damaged[damaged.index(b"IEND") - 8] ^= 1  # the checksum of the pixels, which Pillow ignores
    faces.source.images[8] = bytes(damaged)
    with pytest.raises(DecodeFailed):
        list(decoder.batches(faces, [torch.tensor([8])]))
    loader, said = loader_of(faces, decoder)
    assert shown(loader.epoch(0)) == ([*range(8), 9, *range(9, 21)], True)
    assert loader.bad == {8: "a damaged PNG: the checksum of an 'IDAT' chunk is wrong"}
    assert len(said) == 1


def test_unusual_pictures_give_every_decoder_the_same_pixels(decoder):
    grey = IMAGES[0]
    colour = np.dstack([IMAGES[0], IMAGES[1], IMAGES[2 % len(IMAGES)]])
    turned = Image.Exif()
    turned[0x0112] = 6
    faces = memory_split([
        encode(grey.astype(np.uint16) * 257), encode(Image.fromarray(grey).convert("LA")),
        encode(Image.fromarray(colour).quantize(32)), encode(grey > 128), encode(grey, "WEBP"),
        encode(grey, "TIFF"), encode((grey / 255).astype(np.float32), "TIFF"),
        encode(Image.fromarray(colour).convert("CMYK"), "JPEG"), encode(grey, exif=turned),
    ])  # fmt: skip
    (batch,) = decoder.batches(faces, [torch.arange(9)])
    np.testing.assert_array_equal(batch, faces.images)


def test_odd_files_go_through_pillow_on_their_way_to_dali():
    faces = memory_split([PNGS[0], PNGS[1][:-12], JPEG + b"\0" * 10_000])
    (batch,) = dali().batches(faces, [torch.arange(3)])
    np.testing.assert_array_equal(batch, faces.images)


class Fails:
    """A decoder that gives up some batches before the one it cannot decode, as DALI may."""

    name = "a decoder"

    def __init__(self, hopeless, early):
        self.hopeless, self.early = hopeless, early
        self.started = 0

    def batches(self, faces, plan):
        self.started += 1
        for position, rows in enumerate(plan):
            ahead = torch.cat(list(plan[position : position + self.early + 1]))
            if self.hopeless & set(ahead.tolist()):
                raise DecodeFailed("something inside")
            yield torch.from_numpy(np.stack([faces.decode(row) for row in rows.tolist()]))

    def close(self):
        pass


@pytest.mark.parametrize("early", [0, 1, 3])
def test_the_culprit_may_lie_some_batches_ahead(early):
    faces = memory_split(PNGS, 40)
    faces.source.images[22] = b"damaged"
    decoder = Fails({22}, early)
    loader, _ = loader_of(faces, decoder)
    wanted = list(range(40))
    wanted[22] = 23
    assert shown(loader.epoch(0)) == (wanted, True)
    assert list(loader.bad) == [22]
    assert decoder.started <= early + 2
    decoder.started = 0
    assert shown(loader.epoch(1)) == (wanted, True)
    assert decoder.started == 1  # it is not asked for that row again


def test_a_decoder_that_refuses_everything_is_given_up():
    faces = memory_split(PNGS, 80)
    loader, _ = loader_of(faces, Fails(set(range(80)), 0))
    seen = []
    with pytest.raises(DataError, match=r"a decoder refused .* something inside.*--loader torch"):
        seen.extend(loader.epoch(0))
    assert len(seen) == STUCK


def test_images_keep_their_size_on_the_device(decoder):
    loader, _ = loader_of(memory_split(PNGS, 5), decoder)
    shapes = [(tuple(images.shape), images.dtype, rows.dtype) for images, rows in loader.epoch(0)]
    assert shapes == [
        ((4, SIDE, SIDE), torch.uint8, torch.int64),
        ((1, SIDE, SIDE), torch.uint8, torch.int64),
    ]
