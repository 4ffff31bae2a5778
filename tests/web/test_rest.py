"""The REST routes over a real server, store and sessions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from agent.record import LEVELS

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HTML = {"Accept": "text/html"}
VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]


def assert_problem(response, status, kind=None):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.path
    assert problem["detail"]
    assert problem["type"] == (f"urn:parley:problem:{kind}" if kind else "about:blank")
    return problem


async def test_the_root_is_a_page_for_browsers_and_a_description_for_programs(serve, tmp_path):
    page = tmp_path / "dist"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<title>the page</title>")
    (page / "assets" / "app-1a2b.js").write_text("export {}")
    (page / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    server = await serve(page_dir=page)
    async with server.http() as http:
        for accept in ("application/json", "*/*"):
            info = await http.get("/", headers={"Accept": accept})
            assert info.json()["name"] == "parley"
            assert info.json()["version"] == VERSION
            assert set(info.json()["doors"].values()) == {"/api/offer", "/ws/conversation", "/ws/rtvi", "/v1/realtime"}
        head = await http.head("/", headers=HTML)
        assert (head.status_code, head.text) == (200, "")
        shown = await http.get("/", headers=HTML)
        assert "the page" in shown.text
        assert shown.headers["cache-control"] == "no-cache"
        script = await http.get("/assets/app-1a2b.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        assert (await http.get("/favicon.svg")).headers["content-type"] == "image/svg+xml"
        assert (await http.head("/favicon.svg")).status_code == 200
        for path in ("/../secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "/%00", "/assets", "/nowhere.js"):
            assert_problem(await http.get(path), 404)
        assert_problem(await http.post("/favicon.svg"), 404)


async def test_a_page_that_is_not_built_says_how(serve):
    server = await serve()
    async with server.http() as http:
        response = await http.get("/", headers=HTML)
        assert response.status_code == 200
        assert "make run" in response.text


async def test_ready_says_so_only_when_everything_is_loaded(serve, make_engines):
    engines = make_engines()
    engines["llm"].hold.clear()
    server = await serve(engines=engines, ready=False)
    async with server.http() as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        loading = await http.get("/ready")
        assert_problem(loading, 503, "loading")
        assert loading.headers["retry-after"]
        assert_problem(await http.post("/session"), 429, "at-capacity")
        assert (await http.get("/status")).json()["ready"] is False
        engines["llm"].hold.set()
        await server.until(lambda: server.state.ready, "loading ends")
        assert (await http.get("/ready")).json() == {"status": "ready"}


async def test_a_failed_load_is_told(serve, make_engines):
    engines = make_engines()
    engines["tts"].load_error = RuntimeError("no voice")
    server = await serve(engines=engines, ready=False)
    await server.until(lambda: server.state.load_error, "loading fails")
    async with server.http() as http:
        assert "no voice" in assert_problem(await http.get("/ready"), 503, "load-failed")["detail"]
        assert (await http.get("/health")).status_code == 200


async def test_status_system_gpu_metrics_config(serve):
    server = await serve(auth={"token": "a secret"})
    async with server.http(headers={"Authorization": "Bearer a secret"}) as http, server.chat("?token=a%20secret"):
        await server.until(lambda: server.state.sessions.active == 1, "the call begins")
        status = (await http.get("/status")).json()
        assert (status["ready"], status["active_calls"], status["detached_calls"]) == (True, 1, 0)
        assert {e["stage"] for e in status["engines"]} == {"stt", "llm", "tts"}
        assert status["uptime_s"] > 0
        system = (await http.get("/system")).json()
        assert system["process_rss_bytes"] > 1_000_000
        assert system["cpu_count"] >= 1
        gpu = (await http.get("/gpu")).json()
        assert gpu["available"] is bool(gpu["gpus"])
        assert gpu["available"] or gpu["reason"]
        metrics = await http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "parley_active_calls 1.0" in metrics.text
        config = await http.get("/config")
        assert "a secret" not in config.text
        assert config.json()["auth"]["token"]
        assert config.json()["server"]["port"] == 7860


async def test_lessons_and_what_a_page_asks(serve):
    server = await serve()
    async with server.http() as http:
        lessons = (await http.get("/api/lessons")).json()
        assert lessons["default"] in {item["id"] for item in lessons["items"]}
        assert all(item["title"] and item["goal"] for item in lessons["items"])
        made_for = [item["level"] for item in lessons["items"]]
        assert made_for == sorted(made_for, key=LEVELS.index), "the easiest come first"
        assert set(made_for) == set(LEVELS)
        assert lessons["items"][0]["id"] == "introductions"
        config = (await http.get("/api/client-config")).json()
        assert config["lessons"] == lessons["items"]
        assert config["levels"] == list(LEVELS)
        assert config["audio"] == {"input_rate": 16_000, "output_rate": 24_000}
        assert config["ice_servers"] == (await http.get("/api/ice-servers")).json()["ice_servers"] == []


async def test_ice_servers_carry_fresh_credentials(serve):
    webrtc = {"ice_servers": [{"urls": ["stun:stun.example.org"]}], "turn": {"urls": ["turn:turn.example.org"], "secret": "s"}}
    server = await serve(webrtc=webrtc)
    async with server.http() as http:
        stun, turn = (await http.get("/api/ice-servers")).json()["ice_servers"]
        assert stun == {"urls": ["stun:stun.example.org"]}
        assert turn["username"]
        assert turn["credential"]


async def test_a_session_from_making_to_deleting(serve):
    server = await serve()
    async with server.http() as http:
        made = await http.post("/session", json={"level": "advanced", "lesson": "introductions"})
        assert made.status_code == 201
        made = made.json()
        assert ISO.fullmatch(made["expires"])
        path = f"/api/sessions/{made['session_id']}"
        async with server.chat(f"?extras=1&resume={made['resume_token']}") as chat:
            await chat.until("turn_complete")
            await chat.send({"type": "text", "text": "hello"})
            await chat.until("ai_text", text="Answer 1.", is_complete=True)
            live = (await http.get(path)).json()
            assert (live["live"], live["ended_at"], live["door"], live["level"]) == (True, None, "websocket", "advanced")
            assert_problem(await http.get(f"{path}/report"), 409, "session-live")
            assert_problem(await http.delete(path), 409, "session-live")
            ended = await http.delete(f"/session/{made['session_id']}")
            assert ended.json()["session_id"] == made["session_id"]
        assert_problem(await http.delete(f"/session/{made['session_id']}"), 404, "unknown-session")
        kept = (await http.get(path)).json()
        assert kept["live"] is False
        assert ISO.fullmatch(kept["ended_at"])
        assert [(t["role"], t["text"]) for t in kept["turns"][:2]] == [("tutor", "Answer 0."), ("learner", "hello")]
        assert kept["turn_count"] == len(kept["turns"])
        assert all(ISO.fullmatch(t["started_at"]) for t in kept["turns"])
        assert (await http.get(f"{path}/report")).json() == ended.json()["report"]
        assert (await http.delete(path)).status_code == 204
        for request in (http.get(path), http.get(f"{path}/report"), http.delete(path)):
            assert_problem(await request, 404, "unknown-session")


async def test_the_list_is_paged_newest_first(serve):
    server = await serve()
    ids = []
    for _ in range(3):
        async with server.chat() as chat:
            ids.append(chat.seen[0]["session_id"])
            await chat.until("turn_complete")
            await chat.send({"type": "end_conversation"})
            await chat.closed()
    async with server.http() as http:
        first = (await http.get("/api/sessions", params={"limit": 2})).json()
        assert [s["id"] for s in first["items"]] == ids[:0:-1]
        item = first["items"][0]
        assert item.keys() == {
            *("id", "started_at", "ended_at", "door", "level", "lesson", "turn_count"),
            *("score", "recorded"),
        }
        assert ISO.fullmatch(item["started_at"])
        assert ISO.fullmatch(item["ended_at"])
        assert item["turn_count"] == 1
        second = (await http.get("/api/sessions", params={"limit": 2, "cursor": first["next"]})).json()
        assert [s["id"] for s in second["items"]] == ids[:1]
        assert second["next"] is None
        for params in ({"limit": 0}, {"limit": 1000}, {"limit": "x"}, {"cursor": "nonsense"}):
            assert_problem(await http.get("/api/sessions", params=params), 422, "invalid-request")


async def test_what_cannot_be_made_is_said(serve):
    server = await serve(limits={"max_calls": 1})
    async with server.http() as http:
        for body, where in (
            ({"level": "expert"}, "body.level"),
            ({"lesson": 5}, "body.lesson"),
            ({"surprise": 1}, "body.surprise"),
        ):
            problem = assert_problem(await http.post("/session", json=body), 422, "invalid-request")
            assert problem["errors"][0]["where"] == where
        assert (
            "introductions"
            in assert_problem(await http.post("/session", json={"lesson": "no"}), 422, "unknown-lesson")["detail"]
        )
        json_type = {"Content-Type": "application/json"}
        assert_problem(await http.post("/session", content=b"{", headers=json_type), 422, "invalid-request")
        assert_problem(await http.post("/session", content=b"[" * 100_000, headers=json_type), 400)
        assert (await http.post("/session")).status_code == 201
        refused = await http.post("/session")
        assert_problem(refused, 429, "at-capacity")
        assert int(refused.headers["retry-after"]) > 0


async def test_sessions_are_counted_by_address(serve):
    server = await serve(server={"session_rate_per_minute": 1})
    async with server.http() as http:
        assert (await http.post("/session")).status_code == 201
        refused = await http.post("/session")
        assert_problem(refused, 429, "too-many-sessions")
        assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_errors_of_every_kind_are_problems(serve, monkeypatch):
    server = await serve()
    async with server.http() as http:
        assert_problem(await http.get("/nowhere"), 404)
        assert_problem(await http.put("/status"), 405)
        assert_problem(await http.post("/nowhere", json={}), 404)

        async def broken(*_args, **_kwargs):
            raise RuntimeError("a path /home/somebody and a password")

        monkeypatch.setattr(server.state.sessions.store, "list_sessions", broken)
        problem = assert_problem(await http.get("/api/sessions"), 500)
        assert "password" not in str(problem)


async def test_the_openapi_description_is_whole(serve):
    server = await serve()
    async with server.http() as http:
        schema = (await http.get("/openapi.json")).json()
    paths = schema["paths"]
    assert {
        "/", "/login", "/health", "/ready", "/status", "/gpu", "/system", "/metrics", "/config", "/session",
        "/session/{session_id}", "/api/sessions", "/api/sessions/{session_id}", "/api/sessions/{session_id}/report",
        "/api/sessions/{session_id}/report/plots", "/api/sessions/{session_id}/export", "/api/sessions/{session_id}/audio",
        "/api/lessons", "/api/ice-servers", "/api/client-config", "/api/offer", "/models/load", "/models/unload",
        "/api/phone/calls", "/phone/report/{token}", "/phone/twilio/voice", "/phone/twilio/status", "/phone/telnyx/voice",
        "/phone/telnyx/status", "/phone/plivo/voice", "/phone/plivo/status", "/phone/vonage/voice", "/phone/vonage/status",
        "/phone/exotel/voice", "/phone/exotel/status", "/start", "/sessions/{session_id}/api/offer",
    } == paths.keys()  # fmt: skip
    names = set(schema["components"]["schemas"])
    assert "Problem" in names
    assert not names & {"HTTPValidationError", "ValidationError"}
    for path, item in paths.items():
        for method, operation in item.items():
            assert operation["summary"]
            assert operation["description"]
            for status, response in operation["responses"].items():
                assert response["description"]
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
                elif status == "200":
                    assert response["content"], (path, method)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert references <= names
