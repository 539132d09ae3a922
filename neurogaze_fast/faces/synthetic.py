"""The demo face set: drawn faces in the real files' formats, so that every command runs at once.

An emotion is drawn through facial action units (AU) of the Facial Action Coding System (FACS; Ekman
and Friesen 1978), combined as in its emotion prototypes (EMFACS): happiness 6+12, surprise
1+2+5+26, sadness 1+4+15, anger 4+5+7+23, disgust 9+15+16, fear 1+2+4+5+7+20+26, contempt a
one-sided 14. How strong each unit is, how identity, pose and light vary, and how raters mix
emotions up are our own choices, made so that no linear look at the pixels gives the answer; none
was measured on people. The ten votes follow from what was drawn: a weak expression is taken for
neutral, a blend splits them. Results made from this set say nothing about real faces: whoever
reads it says `synthetic`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from neurogaze_fast.artifacts import fsync_folder
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import OutputExistsError
from neurogaze_fast.faces.face_drawing import SIZE, draw
from neurogaze_fast.faces.labels import VOTE_COLUMNS

TRAIN_COUNT, VALID_COUNT, TEST_COUNT = 4000, 1000, 1000
PIXELS_FILE, VOTES_FILE, SYNTHETIC_MARKER = "fer2013.csv", "fer2013new.csv", "SYNTHETIC.txt"
USAGE_OF_SPLIT = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
RATERS = 10
NO_FACE_EVERY = 160  # one image in so many shows no face, as FERPlus's rows without a name
COPY_EVERY = 100  # one valid and one test row in so many repeats a training row (FERPlus: in 12)

FREQUENCIES = (0.19, 0.19, 0.13, 0.12, 0.11, 0.085, 0.09, 0.085)
"""Of the drawn emotion: FERPlus's order of sizes, but flatter, so that macro-F1 is steady."""

PROTOTYPES: dict[str, dict[int, float]] = {
    "neutral": {},
    "happiness": {6: 0.9, 12: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 25: 1.0, 26: 0.8},
    "sadness": {1: 0.9, 4: 0.55, 15: 1.0},
    "anger": {4: 1.0, 5: 0.5, 7: 0.8, 23: 0.9},
    "disgust": {9: 1.0, 10: 0.8, 15: 0.7, 16: 0.8},
    "fear": {1: 1.0, 2: 0.6, 4: 0.7, 5: 1.0, 7: 0.3, 20: 1.0, 25: 0.8, 26: 0.4},
    "contempt": {12: 0.15, 14: 1.0},
}
"""Action units of each emotion, with their intensity at full strength (EMFACS; numbers ours)."""

OPTIONAL: dict[str, tuple[float, dict[int, float]]] = {
    "happiness": (0.6, {25: 0.9, 26: 0.25}),
    "sadness": (0.5, {17: 0.8}),
    "anger": (0.35, {10: 0.5, 16: 0.5, 25: 0.7}),
    "disgust": (0.5, {25: 0.7, 4: 0.4}),
    "contempt": (0.4, {43: 0.25}),
}
"""(probability, further units): a smile with teeth, a trembling chin, a snarl, a cold look."""

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 25, 26, 43)

CONFUSIONS: dict[str, dict[str, float]] = {
    "neutral": {"happiness": 0.02, "sadness": 0.04, "anger": 0.02, "contempt": 0.02},
    "happiness": {"neutral": 0.04, "surprise": 0.02, "contempt": 0.01},
    "surprise": {"neutral": 0.02, "happiness": 0.02, "fear": 0.06},
    "sadness": {"neutral": 0.08, "anger": 0.03, "disgust": 0.02, "fear": 0.02},
    "anger": {"neutral": 0.04, "sadness": 0.02, "disgust": 0.05},
    "disgust": {"sadness": 0.05, "anger": 0.10, "contempt": 0.02},
    "fear": {"surprise": 0.13, "sadness": 0.05},
    "contempt": {"neutral": 0.12, "happiness": 0.04, "disgust": 0.05},
}
"""How often a rater names another emotion than the one drawn (after the usual mix-ups; ours)."""

