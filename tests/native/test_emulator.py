"""The emulator of CUDA that the kernels are tested with: it computes right and notices mistakes."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.native import emulate

SELFTEST = emulate.EMULATION / "selftest.cu"
ROOT = emulate.EMULATION.parents[2]
ORDERS = ["forward", "reverse", "random:1", "random:2"]
SCHEMAS = [
    "collectives(Tensor(a!) out) -> ()",
    "row_sums(Tensor x, Tensor(a!) out) -> ()",
    "count_threads(Tensor(a!) out) -> ()",
    "rotate(Tensor x, Tensor(a!) out, int distance, bool with_barrier) -> ()",
    "unwritten(Tensor(a!) out) -> ()",
    "meet_often(Tensor(a!) out, int times) -> ()",
    "go_wrong(int how, Tensor(a!) unwound) -> ()",
    "launch_as(Tensor x, int grid, int block, int shared_bytes, int allowed) -> ()",
    "misread(Tensor heap, int what, Tensor(a!) out) -> ()",
]
SYNC, SHUFFLE = "at __syncthreads", "at __shfl_sync with mask ffffffff"
# What selftest.cu's go_wrong does, in words of the error, and how many of its 64 threads had begun.
GO_WRONG = {
    0: (rf"32 of them \(the first is 0\) {SYNC}.*32 of them \(the first is 1\) {SYNC}", 64),
    1: (rf"40 of them \(the first is 0\) {SYNC}.*24 of them \(the first is 40\) ended", 64),
    2: (rf"32 of them \(the first is 0\) {SYNC}.*32 of them \(the first is 32\) {SYNC}", 64),
    3: (rf"32 of them \(the first is 0\) {SHUFFLE}, \S*selftest.cu:\d+\n", 64),
    4: (r"__shfl_sync called by lane \d+, which its mask does not name, \S*selftest.cu:\d+", 17),
    5: (r"lane \d+ asks for the value of lane 20, which takes no part, at __shfl_sync", 32),
    6: (r"32 of them \(the first is 1\) at __any_sync with mask ffffffff", 64),
    7: (r"^thread 33 gives up$", 34),
}
MISREADS = {
    "nothing": "",
    "past_heap": "AddressSanitizer: heap-buffer-overflow",
    "past_dynamic": "AddressSanitizer: heap-buffer-overflow",
    "past_static": "AddressSanitizer: global-buffer-overflow",
    "past_local": "AddressSanitizer: stack-buffer-overflow",
    "misaligned": "runtime error: .*misaligned address",
}

X = torch.empty(0)

pytestmark = pytest.mark.skipif(emulate.available() is not None, reason=str(emulate.available()))


def define():
    definitions = torch.library.Library("neurogaze_selftest", "FRAGMENT")
    for schema in SCHEMAS:
        definitions.define(schema)
    return definitions


@pytest.fixture(scope="module")
def library():
    """The operators of selftest.cu, in torch.ops.neurogaze_selftest, and its launch counter."""
    definitions = define()
    yield emulate.load(emulate.build([SELFTEST], "selftest"))
    del definitions


@pytest.fixture
def ops(library):
    return torch.ops.neurogaze_selftest


@pytest.fixture(params=ORDERS)
def order(request, monkeypatch):
    monkeypatch.setenv("NG_EMULATED_ORDER", request.param)


@pytest.mark.usefixtures("order")
def test_collectives(ops):
    out = torch.full((12, 32), -1.0, dtype=torch.float64)
    ops.collectives(out)
    lane = np.arange(32)
    expected = [
        np.full(32, 3.5),
        1.5 * (lane // 8 * 8 + (lane + 1) % 8),
        lane ^ 5,
        np.where(lane < 16, lane, lane - 16),
        np.where(lane + 3 < 32, lane + 3, lane),
        np.where(lane % 8 < 5, lane + 3, lane),
        1e10 * np.where(lane >= 2, lane - 2, lane),
        np.full(32, sum(1 << i for i in range(0, 32, 3))),
        np.full(32, 1),
        np.full(32, 1),
        np.where(lane < 16, 0x0000AAAA, 0xAAAA0000),
        np.where(lane % 4 == 0, lane ^ 4, -1),
    ]
    np.testing.assert_array_equal(out.numpy(), np.stack(expected))


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 300])
def test_a_reduction_with_shuffles_and_shared_memory(ops, dtype, n):
    x = torch.randn(5, n, dtype=dtype, generator=torch.Generator().manual_seed(1))
    out = torch.full((5,), torch.nan, dtype=dtype)
    ops.row_sums(x, out)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(out.numpy(), x.numpy().sum(1, dtype=np.float64), atol=tolerance)


@pytest.mark.usefixtures("order")
def test_each_thread_of_each_block_runs_once(ops):
    total = 2 * 3 * 4 * 5 * 6 * 7
    out = torch.zeros(total + 1, dtype=torch.int32)
    ops.count_threads(out)
    assert out.tolist() == [1] * total + [total]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("distance", [1, 31, 64, 127])
def test_a_barrier_separates_writes_from_reads(ops, distance):
    x, out = torch.arange(128.0), torch.empty(128)
    ops.rotate(x, out, distance, True)
    assert torch.equal(out, x.roll(-distance))


@pytest.mark.parametrize("distance", [1, 31, 64, 127])
def test_a_missing_barrier_shows_in_forward_or_reverse_order(ops, monkeypatch, distance):
    results = []
    for order in ("forward", "reverse"):
        monkeypatch.setenv("NG_EMULATED_ORDER", order)
        x, out = torch.arange(128.0), torch.empty(128)
        ops.rotate(x, out, distance, False)
        assert set(out.tolist()) <= {*x.tolist()} or out.isnan().any()
        results.append(torch.equal(out, x.roll(-distance)))
    assert not all(results)


def test_a_random_order_is_the_seeds(ops, monkeypatch):
    def rotated(order):
        monkeypatch.setenv("NG_EMULATED_ORDER", order)
        out = torch.empty(1024)
        ops.rotate(torch.arange(1024.0), out, 32, False)
        return out.nan_to_num(-1).tolist()

    assert rotated("random:7") == rotated("random:7")
    assert len({tuple(rotated(f"random:{seed}")) for seed in range(10)}) > 5


def test_an_unknown_order_is_refused(ops, monkeypatch):
    for order in ("backward", "random", "random:", "random:-1", "random:x"):
        monkeypatch.setenv("NG_EMULATED_ORDER", order)
        with pytest.raises(RuntimeError, match=f"forward, reverse or random:SEED, not {order}"):
            ops.launch_as(X, 1, 1, 0, 0)


@pytest.mark.usefixtures("order")
def test_shared_memory_that_a_block_has_not_written_is_nan(ops):
    out = torch.zeros(6, 4)
    ops.unwritten(out)
    assert out[:, :2].isnan().all()
    assert out[:, 2:].tolist() == [[2.0, float(block)] for block in range(6)]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("how", GO_WRONG)
def test_what_goes_wrong_in_a_kernel_reaches_the_caller(ops, how):
    words, begun = GO_WRONG[how]
    unwound = torch.zeros(1, dtype=torch.int32)
    with pytest.raises(RuntimeError) as raised:
        ops.go_wrong(how, unwound)
    message = str(raised.value)
    assert re.search(words, message, re.DOTALL), message
    assert how == 7 or re.match(r"emulated kernel go_wrong, block \(0, [01], 0\): ", message)
    if begun == 64 or os.environ["NG_EMULATED_ORDER"] == "forward":
        assert unwound.item() == begun
    # The next launch starts afresh.
    out = torch.empty(128)
    ops.rotate(torch.arange(128.0), out, 1, True)
    assert torch.equal(out, torch.arange(128.0).roll(-1))


def test_a_launch_that_a_gpu_would_refuse(ops):
    ops.launch_as(X, 1, 1024, 48 * 1024, 0)
    for grid, block in [(0, 1), (1, 0), (1, 1025), (2**31, 1)]:
        with pytest.raises(RuntimeError, match=r"cannot have (a grid|blocks) of \d+ x 1 x 1"):
            ops.launch_as(X, grid, block, 0, 0)
    with pytest.raises(RuntimeError, match=r"asks for 49153 bytes .* may have 49152"):
        ops.launch_as(X, 1, 1, 48 * 1024 + 1, 0)
    with pytest.raises(RuntimeError, match=r"cudaFuncSetAttribute\(.*: invalid argument"):
        ops.launch_as(X, 1, 1, 0, 227 * 1024 + 1)
    ops.launch_as(X, 1, 1, 100_000, 100_000)


def test_launches_are_counted(ops, library):
    before = library.ng_emulated_launches()
    for _ in range(3):
        ops.launch_as(X, 2, 32, 0, 0)
    assert library.ng_emulated_launches() == before + 3


def test_launches_from_several_threads_take_turns(ops):
    def one(distance):
        out = torch.empty(512)
        ops.rotate(torch.arange(512.0), out, distance, True)
        return torch.equal(out, torch.arange(512.0).roll(-distance))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(40)))


def test_blocks_that_meet_often_take_well_under_a_second(ops):
    out = torch.empty(64, 128, dtype=torch.int32)
    start = time.thread_time()  # the processor's time: that of other processes does not count
    ops.meet_often(out, 15)
    assert time.thread_time() - start < 1  # about 0.1 s
    # Each of a lane's five bits is flipped three times.
    thread = torch.arange(128, dtype=torch.int32)
    assert torch.equal(out, ((thread ^ 31) + 15).expand(64, 128))


@pytest.fixture
def sanitizers():
    if missing := emulate.sanitizers_available():
        pytest.skip(missing)


@pytest.mark.usefixtures("sanitizers")
@pytest.mark.parametrize("what", MISREADS)
def test_sanitizers_notice_what_a_kernel_must_not_read(what):
    program = emulate.build_program(SELFTEST, ["NG_SELFTEST_MAIN"], sanitize=True)
    number = str(list(MISREADS).index(what))
    done = subprocess.run([program, number], capture_output=True, text=True, timeout=60)
    assert re.search(MISREADS[what], done.stderr), done.stderr
    assert (done.returncode == 0) == (what == "nothing"), done.stderr


IN_TORCH = """
import sys
import torch
from tests.native import emulate, test_emulator
definitions = test_emulator.define()
library = emulate.load(sys.argv[1])
ops = torch.ops.neurogaze_selftest
for how in (0, 7):  # that a throw leaves nothing behind that the sanitizer takes for an error
    try:
        ops.go_wrong(how, torch.zeros(1, dtype=torch.int32))
    except RuntimeError:
        print("thrown")
