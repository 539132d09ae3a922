"""Small encoded images and sets for the tests of loaders, folders and shards."""

import io

import numpy as np
from PIL import Image

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.folder import read_folder

SIDE = 32


def pixels(seed, side=SIDE, channels=1, noise=6.0):
    """uint8 [side, side(, 3)]: something smooth, like a face, with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(1, 5, 3)
        planes.append(128 + 90 * np.sin(a * x + b * y + c) + rng.normal(0, noise, (side, side)))
    image = np.stack(planes, -1).clip(0, 255).astype(np.uint8)
    return image if channels > 1 else image[..., 0]


def encode(image, kind="PNG", **options):
    """bytes of an array or a Pillow image."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_folder(root, counts, kind="PNG", side=SIDE, seed=0, channels=1):
    """A folder set with `counts` images of each split, spread over the emotions."""
    for split, count in counts.items():
        for number in range(count):
            folder = root / split / EMOTIONS[number % len(EMOTIONS)]
            folder.mkdir(parents=True, exist_ok=True)
            seed += 1
            image = pixels(seed, side, channels)
            suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
            (folder / f"face-{number:04d}.{suffix}").write_bytes(encode(image, kind))
    return root


def folder_split(root, count, kind="PNG", side=SIDE, **options):
    """The train split of a new folder set."""
    return read_folder(write_folder(root, {"train": count}, kind, **options), side)["train"]


def file_of(split, row):
    """Path of one row's file in a folder set."""
    return split.source.root / str(split.names[row])


class Memory:
    """Encoded images in a list; an exception in it is raised where it is read."""

    def __init__(self, images):
        self.images = images

    def read(self, position):
        data = self.images[position]
        if isinstance(data, Exception):
            raise data
        return np.frombuffer(data, np.uint8)

    def where(self, position):
        return f"memory/{position}"


def memory_split(images, count=None, side=SIDE):
    """`count` rows that repeat `images` (bytes); row i is called "face i"."""
    count = count or len(images)
    return EncodedSplit(
        name="train",
        votes=np.eye(10, dtype=np.uint8)[np.arange(count) % 8] * 10,
        names=np.array([f"face {row}" for row in range(count)]),
        rows=np.arange(1, count + 1),
        source=Memory([images[row % len(images)] for row in range(count)]),
        positions=np.arange(count),
        side=side,
    )
