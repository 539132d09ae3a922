"""What runs ahead of what in a video: how much of it waits, and what start and end do not do."""

import json
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import skimage.data

from neurogaze_fast.deploy.vision import film
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.film import FilmOptions, watch_film
from neurogaze_fast.deploy.vision.persons import Persons
from neurogaze_fast.deploy.vision.video import VideoWriter
from tests.deploy.vision.fakes import BrightnessEngine, FixedDetector

HEAVY = ("torch", "scipy", "pandas", "matplotlib", "sklearn", "skimage", "cv2", "pyarrow")


class InPairs(FixedDetector):
    """Begins to look where another search has begun, too."""

    def __init__(self, *boxes):
        super().__init__(*boxes)
        self.together = threading.Barrier(2, timeout=20)

    def detect(self, image):
        self.together.wait()
        return super().detect(image)


def test_two_frames_are_searched_at_a_time():
    images = [(n, np.full((60, 100, 3), n, np.uint8)) for n in range(16)]
    detector = InPairs([10, 10, 40, 40, 0.9])
    analyser = Analyser(BrightnessEngine(), detector)
    groups = watch_film(images, 25.0, analyser, FilmOptions(), pixels=60 * 100)
    assert sum(map(len, groups)) == 16
    assert detector.seen == 4


@pytest.mark.parametrize(("waiting", "pixels"), [(20, 20 * 180 * 320), (48, film.AHEAD_PIXELS)])
def test_nothing_that_waits_grows_with_the_video(monkeypatch, waiting, pixels):
    """The bound that film.py states, in its own unit; all frames together are several times that.

    How much of it is used depends on how threads take turns, so nothing is compared with a shorter
    video.
    """
    monkeypatch.setattr(film, "AHEAD_PIXELS", pixels)
    bound = waiting * 180 * 320
    frame = np.zeros((180, 320, 3), np.uint8)

    def peak(frames):
        images = ((n, frame.copy()) for n in range(frames))
        analyser = Analyser(BrightnessEngine(), FixedDetector([10, 10, 40, 40, 0.9]))
        tracemalloc.start()
        work = watch_film(images, 25.0, analyser, FilmOptions(), pixels=180 * 320)
        persons = Persons()
        for group in work:
            for shown in group:
                persons.add(shown.number / 25, shown.faces)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    allowed = 5 * 3 * bound + 20_000_000
    assert peak(24 * waiting) < allowed < 24 * waiting * frame.nbytes / 2


def test_a_video_is_answered_without_what_it_does_not_need(tmp_path):
    """Importing any of these takes longer than answering a second of video."""
    photo = np.ascontiguousarray(skimage.data.astronaut()[0:240, 100:420])
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        for step in range(12):
            video.write(np.roll(photo, step, axis=1))
    code = (
        "import atexit, gc, json, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"  # after all that comes later
        "from neurogaze_fast.predict import main\n"
        "main(sys.argv[1:])\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "clip.mp4")]
    command += ["--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "12 faces" in done.stdout
    loaded, frozen = done.stdout.splitlines()[-2:]
    assert json.loads(loaded) == []
    assert int(frozen) > 10_000  # objects that no search for garbage goes through at the end
