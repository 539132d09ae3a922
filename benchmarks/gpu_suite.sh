#!/usr/bin/env bash
# Builds the package on a CUDA machine and runs benchmarks/gpu.py there: `make gpu`, or by hand with
# some of its steps. Needs Python with torch, and nvcc; where NEUROGAZE_WHEELS names a folder of
# wheels, nothing is fetched from a network.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
VENV=build/gpu-venv
begin=$SECONDS
if [ ! -x "$VENV/bin/python" ]; then
    "$PYTHON" -m venv --system-site-packages "$VENV"
fi
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
if [ -n "${NEUROGAZE_WHEELS:-}" ]; then
    # What is not among them is left out by the steps that want it, and named.
    pip install -q --no-index --no-deps "$NEUROGAZE_WHEELS"/*.whl
    pip install -q --no-index --no-deps --no-build-isolation -e .
else
    pip install -q "setuptools>=77" wheel "pybind11>=2.13" "ninja>=1.11"
    pip install -q --no-build-isolation -e '.[bench,test]'
fi
echo "built in $((SECONDS - begin)) s"
exec "$VENV/bin/python" -m benchmarks.gpu "$@"
