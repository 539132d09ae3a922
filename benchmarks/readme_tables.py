"""The tables of README, docs/results.md and docs/corruptions.md, from the newest results.

    python -m benchmarks.readme_tables     # a test fails where they differ from the files

Each lies between two markers. A row reads its own figures, so that none is written twice.
"""

import json
from pathlib import Path

from benchmarks import corruption_study
from benchmarks.results_table import PAGE, PAPER, STUDIES, summary_of
from benchmarks.scorecard import report
from benchmarks.teacher_networks import table as teachers
from neurogaze_fast.ablation.tables import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
SHIPPED = ROOT / "neurogaze_fast/weights/compact/metrics.json"
README = ROOT / "README.md"
CORRUPTIONS = ROOT / "docs/corruptions.md"
SPEED_HEAD = ["on a CPU", "ours", "baseline", "ratio"]
KINDS = {"jpg": "JPEG", "png": "PNG"}
STUDY = "1-ferplus-default"
"""The study whose best arm README shows."""


def newest(what):
    """The newest file of results of that name."""
    return json.loads(max(RESULTS.glob(f"*-cpu-{what}.json")).read_text())


def scores(block):
    """accuracy / macro-F1 / balanced accuracy, per cent."""
    return [f"{100 * block[name]:.2f}" for name in ("accuracy", "macro_f1", "balanced_accuracy")]


def span(values):
    """The lowest and the highest, to two digits."""
    low, high = (f"{value:.3g}" if value < 10 else f"{value:.0f}" for value in
                 (min(values), max(values)))  # fmt: skip
    return low if low == high else f"{low} to {high}"


def default_recipe():
    """(mean of the three scores, seeds, images) of the default recipe's b3 on FERPlus valid."""
    runs = sorted((STUDIES / STUDY / "runs/b3").glob("seed*/metrics.json"))
    blocks = [json.loads(path.read_text())["valid"] for path in runs]
    names = ("accuracy", "macro_f1", "balanced_accuracy")
    means = [100 * sum(b["8way"][name] for b in blocks) / len(blocks) for name in names]
    return means, len(blocks), blocks[0]["n"]


def train_step(case):
    """A row: images a second of a training step."""
    here = newest("train-step")["cases"][case]
    ours, plain, timm = (here[name] for name in ("ours eager", "plain loop", "timm"))
    size = case.split(", ")[1]
    return [
        f"training step, ResNet-18, {size}, bf16",
        f"{ours['images_per_second']:.0f} images/s, all four terms",
        f"{plain['images_per_second']:.0f} plain PyTorch loop, {timm['images_per_second']:.0f} "
        "timm; cross-entropy alone",
        f"{ours['times_plain']:.2f}",
    ]


def latency(case, words, key, unit):
    """A row: time of one face, or images a second."""
    (row,) = (row for row in newest("latency")["rows"] if row["case"] == case)
    here = row[key]
    ours, fastest, rival = (here[n] for n in ("openvino bf16", "openvino int8", "onnxruntime fp32"))
    ratios = sorted(
        [max(ours, rival) / min(ours, rival), max(fastest, rival) / min(fastest, rival)]
    )
    form = ".1f" if key == "p50_ms" else ",.0f"
    return [
        words,
        f"{ours:{form}} {unit} OpenVINO bf16, {fastest:{form}} int8",
        f"{rival:{form}} ONNX Runtime, {here['torch.compile fp32']:{form}} torch.compile",
        f"{ratios[0]:.1f} / {ratios[1]:.1f}",
    ]


def loading():
    """A row: images a second of the loaders."""
    case = newest("loaders")["cases"][0]
    here = case["images_per_second"]
    ours, dali = here["resident"], here["DALI cpu, shards"]
    rival = here["torchvision v2, Pillow, folder"]
    return [
        f"loading {KINDS[case['format']]}, {case['size']} px, augmented",
        f"{ours:,} images/s resident, {dali:,} DALI",
        f"{rival:,} torchvision v2 with Pillow, 2 workers",
        f"{ours / rival:.0f} / {dali / rival:.1f}",
    ]


def csv_reader():
    """A row: fer2013.csv."""
    rows = {(row["impl"], row["threads"]): row for row in newest("fer-csv")}
    ours, rival = rows["native", 1], rows["pandas+numpy", 1]
    return [
        f"fer2013.csv, {ours['megabytes']:.0f} MB, one thread",
        f"{ours['MB/s'] / 1000:.1f} GB/s",
        f"{rival['MB/s']:.0f} MB/s, pandas and numpy",
        f"{ours['times_pandas']:.0f}",
    ]


def operators():
    """Rows: the fused operators against eager torch and torch.compile."""
    rows = newest("operators")["rows"] + newest("conv3x3")["rows"]
    for name, words in (
        ("proto_geo_loss", "Proto-KD and D-Geo, forward and backward"),
        ("logit_loss", "cross-entropy and KD, forward and backward"),
        ("augment", "augmentation of a batch"),
        ("topomap", "topographic maps"),
        ("conv3x3", "3x3 convolution, forward and both gradients"),
    ):
        own = [row for row in rows if row.get("op") == name]
        first = own[0]
        yield [
            f"{words} ({len(own)} sizes)",
            f"{first['us']['native'] / 1000:.2g} ms ({first['size']})",
            f"{first['us']['eager'] / 1000:.2g} ms eager, "
            f"{first['us']['torch.compile'] / 1000:.2g} ms torch.compile",
            f"{span([row['times_eager'] for row in own])} / "
            f"{span([row['times_compile'] for row in own])}",
        ]
    beside = [row for row in rows if "times_torchvision" in row]
    yield [
        f"augmentation, batches of 128 ({len(beside)} sizes)",
        f"{beside[0]['native_images_per_s']:,} images/s (48 px, grey)",
        f"{beside[0]['torchvision_images_per_s']:,} torchvision v2, 2 workers",
        span([row["times_torchvision"] for row in beside]),
    ]


