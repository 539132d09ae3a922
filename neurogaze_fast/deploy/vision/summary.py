"""What predict found, on the terminal, when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurogaze_fast.console import counted, printable, say
from neurogaze_fast.deploy.vision.annotate import label_of
from neurogaze_fast.deploy.vision.timeline import clock

if TYPE_CHECKING:
    from rich.console import Console

    from neurogaze_fast.deploy.face import Face
    from neurogaze_fast.deploy.vision.files import Summary

NAMED = 10
"""Skipped files that are printed; all of them are in the JSON file."""


def print_faces(
    console: Console, pictures: Sequence[tuple[str, Sequence[Face]]], summary: Summary
) -> None:
    """Each face of a few pictures; of many a table of labels; of videos each person."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_edge=False)
    few = summary.pictures <= len(pictures)
    if few and pictures:
        for heading in ("picture", "face", "label", "certain", "box", "valence", "arousal"):
            table.add_column(heading, justify="left" if heading in _TEXTS else "right")
        for source, faces in pictures:
            name = printable(console, Path(source).name)
            for number, face in enumerate(faces, 1):
                sure = "" if face.certainty is None else f"{100 * face.certainty:.0f} %"
                box = " ".join(f"{edge:.0f}" for edge in face.box or ())
                table.add_row(escape(name), str(number), label_of(face), sure, box,
                              f"{face.valence:+.2f}", f"{face.arousal:+.2f}")  # fmt: skip
            if not faces:
                table.add_row(escape(name), "", "no face")
        console.print(table, highlight=False)
    elif summary.labels:
        for heading in ("label", "faces", "share"):
            table.add_column(heading, justify="left" if heading in _TEXTS else "right")
        for label, count in summary.labels.most_common():
            table.add_row(label, str(count), f"{100 * count / summary.faces:.1f} %")
        console.print(table, highlight=False)
    for source, told in summary.persons.items():
        for person in told["persons"][:NAMED]:
            say(
                console,
                f"{Path(source).name}, person {person['id']}: mostly {person['label']} "
                f"({100 * person['probabilities'][person['label']]:.0f} % on average), "
                f"{clock(person['first_s'])} to {clock(person['last_s'])}, "
                f"{counted(person['faces'], 'face')}, valence {person['valence']:+.2f}, "
                f"arousal {person['arousal']:+.2f}",
            )


_TEXTS = ("picture", "label", "box")


def print_summary(
    console: Console, summary: Summary, left_out: dict[str, int], where: Sequence[Path]
) -> None:
    """What was found, what was left out, and where the results lie."""
    for skipped in summary.skipped[:NAMED]:
        say(console, f"Left out: {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > NAMED:
        say(console, f"Left out: {len(summary.skipped) - NAMED} more; the JSON file names them all")
    looked = summary.pictures + summary.frames
    each = f" ({1e3 * summary.seconds / looked:.1f} ms each)" if looked else ""
    say(
        console,
        f"{counted(summary.pictures, 'picture')} and {counted(summary.frames, 'video frame')}{each}"
        f": {counted(summary.faces, 'face')}, {summary.without_face} without a face",
    )
    if left_out["small"] or left_out["many"]:
        say(
            console,
            f"Not used: {counted(left_out['small'], 'face')} below --min-face, {left_out['many']} "
            "beyond --max-faces",
        )
    for path in where:
        say(console, f"Written: {path}")
