"""``/``: the page for a browser, a description for a program; and the page's files."""

from __future__ import annotations

import json
import mimetypes
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from web.auth import COOKIE, COOKIE_TTL_S
from web.guard import prefers_html
from web.login import login_page
from web.problems import ProblemError
from web.schemas import Info
from web.state import address_of, state_of

router = APIRouter(tags=["page"])
PAGE_DIR = Path(__file__).resolve().parent.parent / "client" / "dist"
_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Parley</title></head>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem">
<h1>Parley is running, but its page has not been built</h1>
<p>End it, run <code>make run</code> in Parley's folder, which builds the page first, then reload.</p>
<p>The <a href="openapi.json">API</a> and the WebSocket at <code>/ws/conversation</code> work without it.</p>
</body></html>
"""
# Not every system's MIME table knows these, and a module script of another type is refused by browsers.
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


def app_version() -> str:
    """Parley's version: that of the installed package, or of the folder it runs from."""
    try:
        return version("parley")
    except PackageNotFoundError:
        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text())["project"]["version"]) if project.is_file() else "0"


@router.head("/", include_in_schema=False)
@router.get("/", response_model=Info, responses={200: {"content": {"text/html": {}}, "description": "The page, or this."}})
async def root(request: Request) -> Response:
    """The page for a browser (by ``Accept``); for other clients, where the API is."""
    if not prefers_html(request.headers.get("accept")):
        info = Info(version=app_version())
        return JSONResponse(info.model_dump(), headers={"Vary": "Accept"})
    index = state_of(request).page_dir / "index.html"
    if not index.is_file():
        return HTMLResponse(_NOT_BUILT, headers={"Vary": "Accept", "Cache-Control": "no-store"})
    # The index names the hashed files of its build, so it must never be an old one.
    return FileResponse(index, headers={"Vary": "Accept", "Cache-Control": "no-cache"})


@router.post(
    "/login",
    status_code=303,
    response_class=Response,
    responses={303: {"description": "Logged in; the cookie is set."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}}
                for kind in ("application/x-www-form-urlencoded", "application/json")
            },
        }
    },
)
async def login(request: Request) -> Response:
    """Exchange the token for a cookie. A browser's form is sent back to the page; JSON works too."""
    auth = state_of(request).auth
    as_json = request.headers.get("content-type", "").split(";")[0].strip() == "application/json"
    token = await _login_token(request, as_json=as_json)
    address, now = address_of(request), time.time()
    verdict = auth.check_token(token, address=address, now=now)
    if verdict == "yes":
        response = RedirectResponse("./", 303)  # relative, since a proxy may serve the page under a path of its own
        if auth.required:
            response.set_cookie(
                COOKIE,
                auth.make_cookie(now),
                max_age=COOKIE_TTL_S,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response
    slow = verdict == "slow down"
    notice = "Too many attempts. Please wait a little." if slow else "That is not the token."
    if as_json:
        raise ProblemError(
            429 if slow else 401,
            notice,
            kind="too-many-attempts" if slow else "unauthorised",
            retry_after_s=auth.retry_after_s(address, now) if slow else None,
        )
    return HTMLResponse(login_page(notice), 429 if slow else 401, headers={"Cache-Control": "no-store"})


async def _login_token(request: Request, *, as_json: bool) -> str:
    body = await request.body()
    try:
        if as_json:
            data = json.loads(body)
            token = data.get("token") if isinstance(data, dict) else None
        else:
            token = parse_qs(body.decode(), max_num_fields=10).get("token", [None])[0]
    except (ValueError, RecursionError):
        token = None
    if not isinstance(token, str) or not token:
        raise ProblemError(422, "token: a field with the server's token is required", kind="invalid-request")
    return token


class PageFiles(BaseRoute):
    """The files beside ``index.html``. Matches only what exists, so that every other path stays the API's 404 or 405."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A GET or HEAD of an existing file of the page."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return Match.NONE, {}
        path = self._find(scope["path"].removeprefix(scope.get("root_path", "")))
        return (Match.FULL, {"page_file": path}) if path else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        path: Path = scope["page_file"]
        hashed = path.parent.name == "assets"
        response = FileResponse(
            path,
            media_type=_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            headers={"Cache-Control": "public, max-age=31536000, immutable" if hashed else "no-cache"},
        )
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> object:  # type: ignore[override]
        """No names here."""
        raise NoMatchFound(name, path_params)

    def _find(self, path: str) -> Path | None:
        if "\0" in path or path in ("", "/"):
            return None
        try:
            file = (self._directory / path.lstrip("/")).resolve()
            return file if file.is_relative_to(self._directory) and file.is_file() else None
        except (OSError, ValueError):
            return None
