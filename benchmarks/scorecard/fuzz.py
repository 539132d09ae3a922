"""F: fuzzing that is led by coverage (atheris), and the csv reader's C++ under sanitizers."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.scorecard.fuzz_targets import TARGETS
from benchmarks.scorecard.row import CannotRun, Counted, row

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""Of each target at scale 1; two run side by side."""
MEMORY_MB = 1024
SLOWEST_S = 5
CALLS = 3_000
"""Of the csv reader under sanitizers, at scale 1."""
_STATE = re.compile(r"cov: (\d+) ft: (\d+)")
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Target -> sound inputs, so that fuzzing does not begin at nothing."""
    import json

    import numpy as np

    from benchmarks.scorecard import pictures
    from benchmarks.scorecard.damage import WITNESS
    from tests.deploy.server.server_under_test import grey, tensors
    from tests.eeg.edf_files import write_edf
    from tests.eeg.test_mat_check import content, written

    rng = np.random.default_rng(0)
    signal = list(rng.normal(0, 20, (2, 3 * 16)))
    notes = {"onsets": [0, 1, 5], "notes": [(1, 1.5, 0.5, "BAD_x")]}
    sites = {"labels": ("F3", "F4")}
    folder.mkdir()
    recordings = [
        write_edf(folder / name, signal, 16, **sites, **more).read_bytes()
        for name, more in {"a": notes, "b": {"bdf": True}, "c": {"prefilter": "HP:1 LP:30"}}.items()
    ]
    head = "file;subject;clip;start_s;end_s;valence;arousal;scale\n"
    table = head + 'r.bdf;1;film;0,5;9;5;3;"1,9"\n'
    whole = tensors(grey(5, count=1))
    request = json.loads(whole)
    del request["inputs"][0]["data"]
    request["inputs"][0]["parameters"] = {"binary_data_size": 192}
    binary = json.dumps(request | {"parameters": {"binary_data_output": True}}).encode()
    kinds = {name: data for name, data in pictures.whole().items() if len(data) < 20_000}
    return {
        "bank": [_tensors(rng), (WITNESS / "run" / "bank.safetensors").read_bytes()],
        "manifest": [p.read_bytes() for p in WITNESS.rglob("*.manifest.json")],
        "picture": list(kinds.values()),
        "delimited": [
            table.encode(), table.replace(";", ",").encode("utf-16"), b"sep=;\n" + table.encode()
        ],
        "edf": recordings,
        "http": [
            b"\n" + whole, f"{len(binary)}\n".encode() + binary + bytes(192),
            b"127.0.0.1:80\nhttp://127.0.0.1:80", b"Bearer a-token-of-some-length\n",
        ],
        "mat": [
            written(), written(compressed=True), written(values={"x": content()["struct"]})
        ],
    }  # fmt: skip


def _tensors(rng: Any) -> bytes:
    """A bank of four cells."""
    import numpy as np
    from safetensors.numpy import save

    from neurogaze_fast.prototypes.grid import cell_centres

    rows = rng.normal(size=(4, 3))
    return save(
        {
            "prototypes": (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
            "counts": np.ones(4, np.int64), "subjects": np.ones(4, np.int64),
            "filled_from": np.zeros((4, 4), np.bool_), "centres": cell_centres(2),
        }
    )  # fmt: skip


def _fuzz(name: str, inputs: list[bytes], folder: Path, seconds: float) -> dict[str, Any]:
    """One target: executions, edges, and what ended it."""
    corpus = folder / name
    corpus.mkdir(parents=True)
    for number, data in enumerate(inputs):
        (corpus / f"seed{number}").write_bytes(data)
    options = [
        f"-max_total_time={max(2, round(seconds))}", f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={SLOWEST_S}", f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1",
        f"-max_len={max(map(len, inputs), default=64) + 1024}", "-seed=1", str(corpus),
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scorecard.fuzz_targets", name, *options],
        capture_output=True, text=True, errors="replace", cwd=ROOT, timeout=seconds + 300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = done.stderr + done.stdout
    states = [(int(cov), int(features)) for cov, features in _STATE.findall(said)]
    runs = _RUNS.search(said)
    found = [path.name for path in folder.glob(f"{name}-*")]
    wrong = [line for line in said.splitlines() if "Error" in line or "ERROR" in line]
    return {
        "runs": int(runs[1]) if runs else 0,
        "edges": states[-1][0] if states else 0,
        "edges of the seeds": states[0][0] if states else 0,
        "seconds": round(time.monotonic() - began, 1),
        "ended by": found,
        "said": (wrong or said.splitlines()[-5:]) if found or done.returncode else [],
        "exit": done.returncode,
    }


def _atheris() -> None:
    probe = [sys.executable, "-c", "import atheris"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        raise CannotRun("atheris is missing: pip install atheris")


def _judged(found: dict[str, dict[str, Any]], calls: int, reports: list[str]) -> Counted:
    ended = {name: f["said"] for name, f in found.items() if f["ended by"] or f["exit"]}
    runs = sum(f["runs"] for f in found.values())
    edges = ", ".join(f"{name} {f['edges']}" for name, f in found.items())
    return Counted(
        runs + calls, len(ended) + len(reports),
        f"{runs} inputs to {len(found)} readers, edges reached: {edges}; {calls} calls of the csv "
        f"reader's C++ under sanitizers, {len(reports)} reports",
        {"targets": found, "ended": ended, "reports": reports[:3]},
    )  # fmt: skip


def build_reader(source: Path, folder: Path) -> Path:
    """The csv reader with the address and undefined-behaviour sanitizers.

    Raises:
        CannotRun: no compiler, no sanitizers or no pybind11 here.
    """
    from tests.native import emulate

    if missing := emulate.available() or emulate.sanitizers_available():
        raise CannotRun(missing)
    try:
        import pybind11
    except ModuleNotFoundError:
        raise CannotRun("pybind11 is missing: pip install pybind11") from None
    library = folder / f"_io{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [pybind11.get_include(), sysconfig.get_paths()["include"]]
    flags = ["-std=c++17", "-O1", "-g1", "-fPIC", "-shared", "-pthread", *emulate.SANITIZE]
    subprocess.run(
        [*emulate.COMPILER, *flags, *(f"-I{path}" for path in include), str(source), "-o", library],
        check=True, capture_output=True,
    )  # fmt: skip
    return library


READ = """
import importlib.util, pathlib, random, sys
spec = importlib.util.spec_from_file_location("neurogaze_fast._io", sys.argv[1])
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)
from benchmarks.scorecard import fuzz
from neurogaze_fast.faces import fer_csv
fuzz.read_mutants(fer_csv, reader, pathlib.Path(sys.argv[2]), int(sys.argv[3]))
print("clean", flush=True)
"""


def read_mutants(fer_csv: Any, reader: Any, folder: Path, count: int) -> None:
    """Changed csv files, read by both readers of C++ and by Python, which must agree."""
    import functools
    import types

    from neurogaze_fast.errors import DataError

    portable = types.SimpleNamespace(
        parse_fer_rows=functools.partial(reader.parse_fer_rows, portable=True)
    )
    chance, path = random.Random(5), folder / "fer2013.csv"
    for number in range(count):
        path.write_bytes(mutant(chance))
        outcomes = []
        for io_module, native in ((reader, "1"), (portable, "1"), (None, "0")):
            os.environ["NEUROGAZE_NATIVE"], fer_csv._io = native, io_module
            try:
                read = fer_csv.read_fer_csv(path, threads=1 + number % 3)
                outcomes.append([part.tobytes() for part in vars(read).values()])
            except DataError as error:
                outcomes.append(str(error))
        if outcomes[0] != outcomes[2] or outcomes[1] != outcomes[2]:
            raise AssertionError(f"readers differ on mutant {number}")


def mutant(chance: random.Random) -> bytes:
    """fer2013.csv of a few rows with some bytes, fields, line ends or quotes changed."""
    rows = chance.randint(0, 4)
    top = chance.choice((9, 99, 255))
    lines = ["emotion,pixels,Usage"]
    for _ in range(rows):
        pixels = " ".join(str(chance.randint(0, top)) for _ in range(2304))
        lines.append(f"{chance.randint(0, 6)},{pixels},{chance.choice(('Training', 'PublicTest'))}")
    quoted = [
        line.replace(",", ',"', 1).replace(",P", '",P').replace(",T", '",T') for line in lines
    ]
    lines = lines[:1] + (quoted if chance.random() < 0.2 else lines)[1:]
    data = bytearray(chance.choice(("\n", "\r\n")).join(lines).encode())
    data += chance.choice((b"", b"\n", b"\n\n"))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice((b'"', b",", b" ", b"\n", b"\0", b"9", b"256", b"\xff"))
            case 1:
                del data[at : at + chance.randint(1, 5)]
            case 2:
                del data[at:]
            case 3:
                data[at:at] = data[max(0, at - chance.randint(1, 9000)) : at]
            case 4 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def _reader_reports(source: Path, folder: Path, calls: int) -> list[str]:
    from tests.native import emulate

    library = build_reader(source, folder)
    done = subprocess.run(
        [sys.executable, "-c", READ, library, folder, str(calls)],
        capture_output=True, text=True, cwd=ROOT,
        env=emulate.sanitizer_environment() | {"PYTHONPATH": str(ROOT), "PYTHONMALLOC": "malloc"},
    )  # fmt: skip
    clean = done.returncode == 0 and done.stdout.split()[-1:] == ["clean"]
    return [] if clean else [(done.stderr or done.stdout)[-800:]]


def canary_f1(folder: Path) -> Counted:
    """A reader that breaks at one word of five letters, and a csv reader that reads too far."""
    _atheris()
    found = _fuzz("planted", [b"x"], folder / "fuzz", 60)
    right, wrong = "  return at == field.end;\n", "  return *(field.begin + (1 << 20)) != at[0];\n"
    text = (ROOT / "csrc" / "io" / "fer_csv.cpp").read_text()
    if text.count(right) != 1:
        raise RuntimeError("the line that the canary changes is not there")
    source = folder / "fer_csv.cpp"
    source.write_text(text.replace(right, wrong))
    reports = _reader_reports(source, folder, 50)
    counted = _judged({"planted": found}, 50, reports)
    figure = f"the word found in {found['seconds']} s; {counted.figure}"
    return Counted(counted.n, counted.failures, figure, counted.details, needed=2)


@row(
    "F1",
    "inputs led by coverage to the readers of banks, manifests, pictures, lists of clips, EDF, "
    ".mat tags and infer requests; changed csv files to the C++ reader under sanitizers",
    f"a value or a typed error, within {SLOWEST_S} s and {MEMORY_MB} MB; no report; C++ and Python "
    "agree",
    canary_f1,
)
def f1(folder: Path, scale: float) -> Counted:
    """A minute for each of 7 readers, two side by side, and 3,000 csv files."""
    _atheris()
    inputs = seeds(folder / "seeds")
    with ThreadPoolExecutor(2) as pool:
        futures = {
            name: pool.submit(_fuzz, name, inputs[name], folder / "fuzz", SECONDS * scale)
            for name in TARGETS
        }
        found = {name: future.result() for name, future in futures.items()}
    calls = max(50, round(CALLS * scale))
    reports = _reader_reports(ROOT / "csrc" / "io" / "fer_csv.cpp", folder, calls)
    return _judged(found, calls, reports)
