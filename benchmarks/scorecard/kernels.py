"""K: operators outside their contract, memory, sizes beyond 2^31 (gradients.py has K5)."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scorecard import gradients  # noqa: F401 (enters K5)
from benchmarks.scorecard.isolated import examples, verdicts
from benchmarks.scorecard.operator_cases import operators
from benchmarks.scorecard.row import CannotRun, Counted, row

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 600
"""Pairs of changes of a loss's arguments, and images with extreme parameters, at scale 1."""
LEVELS = ("baseline", "avx2", "avx512")


def _cases(scale: float) -> list[tuple[str, Any]]:
    from benchmarks.scorecard import operator_cases as cases

    pairs = round(PAIRS * scale)
    step = max(1, round(1 / scale))
    return [
        *(("logit_loss", case) for case in [*cases.losses("logit_loss", pairs, 1)][::step]),
        *(("proto_geo_loss", case) for case in [*cases.losses("proto_geo_loss", pairs, 2)][::step]),
        *(("topomap", case) for case in [*cases.maps()][::step]),
        *(("augment", case) for case in [*cases.images(pairs, 3)][::step]),
    ]


def _withstood(functions: dict[str, Callable[..., Any]], scale: float) -> Counted:
    import torch

    cases = _cases(scale)
    torch.manual_seed(0)

    def judge(number: int) -> str | None:
        name, case = cases[number]
        case.check(functions[name])
        return None

    found = verdicts(len(cases), judge)
    crashes = sum(bool(text and text.startswith("ended its process")) for text in found)
    failures = sum(text is not None for text in found)
    by_name = {name: sum(n == name for n, _ in cases) for name in functions}
    return Counted(
        len(cases), failures,
        f"{crashes} crashes, {failures - crashes} silent differences or untyped errors",
        {"cases": by_name, "failed": examples(found, [case.name for _, case in cases])},
    )  # fmt: skip


def _careless(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with two faults: it ignores strides, and reads through what does not fit."""
    import torch

    from neurogaze_fast.errors import OperatorError

    def packed(value: Any) -> Any:
        if not torch.is_tensor(value) or value.is_contiguous() or value.requires_grad:
            return value
        flat = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
        return flat.repeat(1 + value.numel() // max(1, len(flat)))[: value.numel()].view(
            value.shape
        )

    def call(*given: Any, **named: Any) -> Any:
        try:
            return function(*map(packed, given), **{n: packed(v) for n, v in named.items()})
        except OperatorError:
            ctypes.string_at(0)  # what a kernel without checks may do

    return call


def canary_k1(folder: Path) -> Counted:
    """Operators that ignore strides and do not check."""
    ops = operators()
    names = ("logit_loss", "proto_geo_loss", "topomap", "augment")
    return _withstood({name: _careless(getattr(ops, name)) for name in names}, 0.05)


@row(
    "K1",
    "tensors outside the contract given to every operator: empty, strided, expanded, misaligned, "
    "other dtypes, NaN, infinite, huge, labels and sizes that do not fit",
    "the reference's values and gradient, or a typed error; no crash, no silent difference",
    canary_k1,
)
def k1(folder: Path, scale: float) -> Counted:
    """About 4,500 calls in forked children."""
    ops = operators()
    names = ("logit_loss", "proto_geo_loss", "topomap", "augment")
    return _withstood({name: getattr(ops, name) for name in names}, scale)


@contextmanager
def _sanitized() -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs of tests.native.exercise with the sanitizers loaded, which forks for each."""
    from tests.native import emulate

    if missing := emulate.available() or emulate.sanitizers_available():
        raise CannotRun(missing)
    environment = emulate.sanitizer_environment() | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "tests.native.exercise"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout

        def run(said: Path, library: Path, kind: str, names: list[str], level: str = "") -> Any:
            order = [str(library), kind, names, {"NEUROGAZE_CPU_LEVEL": level}, str(said)]
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline()), said.read_text()

        yield run
        process.stdin.close()


def canary_k2(folder: Path) -> Counted:
    """The tests' six reads past an end, each put into a copy of a kernel."""
    from tests.native import variants
    from tests.native.test_sanitizers import MISTAKES, OPERATORS

    names = {"cpu": "neurogaze_fast", "emulated": "neurogaze_emulated"}
    reported = []
    with _sanitized() as run:
        for kind, file, right, wrong in MISTAKES:
            source = variants.with_mistake(kind, file, right, wrong, names[kind])
            built = [name for name in OPERATORS if name in file]
            library = variants.build(kind, built, source, f"sanitized_{kind}", sanitize=True)
            code, said = run(folder / "said", library, kind, built)
            reported.append(code != 0 and "AddressSanitizer" in said)
    figure = f"{sum(reported)} of {len(MISTAKES)} planted reads past an end reported"
    return Counted(len(MISTAKES), sum(reported), figure)


@row(
    "K2",
    "every operator, and the CUDA kernels' own code run on the CPU, over odd shapes, layouts and "
    "values under the address and undefined-behaviour sanitizers",
    "no report",
    canary_k2,
)
def k2(folder: Path, scale: float) -> Counted:
    """4 operators: three instruction sets, and the emulated CUDA kernels."""
    from tests.native import exercise, variants
    from tests.native.test_sanitizers import OPERATORS

    runs = [("cpu", level) for level in LEVELS] + [("emulated", "")]
    runs = runs if scale >= 1 else [runs[0], runs[-1]]
    reports = []
    with _sanitized() as run:
        for kind, level in runs:
            library = variants.build(kind, OPERATORS, name=f"sanitized_{kind}", sanitize=True)
            for operator in OPERATORS:
                code, said = run(folder / "said", library, kind, [operator], level)
                clean = code == 0 and said.splitlines()[-1:] == ["clean"] and "ERROR" not in said
                reports += [] if clean else [f"{operator}, {kind} {level}: {said[-400:]}"]
    figure = (
        f"{len(OPERATORS)} operators x {len(runs)} builds and instruction sets, "
        f"{len(exercise.SHAPES)} shapes x {len(exercise.DTYPES)} dtypes of each loss"
    )
    return Counted(len(OPERATORS) * len(runs), len(reports), figure, {"reports": reports[:3]})


