"""Errors as RFC 9457 problem documents (``application/problem+json``)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from pipeline.engine import AtCapacity, NotLoaded

MEDIA_TYPE = "application/problem+json"


class ProblemItem(BaseModel):
    """One field of a request that was refused."""

    where: str = Field(description="Path to the field, such as body.level.", examples=["body.level"])
    what: str = Field(
        description="What is wrong with it.", examples=["Input should be 'beginner', 'intermediate' or 'advanced'"]
    )


class Problem(BaseModel):
    """A problem document of RFC 9457. ``errors`` is an extension member, sent with a request that did not validate."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="What kind of problem; about:blank where the status says it all.")
    title: str = Field(description="The kind of problem in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str | None = Field(None, description="What was wrong with this request.", examples=["no session 'abc'"])
    instance: str | None = Field(None, description="The path that was asked for.", examples=["/api/sessions/abc"])
    errors: list[ProblemItem] | None = None


class ProblemError(HTTPException):
    """Raised by a route: becomes a problem document. ``kind`` completes the URN ``urn:parley:problem:``."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        title: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(status, detail, headers)
        self.kind = kind
        self.title = title


def problem_response(
    status: int,
    detail: str | None,
    *,
    kind: str | None = None,
    title: str | None = None,
    instance: str | None = None,
    headers: dict[str, str] | None = None,
    errors: list[ProblemItem] | None = None,
) -> Response:
    """A problem document as a response."""
    problem = Problem(
        type=f"urn:parley:problem:{kind}" if kind else "about:blank",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        errors=errors,
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)


def at_capacity(e: AtCapacity) -> ProblemError:
    """The refusal of one call too many: 429, since clients retry blindly on a 5xx."""
    return ProblemError(429, str(e), kind="at-capacity", title="At capacity", retry_after_s=e.retry_after_s)


def not_loaded(e: NotLoaded, status: int = 503) -> ProblemError:
    """The refusal of a call while an engine is unloaded."""
    return ProblemError(status, str(e), kind="unloaded", title="Unloaded", retry_after_s=e.retry_after_s)


async def _http(request: Request, e: Exception) -> Response:
    assert isinstance(e, HTTPException)
    headers = dict(e.headers or {})
    if e.status_code < 400:
        return Response(status_code=e.status_code, headers=headers)
    detail = e.detail if e.detail and e.detail != HTTPStatus(e.status_code).phrase else _plain_detail(e.status_code, request)
    return problem_response(
        e.status_code,
        detail,
        kind=getattr(e, "kind", None),
        title=getattr(e, "title", None),
        instance=request.url.path,
        headers=headers,
    )


def _plain_detail(status: int, request: Request) -> str | None:
    match status:
        case 404:
            return f"there is nothing at {request.url.path}"
        case 405:
            return f"{request.method} is not possible at {request.url.path}"
        case _:
            return None


async def _invalid(request: Request, e: Exception) -> Response:
    assert isinstance(e, RequestValidationError)
    items = [ProblemItem(where=_where(error["loc"]), what=str(error["msg"])) for error in e.errors()[:20]]
    detail = "; ".join(f"{item.where}: {item.what}" for item in items[:3])
    return problem_response(
        422, detail, kind="invalid-request", title="The request is not valid", instance=request.url.path, errors=items
    )


def _where(loc: tuple[Any, ...]) -> str:
    # The position of a JSON syntax error is a number of characters, which helps; the rest are names.
    return ".".join(str(part)[:60] for part in loc)


async def _capacity(request: Request, e: Exception) -> Response:
    assert isinstance(e, AtCapacity)
    return await _http(request, not_loaded(e) if isinstance(e, NotLoaded) else at_capacity(e))


async def _unexpected(request: Request, e: Exception) -> Response:
    # The cause goes to the log (uvicorn adds the traceback) and not to the client: it may hold paths or secrets.
    logger.error("{} {} failed: {}", request.method, request.url.path, type(e).__name__)
    return problem_response(500, "the server could not do that; its log says why", instance=request.url.path)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document, and say so in its OpenAPI description."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(AtCapacity, _capacity)
    app.add_exception_handler(Exception, _unexpected)