_WORDS = 184  # 64-bit random numbers per image for its parameters
_GRAIN_WORDS = SIZE * SIZE // 4
_BLOCK, _CHUNK = 256, 8  # images sampled, and images drawn, at a time: eight fit in a core's cache
_FER2013_CODE = {"anger": 0, "disgust": 1, "fear": 2, "happiness": 3, "sadness": 4, "surprise": 5}
_FER2013_NEUTRAL = 6  # also for contempt, unknown and NF, which FER2013 does not have

_NOTE = """This folder is SYNTHETIC. Its faces were drawn by neurogaze_fast.faces.synthetic from
facial action units, and its votes were drawn from the same numbers: no photograph and no person is
in it. It has the format of fer2013.csv and fer2013new.csv (FERPlus) and exists to try the commands.
A model trained on it, or a score measured on it, says nothing about real faces.
"""


class _Draws:
    """Hands out columns of uniform random numbers, one row per image."""

    def __init__(self, words: np.ndarray) -> None:
        self._uniforms = (words >> np.uint64(11)) * 2.0**-53
        self._next = 0

    def uniforms(self, count: int) -> np.ndarray:
        """float64 [B, count] in [0, 1)."""
        self._next += count
        if self._next > self._uniforms.shape[1]:
            raise RuntimeError("the drawing needs more random numbers than _WORDS")
        return self._uniforms[:, self._next - count : self._next]

    def between(self, low: float, high: float) -> np.ndarray:
        """float32 [B, 1, 1], evenly spread."""
        return _column(low + (high - low) * self.uniforms(1)[:, 0])

    def bell(self, spread: float) -> np.ndarray:
        """float32 [B, 1, 1] of standard deviation `spread`, never beyond three times that."""
        u = self.uniforms(3)
        return _column((u[:, 0] + u[:, 1] + u[:, 2] - 1.5) * 2 * spread)

    def chance(self, probability: float) -> np.ndarray:
        """float32 [B, 1, 1] of ones and zeros."""
        return _column(self.uniforms(1)[:, 0] < probability)

    def ranges(self, **ranges: tuple[float, float]) -> dict[str, np.ndarray]:
        """`between` for each name."""
        return {name: self.between(low, high) for name, (low, high) in ranges.items()}


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def draw_faces(split: str, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first `count` faces of a split.

    Image i depends on (seed, split, i) alone: a larger set begins with the smaller one.

    Args:
        split: ``train``, ``valid`` or ``test``.
        count: How many, N.
        seed: Of the whole set.

    Returns:
        Images uint8 [N, 48, 48]; votes uint8 [N, 10] in the order of ``VOTE_COLUMNS``, each row
        summing to ten.
    """
    stream = list(USAGE_OF_SPLIT).index(split)
    images = np.empty((count, SIZE, SIZE), np.uint8)
    votes = np.empty((count, len(VOTE_COLUMNS)), np.uint8)
    for start in range(0, count, _BLOCK):
        block = slice(start, min(start + _BLOCK, count))
        images[block], votes[block] = _draw_block(seed, stream, range(block.start, block.stop))
    return images, votes


def _draw_block(seed: int, stream: int, rows: range) -> tuple[np.ndarray, np.ndarray]:
    # numpy promises the raw words of a bit generator for ever, but not what `Generator` makes of
    # them: so the words are read directly.
    generators = [np.random.Philox(np.random.SeedSequence((seed, stream, row))) for row in rows]
    words = np.stack([generator.random_raw(_WORDS + _GRAIN_WORDS) for generator in generators])
    grain = words[:, _WORDS:].astype("<u8").view("<u2").reshape(-1, SIZE, SIZE)
    grain = (grain.astype(np.float32) - np.float32(32767.5)) * np.float32(1 / 32768)
    draws = _Draws(words[:, :_WORDS])
    units, opinion = sample_expression(draws)
    p = sample_appearance(draws)
    votes = sample_votes(draws, opinion, 0.25 * (p.has_bar + p.blur_coarse)[:, 0, 0])
    images = np.empty((len(rows), SIZE, SIZE), np.uint8)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = SimpleNamespace(**{name: value[part] for name, value in vars(p).items()})
        chunk.au = {unit: value[part] for unit, value in units.items()}
        images[part] = draw(chunk, grain[part])
    for i, row in enumerate(rows):
        if row % NO_FACE_EVERY == NO_FACE_EVERY // 2:
            # Texture without a face, every fourth one all black: FER2013 has both.
            images[i] = 0 if row // NO_FACE_EVERY % 4 == 0 else 128 + 100 * grain[i]
            votes[i] = RATERS * (np.arange(len(VOTE_COLUMNS)) == len(VOTE_COLUMNS) - 1)
    return images, votes


def sample_expression(draws: _Draws) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Action unit -> intensity float32 [B, 1, 1]; an unbiased rater's opinion, float64 [B, 8]."""
    u = draws.uniforms(7)
    edges = np.cumsum(FREQUENCIES)[:-1]
    first = (u[:, :1] >= edges).sum(axis=1)
    second = 1 + (first + (u[:, 1] * 6).astype(np.int64)) % 7  # another, never neutral
    blended = (u[:, 2] < 0.18) & (first > 0)
    share = np.where(blended, 0.15 + 0.35 * u[:, 3], 0.0)
    intensity = 0.3 + 0.7 * np.maximum(np.maximum(u[:, 4], u[:, 5]), u[:, 6])
    one = np.eye(len(EMOTIONS))
    mix = (1 - share)[:, None] * one[first] + share[:, None] * one[second]

    strength = np.zeros((len(u), len(EMOTIONS), len(UNITS)))
    for e, name in enumerate(EMOTIONS):
        shown = mix[:, e] * (2 - mix[:, e]) * intensity
        for unit, full in PROTOTYPES[name].items():
            strength[:, e, UNITS.index(unit)] = full * shown
        probability, extra = OPTIONAL.get(name, (0.0, {}))
        present = draws.uniforms(1)[:, 0] < probability
        for unit, full in extra.items():
            strength[:, e, UNITS.index(unit)] = full * shown * present
    strength = strength.max(axis=1) * (0.8 + 0.35 * draws.uniforms(len(UNITS)))
    # Speech, blinks and habits move single units on any face.
    habit = draws.uniforms(len(UNITS)) < 0.06
    strength = np.maximum(strength, habit * 0.5 * draws.uniforms(len(UNITS)))
    units = {unit: _column(np.minimum(strength[:, i], 1)) for i, unit in enumerate(UNITS)}

    visible = np.clip((intensity - 0.15) / 0.45, 0, 1)[:, None]
    visible = visible * visible * (3 - 2 * visible)
    return units, visible * mix + (1 - visible) * one[0]


def sample_votes(draws: _Draws, opinion: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Ten raters: uint8 [B, 10] from `opinion` [B, 8] and how much of the face is `hidden` [B]."""
    confusion = np.array([[CONFUSIONS[e].get(other, 0) for other in EMOTIONS] for e in EMOTIONS])
    confusion += np.diag(1 - confusion.sum(axis=1))
    unsure = np.stack([0.012 + 0.25 * hidden, 0.002 + 0.01 * hidden], axis=1)
    chance = np.concatenate([opinion @ confusion, unsure], axis=1)
    edges = np.cumsum(chance, axis=1)
    thrown = draws.uniforms(RATERS) * edges[:, -1:]
    chosen = (thrown[:, :, None] >= edges[:, None, :-1]).sum(axis=2)
    return (chosen[:, :, None] == np.arange(len(VOTE_COLUMNS))).sum(axis=1).astype(np.uint8)


def sample_appearance(d: _Draws) -> SimpleNamespace:
    """Identity, pose, light, background and camera: float32 [B, 1, 1] each."""
    groups = (
        # Pose (roll, yaw, pitch are sines), the head and its hair.
        dict(shift_x=d.bell(1.8), shift_y=d.bell(1.5)),
        dict(roll=d.bell(0.1), yaw=d.bell(0.15), pitch=d.bell(0.05)),
        d.ranges(scale=(22, 28), width=(0.88, 1.1), chin=(0.86, 1.02), jaw=(-0.05, 0.35)),
        d.ranges(skin=(0.42, 0.9), ears=(0, 1), age=(0, 0.22), socket=(0.05, 0.35)),
        d.ranges(hair_width=(0.8, 1), hair_length=(0.7, 1.7), hair_texture=(0, 0.6)),
        d.ranges(hairline=(-0.85, -0.55), hairline_curve=(-0.1, 0.9), parting=(-0.25, 0.25)),
        # Eyes, brows, nose, mouth.
        d.ranges(eye_x=(0.28, 0.36), eye_y=(-0.17, -0.07), eye_width=(0.155, 0.2)),
        d.ranges(eye_open=(0.075, 0.105), eye_tilt=(-0.02, 0.025), iris=(0.06, 0.08)),
        d.ranges(iris_tone=(0.05, 0.35), lid_crease=(0, 1), lashes=(0, 1)),
        d.ranges(gaze_x=(-0.06, 0.06), gaze_y=(-0.02, 0.02)),
        d.ranges(brow_inner=(0.09, 0.17), brow_length=(0.32, 0.42), brow_arch=(0.01, 0.07)),
        d.ranges(brow_slope=(-0.03, 0.06), brow_half=(0.03, 0.055), brow_cover=(0.65, 1)),
        d.ranges(nose_y=(0.18, 0.27), nose_width=(0.11, 0.17)),
        d.ranges(mouth_y=(0.5, 0.58), mouth_half=(0.25, 0.32), mouth_curve=(-0.035, 0.025)),
        d.ranges(lip_upper=(0.02, 0.07), lip_lower=(0.04, 0.09), lip_dark=(0.08, 0.4)),
        d.ranges(teeth_tone=(0.7, 0.95), smile_tilt=(-0.04, 0.04)),
        # Light, wall, clothes.
        d.ranges(ambient=(0.5, 0.85), light=(0.2, 0.6), light_x=(-0.9, 0.9), light_y=(-0.7, 0.3)),
        d.ranges(wall=(0.05, 0.95), wall_two=(0.05, 0.95), clothes=(0.05, 0.9)),
        d.ranges(wall_slope_x=(-0.15, 0.15), wall_slope_y=(-0.15, 0.15), spot=(-0.4, 0.4)),
        d.ranges(edge_x=(-1, 1), edge_y=(-1, 1), edge_at=(0.2, 1.4)),
        d.ranges(spot_x=(-1, 1), spot_y=(-1, 1)),
        # Things in front of the face.
        d.ranges(lens=(0.17, 0.23), lens_flat=(1, 1.5), frame_tone=(0.02, 0.5)),
        d.ranges(bar_x=(-0.9, 0.9), bar_y=(0.1, 1), bar_sin=(-0.8, 0.8), bar_half=(0.1, 0.25)),
        d.ranges(bar_tone=(0.05, 0.95)),
        # The camera.
        d.ranges(blur_fine=(0, 0.8), contrast=(0.8, 1.4), gamma=(0.5, 1.3), noise=(0, 0.04)),
    )
    p = SimpleNamespace(**{name: value for group in groups for name, value in group.items()})
    p.brow_y = p.eye_y - d.between(0.22, 0.31)
    p.hair = np.where(d.chance(0.7) > 0, d.between(0.03, 0.25), d.between(0.25, 0.8))
    p.brow_tone = np.minimum(p.hair * 0.8, p.skin * 0.6)
    p.has_hair = d.chance(0.94)
    p.light_z = 1 - 0.4 * np.abs(p.light_x)
    p.light_side = np.where(p.light_x > 0, np.float32(-1), np.float32(1))
    p.smirk_side = 2 * d.chance(0.5) - 1
    p.teeth_upper = d.between(0.05, 0.12)
    p.has_glasses = d.chance(0.16)
    p.lens_dark = d.between(0.0, 0.25) + 0.65 * d.chance(0.08)
    p.moustache = d.chance(0.14) * d.between(0.2, 0.75)
    p.beard = d.chance(0.16) * d.between(0.2, 0.7)
    p.has_bar = d.chance(0.1)
    p.blur_coarse = d.chance(0.25) * d.between(0.0, 0.8)
    p.level = 0.47 + d.bell(0.05)
    return p


def write_demo_faces(
    out: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_COUNT,
    valid: int = VALID_COUNT,
    test: int = TEST_COUNT,
) -> None:
    """Write the demo set into folder `out`: ``fer2013.csv``, ``fer2013new.csv``, ``SYNTHETIC.txt``.

    The same arguments give the same bytes. Everything is written into a folder beside `out` and
    moved there in one step, so `out` is complete or absent. Like the real set it has rows without
    a name (no face; some all black), file numbers that lag behind the row, and valid and test
    rows that repeat a training row.

    Args:
        out: A folder that does not exist yet, or is empty.
        seed: Of the whole set.
        train: Images of ``Training``; `valid` of ``PublicTest``; `test` of ``PrivateTest``.

    Raises:
        OutputExistsError: `out` is a file or has something in it; nothing was written.
    """
    out = Path(out).resolve()
    _refuse_content(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        sets = _all_splits(seed, {"train": train, "valid": valid, "test": test})
        _write(temporary / PIXELS_FILE, _pixel_lines(sets))
        _write(temporary / VOTES_FILE, _vote_lines(sets))
        _write(temporary / SYNTHETIC_MARKER, [_NOTE])
        fsync_folder(temporary)
        _refuse_content(out)  # another process may have been quicker
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(out.parent)


def _refuse_content(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputExistsError(
            f"{out} already exists and is not an empty folder; nothing was written. Remove it, or "
            "name another folder for the demo faces."
        )


def _all_splits(seed: int, counts: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    sets = {split: draw_faces(split, count, seed=seed) for split, count in counts.items()}
    for split in ("valid", "test"):
        copies = np.arange(7, counts[split], COPY_EVERY)
        copies = copies[copies < counts["train"]]
        for of_split, of_train in zip(sets[split], sets["train"], strict=True):
            of_split[copies] = of_train[copies]
    return sets


def _pixel_lines(sets: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[str]:
    yield "emotion,pixels,Usage\n"
    digits = [str(value) for value in range(256)]
    for split, (images, votes) in sets.items():
        for image, row in zip(images, votes, strict=True):
            name = VOTE_COLUMNS[int(row.argmax())]
            code = _FER2013_CODE.get(name, _FER2013_NEUTRAL)
            pixels = " ".join([digits[value] for value in image.tobytes()])
            yield f"{code},{pixels},{USAGE_OF_SPLIT[split]}\n"


def _vote_lines(sets: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[str]:
    yield f"Usage,Image name,{','.join(VOTE_COLUMNS)}\n"
    number = 0
    for split, (_, votes) in sets.items():
        for row in votes.tolist():
            # A row without a face has no file, so the number lags behind the row from there on.
            name = "" if row[-1] == RATERS else f"fer{number:07d}.png"
            number += name != ""
            yield f"{USAGE_OF_SPLIT[split]},{name},{','.join(map(str, row))}\n"


def _write(path: Path, lines: Iterable[str]) -> None:
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
