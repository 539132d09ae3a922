"""``neurogaze-fast build-prototypes TEACHER``: the frozen bank of a trained teacher."""

from __future__ import annotations

from collections.abc import Sequence

from neurogaze_fast.errors import run_command
from neurogaze_fast.prototypes.config import BuildPrototypesConfig


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, build, and print how the grid is covered."""

    def build() -> None:
        config = parse(argv)
        from rich.console import Console

        if config.embeddings is not None:
            from neurogaze_fast.prototypes.from_table import bank_from_table

            bank_from_table(config, Console())
            return
        from neurogaze_fast.prototypes.from_teacher import build_prototypes

        build_prototypes(config, Console())

    run_command(build)


def parse(argv: Sequence[str] | None = None) -> BuildPrototypesConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        BuildPrototypesConfig,
        args=argv,
        description="Build the prototype bank, which train --bank takes, from a trained teacher.",
        prog="neurogaze-fast build-prototypes",
    )


if __name__ == "__main__":
    main()
