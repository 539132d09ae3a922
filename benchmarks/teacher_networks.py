"""Our teacher, a network of braindecode, a ridge and the clip's mean on the same simulated people.

    python -m benchmarks.teacher_networks WORK [--models topomap EEGNet] [--out FILE.json]

Simulated recordings in DREAMER's layout at three strengths of signal: 0 (the EEG knows nothing of
the ratings), 0.5 and 1. Every model gets the same windows, folds, epochs and steps of the command's
own training; nothing is chosen for one of them. WORK keeps the data and the teachers: a teacher
that is finished is not trained again, and one that was stopped goes on. ``table`` is the table of
docs/results.md, which benchmarks.readme_tables writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.measure import hardware
from neurogaze_fast.artifacts import unseal
from neurogaze_fast.teacher.config import TrainTeacherConfig
from neurogaze_fast.training.checkpoint import newest_checkpoint

PEOPLE, FILMS, SECONDS, SEED = 12, 12, 20.0, 11
STRENGTHS = (0.0, 0.5, 1.0)
OPTIONS = {
    "epochs": 15, "batch_size": 32, "width": 64, "folds": 3, "clip_folds": 3, "threads": 1,
    "normalise": "subject",
}  # fmt: skip
SPLITS = {"people and films": "people_and_clips_out", "people": None}
"""Name -> where scores.json has it; people alone are at its top."""
NAMES = {"topomap": "our teacher", "ridge": "ridge on band power",
         "clip_mean": "clip's mean by other people, no EEG", "mean": "mean"}  # fmt: skip


def maps_of(work: Path, strength: float) -> Path:
    """The folder of maps with signals of one strength, made once."""
    from neurogaze_fast.eeg.synthetic import write_demo_dreamer
    from neurogaze_fast.prepare import main as prepare

    folder = work / f"strength-{strength:g}"
    if not (folder / "maps" / "maps.json").exists():
        mat = work / f"{folder.name}.mat"
        mat.unlink(missing_ok=True)
        write_demo_dreamer(mat, subjects=PEOPLE, clips=FILMS, seconds=SECONDS,
                           strength=strength, seed=SEED)  # fmt: skip
        prepare(["eeg", "--dreamer", str(mat), "--out", str(folder), "--size", "16",
                 "--overlap", "0", "--keep-signals"])  # fmt: skip
    return folder


def trained(work: Path, maps: Path, model: str) -> dict:
    """scores.json of one teacher, and the last epoch's training losses."""
    from neurogaze_fast.train_teacher import parse, train_teacher

    out = work / f"{maps.name}-{model}"
    if not out.exists():
        train_teacher(TrainTeacherConfig(maps=maps, out=out, model=model, **OPTIONS))
    elif not (out / "teacher.safetensors").exists():
        train_teacher(parse(["--resume", str(out)]))
    scores = unseal(json.loads((out / "scores.json").read_text()))
    last = newest_checkpoint(out / "checkpoints/teacher", "last")[0]["history"][-1]["train"]
    return {"scores": scores, "train": last}


def measured(work: Path, models: list[str]) -> dict:
    """Strength -> split -> model -> scores per clip, and how well each fitted its own people."""
    from neurogaze_fast.eeg.maps import MapSet

    found: dict = {}
    for strength in STRENGTHS:
        maps = maps_of(work, strength)
        runs = {model: trained(work, maps, model) for model in models}
        entry: dict = {"windows": len(MapSet.load(maps)), "splits": {}}
        for split, key in SPLITS.items():
            entry["splits"][split] = _rows(runs, key)
        entry["train"] = {model: run["train"] for model, run in runs.items()}
        found[f"{strength:g}"] = entry
    return found


def _rows(runs: dict[str, dict], key: str | None) -> dict:
    """Each model's scores and its lead over the ridge; the baselines once, for they are equal."""
    rows, baselines = {}, None
    for model, run in runs.items():
        part = run["scores"] if key is None else run["scores"][key]
        pooled = dict(part["pooled"]["trial"])
        rows[model] = pooled.pop("teacher")
        rows[model]["lead over ridge"] = pooled["teacher - ridge"]
        own = {name: pooled[name] for name in ("ridge", "clip_mean", "mean") if name in pooled}
        assert baselines in (None, own), "the baselines of two models differ: other splits"
        baselines = own
    return rows | (baselines or {})


def table(result: dict) -> str:
    """The Markdown table of docs/results.md."""
    from neurogaze_fast.ablation.tables import markdown_table

    rows = []
    for split in SPLITS:
        for strength, entry in result["strengths"].items():
            for name, scores in entry["splits"][split].items():
                label = NAMES.get(name, f"braindecode's {name}")
                cells = [_cell(scores[target]["ccc"]) for target in ("valence", "arousal")]
                error = " / ".join(f"{scores[t]['rmse']['value']:.2f}"
                                   for t in ("valence", "arousal"))  # fmt: skip
                rows.append([split, strength, label, *cells, error])
    head = ["held out", "strength", "model", "CCC valence", "CCC arousal", "RMSE v / a"]
    return markdown_table(head, rows)


def _cell(ccc: dict) -> str:
    if ccc["value"] is None:
        return "undefined"
    return f"{ccc['value']:+.2f} ({ccc['low']:+.2f} to {ccc['high']:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", nargs="+", default=["topomap", "EEGNet"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import braindecode
    import torch

    result = {
        "what": "CCC and RMSE per clip with 95 % intervals over people and films; simulated EEG in "
        f"DREAMER's layout, {PEOPLE} people, {FILMS} films of {SECONDS:g} s, windows of 2 s "
        f"without overlap, 16 px maps, demo seed {SEED}, one seed of training",
        "synthetic": True,
        "hardware": hardware(),
        "versions": {"torch": torch.__version__, "braindecode": braindecode.__version__},
        "options": OPTIONS,
        "strengths": measured(given.work, given.models),
    }
    print(table(result))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
