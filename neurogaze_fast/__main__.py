"""``neurogaze-fast COMMAND ...``, or ``python -m neurogaze_fast COMMAND ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "predict": "what the faces in pictures, videos or a camera's stream express",
    "serve": "a web page and a server that answer for pictures and faces",
    "prepare": "read EEG recordings or face sets, and write maps or shards",
    "train-teacher": "train the EEG teacher, scored on people and films it did not see",
    "predict-eeg": "valence and arousal of EEG recordings, by a trained teacher",
    "build-prototypes": "make the bank of prototypes, which train takes, from a teacher",
    "train": "train a face model (the student), with a teacher's bank or without",
    "evaluate": "score a trained run again, or on another set",
    "ablate": "train with parts of the method left out, and compare: what each is worth",
    "export": "make a trained run's fast inference engine, and compare its answers",
    "doctor": "what this machine offers, and what is missing",
}
"""Name -> what it does; a module of that name (with underscores) has ``main(argv)``."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that is named first with the words that follow."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-h", "--help"):
        print(_usage())
        return
    if words and words[0] == "--version":
        from neurogaze_fast import __version__

        print(__version__)
        return
    name = words[0].replace("_", "-") if words else ""
    if name not in COMMANDS:
        said = f"There is no command {words[0]!r}." if words else "Name a command."
        print(f"{said}\n\n{_usage()}", file=sys.stderr)
        raise SystemExit(2)
    module = importlib.import_module(f"neurogaze_fast.{name.replace('-', '_')}")
    module.main(words[1:])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return (
        "usage: neurogaze-fast COMMAND ...\n\n"
        + "\n".join(lines)
        + "\n\nneurogaze-fast COMMAND --help shows its options."
        "\nFirst steps: neurogaze-fast predict photo.jpg, or neurogaze-fast doctor."
    )


if __name__ == "__main__":
    main()
