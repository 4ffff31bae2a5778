"""The gate before every route and door: host, origin, token, and the headers of every answer. Plain ASGI, so that a WebSocket
passes it like any request.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.auth import COOKIE, Authenticator, Presented, bearer_of
from web.doors.realtime.client_secrets import PATHS as EPHEMERAL_PATHS
from web.doors.realtime.client_secrets import PREFIX as EPHEMERAL_PREFIX
from web.doors.realtime.client_secrets import ClientSecrets, in_openais_form, key_in_subprotocols
from web.login import login_page
from web.origin import HostPolicy, Origin, origin_allowed
from web.problems import problem_response

OPEN_PATHS = frozenset({"/health"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECRET_PARAMETERS = ("token", "resume")
UPLOAD_PATH = re.compile(r".*/api/sessions/[^/]+/audio")
"""Where sound is sent as a turn, which is larger than any other body. A proxy may serve the app below a path of its own."""
CARRIER_PATH = re.compile(r"(?!.*/api/).*/phone/(?:[a-z]+/[a-z]+|report/[0-9a-f.]+)")
"""Where telephone carriers call. They know no token of the server's: the door checks signatures, or a call's own token. So does
the page behind a link that was sent to a telephone."""


class Guard:
    """Lets a request through, or answers it with a problem document."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: HostPolicy,
        origins: frozenset[Origin],
        auth: Authenticator,
        max_body_bytes: int,
        max_upload_bytes: int = 0,
        carrier_hosts: HostPolicy | None = None,
        client_secrets: ClientSecrets | None = None,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins
        self._auth = auth
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max(max_upload_bytes, max_body_bytes)
        self._carrier_hosts = carrier_hosts
        self._client_secrets = client_secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        secrets = _take_secrets(scope) if scope["type"] == "websocket" else {}
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers, secrets.get("token"))
        if refusal is not None and scope["path"].startswith("/v1/"):
            refusal = in_openais_form(refusal)
        send = _with_security_headers(scope, send, headers.get("host") if refusal is None else None)
        if refusal is None:
            await self._app(scope, self._counted(receive, self._limit_of(scope)) if scope["type"] == "http" else receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await receive()  # websocket.connect
            await refusal(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    def _refusal(self, scope: Scope, headers: Headers, query_token: str | None) -> Response | None:
        path = scope["path"]
        if path in OPEN_PATHS and scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not (self._hosts.allows(hosts[0]) or self._is_for_carriers(path, hosts[0])):
            return problem_response(
                403,
                f"this server does not answer to the host {hosts[0][:100]!r}; server.allowed_hosts adds names"
                if hosts
                else "a Host header is required",
                kind="host-not-allowed",
                title="Host not allowed",
                instance=path,
            )
        changes_state = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes_state and not self._from_allowed_page(scope, headers, hosts[0]):
            return problem_response(
                403,
                f"a page of {headers.get('origin', 'another site')[:100]!r} may not do this; see server.allowed_origins",
                kind="origin-not-allowed",
                title="Origin not allowed",
                instance=path,
            )
        return self._unauthorised(scope, headers, query_token) or self._too_large(scope, headers)

    def _is_for_carriers(self, path: str, host: str) -> bool:
        # A tunnel for telephone calls must not put the page and the API on the internet.
        return self._carrier_hosts is not None and CARRIER_PATH.fullmatch(path) is not None and self._carrier_hosts.allows(host)

    def _limit_of(self, scope: Scope) -> int:
        upload = scope["type"] == "http" and scope["method"] == "POST" and UPLOAD_PATH.fullmatch(scope["path"])
        return self._max_upload_bytes if upload else self._max_body_bytes

    def _too_large(self, scope: Scope, headers: Headers) -> Response | None:
        length, limit = headers.get("content-length", "0"), self._limit_of(scope)
        if length.isascii() and length.isdigit() and int(length) <= limit:
            return None
        return problem_response(413, _body_limit(limit), instance=scope["path"])

    def _counted(self, receive: Receive, limit: int) -> Receive:
        # A body in chunks declares no length.
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _body_limit(limit))
            return message

        return counted_receive

    def _from_allowed_page(self, scope: Scope, headers: Headers, host: str) -> bool:
        origins = headers.getlist("origin")
        if len(origins) > 1:
            return False
        if not origins:
            # Some browsers leave Origin out of some requests, but none leaves out both.
            return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        return origin_allowed(origins[0], scheme=scope["scheme"], host=host, allowed=self._origins)

    def _is_client_secret(self, scope: Scope, key: str | None) -> bool:
        secret = self._client_secrets.get(key, time.time()) if self._client_secrets is not None and key is not None else None
        if secret is not None:
            scope.setdefault("state", {})["client_secret"] = secret
        return secret is not None

    def _unauthorised(self, scope: Scope, headers: Headers, query_token: str | None) -> Response | None:
        path, http = scope["path"], scope["type"] == "http"
        bearer, ephemeral = bearer_of(headers.get("authorization")), False
        if path in EPHEMERAL_PATHS:
            bearer = bearer or key_in_subprotocols(headers.get("sec-websocket-protocol"))
            ephemeral = self._is_client_secret(scope, bearer)
            if not ephemeral and not self._auth.required and bearer is not None and bearer.startswith(EPHEMERAL_PREFIX):
                # Nobody needs a key here; but who brings one expects the configuration that it was made with.
                detail = "the ephemeral key has expired, or never was"
                return problem_response(401, detail, kind="unauthorised", title="Not logged in", instance=path)
        if ephemeral or not self._auth.required or (path == "/login" and http and scope["method"] == "POST"):
            return None
        if CARRIER_PATH.fullmatch(path):
            return None
        address, now = scope["client"][0] if scope.get("client") else "unknown", time.time()
        presented = Presented(bearer, query_token, _cookie(headers.getlist("cookie")))
        match self._auth.check(presented, address=address, now=now):
            case "yes":
                return None
            case "slow down":
                return problem_response(
                    429,
                    "too many wrong tokens from this address",
                    kind="too-many-attempts",
                    title="Too many attempts",
                    instance=path,
                    headers={"Retry-After": str(math.ceil(self._auth.retry_after_s(address, now)))},
                )
            case verdict:
                if http and scope["method"] in ("GET", "HEAD") and path == "/" and prefers_html(headers.get("accept")):
                    return HTMLResponse(login_page(), 401, headers={"Cache-Control": "no-store"})
                detail = "the token is wrong" if verdict == "wrong" else "a token is required (Authorization: Bearer …)"
                return problem_response(
                    401,
                    detail,
                    kind="unauthorised",
                    title="Not logged in",
                    instance=path,
                    headers={"WWW-Authenticate": 'Bearer realm="parley"'},
                )


def _body_limit(limit: int) -> str:
    return f"a body may have at most {limit} bytes"


def prefers_html(accept: str | None) -> bool:
    """Whether an ``Accept`` header asks for HTML rather than JSON; without one (or with ``*/*``) it does not."""

    def weight(*types: str) -> float:
        best = 0.0
        for part in (accept or "").lower().split(","):
            name, *parameters = (p.strip() for p in part.split(";"))
            q = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            try:
                value = float(q)
            except ValueError:
                value = 0.0
            if name in types:
                best = max(best, value)
        return best

    html = weight("text/html", "application/xhtml+xml")
    return html > 0 and html >= weight("application/json")


def _take_secrets(scope: Scope) -> dict[str, str]:
    # A query string ends up in access logs. The server reads it from this very scope, so the secrets leave it here, for good.
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    secrets = {key: value for key, value in pairs if key in SECRET_PARAMETERS}
    if secrets:
        scope["query_string"] = urlencode([(k, v) for k, v in pairs if k not in SECRET_PARAMETERS]).encode()
    scope.setdefault("state", {})["secrets"] = secrets
    return secrets


def _cookie(headers: Iterable[str]) -> str | None:
    for header in headers:
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            return morsel.value
    return None


def _with_security_headers(scope: Scope, send: Send, host: str | None) -> Send:
    # 'self' does not cover ws: and wss: in every browser, so the page's own host is named; it has passed the host check.
    own = f" ws://{host} wss://{host}" if host else ""
    policy = (
        "default-src 'self'; script-src 'self' blob:; worker-src 'self' blob:; "
        f"connect-src 'self' blob: data:{own}; img-src 'self' data: blob:; media-src 'self' data: blob:; "
        "font-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    )

    async def guarded_send(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            headers.setdefault("Content-Security-Policy", policy)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("X-Frame-Options", "DENY")
            headers.setdefault("Referrer-Policy", "same-origin")  # no-referrer would make forms send "Origin: null"
            headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
            headers.setdefault("Permissions-Policy", "microphone=(self)")
            if scope["path"].startswith("/api/") or scope["path"] in ("/config", "/status"):
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded_send
