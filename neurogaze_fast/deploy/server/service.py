"""The server's answers: routes, the Open Inference Protocol v2, pictures, health and metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from aiohttp import web

from neurogaze_fast import __version__
from neurogaze_fast.deploy.engines.base import Engine, Outputs
from neurogaze_fast.deploy.face import faces_of
from neurogaze_fast.deploy.server import form, openapi
from neurogaze_fast.deploy.server import inference_protocol as protocol
from neurogaze_fast.deploy.server.auth import check_caller
from neurogaze_fast.deploy.server.batching import Batcher
from neurogaze_fast.deploy.server.bodies import BodyReader
from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.cutting import MEGA, Cutting, Faces
from neurogaze_fast.deploy.server.early_refusal import PLAIN
from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.http_limits import Limits, error_response
from neurogaze_fast.deploy.server.lanes import Due
from neurogaze_fast.deploy.server.metrics import CONTENT_TYPE, Metrics
from neurogaze_fast.deploy.server.page import load_page
from neurogaze_fast.deploy.server.pictures import SMALL
from neurogaze_fast.deploy.server.queries import asks_for_nothing_else, wants_detection
from neurogaze_fast.deploy.server.statistics import model_configuration
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL

_TENSOR_TYPES = ("", "application/json", "application/octet-stream")
# What `curl --data-binary` says unasked is taken too: the picture's own bytes decide.
_PICTURE_TYPES = (
    *("", "image/jpeg", "image/png", "application/octet-stream"),
    *("application/x-www-form-urlencoded", "image/jpg", "image/pjpeg", "image/x-png"),
    *("image/webp", "image/heic", "image/heif", form.TYPE),
)
log = logging.getLogger(__name__)


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
        self.metrics = Metrics(lambda: self.batcher.depth, lambda: self.batcher.ready)
        self.batcher = Batcher(
            engine,
            self.metrics,
            max_batch=config.max_batch,
            max_wait_s=config.max_wait_ms / 1000,
            capacity=config.queue,
        )
        self._bodies = BodyReader(int(config.max_body * MEGA), limits or Limits())
        self._cutting = Cutting(config, engine.input_size, prepare, faces, self.metrics.shed)
        self._page, self._page_headers = load_page()
        self._description = openapi.description(
            engine.input_size,
            self._bodies.max_body,
            int(config.max_pixels * MEGA),
            token=config.token is not None,
        )
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
            "/openapi.json": ("page", {"GET": self._get_description}),
            "/docs": ("page", {"GET": self._get_docs}),
        }
        for base in (model, f"{model}/versions/{protocol.VERSION}"):
            routes[base] = ("metadata", {"GET": self._get_model})
            routes[f"{base}/config"] = ("metadata", {"GET": self._get_config})
            routes[f"{base}/stats"] = ("metadata", {"GET": self._get_statistics})
            routes[f"{base}/ready"] = ("health", {"GET": self._get_ready})
            routes[f"{base}/infer"] = ("infer", {"POST": self._infer})
        return routes

    def refuse(self, target: str) -> RequestError | None:
        """Why a POST to this target is refused unread just now, or None; counted where refused.

        Of what would be refused anyway only that is refused here: an error in the request itself
        may so go unsaid while the server is full, and is said once it is not.
        """
        path, _, query = target.partition("?")
        route, methods = self._routes.get(path, ("other", {}))
        if "POST" not in methods or self.batcher.draining:
            return None
        error = self._refusal(route == "predict" and "detect=0" not in query)
        if error is not None:
            self.metrics.request(route, error.status, 0.0)
        return error

    def _refusal(self, detect: bool) -> RequestError | None:
        return self._cutting.refusal(detect) or self.batcher.refusal(
            1 + self._cutting.ahead, self.config.deadline_s
        )

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

    async def _get_description(self, request: web.BaseRequest) -> web.Response:
        return _json(self._description)

    async def _get_docs(self, request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=openapi.page(self._description), content_type="text/html", charset="utf-8",
            headers=PLAIN | {"Content-Security-Policy": "default-src 'none'"},
        )  # fmt: skip

    async def _get_config(self, request: web.BaseRequest) -> web.Response:
        config = self.config
        return _json(
            model_configuration(self.engine.input_size, config.max_batch, config.max_wait_ms)
        )

    async def _get_statistics(self, request: web.BaseRequest) -> web.Response:
        return _json(self.metrics.statistics.to_json())

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
            {"name": "neurogaze_fast", "version": __version__, "extensions": protocol.EXTENSIONS}
        )

    async def _get_model(self, request: web.BaseRequest) -> web.Response:
        metadata = {
            "emotions": list(EMOTIONS),
            "valence_arousal": VALENCE_AROUSAL,
            "synthetic": self.engine.synthetic,
            "engine": self.engine.detail,
            "detect": self._cutting.faces is not None,
            "max_batch": self.config.max_batch,
            "max_body": self._bodies.max_body,
            "max_pixels": int(self.config.max_pixels * MEGA),
        }
        return _json(protocol.model_metadata(self.engine.input_size, metadata))

    async def infer(self, asked: protocol.InferRequest) -> Outputs:
        """The outputs for a tensor that came whole.

        Raises:
            RequestError: as :meth:`Batcher.submit`.
        """
        with self.batcher.coming():
            self._admit(detect=False)
            return await self.batcher.submit(asked.images, self.config.deadline_s)

    async def _infer(self, request: web.BaseRequest) -> web.Response:
        _want_type(request, _TENSOR_TYPES)
        asks_for_nothing_else(request.query, ())
        async with self._bodies.read(request) as body:
            due = Due(self.config.deadline_s)
            self._admit(detect=False)
            header = request.headers.get(protocol.LENGTH_HEADER)
            size, most = self.engine.input_size, self.config.max_batch
            with self.batcher.coming():
                asked = await self._cutting.small_work(
                    due, body, lambda: protocol.read_infer(body, header, size, most)
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
        detect = wants_detection(request.query, self._cutting.faces is not None)
        if (request.content_length or 0) > SMALL[0]:
            await self._cutting.place(detect)
        async with self._bodies.read(request) as body:
            due = Due(self.config.deadline_s)
            if len(body) > SMALL[0]:
                await self._cutting.place(detect)  # others may have come meanwhile
            self._admit(detect)
            picture = form.only_file(body, request.headers.get("Content-Type", ""))
            with self.batcher.coming():
                found = await self._cutting.faces_of_photo(due, picture) if detect else None
                faces = found.faces if found else await self._cutting.one_face(due, picture)
                probabilities, points = await self.batcher.submit(faces, due.left)
        where = () if found is None else (found.boxes, found.qualities)
        answers = faces_of(probabilities, points, *where)
        latency = {"latency_ms": round(1000 * (time.perf_counter() - began), 3)}
        common = {**latency, "synthetic": self.engine.synthetic}
        if found is None:
            return _json({**answers[0].to_json(), **common})
        left_out = {"small": found.small, "many": found.many}
        each = [face.to_json() for face in answers]
        return _json({"faces": each, "left_out": left_out, **common})

    def _admit(self, detect: bool) -> None:
        if (error := self._refusal(detect)) is not None:
            raise error

    def close(self) -> None:
        """Let the threads go."""
        self._cutting.close()


_Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


def _json(value: Any) -> web.Response:
    return web.json_response(value, headers=PLAIN)


def _want_type(request: web.BaseRequest, allowed: tuple[str, ...]) -> None:
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        named = ", ".join(kind for kind in allowed[1:3])
        raise RequestError(415, f"send the bytes themselves, as {named} or without a type")
