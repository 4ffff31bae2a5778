"""The gate before every route and door: host, origin, token, sizes, headers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from web.app import create_app
from web.auth import ATTEMPTS, COOKIE
from web.guard import prefers_html

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TOKEN = "open sesame"
OPEN = ["/health"]
GUARDED = [
    "/", "/ready", "/status", "/gpu", "/system", "/metrics", "/config", "/api/sessions", "/api/sessions/x",
    "/api/sessions/x/report",
    "/api/lessons", "/api/client-config", "/api/ice-servers", "/openapi.json", "/nowhere", "/assets/app.js",
]  # fmt: skip
CHANGING = [
    ("POST", "/session"), ("DELETE", "/session/x"), ("POST", "/api/offer"), ("PATCH", "/api/offer"),
    ("DELETE", "/api/sessions/x"), ("POST", "/login"),
]  # fmt: skip


def client_of(settings, make_engines, page_dir=None, base="http://localhost:7860", address="127.0.0.1") -> httpx.AsyncClient:
    app = create_app(settings, engines=make_engines(), page_dir=page_dir)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url=base)


@pytest.fixture
async def http(make_settings, make_engines) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_settings(server={"allowed_hosts": ["tutor.example.org"]}), make_engines) as client:
        yield client


@pytest.fixture
async def locked(make_settings, make_engines) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_settings(auth={"token": TOKEN}), make_engines) as client:
        yield client


def assert_problem(response: httpx.Response, status: int, kind: str | None = None) -> dict:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    if kind:
        assert problem["type"] == f"urn:parley:problem:{kind}"
    return problem


# Host


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:7860", "[::1]:7860", "tutor.example.org"])
async def test_own_hosts_are_answered(http, host):
    assert (await http.get("/status", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "192.168.1.5", "localhost.evil.example", "a b", ""])
async def test_other_hosts_are_not(http, host):
    for path in ("/", "/api/sessions", "/metrics"):
        assert_problem(await http.get(path, headers={"Host": host}), 403, "host-not-allowed")
    for method, path in CHANGING:
        assert_problem(await http.request(method, path, headers={"Host": host}), 403, "host-not-allowed")


async def test_health_is_answered_to_any_host(http):
    assert (await http.get("/health", headers={"Host": "10.1.2.3"})).json() == {"status": "ok"}


# Origin


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:7860", "http://localhost:7861"])
async def test_other_pages_cannot_change_anything(http, method, path, origin):
    assert_problem(await http.request(method, path, headers={"Origin": origin}), 403, "origin-not-allowed")


@pytest.mark.parametrize(("method", "path"), CHANGING)
async def test_the_own_page_can(http, method, path):
    response = await http.request(method, path, headers={"Origin": "http://localhost:7860"})
    assert response.status_code in (404, 422, 429, 503)


async def test_a_cross_site_request_without_an_origin_is_refused(http):
    assert_problem(await http.post("/session", headers={"Sec-Fetch-Site": "cross-site"}), 403, "origin-not-allowed")


async def test_no_answer_may_be_read_by_other_pages(http):
    response = await http.get("/status", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in response.headers
    preflight = await http.options(
        "/api/offer", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert "access-control-allow-origin" not in preflight.headers
    assert preflight.status_code >= 400


async def test_an_allowed_origin_is_let_in_by_name_and_never_by_a_wildcard(make_settings, make_engines):
    settings = make_settings(server={"allowed_origins": ["https://school.example"]})
    async with client_of(settings, make_engines) as http:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = await http.options("/api/offer", headers={"Origin": "https://school.example", **ask})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://school.example"
        response = await http.post("/api/offer", headers={"Origin": "https://school.example"}, json={})
        assert_problem(response, 422)
        other = await http.options("/api/offer", headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"Origin": "http://{host}"}, None),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://{host}"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
async def test_the_websocket_is_guarded_like_everything(serve, headers, status):
    server = await serve()
    filled = {k: v.format(host=f"127.0.0.1:{server.port}") for k, v in headers.items()}
    code, body = await handshake(server.port, "/ws/conversation", filled)
    assert code == (status or 101)
    if status:
        assert json.loads(body)["status"] == status
        assert server.state.sessions.active == 0


async def handshake(port: int, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """A WebSocket handshake by hand, because no client lets a test choose Host."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = {"Host": f"127.0.0.1:{port}", **headers}
        writer.write(
            f"GET {path} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n".encode()
            + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode()
            + b"\r\n"
        )
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
        code = int(head.split()[1])
        body = await asyncio.wait_for(reader.read(), 20) if code != 101 else b""
        return code, body
    finally:
        writer.transport.abort()


# Token


