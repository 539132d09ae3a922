"""What train_teacher prints: a table of each split, and what must be read along with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurogaze_fast.teacher.inputs import SIGNAL_UNIT, TOPOMAP
from neurogaze_fast.teacher.plots import MODEL_STYLE, split_scores
from neurogaze_fast.teacher.scores import TARGETS

if TYPE_CHECKING:
    from rich.table import Table

    from neurogaze_fast.eeg.maps import MapSet

_NORMALISE = {
    "subject": "each person's band power is scaled by all of that person's windows, rated or not, "
    "of a held-out person too: a new person's first clip cannot be scored alone",
    "train": "band power is scaled by the training windows, so one new clip can be scored alone",
    "none": "band power is not scaled, so one new clip can be scored alone",
}


def score_tables(result: dict[str, Any]) -> list[Table]:
    """CCC and RMSE with intervals, a table for each split, the strictest first.

    Args:
        result: the content of scores.json.
    """
    from rich.table import Table

    tables = []
    for title, part in split_scores(result):
        kind = ", synthetic recordings" if result["synthetic"] else ""
        over = "people and films" if part["bootstrap"]["unit"] == "subject x clip" else "people"
        table = Table(title=f"{title[0].upper()}{title[1:]} (95 % interval over {over}){kind}")
        for column in ("CCC", "level", *TARGETS, *(f"RMSE {target}" for target in TARGETS)):
            table.add_column(column)
        for level in ("trial", "window"):
            for name, scores in part["pooled"][level].items():
                label = MODEL_STYLE[name][1] if name in MODEL_STYLE else name
                cells = [_cell(scores[target].get("ccc"), "+.2f") for target in TARGETS]
                cells += [_cell(scores[target].get("rmse"), ".2f") for target in TARGETS]
                table.add_row(label, level, *cells)
        tables.append(table)
    return tables


def remarks(result: dict[str, Any], maps: MapSet) -> list[str]:
    """What the scores do not say by themselves, a line each."""
    lines = []
    splits = dict(split_scores(result))
    if "people_and_clips_out" not in result and splits:
        lines.append(_no_films_out(maps))
    for title, part in splits.items():
        pooled = part["pooled"]["trial"]
        for rival, words in (
            ("ridge", "a ridge on band power"),
            ("clip_mean", "the clip's mean rating by other people, which needs no EEG,"),
        ):
            ahead = [
                f"{target} {pooled[rival][target]['ccc']['value']:+.2f} against "
                f"{pooled['teacher'][target]['ccc']['value']:+.2f}"
                for target in TARGETS
                if rival in pooled and _beats(pooled, rival, target)
            ]
            if ahead:
                text = f"With {title}, {words} is as good as the teacher or better: "
                lines.append(f"[yellow]{text}{', '.join(ahead)} (CCC).[/]")
    if splits:
        lines.append(f"Scale: {_NORMALISE[result['normalise']]}.")
        if result.get("model", TOPOMAP) != TOPOMAP:
            lines.append(_of_signals(result))
    trials = len({*zip(maps.subject.tolist(), maps.film.tolist(), strict=True)})
    if maps.knows_clips and len(maps.clips) >= trials > len(maps.subjects):
        lines.append(
            "[yellow]No two people have a clip of the same name: if they watched the same films, "
            "holding clips out holds no film out. Say which film each clip was in the column "
            "`film` of the csv, and prepare again.[/]"
        )
    return lines


def _of_signals(result: dict[str, Any]) -> str:
    size = (
        "divided by each person's own root mean square"
        if result["normalise"] == "subject"
        else f"in units of {SIGNAL_UNIT:g} microvolts"
    )
    name = result["model"]
    return f"Teacher: braindecode's {name} over signals, {size}; the ridge sees band power."


def _no_films_out(maps: MapSet) -> str:
    why = (
        "These maps were made by a version that did not keep which clip a window is of: prepare "
        "them again."
        if not maps.knows_clips
        else "Score it with --splits both people and --clip-folds 3."
    )
    return (
        "[yellow]No film was held out: everybody watched the same films, so a teacher that only "
        f"recognises films is scored as if it read what people felt. {why}[/]"
    )


def _beats(pooled: dict[str, Any], rival: str, target: str) -> bool:
    theirs, ours = (pooled[name][target]["ccc"]["value"] for name in (rival, "teacher"))
    return theirs is not None and ours is not None and theirs >= ours


def _cell(value: dict[str, float | None] | None, form: str) -> str:
    if value is None:
        return ""
    if None in value.values():
        return "undefined"
    return f"{value['value']:{form}} ({value['low']:{form}} to {value['high']:{form}})"