def eeg():
    """A row: a recording's windows to maps."""
    (row,) = newest("eeg")["rows"]
    return [
        f"EEG windows to maps, {row['maps']} maps",
        f"{row['maps_per_s']['native']:,} maps/s",
        f"{row['maps_per_s']['mne']:,} MNE, {row['maps_per_s']['torcheeg, Welch']:,} torcheeg",
        f"{row['times']['mne']} / {row['times']['torcheeg, Welch']}",
    ]


def speed_rows():
    """All rows of the speed table; README shows the first five."""
    return [
        train_step("resnet18, 32 px, small stem, batch 64"),
        latency("resnet18 112 px, batch 1", "one face, ResNet-18, 112 px, median", "p50_ms", "ms"),
        loading(),
        csv_reader(),
        eeg(),
        train_step("resnet18, 112 px, imagenet stem, batch 32"),
        latency("resnet18 48 px, batch 64", "64 faces, ResNet-18, 48 px", "images_per_second",
                "images/s"),
        *operators(),
    ]  # fmt: skip


def claims():
    """README's four claims, each with its hardware and n."""
    means, seeds, images = default_recipe()
    paper = " / ".join(f"{value:.2f}" for value in PAPER["b3"])
    step, face = speed_rows()[:2]
    larger = train_step("resnet18, 48 px, small stem, batch 64")
    faults = json.loads(report.newest().read_text())
    counted = [entry["found"] for entry in faults["rows"] if "found" in entry]
    given, lost = (sum(entry[key] for entry in counted) for key in ("n", "failures"))
    where = newest("train-step")["hardware"]
    return markdown_table(
        ["claim", "hardware", "n"],
        [
            [
                f"FERPlus valid: {' / '.join(f'{value:.2f}' for value in means)} accuracy / "
                f"macro-F1 / balanced accuracy; the paper's best: {paper}",
                "no GPU: 90 minutes on one core",
                f"{images:,} images, {seeds} seed{'s' * (seeds > 1)}",
            ],
            [f"a training step with all four terms is {step[3]} times as fast as a plain PyTorch "
             f"loop with cross-entropy alone (ResNet-18, 32 px; {larger[3]} times at 48 px)", where,
             f"{newest('train-step')['turns']} turns"],
            [f"a face is answered in {face[1].split(' OpenVINO')[0]} (ResNet-18, 112 px), "
             f"{face[3].split(' / ')[0]} times as fast as ONNX Runtime", where,
             f"{face_calls():,} calls"],
            [f"{given:,} faults put in on purpose, {lost:,} not withstood",
             f"{faults['environment']['cpu']}, {faults['cores']} cores",
             f"{len(faults['rows'])} classes of faults"],
        ],
    )  # fmt: skip


def face_calls():
    """Calls that the latency of one face rests on."""
    rows = newest("latency")["rows"]
    (row,) = (row for row in rows if row["case"] == "resnet18 112 px, batch 1")
    return row["calls"]["openvino bf16"]


def results():
    """README's table of accuracy on FERPlus valid."""
    means, seeds, _ = default_recipe()
    once = json.loads(SHIPPED.read_text())["once"]["valid"]
    oracle = summary_of(STUDIES / STUDY)["vote_ceiling"]
    head = ["FERPlus valid, argmax rule, per cent", "seeds", "accuracy", "macro-F1", "balanced"]
    return markdown_table(head, [
        ["default recipe, ResNet-18, image and mirror image", str(seeds),
         *(f"{value:.2f}" for value in means)],
        ["the model in the box, each face once", "1", *scores(once["8way"])],
        ["*the paper's B3, 100 epochs*", "*1*", *(f"*{value:.2f}*" for value in PAPER["b3"])],
        ["*an oracle that knows each image's votes*", "",
         *(f"*{100 * value:.2f}*" for value in oracle.values())],
    ])  # fmt: skip


BLOCKS = {
    (README, "claims"): claims,
    (README, "results"): results,
    (README, "speed"): lambda: markdown_table(SPEED_HEAD, speed_rows()[:5]),
    (PAGE, "speed"): lambda: markdown_table(SPEED_HEAD, speed_rows()),
    (CORRUPTIONS, "corruptions"): lambda: markdown_table(*corruption_study.arm_table()),
    (CORRUPTIONS, "corruption kinds"): lambda: markdown_table(*corruption_study.kind_table()),
    (PAGE, "teachers"): lambda: teachers(newest("teacher-networks")),
}


def markers(name):
    """The lines around a table."""
    return (
        f"<!-- {name}: written by python -m benchmarks.readme_tables -->",
        f"<!-- end of {name} -->",
    )


def replaced(path, text):
    """A document's text with the present tables."""
    for (document, name), table in BLOCKS.items():
        if document == path:
            begin, end = markers(name)
            before, rest = text.split(begin)
            text = before + "\n\n".join([begin, table(), end]) + rest.split(end)[1]
    return text


def main():
    for path in dict.fromkeys(document for document, _ in BLOCKS):
        path.write_text(replaced(path, path.read_text()))


if __name__ == "__main__":
    main()
