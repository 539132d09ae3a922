"""What of the machine decides a run's next numbers: random generators and CPU threads."""

from __future__ import annotations

from typing import Any

import torch
from rich.console import Console


def machine_state(device: torch.device) -> dict[str, Any]:
    """State of torch's generators on the CPU and on `device`, and the number of CPU threads."""
    return {
        "threads": torch.get_num_threads(),
        "rng": torch.get_rng_state(),
        "rng_cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
    }


def restore_machine_state(state: dict[str, Any], device: torch.device, console: Console) -> None:
    """Set the generators as :func:`machine_state` saw them; say where the threads differ."""
    torch.set_rng_state(state["rng"])
    if state["rng_cuda"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["rng_cuda"][0], device)
    if state["threads"] != torch.get_num_threads():
        console.print(
            f"[yellow]The run used {state['threads']} CPU threads, now it has "
            f"{torch.get_num_threads()}: the result will differ in the last digits.[/]"
        )
