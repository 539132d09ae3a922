"""Plain sentences from intervals: what each part adds, and what is left of the paper's claims."""

from __future__ import annotations

from dataclasses import dataclass

from neurogaze_fast.ablation.arms import ARMS, PRIMARY
from neurogaze_fast.ablation.results import RunResult, contrast, over_seeds, paired
from neurogaze_fast.ablation.statistics import Estimate

FEW = 5
"""Seeds below which a verdict is called weak."""


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper, and what the runs say about it."""

    claim: str
    verdict: str
    because: list[str]


def sentence(arm: str, against: str, estimate: Estimate | None, what: str) -> str:
    """ "b3 adds 1.2 [0.3, 2.1] points of macro-F1 to b2 (5 seeds)."."""
    if estimate is None:
        return f"{arm} against {against}: not run."
    points = f"{100 * estimate.mean:+.2f}"
    if estimate.n < 2:
        return f"{arm} against {against}: {points} points of {what}, one seed: it shows nothing."
    interval = f"[{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"
    verb = {1: "adds to", -1: "costs", 0: "makes no difference that these seeds can show to"}
    return (
        f"{arm} {verb[estimate.direction]} {against}: {points} {interval} points of {what} "
        f"({estimate.n} seeds)."
    )


def verdicts(results: list[RunResult]) -> list[Verdict]:
    """The paper's three claims."""
    return [_early(results), _late(results), _grid(results)]


def _early(results: list[RunResult]) -> Verdict:
    claim = "KD speeds early learning."
    early = paired(results, "b1", "b0", lambda r: r.early("macro_f1"))
    final = contrast(results, "b1", "b0", "macro_f1")
    because = [
        sentence("b1", "b0", early, "macro-F1, mean of the first third of the epochs"),
        sentence("b1", "b0", final, "macro-F1 at the end"),
        sentence("b1", "b0", contrast(results, "b1", "b0", "accuracy"), "accuracy at the end"),
        sentence("b3", "b0", paired(results, "b3", "b0", lambda r: r.early("accuracy")),
                 "accuracy, mean of the first third, KD and all the rest together"),
        "With the raters' votes as the teacher KD is a richer label, not a better model; arm "
        "kd-resnet50 has a model as its teacher. "
        + sentence("kd-resnet50", "b1", paired(results, "kd-resnet50", "b1", _final), "macro-F1"),
    ]  # fmt: skip
    return Verdict(claim, _word(early), because)


def _late(results: list[RunResult]) -> Verdict:
    claim = "Proto-KD and D-Geo give late gains."

    def lateness(r: RunResult) -> float:
        return r.late("macro_f1") - r.early("macro_f1")

    later = paired(results, "b3", "b1", lateness)
    what = "macro-F1, last third of the epochs minus first: this decides"
    because = [sentence("b3", "b1", later, what)]
    for arm, against, added in (
        ("b2", "b1", "Proto-KD"), ("b3", "b2", "D-Geo"), ("b3", "b1", "both"),
        ("b3", "b0", "with KD"),
    ):  # fmt: skip
        difference = contrast(results, arm, against, "macro_f1")
        because.append(sentence(arm, against, difference, f"macro-F1 ({added})"))
    for control in ("va-kernel", "same-spectrum", "random", "shuffled", "classes", "va-labels"):
        if over_seeds(results, control, _final) is not None or ARMS[control].first:
            difference = contrast(results, "b3", control, "macro_f1")
            because.append(sentence("b3", control, difference, "macro-F1"))
    word = _word(later)
    for control, name in (("va-kernel", "a map without EEG"), ("random", "random prototypes")):
        gain = contrast(results, PRIMARY[0], control, "accuracy")
        if gain is None or gain.n < 2:
            continue
        word += {
            1: f" The bank does better than {name}.",
            0: f" The bank cannot be told from {name}.",
            -1: f" {name[0].upper()}{name[1:]} does better than the bank.",
        }[gain.direction]
        break
    return Verdict(claim, word, because)


def _grid(results: list[RunResult]) -> Verdict:
    claim = "A 5x5 grid is more stable than denser ones."
    because, words = [], []

    def jitter(r: RunResult) -> float:
        return r.jitter("macro_f1")

    for grid in ("grid-7", "grid-9"):
        if over_seeds(results, grid, _final) is None:
            because.append(f"{grid}: not run.")
            continue
        because.append(sentence(grid, "b3", paired(results, grid, "b3", _final), "macro-F1"))
        steadier = paired(results, grid, "b3", jitter)
        because.append(sentence(grid, "b3", steadier, "macro-F1's change between epochs"))
        spread = {name: over_seeds(results, name, _final) for name in (grid, "b3")}
        if all(e is not None and e.n > 1 for e in spread.values()):
            shown = [f"{name} {100 * e.sd:.2f}" for name, e in spread.items() if e is not None]
            because.append(f"Spread over seeds, points of macro-F1: {', '.join(shown)}.")
        words.append(_word(steadier))
    because.append(
        "With DREAMER's integer ratings 1 to 5 a 5x5 grid is the rating scale itself: at most 25 "
        "of 49 or 81 cells can hold a rating, so a denser grid is sparse whatever the brain does."
    )
    return Verdict(claim, words[0] if words else "Not run.", because)


def _final(result: RunResult) -> float:
    return result.score("macro_f1")


def _word(estimate: Estimate | None) -> str:
    if estimate is None:
        return "Not run."
    if estimate.n < 2:
        return "One seed: it shows nothing."
    word = {1: "Supported", 0: "Not shown", -1: "Contradicted"}[estimate.direction]
    return f"{word}{f' (only {estimate.n} seeds)' if estimate.n < FEW else ''}."
