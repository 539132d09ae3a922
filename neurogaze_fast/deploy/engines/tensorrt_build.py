"""Building and keeping TensorRT engines of verified graphs: tensorrt 10 and 11, and RTX alike."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neurogaze_fast.artifacts import canonical_json, sha256_bytes, verified_open, write_artifact
from neurogaze_fast.deploy.engines.base import (
    INPUT,
    MAX_BATCH,
    EngineError,
    missing,
    readable,
)
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph
from neurogaze_fast.errors import ArtifactError

PROFILES = ((1, 1, 1), (2, 8, 8), (9, 32, 32), (33, MAX_BATCH, MAX_BATCH))
"""(smallest, best, largest) batch of each optimisation profile; together they cover them all."""
_MODULES = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_PORTABLE = ("SM80", "SM86", "SM89", "SM120")
"""What TensorRT-RTX builds for where no GPU says which: Ampere and later (Turing has no float32
products there)."""
_WORKSPACE = 1 << 30
_OLDEST = {"tensorrt": (10, 1), "tensorrt-rtx": (1, 7)}
"""Since when networks are typed, and contexts take the memory they are given."""
_FLAGS = {
    "tensorrt": (),
    # Without it an engine may allocate while it runs, which a CUDA graph cannot capture.
    "tensorrt-rtx": ("REQUIRE_USER_ALLOCATION",),
}
"""Builder flags to set."""


@dataclass(frozen=True)
class Library:
    """TensorRT or TensorRT-RTX, imported."""

    name: str
    """tensorrt or tensorrt-rtx."""
    module: Any

    @property
    def version(self) -> str:
        """As the package gives it."""
        return self.module.__version__

    @property
    def rtx(self) -> bool:
        """Whether it is TensorRT-RTX, which builds without a GPU."""
        return self.name == "tensorrt-rtx"


def library(name: str) -> Library:
    """Import TensorRT (10.1 or later) or TensorRT-RTX (1.7 or later).

    Raises:
        ConfigError: not installed. EngineError: too old, or broken.
    """
    for module in _MODULES[name]:
        try:
            found = Library(name, importlib.import_module(module))
        except ModuleNotFoundError as cause:
            if cause.name not in _MODULES[name]:
                raise EngineError(f"{module} cannot be imported: {cause}. Reinstall it.") from cause
            continue
        except Exception as cause:  # a library it needs is missing, or of another version
            text = " ".join(str(cause).split())
            raise EngineError(f"{module} cannot be imported: {text}. Reinstall it.") from cause
        oldest = _OLDEST[name]
        with readable(f"{module} does not say which version it is", "Reinstall it."):
            version = tuple(map(int, found.version.split(".")[:2]))
        if version < oldest:
            raise EngineError(
                f"{name} {found.version} is too old: {'.'.join(map(str, oldest))} or later is "
                f"needed. Upgrade it with `pip install --upgrade 'neurogaze_fast[{name}]'`."
            )
        return found
    raise missing(_MODULES[name][0], name)


def built_engine(
    trt: Library, graph: OpenedGraph, *, folder: Path | None = None
) -> tuple[bytes, Path | None, str]:
    """The serialised engine of a graph for this GPU: the one kept from before, or a new one.

    Engines hold machine code, so one is only loaded where this function wrote it for the very same
    graph, library, driver and GPU, and its hash still holds; else it is built anew.

    Args:
        folder: where engines are kept; by default beside the graph.

    Returns:
        (the bytes, the file, or None where it could not be written; a remark or "").

    Raises:
        EngineError: it cannot be built.
    """
    key = engine_key(trt, graph)
    short = sha256_bytes(canonical_json(key))[:16]
    folder = graph.path.parent if folder is None else Path(folder)
    path = folder / f"{trt.name}-{graph.precision}-{short}.engine"
    remark = ""
    if path.exists():
        try:
            data, metadata = verified_open(path, ArtifactError)
            if metadata == key:
                return data, path, ""
            remark = f"{path.name} was made for something else and was built anew"
        except ArtifactError as cause:
            remark = f"{path.name} was built anew: {cause}"
    data = build(trt, graph, folder)
    try:
        write_artifact(path, data, key)
    except OSError as cause:
        return data, None, f"the engine could not be kept in {folder} ({cause.strerror})"
    return data, path, remark


def engine_key(trt: Library, graph: OpenedGraph) -> dict[str, Any]:
    """What an engine depends on; JSON."""
    return {
        "kind": "engine",
        "graph_sha256": graph.sha256,
        "library": trt.name,
        "version": trt.version,
        "profiles": [list(profile) for profile in PROFILES],
        "flags": list(_FLAGS[trt.name]),
        **device_key(),
    }


def device_key() -> dict[str, Any]:
    """Driver, GPU and compute capability."""
    major, minor = torch.cuda.get_device_capability()
    return {
        "driver": _driver(),
        "gpu": torch.cuda.get_device_name(),
        "sm": f"{major}.{minor}",
    }


def build(trt: Library, graph: OpenedGraph, folder: Path | None = None) -> bytes:
    """Parse the graph as a strongly typed network and build it; seconds to minutes.

    TensorRT-RTX needs no GPU for it. A timing cache is kept in `folder` for TensorRT.

    Raises:
        EngineError: no GPU where one is needed, or the library's own reason.
    """
    if not torch.cuda.is_available() and not trt.rtx:
        raise EngineError(
            "TensorRT builds engines on the GPU they run on, and torch finds no usable GPU here. "
            "Export the graph (--engine onnx) and build on the serving machine, or use --engine "
            "tensorrt-rtx, whose builder needs none."
        )
    if graph.metadata.get("activations") == "uint8":
        raise EngineError(
            f"{graph.path} is an int8 graph for CPU engines, with uint8 activations, which "
            f"{trt.name} does not read. Export one for it into another folder: "
            f"`neurogaze-fast export RUN --engine {trt.name} --precision int8 --out FOLDER`."
        )
    with readable(
        f"{trt.name} {trt.version} cannot build {graph.path}", "Use another release or --engine."
    ):
        return _build(trt, graph, folder)


def _build(trt: Library, graph: OpenedGraph, folder: Path | None) -> bytes:
    module = trt.module
    logger = _logger(module)
    builder = module.Builder(logger)
    if builder is None:
        raise EngineError(f"{trt.name} {trt.version} cannot start: {logger.text()}.")
    flags = 0
    if hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = module.OnnxParser(network, logger)
    if not parser.parse(graph.data):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineError(
            f"{trt.name} {trt.version} cannot read {graph.path}: {' '.join(errors.split())[:400]}."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, _WORKSPACE)
    if graph.precision == "fp32":  # TF32 would change the fourth digit
        config.clear_flag(module.BuilderFlag.TF32)
    for smallest, best, largest in PROFILES:
        profile = builder.create_optimization_profile()
        side = graph.input_size
        shapes = [(count, side, side, 3) for count in (smallest, best, largest)]
        profile.set_shape(INPUT, *shapes)
        config.add_optimization_profile(profile)
    for flag in _FLAGS[trt.name]:
        config.set_flag(getattr(module.BuilderFlag, flag))
    if trt.rtx:
        _capabilities(trt, config)
    keep = None if trt.rtx or folder is None else _timing_cache(trt, config, Path(folder))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{trt.name} {trt.version} could not build {graph.path}: {logger.text()}."
        )
    if keep is not None:
        keep()
    return bytes(plan)


def _capabilities(trt: Library, config: Any) -> None:
    known = trt.module.ComputeCapability
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        wanted = [f"SM{major}{minor}"]
        if not hasattr(known, wanted[0]):
            raise EngineError(
                f"TensorRT-RTX {trt.version} has no kernels for {torch.cuda.get_device_name()} "
                f"(compute capability {major}.{minor}): use --engine tensorrt."
            )
    else:
        wanted = [name for name in _PORTABLE if hasattr(known, name)]
    config.num_compute_capabilities = len(wanted)
    for index, name in enumerate(wanted):
        config.set_compute_capability(getattr(known, name), index)


def _timing_cache(trt: Library, config: Any, folder: Path) -> Any:
    """Give the builder what earlier builds measured; return a function that keeps what it adds.

    A cache only saves time: one that the library refuses is left out, and None is returned where it
    takes none at all.
    """
    sm = device_key()["sm"]
    path = folder / f"{trt.name}-{trt.version}-sm{sm}.timing"
    key = {"kind": "timing", "version": trt.version, **device_key()}
    data = b""
    with contextlib.suppress(ArtifactError):  # none yet, or not ours: measured again
        found, metadata = verified_open(path, ArtifactError)
        data = found if metadata == key else b""
    for start in (data, b"") if data else (b"",):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            break
    else:
        return None

    def keep() -> None:
        cache = config.get_timing_cache()
        measured = None if cache is None else cache.serialize()
        if measured is not None:
            with contextlib.suppress(OSError):  # a read-only folder: the next build measures again
                write_artifact(path, bytes(measured), key)

    return keep


def _driver() -> str:
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except OSError:
        return f"CUDA {torch._C._cuda_getDriverVersion()}"  # type: ignore[attr-defined]


def _logger(module: Any) -> Any:
    class Logger(module.ILogger):
        """Keeps the library's errors for our own message."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.lines.append(message)

        def text(self) -> str:
            return " ".join(" ".join(self.lines).split())[:400] or "it gives no reason"

    return Logger()
