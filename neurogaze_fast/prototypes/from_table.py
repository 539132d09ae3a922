"""The bank of embeddings that were made elsewhere."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from neurogaze_fast.errors import OutputExistsError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.build import build_bank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.coverage import coverage_lines
from neurogaze_fast.prototypes.plots import plot_coverage
from neurogaze_fast.teacher.folds import targets
from neurogaze_fast.teacher.report import score_tables
from neurogaze_fast.teacher.splits import labelled_subjects, rows_for, split_subjects
from neurogaze_fast.teacher.table import read_table, score_table


def bank_from_table(config: BuildPrototypesConfig, console: Console) -> PrototypeBank:
    """Score the embeddings of --embeddings, build their bank, save and draw it; return it.

    People are split as train_teacher splits them, and the bank is made of the validation people, so
    that it stands beside a teacher's. Whether the embeddings' own network was trained on these
    people is not known here; the provenance says that.
    """
    assert config.embeddings is not None
    out = config.out or config.embeddings.parent / "bank.safetensors"
    if out.suffix != ".safetensors":
        out = out.with_name(out.name + ".safetensors")
    picture = out.parent / "coverage.png"
    for path in (out, picture):
        if path.exists():
            raise OutputExistsError(
                f"{path} exists and was left alone: choose another --out, in another folder."
            )
    table = read_table(config.embeddings)
    train, valid = split_subjects(labelled_subjects(table))
    rows = rows_for(table, train, valid).held
    result = score_table(table)
    for each in score_tables(result):
        console.print(each)
    bank = build_bank(
        table.power[rows, 0],
        targets(table, rows),
        table.subject[rows],
        grid=config.grid,
        min_subjects=config.min_subjects,
        centre=config.centre,
        provenance={
            "made_by": "build_prototypes",
            "synthetic": False,
            "embeddings": {
                "file": config.embeddings.name,
                "sha256": table.sha256,
                "trained_on": "not known: they were made elsewhere",
            },
            "subjects": list(valid),
            "windows": len(rows),
            "by": "rating",
            "min_subjects": config.min_subjects,
            "centre": config.centre,
        },
    )
    bank.save(out)
    title = f"{len(rows)} rows of {len(np.unique(table.subject[rows]))} people, made elsewhere"
    plot_coverage(bank, picture, title)
    lines = coverage_lines(bank, table, rows, by="rating")
    console.print(lines, soft_wrap=True, highlight=False)
    console.print(f"Bank: {out}", soft_wrap=True, markup=False, highlight=False)
    return bank
