"""A clip of two persons who walk past and towards one another, and what is true of it."""

import numpy as np
from PIL import Image

from neurogaze_fast.faces.synthetic import draw_faces

SIDE = 44
HEIGHT, WIDTH = 180, 320
FRAMES = 300


class Crossings:
    """Two drawn faces that cross again and again, in pixels and as a detector sees them.

    A face of which more than half is hidden is not seen, boxes tremble, one in twenty is missed.
    """

    detail = "what is true"

    def __init__(self, seed=0, frames=FRAMES):
        self._seed = seed
        chosen = draw_faces("valid", 24)[0][[2, 9]]
        grey = [np.asarray(Image.fromarray(f).resize((SIDE, SIDE))) for f in chosen]
        # Skin of two colours, as persons differ.
        tints = np.array([[1.0, 0.8, 0.7], [0.75, 0.6, 0.5]])
        self.faces = [(g[..., None] * t).astype(np.uint8) for g, t in zip(grey, tints, strict=True)]
        noise = np.random.default_rng(7).integers(60, 120, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
        self.room = noise.repeat(20, 0).repeat(20, 1)
        t = np.arange(frames) / 25
        middle, swing = WIDTH / 2 - SIDE / 2, 110
        # Past one another every 1.5 s; from 6 s on they meet and turn back.
        wave = np.sin(2 * np.pi * t / 3 + 0.4)
        apart = np.where(t < 6, wave, np.sqrt(wave**2 + 0.04))
        self.x = np.stack((middle + swing * apart, middle - swing * apart), axis=1)
        self.y = np.stack((60 + 12 * np.sin(t), 66 - 10 * np.cos(1.3 * t)), axis=1)
        self._number = {}

    def boxes(self, number):
        corner = np.stack((self.x[number], self.y[number]), axis=1)
        return np.hstack((corner, corner + SIDE))

    def image(self, number):
        """uint8 [180, 320, 3]; the first person is in front."""
        picture = self.room.copy()
        for who in (1, 0):
            left, top = self.boxes(number)[who, :2].round().astype(int)
            picture[top : top + SIDE, left : left + SIDE] = self.faces[who]
        self._number[picture.tobytes()] = number
        return picture

    def images(self):
        for number in range(len(self.x)):
            yield number, self.image(number)

    def detect(self, image):
        """float32 [n, 5]: the boxes of those who can be seen."""
        number = self._number.get(image.tobytes())
        if number is None:
            return np.zeros((0, 5), np.float32)
        boxes = self.boxes(number)
        rng = np.random.default_rng((self._seed, number))
        seen = rng.random(2) > 0.05
        hidden = SIDE - abs(boxes[0, 0] - boxes[1, 0]) > SIDE / 2
        seen[1] &= not (hidden and abs(boxes[0, 1] - boxes[1, 1]) < SIDE / 2)
        boxes = boxes + rng.normal(0, 1.0, boxes.shape)
        found = np.hstack((boxes, [[0.9], [0.8]]))[seen]
        return found[rng.permutation(len(found))].astype(np.float32)

    def who(self, number, box):
        """0 or 1: whose box it is; None where they overlap too much to say."""
        true = self.boxes(number)[:, 0]
        if abs(true[0] - true[1]) < SIDE / 2:
            return None
        return int(np.abs(true - box[0]).argmin())


def switches(clip, frames):
    """How often a person's identity is another than before, over `frames` of a Follower."""
    last, changed = {}, 0
    for frame in frames:
        for identity, box in zip(frame.identities, frame.at.boxes, strict=True):
            who = clip.who(frame.number, box)
            if who is not None:
                changed += last.get(who, identity) != identity
                last[who] = identity
    return changed
