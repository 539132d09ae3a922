"""The accuracy tables of docs/results.md, from the committed results of the runs.

``benchmarks/results/accuracy/STUDY/`` holds what an ablation leaves (``metrics.json`` and
``history.json`` in ``runs/ARM/seedN/``) and ``study.json``: a title, what it is about, the command.
This writes the tables between two markers of that page; a test fails where they differ from the
files.

    python -m benchmarks.results_table            # after adding or changing a study
    python -m benchmarks.results_table --add OUT NAME   # copy the results of an ablation first
"""

import argparse
import json
import shutil
from pathlib import Path

from neurogaze_fast.ablation.results import collect
from neurogaze_fast.ablation.summary import summarise
from neurogaze_fast.ablation.tables import (
    ARM_HEAD,
    DIFFERENCE_HEAD,
    arm_rows,
    difference_rows,
    markdown_table,
    notes,
    question_head,
    question_rows,
)

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "benchmarks/results/accuracy"
PAGE = ROOT / "docs/results.md"
BEGIN = "<!-- accuracy tables: written by python -m benchmarks.results_table -->"
END = "<!-- end of accuracy tables -->"
PAPER = {
    "b0": (78.22, 51.29, 49.77),
    "b1": (82.31, 63.56, 59.28),
    "b2": (81.48, 64.21, 60.30),
    "b3": (83.06, 64.74, 59.90),
}
"""NeuroGaze-Distill's ablation on FERPlus valid, per cent, one run each: accuracy, macro-F1,
balanced accuracy."""
KEPT = ("metrics.json", "history.json")
LOGITS = "valid_logits.npz"
"""Kept where a run has it: with these files in the folders of a new ablation of the same plan and
the same version, it goes on from there, and its intervals hold other images, too."""
OF_FINGERPRINT = ("code", "bank", "model_sha256", "metrics_sha256", "config_sha256", "switches")
"""What is kept of a run's fingerprint; the rest names folders of the machine."""


def study_markdown(folder):
    """One study: its arms, differences and verdicts."""
    study = json.loads((folder / "study.json").read_text())
    summary = summary_of(folder)
    rows = arm_rows(summary)
    for arm in summary["arms"]:
        if arm in PAPER and not summary["synthetic"]:
            scores = [f"*{value:.2f}*" for value in PAPER[arm]]
            rows.append([f"*paper's {arm}, 100 epochs*", "*1*", *scores, "", "", ""])
    if (ceiling := summary["vote_ceiling"]) and not summary["synthetic"]:
        oracle = [f"*{100 * value:.2f}*" for value in ceiling.values()]
        rows.append(["*oracle that knows each image's votes, scored on a new vote*", "", *oracle,
                     "", "", ""])  # fmt: skip
    parts = [
        f"**{study['title']}** {study['about']}",
        f"    {study['command']}",
        markdown_table(ARM_HEAD, rows),
        notes(summary),
    ]
    if summary["differences"]:
        if rows := question_rows(summary):
            parts.append(markdown_table(question_head(summary), rows))
        parts.append(markdown_table(DIFFERENCE_HEAD, difference_rows(summary)))
        claims = [f"- *{c['claim']}* {c['verdict']}" for c in summary["claims"]]
        parts.append("The paper's claims, by these runs:\n\n" + "\n".join(claims))
    return "\n\n".join(parts)


def summary_of(folder):
    """What the study's ablation.json says; without one, what its runs say.

    Intervals over images need every run's answers, which are not committed.
    """
    written = folder / "ablation.json"
    return json.loads(written.read_text()) if written.exists() else summarise(collect(folder), {})


def tables():
    """Everything between the markers."""
    folders = sorted(path.parent for path in STUDIES.glob("*/study.json"))
    return "\n\n".join([BEGIN, *map(study_markdown, folders), END])


def replaced(text):
    """The page's text with the present tables."""
    before, rest = text.split(BEGIN)
    return before + tables() + rest.split(END)[1]


def add(out, name):
    """Copy the results of the finished runs below `out` into the study `name`."""
    for result in collect(out):
        place = Path("runs") / result.arm / f"seed{result.seed}"
        (STUDIES / name / place).mkdir(parents=True, exist_ok=True)
        for file in (*KEPT, LOGITS):
            if file in KEPT or (out / place / file).exists():
                shutil.copyfile(out / place / file, STUDIES / name / place / file)
        if result.fingerprint is not None:
            kept = {key: result.fingerprint[key] for key in OF_FINGERPRINT}
            kept["environment"] = {
                key: result.fingerprint["environment"][key]
                for key in ("torch", "numpy", "threads", "cpu", "cpu_capability", "gpu", "native")
            }
            kept["data"] = {"sha256": result.fingerprint["data"]["sha256"]}
            text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
            (STUDIES / name / place / "fingerprint.json").write_text(text)
    for file in ("ablation.json", "plan.toml"):
        if (out / file).exists():
            shutil.copyfile(out / file, STUDIES / name / file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs=2, metavar=("OUT", "NAME"))
    given = parser.parse_args()
    if given.add:
        add(Path(given.add[0]), given.add[1])
    PAGE.write_text(replaced(PAGE.read_text()))


if __name__ == "__main__":
    main()
