"""Open Inference Protocol v2 over gRPC: the same batches, limits and errors as over HTTP."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np

from neurogaze_fast import __version__
from neurogaze_fast.deploy.server import inference_protocol as protocol
from neurogaze_fast.deploy.server.auth import check_caller
from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.cutting import MEGA
from neurogaze_fast.deploy.server.grpc_messages import MESSAGES, METHODS, SERVICE
from neurogaze_fast.deploy.server.http_errors import RequestError, malformed
from neurogaze_fast.deploy.server.service import Service
from neurogaze_fast.errors import ConfigError

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_REFUSED = 64
"""Calls under way that may be told why they are refused; grpc itself ends what is beyond."""
_OPEN = ("ServerLive", "ServerReady", "ModelReady")


class GrpcService:
    """Answers the calls of the protocol with a server's own engine and queue."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def handlers(self) -> grpc.GenericRpcHandler:
        """All calls, for grpc.aio's server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._answer(name),
                    request_deserializer=MESSAGES[f"{name}Request"].FromString,
                    response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
                )
                for name in METHODS
            },
        )

    def _answer(self, name: str) -> Any:
        call = getattr(self, f"_{name}")

        async def answer(request: Any, context: Any) -> Any:
            began, status = time.perf_counter(), 200
            self._service.in_flight += 1
            try:
                headers = {
                    key.title(): value
                    for key, value in context.invocation_metadata()
                    if key == "authorization"
                }
                route = "health" if name in _OPEN else "infer"
                check_caller(headers, route, self._service.config.token)
                return await call(request)
            except RequestError as error:
                status = error.status
                if error.retry_after_s is not None:
                    context.set_trailing_metadata((("retry-after", str(error.retry_after_s)),))
                code = _CODES.get(error.status, grpc.StatusCode.INTERNAL)
                await context.abort(code, error.message)
            finally:
                self._service.in_flight -= 1
                self._service.metrics.request("grpc", status, time.perf_counter() - began)

        return answer

    async def _ServerLive(self, request: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ServerReady(self, request: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._service.batcher.ready)

    async def _ModelReady(self, request: Any) -> Any:
        _want_model(request.name, request.version)
        return MESSAGES["ModelReadyResponse"](ready=self._service.batcher.ready)

    async def _ServerMetadata(self, request: Any) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="neurogaze_fast", version=__version__)

    async def _ModelMetadata(self, request: Any) -> Any:
        _want_model(request.name, request.version)
        metadata = protocol.model_metadata(self._service.engine.input_size, {})
        del metadata["parameters"]
        return MESSAGES["ModelMetadataResponse"](**metadata)

    async def _ModelInfer(self, request: Any) -> Any:
        _want_model(request.model_name, request.model_version)
        asked = self._read(request)
        outputs = await self._service.infer(asked)
        response = MESSAGES["ModelInferResponse"](
            model_name=protocol.MODEL, model_version=protocol.VERSION, id=request.id
        )
        for name, array in protocol.chosen(asked, *outputs):
            response.outputs.add(name=name, datatype="FP32", shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    def _read(self, request: Any) -> protocol.InferRequest:
        if len(request.inputs) != 1:
            raise malformed(f"inputs must be one tensor, {protocol.INPUT!r}")
        given = request.inputs[0]
        if request.raw_input_contents:
            if len(request.raw_input_contents) != 1 or given.HasField("contents"):
                raise malformed("raw_input_contents must be the bytes of the one tensor there is")
            data = request.raw_input_contents[0]
        else:
            values = np.array(given.contents.uint_contents, np.uint32)
            if (values > 255).any():
                raise malformed("contents must be whole numbers from 0 to 255")
            data = values.astype(np.uint8).tobytes()
        tensor = {
            "name": given.name,
            "datatype": given.datatype,
            "shape": list(given.shape),
            "parameters": {"binary_data_size": len(data)}
            | {name: True for name in given.parameters if name.startswith("shared_memory")},
        }
        parts = {
            "inputs": [tensor],
            "outputs": [
                {"name": one.name, "parameters": dict.fromkeys(one.parameters, True)}
                for one in request.outputs
            ],
            "parameters": {"binary_data_output": True},
            "id": request.id or None,
        }
        size, most = self._service.engine.input_size, self._service.config.max_batch
        return protocol.read_tensors(parts, memoryview(data), size, most)


def _want_model(name: str, version: str) -> None:
    if name != protocol.MODEL or version not in ("", protocol.VERSION):
        raise RequestError(404, f"there is one model here, {protocol.MODEL}, {protocol.VERSION}")


async def start(service: Service, config: ServeConfig) -> tuple[Any, int]:
    """(a grpc.aio server that listens, its port).

    Raises:
        ConfigError: the port cannot be listened on.
    """
    most = int(config.max_body * MEGA)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", most),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=config.queue + config.max_batch + _REFUSED,
    )
    server.add_generic_rpc_handlers((GrpcService(service).handlers(),))
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port = server.add_insecure_port(f"{host}:{config.grpc_port}")
    except RuntimeError as cause:
        raise ConfigError(
            f"--grpc-port {config.grpc_port} cannot be listened on at {config.host}. Choose "
            "another (0 takes a free one), or end what uses this one."
        ) from cause
    await server.start()
    return server, port
