"""The server's answers: routes, the Open Inference Protocol v2, pictures, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from aiohttp import web

from neurogaze_fast import __version__
from neurogaze_fast.deploy.engines.base import Engine
from neurogaze_fast.deploy.face import faces_of
from neurogaze_fast.deploy.server import inference_protocol as protocol
from neurogaze_fast.deploy.server.auth import check_caller
from neurogaze_fast.deploy.server.batching import Batcher
from neurogaze_fast.deploy.server.bodies import BodyReader
from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.early_refusal import PLAIN
from neurogaze_fast.deploy.server.http_errors import RequestError, malformed
from neurogaze_fast.deploy.server.http_limits import Limits, error_response
from neurogaze_fast.deploy.server.metrics import CONTENT_TYPE, Metrics
from neurogaze_fast.deploy.server.page import load_page
from neurogaze_fast.deploy.server.pictures import SMALL, decode_picture, is_small
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.faces_in_picture import Found

MEGA = 1_000_000
_MAX_DECODING = 64
"""Pictures and JSON bodies that may wait for a helper thread."""
_TENSOR_TYPES = ("", "application/json", "application/octet-stream")
# What `curl --data-binary` says unasked is taken too: the picture's own bytes decide.
_PICTURE_TYPES = (
    *("", "image/jpeg", "image/png", "application/octet-stream"),
    *("application/x-www-form-urlencoded", "image/jpg", "image/pjpeg", "image/x-png"),
    *("image/heic", "image/heif"),  # which are refused with advice
)
log = logging.getLogger(__name__)
T = TypeVar("T")


class Faces(Protocol):
    """What finds faces and cuts them out, where that is installed."""

    def find(self, image: np.ndarray, size: int, limit: int | None = None) -> Found:
        """The faces of uint8 [H, W, 3] RGB, brought to `size`, at most `limit` of them."""
        ...


class Service:
    """Answers requests; :meth:`handle` is what the HTTP server calls."""

    def __init__(
        self,
        engine: Engine,
        config: ServeConfig,
        *,
        prepare: Callable[[np.ndarray, int], np.ndarray],
        faces: Faces | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.engine, self.config = engine, config
        self.in_flight = 0
        self._prepare, self._faces = prepare, faces
        self.metrics = Metrics(lambda: self.batcher.depth, lambda: self.batcher.ready)
        self.batcher = Batcher(
            engine,
            self.metrics,
            max_batch=config.max_batch,
            max_wait_s=config.max_wait_ms / 1000,
            capacity=config.queue,
        )
        self._bodies = BodyReader(int(config.max_body * MEGA), limits or Limits())
        # Two helpers: few enough that hostile bodies cannot multiply what one of them costs.
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._decoding = 0
        self._page, self._page_headers = load_page()
        self._routes = self._make_routes()

    def _make_routes(self) -> dict[str, tuple[str, dict[str, _Answer]]]:
        model = f"/v2/models/{protocol.MODEL}"
        routes: dict[str, tuple[str, dict[str, _Answer]]] = {
            "/": ("page", {"GET": self._get_page}),
            "/metrics": ("metrics", {"GET": self._get_metrics}),
            "/predict": ("predict", {"POST": self._predict}),
            "/v2/health/live": ("health", {"GET": self._get_live}),
            "/v2/health/ready": ("health", {"GET": self._get_ready}),
            "/v2": ("metadata", {"GET": self._get_server}),
        }
        for base in (model, f"{model}/versions/{protocol.VERSION}"):
            routes[base] = ("metadata", {"GET": self._get_model})
            routes[f"{base}/ready"] = ("health", {"GET": self._get_ready})
            routes[f"{base}/infer"] = ("infer", {"POST": self._infer})
        return routes

    def refuse(self, target: str) -> RequestError | None:
        """Why a POST to this target is refused unread just now, or None; counted where refused.

        Of what would be refused anyway only that is refused here: an error in the request itself
        may so go unsaid while the server is full, and is said once it is not.
        """
        route, methods = self._routes.get(target.partition("?")[0], ("other", {}))
        if "POST" not in methods or self.batcher.draining:
            return None
        error = self._no_decoder() or self.batcher.refusal(
            1 + self._decoding, self.config.deadline_s
        )
        if error is not None:
            self.metrics.request(route, error.status, 0.0)
        return error

    def _no_decoder(self) -> RequestError | None:
        if self._decoding < _MAX_DECODING:
            return None
        self.metrics.shed("decoder_full")
        return RequestError(503, "too many pictures wait to be decoded", retry_after_s=1)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """The answer to any request; never raises but when its client leaves."""
        began = time.perf_counter()
        route, methods = self._routes.get(request.path, ("other", {}))
        status = 499  # the client left
        self.in_flight += 1
        try:
            try:
                response = await self._answer(request, route, methods)
            except RequestError as error:
                response = error_response(error)
                if not request.content.is_eof():
                    response.force_close()  # the body is unread
            except Exception:
                log.exception("a request to %s failed", route)
                response = error_response(RequestError(500, "the server made a mistake"))
            if self.batcher.draining:
                response.force_close()
            status = response.status
            return response
        finally:
            self.in_flight -= 1
            self.metrics.request(route, status, time.perf_counter() - began)

    async def _answer(
        self, request: web.BaseRequest, route: str, methods: dict[str, _Answer]
    ) -> web.Response:
        check_caller(request.headers, route, self.config.token)
        if not methods:
            raise RequestError(404, "there is nothing at this path")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            response = error_response(RequestError(405, f"use {', '.join(methods)} here"))
            response.headers["Allow"] = ", ".join(
                [*methods, *(["HEAD"] if "GET" in methods else [])]
            )
            response.force_close()
            return response
        return await methods[method](request)

    async def _get_page(self, request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=self._page, content_type="text/html", charset="utf-8",
            headers=PLAIN | self._page_headers,
        )  # fmt: skip

    async def _get_metrics(self, request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=self.metrics.text(), headers={**PLAIN, "Content-Type": CONTENT_TYPE}
        )

    async def _get_live(self, request: web.BaseRequest) -> web.Response:
        return _json({"live": True})

    async def _get_ready(self, request: web.BaseRequest) -> web.Response:
        if not self.batcher.ready:
            raise RequestError(503, "not ready", retry_after_s=1)
        return _json({"ready": True})

    async def _get_server(self, request: web.BaseRequest) -> web.Response:
        return _json(
            {"name": "neurogaze_fast", "version": __version__, "extensions": ["binary_tensor_data"]}
        )

    async def _get_model(self, request: web.BaseRequest) -> web.Response:
        metadata = {
            "emotions": list(EMOTIONS),
            "valence_arousal": VALENCE_AROUSAL,
            "synthetic": self.engine.synthetic,
            "engine": self.engine.detail,
            "detect": self._faces is not None,
            "max_batch": self.config.max_batch,
            "max_body": self._bodies.max_body,
            "max_pixels": int(self.config.max_pixels * MEGA),
        }
        return _json(protocol.model_metadata(self.engine.input_size, metadata))

    async def _infer(self, request: web.BaseRequest) -> web.Response:
        _want_type(request, _TENSOR_TYPES)
        async with self._bodies.read(request) as body:
            due = _Due(self.config.deadline_s)
            self.batcher.admit(1 + self._decoding, due.left)
            header = request.headers.get(protocol.LENGTH_HEADER)
            size, most = self.engine.input_size, self.config.max_batch
            asked = await self._help(
                due,
                lambda: protocol.read_infer(body, header, size, most),
                small=len(body) <= SMALL[0],
            )
            outputs = await self.batcher.submit(asked.images, due.left)
        reply, json_length = protocol.write_infer(asked, *outputs)
        if json_length is None:
            return web.Response(body=reply, content_type="application/json", headers=PLAIN)
        return web.Response(
            body=reply,
            content_type="application/octet-stream",
            headers={**PLAIN, protocol.LENGTH_HEADER: str(json_length)},
        )

    async def _predict(self, request: web.BaseRequest) -> web.Response:
        began = time.perf_counter()
        _want_type(request, _PICTURE_TYPES)
        detect = _flag(request, "detect")
        if detect and self._faces is None:
            raise malformed("no face detector is installed here; send one face, without detect=1")
        async with self._bodies.read(request) as body:
            due = _Due(self.config.deadline_s)
            self.batcher.admit(1 + self._decoding, due.left)
            faces, found = await self._help(
                due, lambda: self._cut_out(body, detect), small=not detect and is_small(body)
            )
            probabilities, points = await self.batcher.submit(faces, due.left)
        answers = faces_of(probabilities, points, None if found is None else found.boxes)
        latency = {"latency_ms": round(1000 * (time.perf_counter() - began), 3)}
        common = {**latency, "synthetic": self.engine.synthetic}
        if found is None:
            return _json({**answers[0].to_json(), **common})
        left_out = {"small": found.small, "many": found.many}
        each = [face.to_json() for face in answers]
        return _json({"faces": each, "left_out": left_out, **common})

    def _cut_out(self, body: bytes, detect: bool) -> tuple[np.ndarray, Found | None]:
        image = decode_picture(body, int(self.config.max_pixels * MEGA))
        size = self.engine.input_size
        try:
            if detect and self._faces is not None:
                found = self._faces.find(image, size, self.config.max_batch)
                return found.faces, found
            return self._prepare(image, size)[None], None
        except MemoryError as cause:
            raise RequestError(413, "the picture takes more memory than there is") from cause

    async def _help(self, due: _Due, work: Callable[[], T], *, small: bool) -> T:
        """`work` on a helper thread, dropped where its turn does not come in time.

        What is small is done at once: two changes of threads would cost more.
        """
        if small:
            return work()
        if (error := self._no_decoder()) is not None:
            raise error
        self._decoding += 1
        try:
            async with asyncio.timeout(due.left):
                return await asyncio.get_running_loop().run_in_executor(self._helpers, work)
        except TimeoutError:
            self.metrics.shed("deadline")
            raise RequestError(504, f"no answer within {self.config.deadline_s:g} s") from None
        finally:
            self._decoding -= 1

    def close(self) -> None:
        """Let the helper threads go."""
        self._helpers.shutdown(wait=False, cancel_futures=True)


_Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


class _Due:
    """When an answer is due; counted from a whole request."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._at - time.monotonic())


def _json(value: Any) -> web.Response:
    return web.json_response(value, headers=PLAIN)


def _flag(request: web.BaseRequest, name: str) -> bool:
    value = request.query.get(name, "0")
    if value not in ("0", "1"):
        raise malformed(f"{name} must be 0 or 1")
    return value == "1"


def _want_type(request: web.BaseRequest, allowed: tuple[str, ...]) -> None:
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        named = ", ".join(kind for kind in allowed[1:3])
        raise RequestError(415, f"send the bytes themselves, as {named} or without a type")
