"""The warp, cutout and grey levels of augment, against arithmetic done another way."""

import numpy as np
import pytest
import torch
from PIL import Image

from neurogaze_fast.reference import augment, augment_params
from neurogaze_fast.reference.augment import MEAN, PARAMS, STD, Augmentation

NONE = {"rotation": 0, "scale": 0, "shift": 0, "flip": 0, "brightness": 0, "contrast": 0}


@pytest.fixture
def store():
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (6, 20, 20), dtype=np.uint8))


def run(store, size=20, seed=0, epoch=0, **ranges):
    index = torch.arange(len(store))
    params = augment_params(
        index,
        seed=seed,
        epoch=epoch,
        source=tuple(store.shape[1:3]),
        size=size,
        augmentation=Augmentation(**(NONE | {"cutout": 0} | ranges)),
    )
    images = augment(store, index, params, size=size, channels=1, dtype=torch.float32)
    return (images[:, 0] * STD + MEAN) * 255, params


def test_no_ranges_and_same_size_is_the_image(store):
    pixels, _ = run(store)
    torch.testing.assert_close(pixels, store.float(), rtol=0, atol=1e-3)


def test_certain_flip_mirrors(store):
    pixels, _ = run(store, flip=1)
    torch.testing.assert_close(pixels, store.flip(2).float(), rtol=0, atol=1e-3)


def test_a_mirrored_face_is_the_mirror_image_of_what_it_would_have_been(store):
    """Rotation, scale and shift are those of the face before it is mirrored: nothing is sheared."""
    ranges = {"rotation": 25, "scale": 0.2, "shift": 0.1, "brightness": 0.2, "contrast": 0.2}
    straight, _ = run(store, **ranges)
    mirrored, params = run(store, **ranges, flip=1)
    torch.testing.assert_close(mirrored, straight.flip(2), rtol=0, atol=2e-2)
    a, b, _, c, d = params[:, :5].double().T
    assert (params[:, 1].abs() > 0.02).any()  # they were turned
    torch.testing.assert_close(a * b + c * d, torch.zeros_like(a), rtol=0, atol=1e-6)  # no shear
    assert (a * d - b * c < 0).all()


def test_rotation_agrees_with_pillow(store):
    pixels, params = run(store, rotation=30)
    for image, row, result in zip(store, params.tolist(), pixels, strict=True):
        shift = [row[0] * 0.5 + row[1] * 0.5, row[3] * 0.5 + row[4] * 0.5]  # Pillow's half pixel
        matrix = (
            row[0],
            row[1],
            row[2] + 0.5 - shift[0] + 0.0,
            row[3],
            row[4],
            row[5] + 0.5 - shift[1],
        )
        expected = Image.fromarray(image.numpy().astype(np.float32)).transform(
            (20, 20), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        inner = slice(6, 14)  # away from the border, which Pillow fills with black
        np.testing.assert_allclose(
            result[inner, inner], np.asarray(expected)[inner, inner], atol=0.05
        )


def test_upscaling_is_the_half_pixel_bilinear_resize(store):
    pixels, _ = run(store, size=40)
    expected = torch.nn.functional.interpolate(
        store[:, None].float(), size=(40, 40), mode="bilinear", align_corners=False
    )[:, 0]
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-2)


def test_brightness_and_contrast_act_on_the_unit_scale(store):
    pixels, params = run(store, brightness=0.2, contrast=0.3)
    gain, bias = params[:, 10, None, None], params[:, 11, None, None]
    torch.testing.assert_close(pixels, store * gain + bias * 255, rtol=0, atol=1e-2)
    assert (params[:, 10] != 1).all()


def test_cutout_is_the_mean_grey_in_a_square(store):
    pixels, params = run(store, cutout=0.8)
    hole = (pixels - MEAN * 255).abs() < 1e-3
    for mask, (x0, y0, x1, y1) in zip(hole, params[:, 6:10].tolist(), strict=True):
        y, x = np.mgrid[:20, :20]
        expected = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        assert mask.numpy()[expected].all()
    assert hole.any()


@pytest.mark.parametrize("size", [20, 33])
def test_a_crop_is_a_square_inside_the_image_as_pillow_resizes_it(store, size):
    pixels, params = run(store, size=size, crop=0.4, seed=3)
    for image, row, result in zip(store, params.tolist(), pixels, strict=True):
        step, left, top = row[0], row[2] + 0.5 - row[0] / 2, row[5] + 0.5 - row[4] / 2
        side = step * size
        assert row[1] == row[3] == 0
        assert row[4] == pytest.approx(step)
        assert 0.4 <= (side / 20) ** 2 <= 1
        box = (max(left, 0), max(top, 0), min(left + side, 20), min(top + side, 20))
        assert box == pytest.approx((left, top, left + side, top + side), abs=1e-4)
        expected = Image.fromarray(image.numpy().astype(np.float32)).resize(
            (size, size), Image.Resampling.BILINEAR, box=box
        )
        np.testing.assert_allclose(result, np.asarray(expected), atol=0.05)


