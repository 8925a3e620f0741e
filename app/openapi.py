"""The OpenAPI description of the model's routes, which FastAPI does not see, written by hand."""

from types import ModuleType
from typing import Any

from fastapi import FastAPI

from app.accept import MSGPACK_TYPES
from app.body import FORM_TYPE
from app.credentials import OPEN_PATHS
from app.routes.load_files import LOAD_FILES
from app.routes.predict import PATHS
from app.time_limit import HEADER

Schema = dict[str, Any]

_DESCRIPTION = """
Send the files, and what the model should know about them, as msgpack or as a form:

    curl -F files=@chest.dcm -F threshold=0.5 -H 'Accept: application/json' localhost:6324/predict

The answer is the model's list of outputs exactly as it returned them, as msgpack or, where `Accept` names
`application/json`, as JSON with bytes in base64 and NaN and infinities as null.

In a form every file is a part named `files` (`file` and `files[]` are understood, too); a file without a telling
type is recognised by its content. `args` is one JSON object, any other field is one argument. Arguments are
strings: JSON strings as they are, anything else as the JSON text that was sent.

Files in groups (a list of lists) go to the model's `predict_batch` as they are, or to `predict` group by group.
"""

_LOADING = """
Files for requests that follow, which name them by `content_path` and have a null `content`. The model gets that path
absolute and reads the file there. A file is there for one request: it is deleted when the model has ended with that,
or when none has come for `--load-files-age`.
"""

_LOADING_ERRORS = {
    400: "The body is broken: no msgpack, cut off.",
    408: "The client stopped sending in the middle of the body.",
    413: "The body is over a limit, or has more than may be loaded at all.",
    415: "The body's media type is not msgpack.",
    422: "The body can be read and is no list of files, or a path leads out of the folder.",
    503: "There is no room for more files until requests have used some.",
}

_ERRORS = {
    400: "The body is broken: no msgpack, no form, cut off.",
    401: "The service wants an API key, and the request brings none that is accepted.",
    408: "The client stopped sending in the middle of the body.",
    413: "The body is over a limit.",
    415: "The body's media type is none of those that are read.",
    422: "The body can be read and is no request.",
    500: "The model failed, or returned something that cannot be passed on.",
    503: "The model is not loaded, or every worker is busy and the queue is full.",
    504: "The model took longer than allowed.",
}


def describe_api(app: FastAPI, *, with_keys: bool) -> None:
    """Add the model's routes, and that requests need API keys, to what `app.openapi()` returns."""
    generated = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            from app.interface import schemas  # builds all schemas, which no start of the service waits for

            document = generated()
            operations = {path: {"post": _operation(path, schemas)} for path in PATHS}
            operations[LOAD_FILES] = {"post": _loading(schemas)}
            document["paths"] = operations | document["paths"]
            components = document.setdefault("components", {}).setdefault("schemas", {})
            components |= schemas.COMPONENTS | {"Outputs": schemas.OUTPUT_SCHEMA, "Problem": _PROBLEM}
            if with_keys:
                _demand_keys(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _demand_keys(document: Schema) -> None:
    """A key in one of two headers, on everything but the probes."""
    document["components"]["securitySchemes"] = _KEY_HEADERS
    document["security"] = [{name: []} for name in _KEY_HEADERS]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in OPEN_PATHS:
                operation["security"] = []
            else:
                operation["responses"]["401"] = _error(401, _ERRORS[401])


def _operation(path: str, schemas: ModuleType) -> Schema:
    request = {"schema": schemas.REQUEST_SCHEMA, "example": schemas.REQUEST_EXAMPLE}
    outputs = {"schema": _reference("Outputs"), "example": schemas.OUTPUT_EXAMPLE}
    return {
        "tags": ["model"],
        "operationId": path.strip("/"),
        "summary": "Run the model" if path == PATHS[0] else f"The same as {PATHS[0]}",
        "description": _DESCRIPTION,
        "parameters": [*_PARAMETERS, _TIME_LIMIT],
        "requestBody": {
            "required": True,
            "content": {FORM_TYPE: {"schema": _FORM}, **dict.fromkeys(MSGPACK_TYPES, request)},
        },
        "responses": {"200": _success(outputs)}
        | {str(status): _error(status, text) for status, text in _ERRORS.items()},
    }


def _loading(schemas: ModuleType) -> Schema:
    body = {"schema": schemas.LOADING_SCHEMA}
    return {
        "tags": ["model"],
        "operationId": "load-files",
        "summary": "Load files ahead of a request",
        "description": _LOADING,
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": dict.fromkeys(MSGPACK_TYPES, body)},
        "responses": {"200": {"description": "The files are there.", "headers": _REQUEST_ID}}
        | {str(status): _error(status, text) for status, text in _LOADING_ERRORS.items()},
    }


def _success(outputs: Schema) -> Schema:
    return {
        "description": "The model's outputs.",
        "headers": _REQUEST_ID
        | {
            "Server-Timing": _header("Milliseconds of upload, queue, decode, predict, encode and judge."),
            "X-Model-Warnings": _header("What is surely a mistake in the request or the outputs; ASCII, up to 2 kB."),
        },
        "content": {"application/msgpack": outputs, "application/json": outputs},
    }


def _error(status: int, description: str) -> Schema:
    retry = {"Retry-After": _header("Seconds to wait before another try.")} if status == 503 else {}
    challenge = {"WWW-Authenticate": _header("How a key is sent.")} if status == 401 else {}
    return {
        "description": description,
        "headers": _REQUEST_ID | retry | challenge,
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/problem+json": {"schema": _reference("Problem")},
        },
    }


def _header(description: str) -> Schema:
    return {"description": description, "schema": {"type": "string"}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_REQUEST_ID = {"X-Request-Id": _header("Names this request in the server's log.")}

_KEY_HEADERS: Schema = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "curl -H 'X-API-Key: KEY' -F files=@chest.dcm localhost:6324/predict",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "curl -H 'Authorization: Bearer KEY' -F files=@chest.dcm localhost:6324/predict",
    },
}
_PARAMETERS: list[Schema] = [
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Comes back in the answer and stands in the log. Where it is missing, the trace id of a"
        " `traceparent` is taken, else one is made up.",
        "schema": {"type": "string", "maxLength": 128, "pattern": "^[!-~]+$"},
    }
]
_TIME_LIMIT: Schema = {
    "name": HEADER,
    "in": "header",
    "description": "What the wait in line and the prediction may take together: 30 (seconds), 90s, 10m.",
    "schema": {"type": "string", "examples": ["90s"]},
}

_FORM: Schema = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
        "args": {"type": "object", "description": "A JSON object; each of its keys is one argument."},
        "annotations": {"type": "array", "items": _reference("Annotation")},
        "label_classes": {"type": "array", "items": _reference("LabelClass")},
    },
    "additionalProperties": {"type": "string", "description": "One argument of the model."},
}

_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:mdai-model:model-raised"]},
        "title": {"type": "string", "examples": ["Error running model"]},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri"},
        "request_id": {"type": "string"},
        "traceback": {"type": "string", "description": "The model's own, where it raised."},
    },
}