NARROW = re.compile(
    r"(?:blockIdx\.\w|gridDim\.\w)\s*\*\s*(?:blockDim\.\w|k[A-Z]\w*)"
    r"|\bint(?:32_t)?\s+\w+\s*=\s*[^;]*\b(?:numel|size\(|stride\()"
)
"""A product of indices in 32 bits, or a number of elements narrowed to them."""


def narrow_lines(source: Path) -> list[str]:
    """file:line of each product of indices that is not widened first."""
    found = []
    for path in sorted(p for p in source.rglob("*") if p.suffix in (".cu", ".cuh", ".h", ".cpp")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if NARROW.search(line.partition("//")[0]):
                found.append(f"{path.relative_to(source)}:{number}: {line.strip()}")
    return found


def _far_apart(folder: Path, called: dict[str, Callable[..., Any]]) -> Iterator[tuple[str, bool]]:
    """(what, whether it is right): elements on both sides of 2^31 and 2^32 in sparse files."""
    import torch

    from neurogaze_fast.reference import augment as reference_augment
    from tests.ops.augment_cases import make
    from tests.ops.exactness import LOGIT, PROTO

    side = 48
    rows = (2**32 + 2**20) // side**2
    path = str(folder / "store")
    store = torch.from_file(path, shared=True, size=rows * side**2, dtype=torch.uint8)
    store = store.view(rows, side, side)
    images = make((4, side, side), 24, batch=4)
    for edge in (2**31, 2**32):
        first = edge // side**2 - 1  # the image before the edge, the one across it, two after
        store[first : first + 4] = images[0]
        options = {"size": 24, "channels": 1, "dtype": torch.float32}
        for offset in range(4):
            index, params = torch.tensor([first + offset]), images[2][:1]
            found = called["augment"](store, index, params, **options)
            near = torch.tensor([offset])
            yield (
                f"augment, image {offset - 1} from byte {edge}",
                torch.equal(found, reference_augment(images[0], near, params, **options))
                or torch.allclose(found, reference_augment(images[0], near, params, **options),
                                  atol=1e-4),
            )  # fmt: skip
    for one, shape in ((LOGIT, (2, 8)), (PROTO, (2, 6, 5, 8))):
        tensors = one.inputs(shape, torch.float32)
        wanted = one.run(one.native, tensors, shape)
        for step in (2**30 - 1, 2**31 - 1, 2**31, 2**31 + 1):
            # Two rows that lie `step` elements apart.
            flat = torch.from_file(
                str(folder / "rows"), shared=True, size=step + 64, dtype=torch.float32
            )
            far = flat.as_strided(tensors[0].shape, (step, 1))
            far.copy_(tensors[0])
            leaf = far.detach().requires_grad_()
            outputs = called[one.name](leaf, *tensors[1:], **one.options(shape))
            sum(w * x for w, x in zip((0.7, 0.9, 1.3), outputs, strict=False)).backward()
            right = all(map(torch.equal, [x.detach() for x in outputs], wanted[0]))
            yield f"{one.name}, rows {step} apart", right and torch.equal(leaf.grad, wanted[1])


def _large(folder: Path, called: dict[str, Callable[..., Any]], source: Path) -> Counted:
    found = [*_far_apart(folder, called)]
    narrow = narrow_lines(source)
    wrong = [what for what, right in found if not right]
    for name in ("store", "rows"):
        (folder / name).unlink(missing_ok=True)
    return Counted(
        len(found) + 1, len(wrong) + bool(narrow),
        f"{len(wrong)} of {len(found)} reads beyond 2^30 elements wrong; {len(narrow)} products of "
        "indices in 32 bits in csrc",
        {"wrong": wrong, "narrow": narrow},
    )  # fmt: skip


def canary_k4(folder: Path) -> Counted:
    """An operator that counts bytes in 32 bits, and a kernel that does."""
    ops = operators()
    source = folder / "csrc"
    source.mkdir()
    (source / "planted.cu").write_text("int64_t i = blockIdx.x * blockDim.x + threadIdx.x;\n")

    def narrow(store: Any, index: Any, params: Any, **options: Any) -> Any:
        bytes_of = store.shape[1] * store.shape[2]
        return ops.augment(store, index * bytes_of % 2**31 // bytes_of, params, **options)

    right = {"logit_loss": ops.logit_loss, "proto_geo_loss": ops.proto_geo_loss}
    return _large(folder, right | {"augment": narrow}, source)


@row(
    "K4",
    "elements on both sides of 2^30, 2^31 and 2^32 (the CPU's part: sparse files; a lint of all "
    "kernels for products of indices in 32 bits)",
    "exact",
    canary_k4,
)
def k4(folder: Path, scale: float) -> Counted:
    """As many at every scale: it takes seconds."""
    ops = operators()
    names = ("logit_loss", "proto_geo_loss", "augment")
    return _large(folder, {name: getattr(ops, name) for name in names}, ROOT / "csrc")
