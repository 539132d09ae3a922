"""What atheris calls: ``python -m benchmarks.scorecard.fuzz_targets NAME [libFuzzer's options]``.

Each target hands bytes to one reader; a typed error is an answer, anything else ends the run and
leaves the bytes in a file. The readers are imported with instrumentation, so that inputs which
reach new lines are kept and changed further.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

OWN = (
    "neurogaze_fast.artifacts", "neurogaze_fast.delimited", "neurogaze_fast.prototypes",
    "neurogaze_fast.eeg", "neurogaze_fast.faces", "neurogaze_fast.deploy",
    "benchmarks.scorecard.planted_reader",
)  # fmt: skip
INSTRUMENTED = [*OWN, "PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.TiffImagePlugin",
                "PIL.ImageFile", "csv", "json.decoder", "json.scanner"]  # fmt: skip
MEMORY = Path("/dev/shm")
"""A file system that takes no time."""
Target = Callable[[bytes], object]


def bank(folder: Path) -> Target:
    """A bank's tensors, sealed anew, so that not the hash stops them."""
    from neurogaze_fast.artifacts import write_artifact
    from neurogaze_fast.emotions import EMOTIONS
    from neurogaze_fast.prototypes.bank import KIND, PrototypeBank

    facts = {"kind": KIND, "emotions": list(EMOTIONS), "grid": 2, "width": 3, "synthetic": True}

    def one(data: bytes) -> None:
        path = folder / "bank.safetensors"
        write_artifact(path, data, facts)
        PrototypeBank.load(path)

    return one


def manifest(folder: Path) -> Target:
    """The manifest beside a file."""
    from neurogaze_fast.artifacts import verified_open

    (folder / "a.safetensors").write_bytes(b"data")

    def one(data: bytes) -> None:
        (folder / "a.manifest.json").write_bytes(data)
        verified_open(folder / "a.safetensors")

    return one


def picture(folder: Path) -> Target:
    """A picture, to the data sets' reader and the server's."""
    from PIL import JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401 (else too late)

    from neurogaze_fast.deploy.server.http_errors import RequestError
    from neurogaze_fast.deploy.server.pictures import decode_picture
    from neurogaze_fast.pictures import CorruptImage, decode_grey

    def one(data: bytes) -> None:
        for read in (
            lambda: decode_grey(data, 48),
            lambda: decode_picture(data, 1_000_000, 100_000),
        ):
            try:
                read()
            except (CorruptImage, RequestError):
                continue

    return one


def delimited(folder: Path) -> Target:
    """A list of clips."""
    from neurogaze_fast.eeg.clip_csv import read_clip_rows

    path = folder / "clips.csv"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        read_clip_rows(path, (1.0, 9.0))

    return one


def edf(folder: Path) -> Target:
    """An EDF or BDF recording: header, time, annotations and the first second."""
    from neurogaze_fast.eeg.edf import EdfFile, UnreadableError

    path = folder / "a.edf"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            opened = EdfFile(path)
            known = [s for s in opened.signals if s.microvolts and 0 < opened.sfreq(s) < 1e4]
            opened.read(known[:1], 0.0, 1.0) if known else None
            _ = opened.gaps
        except UnreadableError:
            pass

    return one


def http(folder: Path) -> Target:
    """The body of an infer request with its length header, and a caller's headers."""
    from neurogaze_fast.deploy.server.auth import check_caller
    from neurogaze_fast.deploy.server.http_errors import RequestError
    from neurogaze_fast.deploy.server.inference_protocol import read_infer

    def one(data: bytes) -> None:
        header, _, body = data.partition(b"\n")
        text = header.decode("latin-1")
        calls = (
            lambda: read_infer(body, text or None, 8, 4),
            lambda: check_caller({"Host": text, "Origin": body.decode("latin-1")}, "predict", None),
            lambda: check_caller({"Authorization": text}, "predict", "a-token-of-some-length"),
        )
        for call in calls:
            try:
                call()
            except RequestError:
                continue

    return one


def mat(folder: Path) -> Target:
    """The tags of a MATLAB file."""
    import zlib

    from neurogaze_fast.eeg.mat_check import MatDamageError, check_mat

    path = folder / "a.mat"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(MatDamageError, zlib.error):
            check_mat(path)

    return one


def planted(folder: Path) -> Target:
    """The canary."""
    from benchmarks.scorecard.planted_reader import read

    return read


TARGETS = {
    target.__name__: target for target in (bank, manifest, picture, delimited, edf, http, mat)
}


def main() -> None:
    """Fuzz until an option of libFuzzer ends it."""
    import atheris

    from neurogaze_fast.errors import NeurogazeError

    make = (TARGETS | {"planted": planted})[sys.argv[1]]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        with atheris.instrument_imports(include=INSTRUMENTED):
            read = make(Path(folder))

        def one(data: bytes) -> None:
            with contextlib.suppress(NeurogazeError):
                read(data)

        atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
