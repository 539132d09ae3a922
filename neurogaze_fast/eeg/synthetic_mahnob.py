"""Synthetic MAHNOB-HCI sessions, read by the reader of the real ones."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from neurogaze_fast.artifacts import fsync_folder
from neurogaze_fast.eeg.bdf import DIGITAL_MAX, DIGITAL_MIN, EEG_RANGE, Channel, write_bdf
from neurogaze_fast.eeg.forward_model import (
    FILMS,
    MARKER_FILE,
    check_demo,
    draw_felt,
    draw_person,
    generator,
    rate_felt,
    simulate,
    spoil_channel,
)
from neurogaze_fast.eeg.mahnob import BASELINE_SECONDS, RATING_RANGE, SITES, STATUS
from neurogaze_fast.errors import ConfigError, OutputExistsError

RATE = 256
OTHER_CHANNELS = tuple([f"EXG{i}" for i in range(1, 9)] + "GSR1 GSR2 Erg1 Erg2 Resp Temp".split())
SESSIONS_PER_SUBJECT = 4
UNRATED_EVERY = 8
"""One session in so many has no ratings, as in the real set."""
TRIGGER = 268
TRIGGER_SAMPLES = 32
IDLE_STATUS = (1 << 20) | (1 << 18)
"""The amplifier's own bits: common-mode loop in range, a speed bit."""
RESUMED = 1 << 16
"""Set at the first sample, as BioSemi does."""
_STREAM = 2
_NOTE = """This folder is SYNTHETIC. Its recordings were drawn by neurogaze_fast from a forward
model, in the layout of MAHNOB-HCI: nobody's EEG is in it. Results made from it say nothing about
real EEG.
"""


def write_demo_mahnob(
    folder: Path,
    *,
    sessions: int = 8,
    seconds: float = 40.0,
    margin: float = BASELINE_SECONDS,
    strength: float = 1.0,
    seed: int = 0,
) -> None:
    """Write Sessions/<id>/session.xml and Part_*_emotion.bdf; the same arguments, the same bytes.

    Four sessions per subject; every eighth session has no ratings. The .bdf has the real file's 47
    channels at 256 samples per second; those that are no EEG hold zeros. Everything is written into
    a folder beside `folder` and moved there in one step. A session of the default takes 3.6 MB.

    Args:
        folder: A folder that does not exist yet, or is empty.
        sessions: How many.
        seconds: Of each film.
        margin: Seconds before and after it, at least 1.
        strength: How strongly valence and arousal show in the band power; 0: not at all.
        seed: Of the whole set.

    Raises:
        OutputExistsError: `folder` is a file or has something in it; nothing was written.
        ConfigError: a size makes no recording, or MNE is not installed.
    """
    check_demo(seconds, strength, sessions=sessions)
    if not (np.isfinite(margin) and margin >= 1):
        raise ConfigError(f"margin is {margin!r}; give at least 1 s before and after the film.")
    folder = Path(folder).resolve()
    _refuse_content(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        for number in range(sessions):
            _write_session(temporary / "Sessions", number, seconds, margin, strength, seed)
        (temporary / MARKER_FILE).write_text(_NOTE, encoding="ascii")
        fsync_folder(temporary)
        _refuse_content(folder)  # another process may have been quicker
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(folder.parent)


def _refuse_content(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputExistsError(
            f"{folder} already exists and is not an empty folder; nothing was written. Remove it, "
            "or name another folder."
        )


def _write_session(
    root: Path, number: int, seconds: float, margin: float, strength: float, seed: int
) -> None:
    subject, film = divmod(number, SESSIONS_PER_SUBJECT)
    # Spread over the emotions, so that the few films a person sees are unlike one another.
    film = (2 * film + subject) % len(FILMS)
    identity = 130 * subject + 2 * (number % SESSIONS_PER_SUBJECT + 1)
    folder = root / str(identity)
    folder.mkdir(parents=True)

    person = draw_person(generator(seed, _STREAM, subject), SITES)
    rng = generator(seed, _STREAM, subject, number)
    felt = draw_felt(rng, person, film)
    scores = rate_felt(rng, felt, *RATING_RANGE)
    before, during = round(margin * RATE), round(seconds * RATE)
    total = -(-(2 * before + during) // RATE) * RATE
    after = total - before - during
    rest = np.zeros(2)
    parts = [
        simulate(rng, person, what, length, RATE, strength=strength)
        for what, length in ((rest, before), (felt, during), (rest, after))
        if length
    ]
    signal = np.concatenate(parts, axis=1)
    spoil_channel(rng, signal, 0.05)

    trial = number % SESSIONS_PER_SUBJECT + 1
    name = f"Part_{subject + 1}_S_Trial{trial}_emotion.bdf"
    _write_recording(folder / name, signal + 5000 * person.offset[:, None], before, during)
    ratings = None if number % UNRATED_EVERY == UNRATED_EVERY - 1 else scores
    _write_xml(folder / "session.xml", identity, subject + 1, film, seconds, ratings, name)


def _write_recording(path: Path, signal: np.ndarray, before: int, during: int) -> None:
    channels = [Channel(site, "uV", EEG_RANGE) for site in SITES]
    channels += [Channel(other, "uV", EEG_RANGE) for other in OTHER_CHANNELS]
    channels += [Channel(STATUS, "Boolean", (DIGITAL_MIN, DIGITAL_MAX))]
    digital = np.zeros((len(channels), signal.shape[1]), np.int32)
    low, high = EEG_RANGE
    step = (high - low) / (DIGITAL_MAX - DIGITAL_MIN)
    digital[: len(SITES)] = np.clip(
        np.rint((signal.astype(np.float64) - low) / step) + DIGITAL_MIN, DIGITAL_MIN, DIGITAL_MAX
    )
    status = digital[-1]
    status[:] = IDLE_STATUS
    status[0] |= RESUMED
    for onset in (before, before + during):
        status[onset : onset + TRIGGER_SAMPLES] |= TRIGGER
    write_bdf(path, channels, digital, RATE, recording="SYNTHETIC EEG drawn by neurogaze_fast")


def _write_xml(
    path: Path,
    identity: int,
    subject: int,
    film: int,
    seconds: float,
    ratings: list[int] | None,
    recording: str,
) -> None:
    felt = {} if ratings is None else {"feltVlnc": str(ratings[0]), "feltArsl": str(ratings[1])}
    session = ElementTree.Element(
        "session",
        {
            "sessionId": str(identity),
            "experimentType": "emotion elicitation",
            "isStim": "1",
            "cutNr": str(2 * film + 2),
            "cutLenSec": f"{seconds:g}",
            "mediaFile": f"{FILMS[film][0]}.avi",
            "vidRate": "60.9708",
            **felt,
        },
    )
    ElementTree.SubElement(session, "subject", {"id": str(subject)})
    ElementTree.SubElement(session, "track", {"type": "Physiological", "filename": recording})
    ElementTree.indent(session)
    path.write_bytes(ElementTree.tostring(session, encoding="utf-8", xml_declaration=True) + b"\n")
