"""Whole commands over clips: this package, an older checkout of it, and `fer`, in turns in one run.

    python -m benchmarks.bench_video --rounds 3 --json video.json
    python -m benchmarks.bench_video --old ../older-checkout    # frames a second against it
    NEUROGAZE_FER_PYTHON=fer-venv/bin/python python -m benchmarks.bench_video   # against fer

Clips are generated: one of 360p with a photographed and a drawn face that cross, and one of 1080p
with eight small faces that walk through a street of noise (`--clip FILE` takes others). All counts:
starting, loading, decoding, finding, answering, drawing, encoding. `fer` reads with OpenCV, looks
at every frame, and writes a table; it draws nothing, which is to its advantage.
"""

import argparse
import csv
import json
import os
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
    """RGB pictures of a photographed face (NASA, public domain) and of drawn ones."""
    import skimage.data

    from neurogaze_fast.faces.synthetic import draw_faces

    photo = Image.fromarray(skimage.data.astronaut()[0:300, 90:390])
    drawn = [
        Image.fromarray(face).convert("RGB") for face in draw_faces("valid", 12)[0][[2, 7, 10]]
    ]
    return [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in (photo, *drawn)]


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {Path(clip).name: Path(clip) for clip in args.clip} or {
            "360p, 2 faces": write_clip(folder / "s.mp4", 640, 360, 160, 2, args.frames),
            "1080p, 8 faces": write_clip(folder / "l.mp4", 1920, 1080, 130, 8, args.frames),
        }
        for title, clip in clips.items():
            rivals = commands(args, clip, folder)
            times = {name: [] for name in rivals}
            for turn in range(args.rounds + 1):
                for name, (command, environment, _) in rivals.items():
                    begin = time.perf_counter()
                    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, cwd=folder)  # fmt: skip
                    if turn:  # the first one fills caches
                        times[name].append(time.perf_counter() - begin)
            ours = statistics.median(times["ours"])
            for name, (_, _, table) in rivals.items():
                middle = statistics.median(times[name])
                row = {
                    "clip": title, "what": name, "seconds": times[name], "median_s": middle,
                    "frames_a_second": args.frames / middle, "faces": found_in(table),
                    "ours_faster_by": middle / ours,
                }  # fmt: skip
                results.append(row)
                print(
                    f"{title:16} {name:12} {middle:8.2f} s  {row['frames_a_second']:7.1f} frames/s"
                    f"  {row['faces']:6d} faces  {row['ours_faster_by']:6.2f}x", flush=True,
                )  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
