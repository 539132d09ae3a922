"""What a model gains when each face is looked at more than once: sizes, shifts, mirror images.

    python -m benchmarks.scoring_views RUN --data FERPLUS [--out FILE.json]

A scoring is the mean of the probabilities of its views. All are compared on the same images of
valid with the same model, by a paired bootstrap, with the one view and the pair that the package
offers now (a face; a face and its mirror image).
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import hardware
from neurogaze_fast.evaluation.intervals import DRAWS, summary_of
from neurogaze_fast.evaluation.metrics import SUMMARY
from neurogaze_fast.evaluation.run_record import find_faces, read_run
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.ops import augment
from neurogaze_fast.reference import augment_params

BASE = 48
SIZES = (48, 56, 64)
SHIFT = 2
"""Pixels of the stored image."""
CROPS = ((0, 0), *product((-SHIFT, SHIFT), repeat=2))
BATCH = 256

View = tuple[int, tuple[int, int], bool]
"""Size, shift, mirrored."""


def views(sizes: tuple[int, ...], crops: bool, mirror: bool) -> list[View]:
    """Those of one scoring."""
    places = CROPS if crops else CROPS[:1]
    return list(product(sizes, places, (False, True) if mirror else (False,)))


def scorings() -> dict[str, list[View]]:
    """Name -> views."""
    found = {}
    for sizes, crops, mirror in product(
        ((48,), (56,), (64,), (48, 56), (48, 56, 64)), (False, True), (False, True)
    ):
        words = [" + ".join(f"{size}" for size in sizes) + " px"]
        words += [f"five crops of +-{SHIFT} px"] if crops else []
        words += ["mirror"] if mirror else []
        found[", ".join(words)] = views(sizes, crops, mirror)
    return found


@torch.inference_mode()
def probabilities(model: torch.nn.Module, images: np.ndarray, view: View) -> np.ndarray:
    """float64 [N, 8] of uint8 [N, H, W]."""
    size, (right, down), mirrored = view
    parts = []
    for start in range(0, len(images), BATCH):
        store = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
        rows = torch.arange(len(store))
        source = (store.shape[1], store.shape[2])
        params = augment_params(rows, seed=0, epoch=0, source=source, size=size, augmentation=None)
        params[:, 2] += right
        params[:, 5] += down
        batch = augment(store, rows, params, size=size, channels=1, dtype=torch.float32)
        parts.append(model(batch.flip(3) if mirrored else batch)[1].double().softmax(1))
    return torch.cat(parts).numpy()


def compared(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> dict[str, dict[str, float | list[float]]]:
    """Scores of `second` less those of `first`, answers [N], with paired 95 % intervals."""
    size = 8
    cells = np.zeros((size, size, size))
    np.add.at(cells, (labels, first, second), 1)
    flat = cells.ravel()
    used = np.flatnonzero(flat)
    drawn = np.zeros((DRAWS, flat.size))
    drawn[:, used] = np.random.default_rng(0).multinomial(
        len(labels), flat[used] / len(labels), size=DRAWS
    )
    drawn = drawn.reshape(DRAWS, size, size, size)

    def difference(tables: np.ndarray) -> np.ndarray:
        one, two = tables.sum(-1), tables.sum(-2)
        return summary_of(two, present_only=False) - summary_of(one, present_only=False)

    low, high = np.quantile(difference(drawn), [0.025, 0.975], axis=0)
    value = difference(cells)
    return {
        name: {"difference": float(value[i]), "interval": [float(low[i]), float(high[i])]}
        for i, name in enumerate(SUMMARY)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    run = read_run(words.run)
    part = find_faces(run, None, words.data)[1].usable("valid")
    index, _ = part.labelled("argmax")
    images, labels = part.images[index], hard_labels(part.votes[index])
    answers: dict[View, np.ndarray] = {}
    begin = time.perf_counter()
    for view in views(SIZES, crops=True, mirror=True):
        answers[view] = probabilities(run.model.eval(), images, view)
    means = {name: np.mean([answers[v] for v in chosen], axis=0).argmax(1)
             for name, chosen in scorings().items()}  # fmt: skip
    table = {}
    for name, found in means.items():
        confusion = np.zeros((8, 8))
        np.add.at(confusion, (labels, found), 1)
        table[name] = {
            "views": len(scorings()[name]),
            **dict(zip(SUMMARY, summary_of(confusion, present_only=False).tolist(), strict=True)),
            "against_one_view": compared(labels, means[f"{BASE} px"], found),
            "against_mirror": compared(labels, means[f"{BASE} px, mirror"], found),
        }
    result = {
        "what": f"{run.metadata['architecture']} on valid, argmax rule, n = {len(labels)}",
        "model_sha256": run.model_sha256,
        "hardware": hardware(),
        "seconds": round(time.perf_counter() - begin, 1),
        "scorings": table,
    }
    if words.out:
        words.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['what']}; differences to the face and its mirror image in points")
    for name, row in table.items():
        shown = [f"{name:40} {row['views']:2} views"]
        for score in ("accuracy", "macro_f1"):
            other = row["against_mirror"][score]
            low, high = (100 * edge for edge in other["interval"])
            change = 100 * other["difference"]
            shown.append(f"{100 * row[score]:6.2f} ({change:+.2f} [{low:+.2f}, {high:+.2f}])")
        print("  ".join(shown))


if __name__ == "__main__":
    main()
