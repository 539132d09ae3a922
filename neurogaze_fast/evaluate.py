"""``python -m neurogaze_fast.evaluate RUN``: recompute a run's scores from its model file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from neurogaze_fast.config import EvaluateConfig
from neurogaze_fast.errors import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score, and print."""
    run_command(lambda: evaluate(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> EvaluateConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        EvaluateConfig,
        args=argv,
        description="Score a trained run.",
        prog="python -m neurogaze_fast.evaluate",
    )


def evaluate(config: EvaluateConfig) -> dict[str, object]:
    """Score one split of a face set with a verified model; print a table or JSON; return it."""
    from pathlib import Path

    from rich.console import Console

    from neurogaze_fast.evaluation.report import score_table
    from neurogaze_fast.evaluation.scoring import score_split
    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.student.inference import load_model, pick_device

    console = Console()
    device = pick_device(config.device)
    model, facts = load_model(config.run)
    kind, data = config.faces, config.data
    if data is None and kind is None:
        synthetic = facts["data"]["synthetic"]
        kind, data = ("demo", None) if synthetic else ("ferplus", Path(facts["data"]["source"]))
    faces = load_faces(kind, data)
    scores, _, _ = score_split(
        model.to(device),
        faces,
        config.split,
        size=facts["size"],
        device=device,
        batch_size=config.batch_size,
        flip=facts.get("flip", False),
    )
    metrics = {
        config.split: scores,
        "synthetic": faces.synthetic or facts["synthetic"],
        "synthetic_bank": bool((facts.get("bank") or {}).get("synthetic", False)),
        "selected": facts["selected"],
    }
    if config.json:
        print(json.dumps(metrics, indent=2, allow_nan=False))
        return metrics
    console.print(score_table(metrics))
    if faces.sha256 == facts["data"]["sha256"]:
        console.print("The set is the one the model was trained with (same pixels and votes).")
    else:
        console.print("[yellow]This is not the set the model was trained with.[/]")
    return metrics


if __name__ == "__main__":
    main()
