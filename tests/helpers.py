"""What tests of several folders share."""

import csv
import os
import subprocess
import tempfile

import numpy as np
from PIL import Image

from neurogaze_fast.faces.labels import VOTE_COLUMNS

QUICK = ["--epochs", "2", "--size", "16", "--batch-size", "16", "--amp"]
"""Options of a training that takes seconds."""


def run_and_measure(command):
    """(standard output, seconds of processor time) of a child process that must end with 0."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, command
        out.seek(0)
        return out.read().decode(), usage.ru_utime + usage.ru_stime


def write_set(folder, images, votes, usage, names=None):
    """Write fer2013.csv and fer2013new.csv as the two sources publish them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = names or [f"fer{i:07d}.png" for i in range(len(images))]
    with open(folder / "fer2013.csv", "w", newline="") as file:
        file.write("emotion,pixels,Usage\n")
        for image, use in zip(images, usage, strict=True):
            file.write(f"6,{' '.join(map(str, image.ravel()))},{use}\n")
    with open(folder / "fer2013new.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Usage", "Image name", *VOTE_COLUMNS])
        for use, name, row in zip(usage, names, votes, strict=True):
            writer.writerow([use, name, *map(int, row)])
    return folder


def is_picture(path, least=400):
    """A PNG of a readable size that is not one flat colour."""
    with Image.open(path) as image:
        image.load()
        spread = np.asarray(image.convert("L")).std()
        return image.format == "PNG" and min(image.size) >= least and spread > 5
