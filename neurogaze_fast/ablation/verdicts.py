"""Plain sentences from intervals: what each part adds, and what is left of the paper's claims."""

from __future__ import annotations

from dataclasses import dataclass

from neurogaze_fast.ablation.arms import ARMS
from neurogaze_fast.ablation.results import Estimate, RunResult, over_seeds, paired

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
    final = paired(results, "b1", "b0", _final)
    because = [
        sentence("b1", "b0", early, "macro-F1, mean of the first third of the epochs"),
        sentence("b1", "b0", final, "macro-F1 at the end"),
        sentence("b3", "b0", paired(results, "b3", "b0", lambda r: r.early("accuracy")),
                 "accuracy, mean of the first third, KD and all the rest together"),
        "With the raters' votes as the teacher KD is a richer label, not a better model; arm "
        "kd-resnet50 has a model as its teacher. "
        + sentence("kd-resnet50", "b1", paired(results, "kd-resnet50", "b1", _final), "macro-F1"),
    ]  # fmt: skip
    return Verdict(claim, _word(early), because)


def _late(results: list[RunResult]) -> Verdict:
    claim = "Proto-KD and D-Geo give late gains."
    steps = [paired(results, "b2", "b1", _final), paired(results, "b3", "b2", _final)]
    both = paired(results, "b3", "b1", _final)

    def lateness(r: RunResult) -> float:
        return r.late("macro_f1") - r.early("macro_f1")

    because = [
        sentence("b2", "b1", steps[0], "macro-F1 (Proto-KD)"),
        sentence("b3", "b2", steps[1], "macro-F1 (D-Geo)"),
        sentence("b3", "b1", both, "macro-F1 (both)"),
        sentence("b3", "b0", paired(results, "b3", "b0", _final), "macro-F1 (with KD)"),
        sentence("b3", "b1", paired(results, "b3", "b1", lateness),
                 "macro-F1, last third of the epochs minus first"),
    ]  # fmt: skip
    for control in ("random", "shuffled", "classes", "va-labels"):
        if over_seeds(results, control, _final) is not None or ARMS[control].first:
            difference = paired(results, "b3", control, _final)
            because.append(sentence("b3", control, difference, "macro-F1"))
    random = paired(results, "b3", "random", _final)
    word = _word(both)
    if random is not None and random.n > 1:
        word += {
            1: " The bank does better than random prototypes.",
            0: " The bank cannot be told from random prototypes.",
            -1: " Random prototypes do better than the bank.",
        }[random.direction]
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
