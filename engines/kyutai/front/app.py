"""What every engine's front-end serves: who may come in, and what the engine says of itself."""

from __future__ import annotations

import json
from collections.abc import Collection
from importlib import metadata
from typing import Any, Protocol

from aiohttp import web

from engines.kyutai.front.hub import Hub
from engines.wire.kyutai import KEY_HEADER, KEY_QUERY

MOST_BODY_BYTES = 1 << 26
"""Of a request that is no WebSocket."""
_UNKNOWN = "unknown"


class Door(Protocol):
    """What one engine's clients come through."""

    def routes(self) -> list[web.RouteDef]:
        """Its routes. Each is to call ``refusal`` first."""


class Keys:
    """``accepted``: the keys that open the door; with none of them, none is asked for."""

    def __init__(self, accepted: Collection[str]) -> None:
        self._accepted = frozenset(accepted)

    def open_to(self, request: web.Request) -> bool:
        """Whether this request may come in: by its header, or, for a WebSocket that has none (browsers cannot set one), by its
        query."""
        if not self._accepted:
            return True
        key = request.headers.get(KEY_HEADER)
        if key is None and request.method == "GET":
            key = request.query.get(KEY_QUERY)
        return key in self._accepted


def refusal(request: web.Request, hub: Hub, keys: Keys) -> web.Response | None:
    """Why the request is not served: a wrong key (401), or an engine that is not warm yet (503)."""
    if not keys.open_to(request):
        return web.Response(status=401)
    if hub.ready is None:
        return web.Response(status=503, text="the model is being loaded\n", headers={"Retry-After": "5"})
    return None


def make_app(hub: Hub, door: Door) -> web.Application:
    """The whole front-end."""
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    about = _About(hub)
    app.add_routes(
        [
            web.get("/health", about.health),
            web.get("/ready", about.ready),
            web.get("/metrics", about.metrics),
            web.get("/api/build_info", about.build_info),
            web.get("/api/modules_info", about.modules_info),
            *door.routes(),
        ]
    )
    return app


class _About:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def health(self, request: web.Request) -> web.Response:
        if self._hub.ready is None:
            return web.json_response({"status": "loading"})
        try:
            return web.json_response({"status": "ok", **json.loads(await self._hub.ask("status"))})
        except TimeoutError:
            return web.json_response({"status": "the step loop does not answer"}, status=503)

    async def ready(self, request: web.Request) -> web.Response:
        if self._hub.ready is None:
            return web.json_response({"ready": False, "reason": "the model is being loaded"}, status=503)
        return web.json_response({"ready": True, **self._hub.ready})

    async def metrics(self, request: web.Request) -> web.Response:
        if self._hub.ready is None:
            return web.Response(text="")
        try:
            text = await self._hub.ask("metrics")
        except TimeoutError:
            return web.Response(status=503, text="the step loop does not answer\n")
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def build_info(self, request: web.Request) -> web.Response:
        # The keys are those of moshi-server; what a package does not know of its making is said to be unknown.
        keys = ("build_timestamp", "build_date", "git_branch", "git_timestamp", "git_date", "git_hash", "git_describe")
        info: dict[str, Any] = dict.fromkeys(keys, _UNKNOWN)
        return web.json_response({**info, "server": "parley", "version": _version()})

    async def modules_info(self, request: web.Request) -> web.Response:
        ready = self._hub.ready
        if ready is None:
            return web.json_response([])
        try:
            status = json.loads(await self._hub.ask("status"))
        except TimeoutError:
            return web.Response(status=503, text="the step loop does not answer\n")
        # All values are strings there.
        slots = {"used_slots": str(status["slots_used"]), "total_slots": str(status["slots"])}
        return web.json_response([{**{key: str(value) for key, value in ready.items()}, **slots}])


def _version() -> str:
    try:
        return metadata.version("parley")
    except metadata.PackageNotFoundError:
        return _UNKNOWN
