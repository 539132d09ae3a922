"""Draws a batch of 48x48 grey faces from facial action units, with plain numpy.

Every shape is a function of face coordinates, evaluated for the whole batch: hard edges are signed
distances turned into the share of each pixel that they cover, soft ones are bumps wider than a
pixel, so nothing need be drawn larger first. Face coordinates: x to the image's right, y down, the
head about 0.76 wide and 1 high to each side of (0, 0), eyes at (+-0.32, -0.12), mouth at (0, 0.54).

Only + - * / sqrt, comparisons and rounding touch pixels. IEEE 754 fixes the result of each, whereas
the last bit of exp, sin or pow changes with the CPU: so a seed gives the same bytes everywhere.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

SIZE = 48
_TURN_RADIUS, _NOD_RADIUS = 1.02, 1.35  # of the cylinders that carry the features

Array = np.ndarray


def draw(p: SimpleNamespace, grain: Array) -> Array:
    """Draw faces.

    Args:
        p: One float32 [B, 1, 1] array per parameter (see ``synthetic.sample_appearance``), and
            ``p.au``: action unit number -> intensity in 0..1, [B, 1, 1].
        grain: float32 [B, 48, 48] in -1..1, the camera's noise and the texture of hair.

    Returns:
        uint8 [B, 48, 48].
    """
    c = _coordinates(p)
    image = _background(p, c)
    _head(p, c, image, grain)
    _nose(p, c, image)
    _cheeks_and_forehead(p, c, image)
    _eyes(p, c, image)
    _brows(p, c, image)
    _mouth(p, c, image)
    _beard(p, c, image, grain)
    _glasses(p, c, image)
    _occluder(p, c, image)
    return _camera(p, image, grain)


def _coordinates(p: SimpleNamespace) -> SimpleNamespace:
    """Pixel centres in head (X, Y) and face (x, y) coordinates; the face turns inside the head."""
    centres = np.arange(SIZE, dtype=np.float32) - np.float32(SIZE / 2 - 0.5)
    u = (centres[None, None, :] - p.shift_x) / p.scale
    v = (centres[None, :, None] - p.shift_y) / p.scale
    roll_cos = np.sqrt(1 - p.roll * p.roll)
    head_x = (u * roll_cos + v * p.roll) / p.width
    head_y = v * roll_cos - u * p.roll
    # A feature at angle a on a cylinder appears at R sin(a + yaw); this is the inverse.
    depth_x = np.sqrt(np.maximum(_TURN_RADIUS**2 - head_x * head_x, 0))
    depth_y = np.sqrt(np.maximum(_NOD_RADIUS**2 - head_y * head_y, 0))
    x = head_x * np.sqrt(1 - p.yaw * p.yaw) - p.yaw * depth_x
    y = head_y * np.sqrt(1 - p.pitch * p.pitch) - p.pitch * depth_y
    side = np.where(x < 0, np.float32(-1), np.float32(1))
    # AU14, the dimpler, works on one side: that is what tells contempt from a smile.
    dimpler = p.au[14] * (side == p.smirk_side)
    c = SimpleNamespace(u=u, v=v, head_x=head_x, head_y=head_y, x=x, y=y)
    c.ax, c.side, c.dimpler, c.scale = np.abs(x), side, dimpler, p.scale
    return c


def _cover(distance: Array, c: SimpleNamespace) -> Array:
    """Share of each pixel inside a shape, from its signed distance (positive inside)."""
    out = distance * c.scale
    out += 0.5
    np.maximum(out, 0, out=out)
    return np.minimum(out, 1, out=out)


def _blob(u: Array, v: Array | np.float32) -> Array:
    """A soft bump: 1 at the origin, 0 outside the unit circle (smooth at its edge)."""
    out = u * u + v * v
    np.subtract(1, out, out=out)
    np.maximum(out, 0, out=out)
    out *= out
    return out


def _ripple(lines: Array) -> Array:
    """Wrinkles: a triangle wave between 0 and 1, one to each unit of `lines`."""
    out = lines - np.floor(lines)
    out -= 0.5
    np.abs(out, out=out)
    out *= 2
    return out


def _paint(image: Array, cover: Array, tone: Array | float) -> None:
    """Lay `tone` over `image` where `cover` says, in place."""
    image += cover * (tone - image)


def _background(p: SimpleNamespace, c: SimpleNamespace) -> Array:
    """A graded wall with a second region behind an edge and a soft spot, then clothes."""
    image = p.wall + p.wall_slope_x * c.u + p.wall_slope_y * c.v
    edge = c.u * p.edge_x + c.v * p.edge_y - p.edge_at
    _paint(image, _cover(edge, c), p.wall_two)
    image += p.spot * _blob((c.u - p.spot_x) * 0.9, (c.v - p.spot_y) * 0.9)
    shoulders = 1 - np.square(c.head_x * 0.62) - np.square((c.head_y - 1.95) * 1.1)
    _paint(image, _cover(shoulders, c), p.clothes)
    return np.clip(image, 0, 1, out=image)


def _head(p: SimpleNamespace, c: SimpleNamespace, image: Array, grain: Array) -> None:
    """Hair behind, neck, ears, the skull with its light, and the hairline."""
    x, y = c.head_x - p.yaw * np.float32(0.1), c.head_y
    hair_y = np.where(y < 0, y * 0.86, y / p.hair_length)
    hair = 1 - np.sqrt(np.square(x / p.hair_width) + np.square(hair_y + 0.06))
    hair_tone = p.hair * (1 + 0.35 * grain * p.hair_texture)
    _paint(image, _cover(hair, c) * p.has_hair, hair_tone)
    neck = np.minimum(0.42 - np.abs(x), y - 0.6)
    _paint(image, _cover(neck, c), p.skin * 0.62)
    ear = 1 - np.sqrt(np.square((np.abs(x) - 0.76) * 8) + np.square((y + 0.02) * 4.6))
    _paint(image, _cover(ear * 0.15, c) * p.ears, p.skin * 0.8)

    reach = np.where(y < -0.1, np.float32(0.98), p.chin + 0.1 + 0.14 * p.au[26])
    ny = (y + 0.1) / reach
    nx = x * (1 + p.jaw * np.square(np.maximum(ny, 0))) / 0.76
    radius2 = nx * nx + ny * ny
    skull = (1 - np.sqrt(radius2)) * 0.76
    depth = np.sqrt(np.maximum(1.15 - radius2, 0))
    light = p.ambient + p.light * (nx * p.light_x + ny * p.light_y + depth * p.light_z)
    shade = p.skin * light
    hairline = c.y - (p.hairline + 0.5 * p.hairline_curve * c.x * c.x + p.parting * c.x)
    fringe = _cover(-hairline, c) * p.has_hair
    _paint(shade, fringe, hair_tone * (0.7 + 0.3 * light))
    _paint(image, _cover(skull, c), shade)


def _nose(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Bridge, tip and nostrils; AU9 lifts and widens the wings and wrinkles the root."""
    au9 = p.au[9]
    tip_y = p.nose_y - 0.06 * au9
    x = c.x - p.yaw * (0.16 * np.clip((c.y + 0.2) * 2, 0, 1))  # the nose stands out of the face
    bridge = _blob(x * 7, c.y * 2.6)
    side = _blob((x - 0.1 * p.light_side) * 8, (c.y - 0.06) * 2.8)
    image *= 1 + 0.12 * bridge - 0.25 * p.light * side
    image *= 1 + 0.14 * _blob(x * 6, (c.y - tip_y + 0.05) * 8)
    spread = p.nose_width * (1 + 0.25 * au9)
    ax = np.abs(x)
    image *= 1 - 0.3 * _blob((ax - spread) * 14, (c.y - tip_y) * (10 - 2 * au9))
    image *= 1 - 0.25 * _blob(ax * 4.5, (c.y - tip_y - 0.05) * 14)
    image *= 1 - 0.6 * _blob((ax - 0.55 * spread) * 16, (c.y - tip_y - 0.025) * 19)
    root = _ripple((c.y + 0.13) * 13 - 26 * x * x) * _blob(ax * 5.2, (c.y + 0.1) * 5)
    image *= 1 - 0.6 * au9 * root


