"""The bank of a trained teacher: its validation windows embedded, averaged by cell, and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from neurogaze_fast.artifacts import check_fields, read_manifest
from neurogaze_fast.device import pick_device
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import CheckpointError, ConfigError, DataError, OutputExistsError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.build import build_bank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.coverage import coverage_lines
from neurogaze_fast.prototypes.films_out import ANCHORS, compare_banks, films_out_line
from neurogaze_fast.prototypes.npz import export_npz
from neurogaze_fast.prototypes.plots import plot_coverage, plot_topomaps
from neurogaze_fast.teacher.inputs import teacher_inputs
from neurogaze_fast.teacher.model import FILMS_OUT_FILE, embed, load_teacher, teacher_path
from neurogaze_fast.teacher.networks import TeacherModel

COVERAGE_FILE = "coverage.png"
TOPOMAPS_FILE = "topomaps.png"
_FACTS = {"maps": {"path": str, "sha256": str}, "split": {"valid": list}}
_CLIPS = {"split": {"valid": list, "train": list, "clips": {"train": list, "held": list}}}


def build_prototypes(config: BuildPrototypesConfig, console: Console) -> PrototypeBank:
    """Embed the teacher's validation windows, build and save the bank, draw it; return it.

    Where the teacher's folder holds the teacher that was trained with films held out, its bank is
    written beside the usual one, and how alike the two are is printed and kept in the provenance.
    """
    assert config.teacher is not None  # or there would be --embeddings
    device = pick_device(config.device)
    model, metadata = load_teacher(config.teacher)
    file = teacher_path(config.teacher)
    check_fields(metadata, _FACTS, file, CheckpointError)
    out = config.out or file.parent / "bank.safetensors"
    if out.suffix != ".safetensors":
        out = out.with_name(out.name + ".safetensors")
    second = file.parent / FILMS_OUT_FILE
    second_out = out.with_name(f"{out.stem}_films_out.safetensors")
    written = [out, out.parent / COVERAGE_FILE, out.parent / TOPOMAPS_FILE]
    written += [config.npz] if config.npz else []
    written += [second_out] if second.exists() and second != file else []
    for path in written:
        if path.exists():
            raise OutputExistsError(
                f"{path} exists and was left alone: choose another --out, in another folder."
            )
    maps = _maps(config, metadata)
    bank, embedded = _bank_of(model, metadata, file, maps, config, device)
    if second_out in written:
        other, other_metadata = load_teacher(second)
        check_fields(other_metadata, _FACTS | _CLIPS, second, CheckpointError)
        films_out, other_embedded = _bank_of(other, other_metadata, second, maps, config, device)
        anchors = _anchors(maps, other_metadata)
        found = compare_banks(bank, films_out, (embedded(anchors), other_embedded(anchors)))
        bank = replace(bank, provenance={**bank.provenance, "films_out": found})
        films_out.save(second_out)
        console.print(films_out_line(found), soft_wrap=True, highlight=False)
    bank.save(out)
    if config.npz:
        export_npz(bank, config.npz)
    rows = _validation_rows(maps, metadata, labelled_only=config.by == "rating")
    title = f"{len(rows)} windows of {len(metadata['split']['valid'])} validation subjects"
    plot_coverage(bank, out.parent / COVERAGE_FILE, f"{title}, by {config.by}")
    plot_topomaps(maps, out.parent / TOPOMAPS_FILE)
    lines = coverage_lines(bank, maps, rows, by=config.by)
    console.print(lines, soft_wrap=True, highlight=False)
    console.print(f"Bank: {out}", soft_wrap=True, markup=False, highlight=False)
    return bank


Embedded = Callable[[np.ndarray], np.ndarray]


def _bank_of(
    model: TeacherModel,
    metadata: dict[str, Any],
    file: Path,
    maps: MapSet,
    config: BuildPrototypesConfig,
    device: torch.device,
) -> tuple[PrototypeBank, Embedded]:
    """One teacher's bank, and a function that embeds other rows with it."""
    store = teacher_inputs(maps, metadata, file, device).store
    model = model.to(device)
    rows = _validation_rows(maps, metadata, labelled_only=config.by == "rating")
    embeddings, predicted = embed(model, store.maps, rows, device=device)
    rated = np.stack([maps.valence[rows], maps.arousal[rows]], axis=1)
    clips = metadata["split"].get("clips")
    bank = build_bank(
        embeddings,
        rated if config.by == "rating" else predicted,
        maps.subject[rows],
        grid=config.grid,
        min_subjects=config.min_subjects,
        centre=config.centre,
        provenance={
            "made_by": "build_prototypes",
            "synthetic": metadata["synthetic"],
            "teacher": {"sha256": read_manifest(file)["sha256"]},
            "maps": {"sha256": maps.sha256},
            "subjects": metadata["split"]["valid"],
            **({"clips": clips["held"]} if clips else {}),
            "windows": len(rows),
            "by": config.by,
            "min_subjects": config.min_subjects,
            "centre": config.centre,
        },
    )
    return bank, lambda chosen: embed(model, store.maps, chosen, device=device)[0]


def _anchors(maps: MapSet, metadata: dict[str, Any]) -> np.ndarray:
    """int64 [n]: windows that both teachers were trained on, evenly spaced."""
    people, clips = metadata["split"]["train"], metadata["split"]["clips"]["train"]
    chosen = _of_names(maps.subject, maps.subjects, people) & maps.labelled
    rows = np.flatnonzero(chosen & _of_names(maps.film, maps.clips, clips))
    return rows[:: max(1, len(rows) // ANCHORS)]


def _of_names(column: np.ndarray, names: tuple[str, ...], wanted: list[str]) -> np.ndarray:
    return np.isin(column, [number for number, name in enumerate(names) if name in set(wanted)])


def _maps(config: BuildPrototypesConfig, metadata: dict[str, Any]) -> MapSet:
    """The map set the teacher was trained on, verified."""
    folder = config.maps or Path(metadata["maps"]["path"])
    if not folder.exists():
        raise ConfigError(
            f"{folder}, where the teacher's maps were, does not exist. Name their folder with "
            "--maps."
        )
    maps = MapSet.load(folder)
    if maps.sha256 != metadata["maps"]["sha256"]:
        raise DataError(
            f"{folder} is not the map set this teacher was trained on (its hash differs): its "
            "validation subjects could be people the teacher has seen. Name the original with "
            "--maps, or train the teacher again."
        )
    return maps


def _validation_rows(maps: MapSet, metadata: dict[str, Any], *, labelled_only: bool) -> np.ndarray:
    """int64 [n]: windows of the people the teacher never saw."""
    strange = [name for name in metadata["split"]["valid"] if name not in maps.subjects]
    if strange:
        raise DataError(
            f"The teacher's manifest names validation subjects that its maps do not have: "
            f"{', '.join(map(str, strange[:5]))}. It was edited; train the teacher again."
        )
    held = [maps.subjects.index(name) for name in metadata["split"]["valid"]]
    chosen = np.isin(maps.subject, held)
    clips = metadata["split"].get("clips")
    if clips:
        chosen &= _of_names(maps.film, maps.clips, clips["held"])
    return np.flatnonzero(chosen & maps.labelled if labelled_only else chosen)
