"""Ephemeral keys: ``POST /v1/realtime/client_secrets``. A page gets one from its own server, and opens sessions with it.

A key opens nothing but the Realtime doors, until it expires, and brings the configuration that it was made with. Keys live in
memory: they are good for minutes, and a server that starts anew has forgotten them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from web.doors.realtime import events as ev
from web.doors.realtime.abilities import abilities
from web.doors.realtime.config import Config, changed
from web.state import state_of

router = APIRouter(prefix="/v1/realtime")

PREFIX = "ek_"
SUBPROTOCOL_KEY = "openai-insecure-api-key."
PATHS = frozenset({"/v1/realtime", "/v1/realtime/calls"})
DEFAULT_TTL_S, MIN_TTL_S, MAX_TTL_S = 600, 10, 7_200
MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What a key stands for; ``expires_at`` in seconds since the epoch."""

    expires_at: float
    config: Config


class ClientSecrets:
    """The keys that are good; times are passed in. Only their digests are kept."""

    def __init__(self, keep: int = MAX_KEYS) -> None:
        self._keys: OrderedDict[bytes, ClientSecret] = OrderedDict()
        self._keep = keep

    def make(self, config: Config, ttl_s: float, now: float) -> tuple[str, ClientSecret]:
        """A new key for sessions of ``config``."""
        for digest in [d for d, s in self._keys.items() if s.expires_at <= now]:
            del self._keys[digest]
        while len(self._keys) >= self._keep:
            self._keys.popitem(last=False)
        value = PREFIX + secrets.token_urlsafe(32)
        made = self._keys[_digest(value)] = ClientSecret(now + ttl_s, config)
        return value, made

    def get(self, value: str, now: float) -> ClientSecret | None:
        """What ``value`` stands for; ``None`` where it is no key, or none any more."""
        found = self._keys.get(_digest(value))
        return found if found is not None and found.expires_at > now else None

    def __len__(self) -> int:
        return len(self._keys)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode(errors="surrogatepass")).digest()


def key_in_subprotocols(header: str | None) -> str | None:
    """The key that a browser's WebSocket, which can send no header of its own, gives as a subprotocol."""
    offered = [p.strip() for p in (header or "").split(",")]
    return next((p.removeprefix(SUBPROTOCOL_KEY) for p in offered if p.startswith(SUBPROTOCOL_KEY)), None)


def in_openais_form(problem: Response) -> Response:
    """A problem document that also is what OpenAI's clients take for an error."""
    body = json.loads(bytes(problem.body))
    kind: ev.ErrorType = "authentication_error" if problem.status_code == 401 else "invalid_request_error"
    if problem.status_code == 429:
        kind = "rate_limit_error"
    code = str(body.get("type", "")).rpartition(":")[2].replace("-", "_")
    detail = ev.ErrorDetail(type=kind, code=code, message=str(body.get("detail") or body.get("title")))
    headers = {k: v for k, v in problem.headers.items() if k not in ("content-length", "content-type")}
    body["error"] = detail.model_dump(exclude={"event_id"})
    return JSONResponse(body, problem.status_code, headers=headers, media_type=problem.media_type)


class _ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(DEFAULT_TTL_S, ge=MIN_TTL_S, le=MAX_TTL_S)


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires_after: _ExpiresAfter | None = None
    session: ev.SessionUpdate | None = None


@router.post("/client_secrets", include_in_schema=False)
async def client_secrets(request: Request) -> Response:
    """A key for a page, with the configuration of its sessions."""
    # Imported here, because the sockets' door knows keys.
    from web.doors.realtime.websocket import refusal

    state = state_of(request)
    can = abilities(state)
    try:
        wanted = await _read(request)
        config = Config(voice=can.voice)
        if wanted.session is not None:
            config = changed(config, wanted.session, can)
    except ev.ApiError as e:
        return refusal(e)
    ttl_s = (wanted.expires_after or _ExpiresAfter()).seconds
    value, made = state.client_secrets.make(config, ttl_s, time.time())
    expires_at = int(made.expires_at)
    session: dict[str, Any] = config.to_wire(ev.new_id("sess"), expires_at)
    body = {"value": value, "expires_at": expires_at, "session": session}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


async def _read(request: Request) -> _Wanted:
    body = await request.body()
    if not body:
        return _Wanted()
    try:
        return _Wanted.model_validate_json(body)
    except ValidationError as e:
        raise ev.invalid(e) from None