def _cheeks_and_forehead(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Sockets, raised cheeks, nasolabial folds, frown lines and forehead wrinkles."""
    au = p.au
    image *= 1 - p.socket * _blob((c.ax - p.eye_x) * 3.1, (c.y - p.eye_y + 0.02) * 4.2)
    raised = np.maximum(au[6], 0.6 * au[12])
    cheek_y = 0.24 - 0.06 * raised
    image *= 1 + 0.2 * raised * _blob((c.ax - 0.42) * 4, (c.y - cheek_y) * 5.5)
    image *= 1 - 0.22 * raised * _blob((c.ax - 0.5) * 5, (c.y - cheek_y - 0.17) * 8)
    fold = np.maximum(np.maximum(0.8 * au[12], 0.9 * au[9]), 0.7 * au[10])
    fold = np.maximum(fold, 0.7 * c.dimpler)
    pull = np.maximum(au[12], c.dimpler)
    drop = c.y - 0.26
    fold_x = 0.19 + 0.05 * pull + drop * (0.5 + 0.45 * pull)
    length = _blob((drop - 0.14 + 0.09 * pull) * 4.4, np.float32(0))  # ends above a pulled corner
    image *= 1 - (p.age + 0.5 * fold) * length * _blob((c.ax - fold_x) * 15, np.float32(0))
    image *= 1 - 0.55 * au[4] * _blob((c.ax - 0.065) * 26, (c.y - p.brow_y - 0.02) * 6.5)
    forehead = _blob(c.ax * 1.7, (c.y - p.brow_y + 0.25) * 4.2)
    forehead *= _ripple((c.y - p.brow_y + 0.16) * 8 + 1.2 * c.x * c.x)
    image *= 1 - (0.5 * p.age + 0.34 * np.maximum(au[1], au[2])) * forehead


def _eyes(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Lids (AU5 opens, AU7 and AU6 narrow, AU43 closes), iris, pupil and glint."""
    au = p.au
    ex = (c.ax - p.eye_x) / p.eye_width
    profile = np.maximum(1 - ex * ex, 0)
    tilt = p.eye_tilt * ex + 0.025 * au[1] * ex * (1 - au[2])  # AU1 lifts the inner corner
    narrow = np.clip(0.45 * au[7] + 0.3 * au[6] + au[43], 0, 0.95)
    upper = p.eye_open * (1 + 0.95 * au[5]) * (1 - narrow) * (1 - 0.2 * au[4] * (1 - au[5]))
    squint = np.clip(0.7 * au[7] + 0.8 * au[6], 0, 1)
    lower = 0.62 * p.eye_open * (1 + 0.25 * au[5] - 0.9 * squint - 0.1 * au[43])
    y = c.y - p.eye_y - tilt
    top, bottom = -upper * profile, lower * profile
    inside = np.minimum(y - top, bottom - y)
    ball = _cover(np.minimum(inside, (1 - np.abs(ex)) * p.eye_width), c)
    # Bags and the lower lid's pouch show with AU6 and AU7.
    pouch = _blob(ex, (y - bottom - 0.06) * 13)
    image *= 1 - (0.1 + 0.25 * np.maximum(au[6], 0.7 * au[7])) * pouch
    crease = _blob(ex * 0.95, (y - top + 0.06 - 0.02 * au[5]) * 18)
    image *= 1 - (0.3 * p.lid_crease) * crease
    _paint(image, ball, 0.4 + 0.6 * p.skin * (p.ambient + p.light))
    gaze_x = (c.ax - p.eye_x) - p.gaze_x * c.side
    r = np.sqrt(gaze_x * gaze_x + np.square(y - p.gaze_y + 0.008))
    _paint(image, ball * _cover(p.iris - r, c), p.iris_tone)
    _paint(image, ball * _cover(0.5 * p.iris - r, c), 0.02)
    image *= 1 - 0.85 * _blob(ex * 0.92, (y - top) / (0.028 + 0.012 * p.lashes))
    image *= 1 - 0.4 * _blob(ex * 0.95, (y - bottom) / 0.03)
    image += 0.5 * ball * _blob((gaze_x * c.side + 0.025) * 30, (y - p.gaze_y + 0.03) * 30)


def _brows(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """AU1 lifts the inner end, AU2 the outer, AU4 lowers the whole and draws it inwards."""
    au = p.au
    t = (c.ax - p.brow_inner + 0.06 * au[4]) / p.brow_length
    along = np.clip(t, 0, 1)
    rest = 1 - along
    lift = 0.15 * au[1] * rest * (0.6 + 0.4 * rest)
    lift += 0.13 * np.maximum(au[2], 0.5 * c.dimpler) * along * (1.6 - 0.6 * along) + 0.05 * au[2]
    lift -= au[4] * (0.045 + 0.12 * rest * rest) + 0.05 * au[9]
    curve = p.brow_y - lift - p.brow_arch * 4 * along * rest + p.brow_slope * (along - 0.4)
    half = p.brow_half * (1.1 - 0.65 * along)
    dx = (t - along) * p.brow_length
    distance = half - np.sqrt(dx * dx + np.square(c.y - curve))
    _paint(image, _cover(distance, c) * p.brow_cover, p.brow_tone)


def _mouth(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Corners (AU12, 14, 15, 20), opening (25, 26), lips (10, 16, 17, 23), teeth and chin."""
    au = p.au
    half = p.mouth_half * (1 + 0.32 * au[12] + 0.28 * au[20] - 0.22 * au[23])
    half *= (1 - 0.25 * au[26] * (1 - au[12]) * (1 - au[20])) * (1 + 0.08 * au[14])
    t = np.clip(c.x / half, -1, 1)
    out = np.maximum(c.ax - half, 0)
    t2 = t * t
    swell = 1 - t2
    swell *= 1.5 - 0.5 * swell
    lift = au[12] * (0.18 + p.smile_tilt * t) - 0.14 * au[15] - 0.02 * au[20]
    lift += 0.19 * c.dimpler * np.abs(t)
    middle = p.mouth_y + p.mouth_curve * t2 + 0.03 * au[12] - 0.035 * au[17] - lift * t2
    part, drop = 0.05 * au[25], 0.3 * au[26]
    gap_up = part * 0.5 + 0.25 * drop + 0.06 * au[10] * au[25] + 0.025 * au[12] * au[25]
    gap_down = part * 0.8 + 0.75 * drop + 0.07 * au[16] * au[25]
    top = middle - 0.055 * au[10] * swell - gap_up * swell - 0.012
    bottom = middle + gap_down * swell + 0.012 - 0.02 * au[17] * swell
    thin = 1 - 0.65 * au[23] - 0.3 * au[12] * (1 - 0.5 * au[25])
    upper_lip = top - p.lip_upper * thin * swell
    lower_lip = bottom + p.lip_lower * thin * (1 + 0.25 * au[16] + 0.2 * au[17]) * swell
    bow = 0.02 * _blob(t * 5, np.float32(0))  # the dip in the middle of the upper lip
    lips = _cover(np.minimum(c.y - upper_lip - bow, lower_lip - c.y) - out, c)
    image *= 1 - 0.22 * _blob(t * 1.2, (c.y - lower_lip - 0.07) * 12)
    image *= 1 - lips * p.lip_dark
    image *= 1 + 0.16 * lips * _blob(t * 1.3, (c.y - 0.5 * (bottom + lower_lip)) * 22)
    hole = _cover(np.minimum(c.y - top, bottom - c.y) - out, c)
    _paint(image, hole * (0.75 + 0.2 * np.minimum(au[25] + au[26], 1)), 0.04)
    shown = p.teeth_upper * au[25] * (1 - 0.5 * au[26] * (1 - au[12]))
    teeth = np.minimum(c.y - top - 0.01, top + shown - c.y)
    shown = 0.07 * np.maximum(au[16], au[20]) * au[25] - 0.012
    lower_teeth = np.minimum(bottom - 0.01 - c.y, c.y - bottom + shown)
    teeth = np.minimum(np.maximum(teeth, lower_teeth), (0.93 - np.abs(t)) * half)
    _paint(image, hole * _cover(teeth, c), p.teeth_tone * (p.ambient + p.light))
    # Dents at the corners, deeper where a corner is pulled, deepest beside a dimpler.
    pull = np.maximum(np.maximum(0.6 * au[12], 0.6 * au[15]), 0.4 * au[20])
    corner = p.mouth_y + p.mouth_curve + 0.03 * au[12] - 0.035 * au[17] - lift
    dent = _blob((c.ax - half - 0.03) * 12, (c.y - corner) * 9)
    image *= 1 - (0.1 + 0.42 * np.maximum(pull, c.dimpler)) * dent
    chin = _blob(c.ax * 5, (c.y - 0.82) * 7)
    image *= 1 + 0.1 * chin - 0.5 * au[17] * chin * _ripple(c.ax * 9)


def _beard(p: SimpleNamespace, c: SimpleNamespace, image: Array, grain: Array) -> None:
    """A moustache above the lip and a beard around jaw and chin, rough with the grain."""
    rough = 0.8 + 0.35 * grain
    moustache = _blob(c.x * 2.9, (c.y - p.mouth_y + 0.12) * 9)
    image *= 1 - p.moustache * np.minimum(1.6 * moustache, 1) * rough
    ring = np.sqrt(np.square(c.x) + np.square((c.y - 0.22) * 1.05))
    low = np.clip((c.y - 0.3) * 4, 0, 1) * np.clip((ring - 0.48) * 9, 0, 1)
    inside = np.clip((0.8 - np.abs(c.head_x)) * 10, 0, 1) * (c.head_y < 1.05)
    image *= 1 - p.beard * low * inside * rough


def _glasses(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Frames around both eyes, a bridge, and (sunglasses) dark lenses."""
    dx, dy = np.abs(c.ax - p.eye_x - 0.01), np.abs(c.y - p.eye_y - 0.03)
    ring = p.lens - np.sqrt(np.square(dx) + np.square(dy * p.lens_flat))
    _paint(image, _cover(ring, c) * p.has_glasses, image * (1 - p.lens_dark))
    frame = np.maximum(0.026 - np.abs(ring), np.minimum(0.02 - dy, p.eye_x - p.lens - c.ax))
    _paint(image, _cover(frame, c) * p.has_glasses, p.frame_tone)


def _occluder(p: SimpleNamespace, c: SimpleNamespace, image: Array) -> None:
    """Something in front of the face: a rounded bar such as a hand, a cup or a microphone."""
    du, dv = c.u - p.bar_x, c.v - p.bar_y
    bar_cos = np.sqrt(1 - p.bar_sin * p.bar_sin)
    along, across = du * p.bar_sin + dv * bar_cos, du * bar_cos - dv * p.bar_sin
    bar = p.bar_half - np.sqrt(np.square(across) + np.square(np.maximum(-along, 0)))
    _paint(image, _cover(bar, c) * p.has_bar, p.bar_tone * (1 - 0.25 * np.square(across * 4)))


def _camera(p: SimpleNamespace, image: Array, grain: Array) -> Array:
    """Blur, contrast, tone curve, noise and 8 bits."""
    for amount in (p.blur_fine, p.blur_coarse, p.blur_coarse):
        image += amount * (_smooth(image) - image)
    image = p.level + p.contrast * (image - np.float32(0.42))
    np.clip(image, 0, 1, out=image)
    image /= image + p.gamma * (1 - image) + np.float32(1e-6)  # Schlick's curve: gamma without pow
    image += p.noise * grain
    return (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _smooth(image: Array) -> Array:
    """The 3x3 binomial filter with repeated edges."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) * np.float32(1 / 16)
