"""How the arms of an ablation stand corrupted faces: every whole seed, on the same pictures.

    python -m benchmarks.corruption_study OUT --data DIR          # OUT: the folder of the ablation

Writes benchmarks/results/DATE-cpu-corruptions.json, anew after each seed; ``python -m
benchmarks.readme_tables`` writes the tables of docs/corruptions.md from it. What was scored is kept
in OUT and not scored again; seeds whose networks are not in OUT are taken from the newest file.
"""

import argparse
import datetime
import json
from pathlib import Path

from benchmarks.measure import hardware
from neurogaze_fast.ablation.arms import ARMS
from neurogaze_fast.ablation.plan import RUNS
from neurogaze_fast.ablation.results import collect
from neurogaze_fast.ablation.statistics import Estimate
from neurogaze_fast.device import pick_device
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.corruption_scores import FILE, score_corruptions
from neurogaze_fast.evaluation.corruptions import KINDS

RESULTS = Path(__file__).parent / "results"
REFERENCE = "b0"
AGAINST = {"b1": "b0", "b2": "b1", "b3": "b2"}
"""What an arm adds, it adds to this one; the controls are compared with b3."""
HEAD = ("arm", "seeds", "clean", "corrupted", "mCE", "relative mCE",
        "corrupted, difference to")  # fmt: skip


def whole_seeds(out):
    """The arms, and the seeds that all of them have finished."""
    results = collect(out)
    arms = [arm for arm in ARMS if any(r.arm == arm for r in results)]
    of = {arm: {r.seed for r in results if r.arm == arm} for arm in arms}
    return arms, sorted(set.intersection(*of.values()))


def scored(out, data, arms, seed, batch_size):
    """corruptions.json of one seed: arm -> scores, relative to the reference's of that seed."""
    folder = out / "corruptions" / f"seed{seed}"
    if not (folder / FILE).exists():
        runs = [out / RUNS / arm / f"seed{seed}" for arm in arms]
        config = EvaluateConfig(
            runs[0], against=tuple(runs[1:]), corruptions=True, data=data, out=folder,
            batch_size=batch_size,
        )  # fmt: skip
        score_corruptions(config, pick_device("cpu"), print)
    result = json.loads((folder / FILE).read_text())
    # By name: the runs may have been scored in another order.
    found = {name.split("/")[-2]: run for name, run in result["runs"].items()}
    if set(found) != set(arms) or result["reference"].split("/")[-2] != REFERENCE:
        raise SystemExit(f"{folder} is of {', '.join(found)}: remove it, to score {arms} there.")
    return result, found


def kept(run):
    """What of a run's corruptions.json goes into the repository."""
    return {
        "clean": round(run["clean"]["accuracy"], 5),
        "mean_accuracy": round(run["mean_accuracy"], 5),
        "mce": round(run["mce"], 5),
        "relative_mce": round(run["relative_mce"], 5),
        "kinds": {kind: round(run["by_kind"][kind]["mean_accuracy"], 5) for kind in KINDS},
    }


def earlier(out, arms, seed):
    """arm -> what the newest file keeps of this seed, or None: the networks of a study that was
    stopped elsewhere are not in OUT."""
    if not list(RESULTS.glob("*-cpu-corruptions.json")):
        return None
    known = json.loads(newest().read_text())
    if known["study"] != out.name or any(str(seed) not in known["runs"].get(a, {}) for a in arms):
        return None
    return known, {arm: known["runs"][arm][str(seed)] for arm in arms}


def study(out, data, batch_size):
    """The study's results so far, after each seed."""
    arms, seeds = whole_seeds(out)
    arms.sort(key=lambda arm: arm != REFERENCE)  # the one that errors are relative to comes first
    runs = {arm: {} for arm in arms}
    # Those that need no scoring come first, so that a stop in the middle keeps them.
    known = {seed: earlier(out, arms, seed) for seed in seeds}
    for seed in sorted(seeds, key=lambda seed: (known[seed] is None, seed)):
        if known[seed] is not None:
            facts, of_arm = known[seed]
            facts = {"n": facts["n_images"], "seed": facts["corruption_seed"],
                     "synthetic": facts["synthetic_bank"]}  # fmt: skip
        elif (out / RUNS / REFERENCE / f"seed{seed}" / "model.safetensors").exists():
            print(f"seed {seed}")
            facts, found = scored(out, data, arms, seed, batch_size)
            of_arm = {arm: kept(found[arm]) for arm in arms}
        else:
            print(f"seed {seed} is left out: its networks are not in {out}")
            continue
        for arm in arms:
            runs[arm][str(seed)] = of_arm[arm]
        yield _result(out, facts, runs)


def _result(out, facts, runs):
    return {
        "what": "Accuracy on FERPlus valid under 12 kinds of corruption at 5 strengths each "
        "(evaluate --corruptions), by arm and seed; 100 % of mCE is b0 of the same seed",
        "study": out.name,
        "n_images": facts["n"],
        "corruption_seed": facts["seed"],
        "synthetic_bank": facts["synthetic"],
        "hardware": hardware(),
        "runs": {arm: dict(of) for arm, of in runs.items()},
    }


def newest():
    return sorted(RESULTS.glob("*-cpu-corruptions.json"))[-1]


def arm_table():
    """Head and rows: means over seeds, and differences paired by seed with 95 % intervals."""
    runs = json.loads(newest().read_text())["runs"]

    def values(arm, key):
        return [100 * run[key] for _, run in sorted(runs[arm].items())]

    found = []
    for arm in runs:
        other = AGAINST.get(arm, "b3") if arm != REFERENCE else None
        difference = ""
        if other in runs:
            pairs = zip(values(arm, "mean_accuracy"), values(other, "mean_accuracy"), strict=True)
            gap = Estimate.of([mine - theirs for mine, theirs in pairs])
            difference = f"{other}: {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
        means = [
            Estimate.of(values(arm, key))
            for key in ("clean", "mean_accuracy", "mce", "relative_mce")
        ]
        cells = [f"{of.mean:.2f} ± {of.sd:.2f}" for of in means[:2]]
        cells += [f"{of.mean:.1f}" for of in means[2:]]
        found.append([arm, str(len(runs[arm])), *cells, difference])
    return HEAD, found


def kind_table():
    """Head and rows: mean accuracy by kind (rows) and arm (columns)."""
    runs = json.loads(newest().read_text())["runs"]
    cells = [
        [kind, *(f"{100 * sum(r['kinds'][kind] for r in of.values()) / len(of):.1f}"
                 for of in runs.values())]
        for kind in KINDS
    ]  # fmt: skip
    return ("", *runs), cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=256)
    given = parser.parse_args()
    path = RESULTS / f"{datetime.date.today()}-cpu-corruptions.json"
    for result in study(given.out, given.data, given.batch_size):
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"Written to {path}")


if __name__ == "__main__":
    main()