x, out = torch.randn(5, 300), torch.empty(5)
ops.row_sums(x, out)
print("sums", torch.allclose(out, x.sum(1), atol=1e-4), flush=True)
ops.misread(torch.zeros(5), 1, torch.zeros(32))
"""


@pytest.mark.usefixtures("sanitizers")
def test_sanitizers_work_in_torch():
    environment = emulate.sanitizer_environment()
    # Built here, because a compiler is slow where the sanitizer is loaded into it, too.
    library = emulate.build([SELFTEST], "selftest", sanitize=True)
    command = [sys.executable, "-c", IN_TORCH, str(library)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=ROOT, env=environment
    )
    assert done.stdout.split() == ["thrown", "thrown", "sums", "True"], done.stderr
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert done.returncode != 0


def test_the_compilers_words_are_in_the_error(tmp_path):
    source = tmp_path / "broken.cu"
    source.write_text("#include <cuda_runtime.h>\nint broken() { return nowhere; }\n")
    with pytest.raises(RuntimeError, match=r"(?s)broken.cu did not compile.*nowhere"):
        emulate.build([source], "broken")


def test_only_what_changed_is_compiled_again(tmp_path, monkeypatch):
    made = []
    run = emulate._run
    monkeypatch.setattr(emulate, "_run", lambda c, f: (made.append(Path(c[-1]).name), run(c, f))[1])

    def built():
        made.clear()
        path = emulate.build([tmp_path / "one.cu", tmp_path / "two.cu"], "two", [tmp_path / "with"])
        return path, sorted(name for name in made if name.endswith((".o", ".so")))

    (tmp_path / "with").mkdir()
    for name in ("one", "two"):
        (tmp_path / f"{name}.cu").write_text(f'#include "number.h"\nstatic int {name};\n')
    # Builds outlive a session of tests, and the next one may have a folder of the same name.
    (tmp_path / "with" / "number.h").write_text(f"// {time.time_ns()}\n")
    first, names = built()
    assert names == ["libtwo.so", "one.o", "two.o"]
    assert built() == (first, [])
    (tmp_path / "two.cu").write_text('#include "number.h"\nstatic int other;\n')
    second, names = built()
    assert (second != first, names) == (True, ["libtwo.so", "two.o"])
    (tmp_path / "with" / "number.h").write_text(f"static int in_header;  // {time.time_ns()}\n")
    assert built()[1] == ["libtwo.so", "one.o", "two.o"]
