"""One process with all cores beside several with one core each, on one machine.

The same run (drawn faces, B3) is trained both ways; printed are images a second of each epoch
and how far the losses of the two drift apart.

    python -m benchmarks.distributed --processes 2
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import hardware


def train(folder, processes, options):
    """history.json of a run."""
    out = folder / f"of{processes}"
    start = ["-m", "neurogaze_fast.train"]
    environment = dict(os.environ)
    if processes > 1:
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        start = [*run, *start]
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    command = [sys.executable, *start, "--out", str(out), *options]
    subprocess.run(command, check=True, env=environment)
    return json.loads((out / "history.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result here")
    given, options = parser.parse_known_args()
    options = options or ["--start-size", "None", "--epochs", "3", "--no-amp"]
    with tempfile.TemporaryDirectory() as temporary:
        runs = {n: train(Path(temporary), n, options) for n in (1, given.processes)}
    rates = {n: [entry["images_per_second"] for entry in run] for n, run in runs.items()}
    alone, together = (statistics.median(rates[n]) for n in (1, given.processes))
    drift = [
        max(abs(b["train"][k] - a["train"][k]) / abs(a["train"][k]) for k in a["train"])
        for a, b in zip(runs[1], runs[given.processes], strict=True)
    ]
    result = {
        "hardware": hardware(),
        "options": options,
        "images_per_second": rates,
        "scaling": round(together / alone, 3),
        "largest_relative_difference_of_the_losses": [float(f"{value:.2g}") for value in drift],
        "data": "synthetic",
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
