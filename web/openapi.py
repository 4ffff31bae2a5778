"""The OpenAPI description: FastAPI's own, with every error told as what it is, a problem document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from web.problems import MEDIA_TYPE, Problem

_COMMON = {
    "401": "A token is required, or it is wrong (only where auth.token is set).",
    "403": "Host or Origin is not allowed.",
    "413": "The body is too large.",
    "422": "The request is not valid.",
    "500": "Something failed in the server.",
}
_METHODS = {"get", "put", "post", "delete", "patch"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of ``app``, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for path, item in schema["paths"].items():
            for method, operation in item.items():
                if method in _METHODS:
                    _set_errors(path, method, operation)
        schemes = schema["components"].setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer", "description": "auth.token of the settings, where it is set."}
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": "parley_session", "description": "Set by POST /login."}
        schema["security"] = [{"token": []}, {"cookie": []}, {}]
        app.openapi_schema = schema
    return app.openapi_schema


def _set_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    has_body = "requestBody" in operation
    may_fail = {"500"} if path == "/health" else {"401", "403", "500"} | ({"413", "422"} if has_body else set())
    if path.startswith("/phone/"):
        # Carriers sign what they send, and the link to a report carries its own proof.
        may_fail.discard("401")
        operation["security"] = []
    if operation.get("parameters"):
        may_fail.add("422")
    else:
        may_fail |= {"422"} & responses.keys()
    for status in may_fail:
        responses.setdefault(status, {"description": _COMMON[status]})
    for status, response in responses.items():
        if status >= "400":
            if response.get("description") == "Validation Error":
                response["description"] = _COMMON["422"]
            response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            if status in ("429", "503"):
                response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    operation["responses"] = dict(sorted(responses.items()))
