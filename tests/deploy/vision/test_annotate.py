"""What is drawn on a frame, pixel by pixel, against Pillow's own drawing."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.annotate import COLOURS, _frame, _paste, _plate, annotate


def face_at(box, emotion=1, identity=None):
    face = Face.from_outputs(np.eye(8)[emotion], np.array([0.4, 0.2]), np.array([*box, 0.9]))
    return replace(face, identity=identity)


@pytest.mark.parametrize("line", [2, 5])
def test_an_outline_is_the_one_that_pillow_draws(line):
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top = rng.uniform(-60, 90, 2)
        wide, high = rng.uniform(2 * line, 120, 2)
        box = (left, top, left + wide, top + high)
        wanted = Image.new("RGB", (100, 80))
        ImageDraw.Draw(wanted).rectangle(box, outline=(9, 8, 7), width=line)
        canvas = np.zeros((80, 100, 3), np.uint8)
        _frame(canvas, box, (9, 8, 7), line)
        np.testing.assert_array_equal(canvas, np.asarray(wanted), err_msg=str(box))


@pytest.mark.parametrize("corner", [(3, 4), (-5, -2), (95, 76), (-30, 0), (0, 90), (200, 200)])
def test_a_patch_is_put_where_pillow_puts_it(corner):
    patch = np.random.default_rng(1).integers(1, 255, (10, 20, 3), np.uint8)
    wanted = Image.new("RGB", (100, 80))
    wanted.paste(Image.fromarray(patch), corner)
    canvas = np.zeros((80, 100, 3), np.uint8)
    _paste(canvas, patch, corner)
    np.testing.assert_array_equal(canvas, np.asarray(wanted))


def test_a_frame_stays_as_it_is_but_for_what_is_drawn():
    image = np.random.default_rng(2).integers(0, 255, (360, 640, 3), np.uint8)
    kept = image.copy()
    drawn = annotate(image, [face_at((200.6, 100.2, 300.9, 220.4), identity=3)])
    np.testing.assert_array_equal(image, kept)
    changed = (drawn != image).any(axis=2)
    assert changed[100:221, 200:301].any()
    changed[75:221, 200:301] = False  # the box and its label
    changed[270:, 550:] = False  # the plane
    assert not changed.any()
    assert (drawn[100, 200:301] == COLOURS["happiness"]).all()
    np.testing.assert_array_equal(drawn[105:215, 205:295], image[105:215, 205:295])


def test_a_label_is_drawn_once_for_all_frames_and_stays_as_it_was():
    _plate.cache_clear()
    image = np.zeros((360, 640, 3), np.uint8)
    first = annotate(image, [face_at((200, 100, 300, 220), identity=1)])
    for step in range(1, 30):
        annotate(image, [face_at((200 + step, 100.3, 300 + step, 220), identity=1)])
    assert _plate.cache_info().misses == 1
    again = annotate(image, [face_at((200, 100, 300, 220), identity=1)])
    np.testing.assert_array_equal(again, first)
    other = annotate(image, [face_at((200, 100, 300, 220), identity=2)])
    assert (other != first).any()
