"""``neurogaze-fast export RUN``: graph and engine for inference, and their parity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neurogaze_fast.deploy.export.config import ExportConfig
from neurogaze_fast.errors import run_command

if TYPE_CHECKING:
    from rich.console import Console

    from neurogaze_fast.deploy.export.exporting import Exported


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, export, and print."""
    run_command(lambda: run(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> ExportConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        ExportConfig,
        args=argv,
        description="Export a trained run to a fast inference engine, and compare the answers.",
        prog="neurogaze-fast export",
    )


def run(config: ExportConfig) -> Exported:
    """Export, print what was written, and fail where the answers changed too much.

    Raises:
        ParityError: the limits of the precision do not hold; every file stays, and no Triton
            model is written.
    """
    from rich.console import Console

    from neurogaze_fast.deploy.export.exporting import export
    from neurogaze_fast.deploy.export.parity import ParityError, table

    done = export(config)
    files = {"graph": done.graph.path, "engine": done.engine_file, "report": done.report_file}
    console = Console()
    if config.json:
        there = {what: str(where) for what, where in files.items() if where is not None}
        told = {"report": done.report, "remarks": done.remarks, "files": there}
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        if done.report is not None:
            console.print(table(done.report))
        for remark in done.remarks:
            _say(console, f"* {remark}")
        for what, where in files.items():
            if where is not None:
                again = " (was there already)" if what == "graph" and done.reused else ""
                _say(console, f"{what.capitalize()}: {where}{again}")
    if done.report is not None and not done.report["passed"]:
        raise ParityError(
            f"{done.report['detail']} does not give the model's answers: "
            f"{'; '.join(done.report['reasons'])}. The files were kept; use another --precision."
        )
    if config.triton is not None:  # servers poll such folders: nothing unproven goes there
        from neurogaze_fast.deploy.export.triton import write_repository

        repository = write_repository(done.graph, config.triton)
        if not config.json:
            _say(console, f"Triton model: {repository}")
    if config.hub is not None:
        from neurogaze_fast.deploy.export.hub import write_hub_folder
        from neurogaze_fast.evaluation.run_record import read_run

        write_hub_folder(read_run(config.run), done.graph, done.report, config.hub)
        if not config.json:
            _say(console, f"Folder for the Hugging Face Hub: {config.hub}")
    return done


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main()
