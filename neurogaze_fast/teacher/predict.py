"""A trained teacher's valence and arousal for recordings that have no ratings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.eeg.clip_csv import ClipRow, read_clip_rows
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.files import FOLDER_KINDS, read_clips
from neurogaze_fast.eeg.map_operator import interpolated, operators
from neurogaze_fast.eeg.measure import Counts, Part, measure
from neurogaze_fast.eeg.preprocess import CleanOptions
from neurogaze_fast.eeg.recording import LeftOut
from neurogaze_fast.eeg.scaling import scaled_by_subject, subject_scale
from neurogaze_fast.errors import CheckpointError, DataError
from neurogaze_fast.teacher.baselines import calibrated
from neurogaze_fast.teacher.inputs import SIGNAL_UNIT, Scale, teacher_scale
from neurogaze_fast.teacher.model import embed, load_teacher, teacher_path

_FACTS = {"maps": {"names": list, "bands": list, "size": list, "options": dict}}


@dataclass(frozen=True, eq=False)
class ClipAnswer:
    """What the teacher says of one clip, window by window."""

    file: Path
    subject: str
    clip: str
    start: np.ndarray
    """float32 [n]: seconds into the clip."""
    va: np.ndarray
    """float64 [n, 2]: (valence, arousal) on [-1, 1], calibrated where the teacher is."""
    raw: np.ndarray
    """float32 [n, 2]: before calibration."""


@dataclass(frozen=True, eq=False)
class EegAnswer:
    """The clips of one call, and what has to be said of them."""

    clips: list[ClipAnswer]
    left_out: list[LeftOut]
    notes: list[str]


def predict_eeg(
    recording: Path,
    teacher: Path,
    *,
    clips: Path | None = None,
    baseline: tuple[float, float] | None = None,
    montage: str | Path | None = None,
    device: torch.device | None = None,
) -> EegAnswer:
    """Valence and arousal of the clips of a recording, by a teacher of train_teacher.

    The recording is cleaned and measured with the options of the teacher's own maps. With a
    teacher of ``--normalise train`` or ``none`` a clip is scored alone. One of ``subject`` scales
    band power by each person's windows found here, so it only tells the parts of what is given from
    one another; a note says so.

    Args:
        recording: a file, or the folder that the csv's `file` is relative to.
        teacher: folder of train_teacher, or its model file.
        clips: csv of the clips as for prepare eeg; ratings may be empty. None: the whole recording
            is one clip.
        baseline: seconds from and to of a rest within the recording, where there is no csv.
        montage: where its channels are, if neither the file nor their names say.

    Raises:
        CheckpointError: the teacher is missing, altered, or of a version that did not keep how its
            maps were made.
        DataError: no window could be used; says why.
    """
    model, metadata = load_teacher(teacher)
    file = teacher_path(teacher)
    check_fields(metadata, _FACTS, file, CheckpointError)
    facts = metadata["maps"]
    names, bands = tuple(facts["names"]), tuple(facts["bands"])
    scale, normalise = teacher_scale(metadata, file, len(bands), len(names))
    config = _options(facts["options"], bands, file, signals="network" in metadata)
    counts, left_out = Counts(), []
    parts: list[Part] = []
    sites = CleanOptions(sites=names, reference=config.reference, bad_channel=config.bad_channel)
    for trial in read_clips(
        recording, _rows(recording, clips, baseline), montage=montage, sites=names
    ):
        found = trial if isinstance(trial, LeftOut) else measure(trial, sites, config, counts)
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found.bands != bands:
            what = f"{found.trial.subject}, clip {found.trial.clip}"
            left_out.append(LeftOut(found.trial.path, what, "its low-pass took away a band"))
        else:
            parts.append(found)
    if not parts:
        why = "; ".join(dict.fromkeys(f"{part.what}: {part.reason}" for part in left_out[:5]))
        raise DataError(f"No window of {recording} could be used. {why or 'It holds no clip'}.")
    device = device or torch.device("cpu")
    images = _inputs(parts, normalise, scale, config, facts, names, signals="network" in metadata)
    store = torch.from_numpy(images).to(device)
    raw = embed(model.to(device), store, np.arange(len(images)), device=device)[1]
    line = metadata.get("calibration")
    va = raw.astype(np.float64) if line is None else calibrated(raw, np.array(line, np.float64))
    ends = np.cumsum([len(part.start) for part in parts])
    answers = [
        ClipAnswer(
            part.trial.path, part.trial.subject.removeprefix("file-"), part.trial.clip, part.start,
            va[end - len(part.start) : end], raw[end - len(part.start) : end],
        )
        for part, end in zip(parts, ends, strict=True)
    ]  # fmt: skip
    notes = _notes(parts, normalise, config, calibrated_=line is not None)
    if metadata["synthetic"]:
        notes.append("The teacher was trained on synthetic recordings: it says nothing of people.")
    return EegAnswer(answers, left_out, notes)


def _options(
    options: dict[str, Any], bands: tuple[str, ...], file: Path, *, signals: bool
) -> PrepareEegConfig:
    known = {field.name for field in dataclasses.fields(PrepareEegConfig)}
    kept: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k in known
    }
    unused = Path("unused")
    kept |= {"out": unused, "demo": False, "recording": unused, "ratings": unused}
    kept |= {"mahnob_labels": False, "keep_signals": signals}
    try:
        config = PrepareEegConfig(**kept)
        wanted = [text for text in config.bands if text.split("=")[0] in bands]
        return dataclasses.replace(config, bands=tuple(wanted))
    except TypeError as cause:
        raise CheckpointError(f"{file} was made from maps of unknown options ({cause}).") from cause


def _rows(
    recording: Path, clips: Path | None, baseline: tuple[float, float] | None
) -> list[ClipRow]:
    if clips is not None:
        return read_clip_rows(clips, (-1.0, 1.0))
    if recording.is_dir() and recording.suffix.lower() not in FOLDER_KINDS:
        raise DataError(f"{recording} is a folder: name one recording, or its clips by --clips.")
    whole = ClipRow(0, "", recording.stem, "whole", (None, None), baseline, ("", ""), (-1.0, 1.0))
    return [whole]


def _inputs(
    parts: list[Part],
    normalise: str,
    scale: Scale | None,
    config: PrepareEegConfig,
    facts: dict[str, Any],
    names: tuple[str, ...],
    *,
    signals: bool,
) -> np.ndarray:
    """float16: what the network is given, on the scale it was trained on."""
    lengths = [len(part.start) for part in parts]
    people = list(dict.fromkeys(part.trial.subject for part in parts))
    subject = np.repeat([people.index(part.trial.subject) for part in parts], lengths)
    if signals:
        kept = [part.signals for part in parts if part.signals is not None]
        x = np.concatenate(kept).astype(np.float32)
        if normalise != "subject":
            return (x / SIGNAL_UNIT)[:, :, None].astype(np.float16)
        size = np.square(x).mean(axis=2)
        own = np.stack([np.sqrt(size[subject == one].mean(0)) for one in range(len(people))])
        return (x / np.maximum(own, 1e-6)[subject][:, :, None])[:, :, None].astype(np.float16)
    power = np.concatenate([part.power for part in parts])
    if scale is not None:
        power = scale.apply(power)
    elif normalise == "subject":
        power = scaled_by_subject(power, subject, *subject_scale(power, subject, len(people)))
    rows, columns = facts["size"]
    size = rows if rows == columns else (rows, columns)
    # By the places of this recording's own electrodes, where they are known.
    images = np.empty((len(power), power.shape[1], rows, columns), np.float16)
    for part, end in zip(parts, np.cumsum(lengths), strict=True):
        mine = slice(end - len(part.start), end)
        cap = None if part.positions is None else part.positions[None]
        images[mine] = interpolated(power[mine], operators(names, cap, size, config.method))
    return images


def _notes(
    parts: list[Part], normalise: str, config: PrepareEegConfig, *, calibrated_: bool
) -> list[str]:
    notes = []
    if normalise == "subject":
        notes.append(
            "The teacher scales band power by each person's own windows: it tells the parts of "
            "what was given here from one another, and says nothing of their common level. One "
            "trained with --normalise train scores a clip alone."
        )
    elif config.baseline == "subtract" and any(part.flags[0] & 4 for part in parts):
        notes.append(
            "A clip without a baseline is taken about its own mean, so the teacher only sees how "
            "it changes. Name a rest before it (--baseline), or prepare with --baseline none."
        )
    if not calibrated_:
        notes.append("The teacher was not scored on held-out people, so it is not calibrated.")
    return notes
