"""``neurogaze-fast evaluate RUN``: score a run's model, or verify the run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from neurogaze_fast.errors import ArtifactError, run_command
from neurogaze_fast.evaluation.config import EvaluateConfig


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score or verify, and print."""
    run_command(lambda: run(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> EvaluateConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        EvaluateConfig,
        args=argv,
        description="Score a trained run on its own valid split, or on another face set.",
        prog="neurogaze-fast evaluate",
    )


def run(config: EvaluateConfig) -> dict[str, object] | None:
    """Do what the options say: --verify, --corruptions, or score."""
    if config.verify:
        verify(config)
        return None
    return corruptions(config) if config.corruptions else evaluate(config)


def corruptions(config: EvaluateConfig) -> dict[str, object]:
    """Score runs on corrupted faces; print a table or JSON; return what corruptions.json holds."""
    from rich.console import Console

    from neurogaze_fast.device import pick_device
    from neurogaze_fast.evaluation.corruption_scores import corruption_table, score_corruptions

    console = Console(quiet=config.json)
    with console.status("Corrupting and scoring") as status:
        result, folder = score_corruptions(config, pick_device(config.device), status.update)
    if config.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return result
    console.print(corruption_table(result))
    console.print(f"Written to {folder}", soft_wrap=True, markup=False)
    return result


def evaluate(config: EvaluateConfig) -> dict[str, object]:
    """Score one split of a face set with a verified model; print a table or JSON; return it."""
    from rich.console import Console

    from neurogaze_fast.device import pick_device
    from neurogaze_fast.evaluation.evaluate_set import evaluate_set
    from neurogaze_fast.evaluation.groups import group_remark, group_table
    from neurogaze_fast.evaluation.remarks import remarks
    from neurogaze_fast.evaluation.report import score_table
    from neurogaze_fast.evaluation.run_record import read_run

    device = pick_device(config.device)
    metrics, folder = evaluate_set(read_run(config.run), config, device)
    if config.json:
        print(json.dumps(metrics, indent=2, allow_nan=False))
        return metrics
    console = Console()
    console.print(score_table(metrics))
    for text in remarks(metrics):
        console.print(f"* {text}", markup=False, highlight=False)
    if config.groups is not None:
        console.print(group_table(metrics["groups"]))
        console.print(group_remark(config.groups, metrics["groups"]), markup=False, highlight=False)
    where = f"Written to {folder}\nReport: {folder / 'report.html'}"
    console.print(where, soft_wrap=True, markup=False)
    return metrics


def verify(config: EvaluateConfig) -> None:
    """Compare a run with its fingerprint and print a line for each check.

    Raises:
        ArtifactError: something differs, or there is no fingerprint.
    """
    from dataclasses import asdict

    from neurogaze_fast.device import pick_device
    from neurogaze_fast.evaluation.verify import verify_run

    checks = []
    for check in verify_run(
        config.run,
        device=pick_device(config.device),
        batch_size=config.batch_size,
        kind=config.faces,
        data=config.data,
    ):
        checks.append(check)
        if not config.json:
            print(check, flush=True)
    if config.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    different = [check.what for check in checks if check.result == "differs"]
    if different:
        raise ArtifactError(
            f"{config.run} is not what its fingerprint says: {', '.join(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}. Restore it from a copy, or train "
            "again."
        )


if __name__ == "__main__":
    main()
