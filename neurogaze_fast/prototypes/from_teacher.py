"""The bank of a trained teacher: its validation windows embedded, averaged by cell, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from neurogaze_fast.artifacts import check_fields, read_manifest
from neurogaze_fast.device import pick_device
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import CheckpointError, ConfigError, DataError, OutputExistsError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.build import build_bank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.coverage import coverage_lines
from neurogaze_fast.prototypes.npz import export_npz
from neurogaze_fast.prototypes.plots import plot_coverage, plot_topomaps
from neurogaze_fast.teacher.model import embed, load_teacher, teacher_path
from neurogaze_fast.teacher.views import ResidentMaps

COVERAGE_FILE = "coverage.png"
TOPOMAPS_FILE = "topomaps.png"
_FACTS = {"maps": {"path": str, "sha256": str}, "split": {"valid": list}}


def build_prototypes(config: BuildPrototypesConfig, console: Console) -> PrototypeBank:
    """Embed the teacher's validation windows, build and save the bank, draw it; return it."""
    device = pick_device(config.device)
    model, metadata = load_teacher(config.teacher)
    file = teacher_path(config.teacher)
    check_fields(metadata, _FACTS, file, CheckpointError)
    out = config.out or file.parent / "bank.safetensors"
    if out.suffix != ".safetensors":
        out = out.with_name(out.name + ".safetensors")
    pictures = out.parent / COVERAGE_FILE, out.parent / TOPOMAPS_FILE
    for path in (out, *pictures, *([config.npz] if config.npz else [])):
        if path.exists():
            raise OutputExistsError(
                f"{path} exists and was left alone: choose another --out, in another folder."
            )
    maps = _maps(config, metadata)
    rows = _validation_rows(maps, metadata, labelled_only=config.by == "rating")
    store = ResidentMaps.of(maps, device)
    embeddings, predicted = embed(model.to(device), store.maps, rows, device=device)
    rated = np.stack([maps.valence[rows], maps.arousal[rows]], axis=1)
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
            "windows": len(rows),
            "by": config.by,
            "min_subjects": config.min_subjects,
            "centre": config.centre,
        },
    )
    bank.save(out)
    if config.npz:
        export_npz(bank, config.npz)
    title = f"{len(rows)} windows of {len(metadata['split']['valid'])} validation subjects"
    plot_coverage(bank, pictures[0], f"{title}, by {config.by}")
    plot_topomaps(maps, pictures[1])
    lines = coverage_lines(bank, maps, rows, by=config.by)
    console.print(lines, soft_wrap=True, highlight=False)
    console.print(f"Bank: {out}", soft_wrap=True, markup=False, highlight=False)
    return bank


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
    return np.flatnonzero(chosen & maps.labelled if labelled_only else chosen)
