"""What a run says of itself before it starts."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from neurogaze_fast.ops import _library
from neurogaze_fast.student.model_file import MODEL_FILE
from neurogaze_fast.student.run import TrainingRun


def introduce(run: TrainingRun, console: Console) -> None:
    """Print what is trained, from what, how, and where it is written."""
    config, metadata = run.config, run.metadata
    rows = ", ".join(f"{name} {count}" for name, count in metadata["data"]["rows"].items())
    for split, reasons in metadata["data"]["left_out"].items():
        for reason, count in reasons.items():
            rows += f"; {split} without {count} ({reason})"
    bank = "no bank"
    if metadata["bank"] is not None:
        kind = "[yellow]synthetic, knows no EEG[/]" if metadata["bank"]["synthetic"] else "from EEG"
        if run.bank is not None and run.bank.provenance.get("made_by") == "import_npz":
            source = escape(run.bank.provenance["source"]["file"])
            order = run.bank.provenance["order"]
            kind = f"{source}, which does not say what it was made from; order of cells: {order}"
        bank = f"bank {metadata['bank']['sha256'][:12]} ({kind})"
        if config.prototypes != "bank":
            bank = f"[yellow]control: {config.prototypes} prototypes[/] in place of {bank}"
        bank += ", centred" if config.centre_bank else ""
    console.print(
        f"faces: {escape(metadata['data']['source'])} ({metadata['data']['layout']}): {rows}; "
        f"{len(run.faces.duplicates)} images of valid and test also occur in train\n"
        f"variant {config.variant}, {bank}; {config.model}, {config.stem} stem, {config.size} px, "
        f"{config.epochs} epochs of {metadata['training_rows']} rows on {run.device}"
        f"{' in ' + config.amp_dtype if config.amp else ''}, "
        f"{metadata['environment']['threads']} threads; {_operators(run.device.type)}\n"
        f"loader: {escape(run.trainer.loader.reason)}; {_how(run)}\n"
        f"writing {escape(str(run.folder / MODEL_FILE))}",
        highlight=False,
        soft_wrap=True,
    )
    for note in metadata["data"].get("notes", []):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if metadata["synthetic"]:
        console.print(
            "[yellow]These are synthetic demo faces: the scores say nothing about people.[/]"
        )


def _how(run: TrainingRun) -> str:
    step = run.trainer.run_step
    words = [f"step: {'one CUDA graph' if step.graphed else 'eager'} ({step.graph_reason})"]
    if run.config.compile:
        words.append("network compiled")
    if run.world.size > 1:
        words.append(f"{run.world.size} processes share each batch of {run.config.batch_size}")
    return "; ".join(words)


def _operators(device: str) -> str:
    loaded, detail = _library.status(device)
    return f"native operators ({detail})" if loaded else f"operators in plain torch ({detail})"
