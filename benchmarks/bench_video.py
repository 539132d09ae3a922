"""Whole commands over clips: this package, an older checkout of it, and `fer`, in turns in one run.

    python -m benchmarks.bench_video --rounds 3 --json video.json
    python -m benchmarks.bench_video --old ../older-checkout    # frames a second against it
    NEUROGAZE_FER_PYTHON=fer-venv/bin/python python -m benchmarks.bench_video   # against fer

Clips are generated: one of 360p with two photographed faces that cross, and one of 1080p
with eight small faces that walk through a street of noise (`--clip FILE` takes others). All counts:
starting, loading, decoding, finding, answering, drawing, encoding. `fer` reads with OpenCV, looks
at every frame, and writes a table; it draws nothing, which is to its advantage.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FPS = 25
FER = """
import csv, sys, cv2
from fer.fer import FER
detector = FER(mtcnn=sys.argv[3] == "mtcnn")
video = cv2.VideoCapture(sys.argv[1])
with open(sys.argv[2], "w", newline="") as file:
    table = csv.writer(file)
    while True:
        good, frame = video.read()
        if not good:
            break
        for face in detector.detect_emotions(frame):
            table.writerow([*face["box"], *face["emotions"].values()])
"""


def faces(side):
    """RGB pictures of a photographed face (NASA, public domain): itself, mirrored, and tinted."""
    import skimage.data

    photo = Image.fromarray(skimage.data.astronaut()[0:300, 90:390])
    photo = photo.resize((side, side), Image.Resampling.BICUBIC)
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tints = np.array([[1, 0.85, 0.75], [0.8, 0.9, 1]])
    tinted = [Image.fromarray((np.asarray(mirrored) * tint).astype(np.uint8)) for tint in tints]
    return [photo, mirrored, *tinted]


def write_clip(path, width, height, side, people, frames):
    """A clip in which `people` faces cross the picture at several speeds."""
    from neurogaze_fast.deploy.vision.video import VideoWriter

    looks = faces(side)
    noise = np.random.default_rng(0).integers(60, 130, (height // 20, width // 20, 3), np.uint8)
    street = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    with VideoWriter(path, FPS) as video:
        for number in range(frames):
            frame, t = street.copy(), number / FPS
            for who in range(people):
                swing = np.sin(2 * np.pi * t / (4 + who) + who)
                x = round((width - side) / 2 * (1 + swing))
                y = round((height - side) * (who + 0.5) / people + 10 * np.sin(t + who))
                frame.paste(looks[who % len(looks)], (x, y))
            video.write(np.asarray(frame))
    return path


def commands(args, clip, folder):
    """{name: (command, environment, table)} of everything that is timed on a clip."""
    here = str(Path(__file__).resolve().parents[1])
    words = ["-m", "neurogaze_fast.predict", str(clip), "--out"]
    trees = {"ours": here, **({"older": str(Path(args.old).resolve())} if args.old else {})}
    found = {}
    for name, tree in trees.items():
        out = folder / name
        environment = {**os.environ, "PYTHONPATH": tree}
        found[name] = [sys.executable, *words, str(out)], environment, out / "results.csv"
    if python := os.environ.get("NEUROGAZE_FER_PYTHON"):
        for kind in ("haar", "mtcnn"):
            table = folder / f"fer-{kind}.csv"
            command = [python, "-c", FER, str(clip), str(table), kind]
            found[f"fer, {kind}"] = command, dict(os.environ), table
    return found


def run(command, environment, folder):
    """(seconds, seconds of processor) that a command took with all its children."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, env=environment, check=True, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def found_in(table):
    """Faces in a table: rows with a box."""
    with open(table, newline="") as file:
        rows = list(csv.reader(file))
    if rows and rows[0][:1] == ["source"]:
        return sum(bool(row[3]) for row in rows[1:])
    return len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", help="checkout of an older commit")
    parser.add_argument("--clip", nargs="*", default=[], help="videos in place of generated ones")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="0: once, without warming up")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    from neurogaze_fast.deploy.vision.video import VideoReader

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {Path(clip).name: Path(clip) for clip in args.clip} or {
            "360p, 2 faces": write_clip(folder / "s.mp4", 640, 360, 160, 2, args.frames),
            "1080p, 8 faces": write_clip(folder / "l.mp4", 1920, 1080, 130, 8, args.frames),
        }
        for title, clip in clips.items():
            frames, rivals = VideoReader(clip).expected, commands(args, clip, folder)
            times, busy = ({name: [] for name in rivals} for _ in range(2))
            for turn in range(args.rounds + 1):
                for name, (command, environment, _) in rivals.items():
                    wall, processor = run(command, environment, folder)
                    if turn or not args.rounds:  # the first one fills caches
                        times[name].append(wall)
                        busy[name].append(processor)
            ours = statistics.median(times["ours"])
            for name, (_, _, table) in rivals.items():
                middle = statistics.median(times[name])
                row = {
                    "clip": title, "what": name, "seconds": times[name], "median_s": middle,
                    "processor_s": statistics.median(busy[name]),
                    "frames_a_second": frames / middle, "faces": found_in(table),
                    "ours_faster_by": middle / ours,
                }  # fmt: skip
                results.append(row)
                print(
                    f"{title:16} {name:12} {middle:8.2f} s ({row['processor_s']:.1f} of processor)"
                    f"  {row['frames_a_second']:7.1f} frames/s  {row['faces']:6d} faces"
                    f"  {row['ours_faster_by']:6.2f}x", flush=True,
                )  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