@pytest.mark.parametrize("path", GUARDED)
async def test_with_a_token_every_route_needs_it(locked, path):
    problem = assert_problem(await locked.get(path), 401, "unauthorised")
    assert TOKEN not in json.dumps(problem)
    assert_problem(await locked.get(path, headers={"Authorization": "Bearer wrong"}), 401) if path == "/" else None
    assert (await locked.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status_code not in (401, 403)


@pytest.mark.parametrize("path", OPEN)
async def test_but_health(locked, path):
    assert (await locked.get(path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [c for c in CHANGING if c[1] != "/login"])
async def test_changing_routes_need_it_too(locked, method, path):
    assert_problem(await locked.request(method, path), 401)
    assert_problem(await locked.request(method, f"{path}?token={TOKEN}"), 401)
    response = await locked.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code not in (401, 403)


async def test_a_browser_logs_in_once(locked):
    page = await locked.get("/", headers=HTML)
    assert page.status_code == 401
    assert 'name="token"' in page.text
    wrong = await locked.post("/login", data={"token": "wrong"})
    assert wrong.status_code == 401
    assert "not the token" in wrong.text
    assert COOKIE not in wrong.headers.get("set-cookie", "")

    right = await locked.post("/login", data={"token": TOKEN}, headers={"Origin": "http://localhost:7860"})
    assert (right.status_code, right.headers["location"]) == (303, "./")
    cookie = SimpleCookie(right.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"].lower(), cookie["secure"], cookie["path"]) == (True, "strict", "", "/")
    assert TOKEN not in right.headers["set-cookie"]
    assert (await locked.get("/status")).status_code == 200
    assert (await locked.get("/", headers=HTML)).status_code == 200
    locked.cookies.set(COOKIE, cookie.value[:-2] + "xx")


async def test_the_cookie_is_secure_under_https(make_settings, make_engines):
    async with client_of(make_settings(auth={"token": TOKEN}), make_engines, base="https://localhost:7860") as http:
        response = await http.post("/login", json={"token": TOKEN})
        assert SimpleCookie(response.headers["set-cookie"])[COOKIE]["secure"] is True


async def test_a_forged_cookie_is_no_login(locked):
    locked.cookies.set(COOKIE, "9999999999.abc.def")
    assert_problem(await locked.get("/status"), 401)


@pytest.mark.parametrize("body", [b"", b"token=", b"token", b"other=1", b"\xff\xfe", b"token=a&" * 100])
async def test_a_login_without_a_token_is_refused(locked, body):
    response = await locked.post("/login", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code in (401, 422)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"token": 5}', b'{"token": ""}', b"[" * 50_000])
async def test_a_json_login_without_a_token_is_refused(locked, body):
    assert_problem(await locked.post("/login", content=body, headers={"Content-Type": "application/json"}), 422)


async def test_guessing_is_slowed_at_every_entrance_together(make_settings, make_engines):
    async with client_of(make_settings(auth={"token": TOKEN}), make_engines) as http:
        for i in range(ATTEMPTS - 1):
            assert_problem(await http.get("/status", headers={"Authorization": f"Bearer {i}"}), 401)
        assert (await http.post("/login", data={"token": "x"})).status_code == 401
        slowed = await http.post("/login", data={"token": TOKEN})
        assert slowed.status_code == 429
        assert_problem(await http.post("/login", json={"token": TOKEN}), 429)
        refused = await http.get("/status", headers={"Authorization": f"Bearer {TOKEN}"})
        assert_problem(refused, 429, "too-many-attempts")
        assert int(refused.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("way", ["header", "query", "cookie"])
async def test_a_websocket_takes_the_token_in_three_ways(serve, way):
    server = await serve(auth={"token": TOKEN})
    with pytest.raises(InvalidStatus) as refused:
        async with server.chat():
            pass
    assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        async with server.chat("?token=wrong"):
            pass
    assert refused.value.response.status_code == 401
    query, headers = "", {}
    if way == "header":
        headers["Authorization"] = f"Bearer {TOKEN}"
    elif way == "query":
        query = "?token=open%20sesame"
    else:
        async with server.http() as http:
            await http.post("/login", data={"token": TOKEN})
            headers["Cookie"] = f"{COOKIE}={http.cookies[COOKIE]}"
    async with server.chat(query, additional_headers=headers) as chat:
        await chat.until("ai_text")


async def test_secrets_in_an_address_do_not_reach_the_access_log(serve, caplog, monkeypatch):
    server = await serve(auth={"token": TOKEN})
    # Other servers of this process may have turned uvicorn's own loggers down.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        caplog.set_level("INFO", logger=name)
    with caplog.at_level("INFO"):
        async with server.chat("?extras=1&token=open%20sesame&resume=secret-resume"):
            pass
    lines = [r.getMessage() for r in caplog.records if "/ws/conversation" in r.getMessage()]
    assert lines
    assert all("extras=1" in line and "sesame" not in line and "secret-resume" not in line for line in lines)


# Sizes and headers


async def test_a_body_over_the_limit_is_413_also_in_chunks(serve):
    server = await serve(server={"max_body_bytes": 2_000})

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b'"' + b"x" * 98 + b'"'

    async with server.http() as http:
        headers = {"Content-Type": "application/json"}
        for path in ("/session", "/login", "/api/offer"):
            assert_problem(await http.post(path, content=b"x" * 2_001, headers=headers), 413)
            assert_problem(await http.post(path, content=chunks(), headers=headers), 413)
        assert (await http.post("/session", json={})).status_code == 201


async def test_every_answer_has_its_security_headers(http, tmp_path):
    for path, headers in (("/", HTML), ("/", {}), ("/status", {}), ("/nowhere", {}), ("/status", {"Host": "evil.example"})):
        response = await http.get(path, headers=headers)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "same-origin"
        policy = response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'self'" in policy
        assert "evil" not in policy
        assert "script-src 'self' blob:;" in policy
    policy = (await http.get("/", headers=HTML)).headers["content-security-policy"]
    assert "ws://localhost:7860 wss://localhost:7860" in policy


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        (HTML["Accept"], True),
        ("text/html", True),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0.4, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
    ],
)
def test_who_gets_the_page(accept, html):
    assert prefers_html(accept) is html