def test_crops_are_uniform_in_area_and_place_and_leave_the_other_draws_alone():
    kwargs = {"seed": 0, "epoch": 0, "source": (48, 48), "size": 48}
    rows = torch.arange(20000)
    without = augment_params(rows, **kwargs, augmentation=Augmentation(**NONE))
    params = augment_params(rows, **kwargs, augmentation=Augmentation(**NONE, crop=0.5))
    assert torch.equal(params[:, 6:], without[:, 6:])
    side = params[:, 0].double()
    room = 48 * (1 - side)
    places = ((params[:, column].double() + 0.5 - side / 2) / room for column in (2, 5))
    draws = [(side**2 - 0.5) / 0.5, *(place[room > 1] for place in places)]
    for draw in draws:
        counts, _ = np.histogram(draw.numpy(), 10, (0, 1))
        assert np.abs(counts / (len(draw) / 10) - 1).max() < 0.08
    assert abs(np.corrcoef(draws[1], draws[2])[0, 1]) < 0.02


def test_no_crop_changes_nothing_of_what_was_drawn_before_there_was_one():
    """Runs of earlier versions can be repeated: these numbers are theirs."""
    params = augment_params(
        torch.tensor([5]), seed=7, epoch=3, source=(48, 48), size=40, augmentation=Augmentation()
    )
    expected = [
        [1.275599718, -0.138193652, -0.237642288, 0.138193652, 1.275599718, -6.358869553],
        [28.859413147, 34.446235657, 31.142665863, 36.729488373, 0.956675172, -0.066490233],
    ]
    torch.testing.assert_close(params.view(2, 6), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_parameters_are_a_function_of_seed_epoch_and_row():
    kwargs = {"source": (48, 48), "size": 48, "augmentation": Augmentation()}
    whole = augment_params(torch.arange(100), seed=1, epoch=2, **kwargs)
    assert whole.shape == (100, PARAMS)
    part = augment_params(torch.tensor([70, 3]), seed=1, epoch=2, **kwargs)
    assert torch.equal(part, whole[[70, 3]])
    for seed, epoch in ((2, 2), (1, 3)):
        assert not torch.equal(
            augment_params(torch.arange(100), seed=seed, epoch=epoch, **kwargs), whole
        )


def test_draws_are_uniform_and_independent():
    params = augment_params(
        torch.arange(20000),
        seed=0,
        epoch=0,
        source=(48, 48),
        size=48,
        augmentation=Augmentation(rotation=0, scale=0, shift=0, brightness=1, contrast=0, flip=0.3),
    )
    bias, flipped = params[:, 11].numpy(), params[:, 0].numpy() < 0
    assert abs(flipped.mean() - 0.3) < 0.01
    counts, _ = np.histogram(bias, 10, (-1, 1))
    assert np.abs(counts / 2000 - 1).max() < 0.08
    assert abs(np.corrcoef(bias[:-1], bias[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(bias, flipped)[0, 1]) < 0.02


def test_colour_and_grey_channels(store):
    index = torch.arange(6)
    params = augment_params(
        index, seed=0, epoch=0, source=(20, 20), size=20, augmentation=Augmentation()
    )
    grey = augment(store, index, params, size=20, channels=3, dtype=torch.float32)
    colour = store[..., None].expand(-1, -1, -1, 3)
    same = augment(colour, index, params, size=20, channels=3, dtype=torch.float32)
    torch.testing.assert_close(grey, same)
    assert grey.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"store": torch.zeros(2, 4, 4)}, "uint8"),
        ({"store": torch.zeros(2, 4, 4, 4, dtype=torch.uint8)}, "uint8"),
        ({"params": torch.zeros(2, 11)}, "params must be"),
        ({"channels": 2}, "channels"),
    ],
)
def test_unfitting_arguments_are_refused(change, message):
    arguments = {
        "store": torch.zeros(2, 4, 4, dtype=torch.uint8),
        "index": torch.arange(2),
        "params": torch.zeros(2, PARAMS),
        "channels": 1,
    } | change
    with pytest.raises(ValueError, match=message):
        augment(**arguments, size=4, dtype=torch.float32)


def test_empty_batch(store):
    empty = torch.arange(0)
    params = augment_params(
        empty, seed=0, epoch=0, source=(20, 20), size=8, augmentation=Augmentation()
    )
    assert augment(store, empty, params, size=8, channels=1, dtype=torch.float32).shape == (
        0,
        1,
        8,
        8,
    )
