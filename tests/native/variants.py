"""Builds of the kernels that the package does not have: with sanitizers, or with a mistake."""

import hashlib
import shutil
from pathlib import Path

from tests.native import emulate

CSRC = Path(__file__).resolve().parents[2] / "csrc"
# As setup.py compiles the CPU's kernels, but for -O3.
CPU_FLAGS = [
    "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-Wno-psabi",
]  # fmt: skip
KINDS = {"cpu": ("cpu", ".cpp"), "emulated": ("cuda", ".cu")}


def build(kind, operators, csrc=CSRC, name="variant", sanitize=False):
    """The library of `operators` from the sources in `csrc`; it still has to be loaded."""
    folder, suffix = KINDS[kind]
    stems = [*operators, *(["level"] if kind == "cpu" else [])]
    sources = [csrc / folder / (stem + suffix) for stem in stems]
    include = [csrc / folder, csrc / "common"]
    if kind == "emulated":
        return emulate.build(sources, name, include, sanitize)
    first = Path(__file__).with_name("torch_alone.h")
    return emulate.build(sources, name, include, sanitize, CPU_FLAGS, first)


def with_mistake(kind, file, right, wrong, namespace, wide=False):
    """A copy of csrc whose `file` has a mistake, and whose operators go to `namespace`.

    Always in the same folder, which is part of what a build is kept under. Without the half types
    and, on the CPU, without the wider instruction sets: a mistake is as wrong in float32, and the
    build takes a fraction of the time. `wide` keeps them all, for a kernel that needs them.
    """
    folder = emulate.cache() / namespace / hashlib.sha256(wrong.encode()).hexdigest()[:8]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CSRC, folder)
    replace(folder / file, right, wrong)
    if not wide:
        for case in ("Half: return f(f16{});", "BFloat16: return f(bf16{});"):
            replace(folder / "common" / "tensors.h", f"    case ScalarType::{case}\n", "")
        wider = "#if defined(__x86_64__) || defined(_M_X64)\n#define NG_AVX2"
        replace(folder / "cpu" / "simd.h", wider, "#if 0\n#define NG_AVX2")
    for source in (folder / KINDS[kind][0]).glob("*" + KINDS[kind][1]):
        text = source.read_text()
        text = text.replace("NG_REGISTER(m)", f"STABLE_TORCH_LIBRARY_IMPL({namespace}, CPU, m)")
        source.write_text(text.replace("IMPL(neurogaze_fast,", f"IMPL({namespace},"))
    return folder


def replace(file, right, wrong):
    text = file.read_text()
    assert text.count(right) == 1, f"{file.name} has {text.count(right)} times {right!r}"
    file.write_text(text.replace(right, wrong))
