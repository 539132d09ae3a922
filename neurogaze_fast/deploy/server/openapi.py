"""The server's description of itself: OpenAPI 3.1 at /openapi.json, and to read at /docs."""

from __future__ import annotations

import html
import json
from typing import Any

from neurogaze_fast import __version__
from neurogaze_fast.deploy.server import inference_protocol as protocol
from neurogaze_fast.deploy.server.http_errors import TYPES
from neurogaze_fast.emotions import EMOTIONS

_MODEL = f"/v2/models/{protocol.MODEL}"
_PICTURES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")


def _reference(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _answer(text: str, schema: str | None = None) -> dict[str, Any]:
    return {"description": text} | ({"content": _reference(schema)} if schema else {})


def _get(text: str, schema: str | None = None, *, path_open: bool = False) -> dict[str, Any]:
    errors = {} if path_open else {"401": _answer("The token is missing or wrong.", "Error")}
    ready = {"503": _answer("Not ready.", "Error")} if "ready" in text else {}
    security: dict[str, Any] = {"security": []} if path_open else {}
    return {
        "get": {"summary": text, "responses": {"200": _answer(text, schema)} | errors | ready}
        | security
    }


_ERRORS = {
    "400": _answer("Malformed; the error says what.", "Error"),
    "401": _answer("The token is missing or wrong.", "Error"),
    "413": _answer("Too many bytes or pixels.", "Error"),
    "415": _answer("Of a kind that is not taken.", "Error"),
    "503": {
        **_answer("Too much to do.", "Error"),
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    },
    "504": _answer("The deadline passed.", "Error"),
}
_FACE = {
    "type": "object",
    "required": ["label", "probabilities", "valence", "arousal"],
    "properties": {
        "label": {"type": "string", "enum": list(EMOTIONS)},
        "probabilities": {
            "type": "object",
            "properties": {name: {"type": "number"} for name in EMOTIONS},
        },
        "valence": {"type": "number", "minimum": -1, "maximum": 1},
        "arousal": {"type": "number", "minimum": -1, "maximum": 1},
        "box": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "Left, top, right and bottom in pixels of the picture.",
        },
        "score": {"type": "number", "description": "The detector's."},
    },
}
_COUNT = {
    "type": "object",
    "properties": {"small": {"type": "integer"}, "many": {"type": "integer"}},
}
_FACES = {
    "type": "object",
    "description": "With detect=1 the faces of the picture; with detect=0 the fields of one face "
    "stand in their place.",
    "properties": {
        "faces": {"type": "array", "items": {"$ref": "#/components/schemas/Face"}},
        "left_out": {**_COUNT, "description": "Faces left out: too small, and too many."},
        "latency_ms": {"type": "number"},
        "synthetic": {"type": "boolean", "description": "The model was trained on drawn faces."},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error", "type"],
    "properties": {
        "error": {"type": "string"},
        "type": {"type": "string", "enum": sorted({*TYPES.values(), "error"})},
    },
}


def description(size: int, max_body: int, max_pixels: int, token: bool) -> dict[str, Any]:
    """The OpenAPI document of a server with these limits, bytes and pixels."""
    picture = {
        "summary": "Expression, valence and arousal of the faces in a picture",
        "parameters": [
            {
                "name": "detect",
                "in": "query",
                "schema": {"type": "string", "enum": ["0", "1"], "default": "1"},
                "description": "0: the picture is one face, cut out already.",
            }
        ],
        "requestBody": {
            "required": True,
            "description": f"A JPEG, PNG or WebP of at most {max_body} bytes and {max_pixels} "
            "pixels, or a form with one such file.",
            "content": {kind: {} for kind in _PICTURES}
            | {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                }
            },
        },
        "responses": {"200": _answer("The faces.", "Faces")} | _ERRORS,
    }
    infer = {
        "summary": "Outputs for face tensors (Open Inference Protocol v2)",
        "requestBody": {
            "required": True,
            "description": f"One input, {protocol.INPUT!r}, UINT8 [N, {size}, {size}, 3], as JSON "
            f"or with the binary tensor extension ({protocol.LENGTH_HEADER}).",
            "content": {"application/json": {}, "application/octet-stream": {}},
        },
        "responses": {"200": _answer(" and ".join(protocol.OUTPUTS) + ", FP32.")} | _ERRORS,
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "neurogaze_fast", "version": __version__},
        "paths": {
            "/predict": {"post": picture},
            f"{_MODEL}/infer": {"post": infer},
            _MODEL: _get("The model's inputs, outputs and limits."),
            f"{_MODEL}/config": _get("The model's configuration."),
            f"{_MODEL}/stats": _get("What has been computed since the start."),
            f"{_MODEL}/ready": _get("Whether the model is ready.", path_open=True),
            "/v2": _get("The server's name, version and extensions."),
            "/v2/health/live": _get("Whether the server lives.", path_open=True),
            "/v2/health/ready": _get("Whether the server is ready.", path_open=True),
            "/metrics": _get("Counts and times for Prometheus."),
            "/openapi.json": _get("This description.", path_open=True),
            "/docs": _get("This description, to read.", path_open=True),
            "/": _get("A page to try the model.", path_open=True),
        },
        "components": {"schemas": {"Face": _FACE, "Faces": _FACES, "Error": _ERROR}},
    }
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def page(document: dict[str, Any]) -> bytes:
    """The description as a page without scripts, styles or anything from elsewhere."""
    rows = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            asked = [
                f"{one['name']}: {', '.join(one['schema']['enum'])}; {one['description']}"
                for one in operation.get("parameters", ())
            ]
            if "requestBody" in operation:
                asked.append(operation["requestBody"]["description"])
            answers = [
                f"{code}: {one['description']}" for code, one in operation["responses"].items()
            ]
            cells = (f"{method.upper()} {path}", operation["summary"], asked, answers)
            rows.append("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in cells) + "</tr>")
    schemas = html.escape(json.dumps(document["components"]["schemas"], indent=2))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>neurogaze_fast: requests'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><h1>Requests of this server</h1>'
        '<p>For programs: <a href="/openapi.json">/openapi.json</a>. To try it: <a href="/">the '
        'page</a>.</p><table border="1" cellpadding="6"><tr><th>Request</th><th>What it gives</th>'
        f"<th>What is sent</th><th>Answers</th></tr>{''.join(rows)}</table>"
        f"<h2>Forms of the answers</h2><pre>{schemas}</pre></html>"
    ).encode()


def _cell(value: str | list[str]) -> str:
    return "<br>".join(map(html.escape, [value] if isinstance(value, str) else value))
