"""Loading and unloading engines over REST: what it answers, and what becomes of calls meanwhile."""

from __future__ import annotations

import asyncio

from tests.web.test_rest import assert_problem


def states(body):
    return {e["stage"]: e["state"] for e in body["engines"]}


async def test_without_its_engines_the_server_refuses_calls_and_takes_them_again_after_a_load(serve):
    server = await serve()
    async with server.http() as http:
        unloaded = await http.post("/models/unload")
        assert unloaded.status_code == 200
        assert states(unloaded.json()) == {"stt": "unloaded", "llm": "unloaded", "tts": "unloaded"}
        assert unloaded.json()["ready"] is False
        assert [e.closes for e in server.engines.values()] == [1, 1, 1]
        assert all(e["load_s"] is None and e["memory_mb"] is None for e in unloaded.json()["engines"])

        for response in (await http.get("/ready"), await http.post("/session")):
            problem = assert_problem(response, 503, "unloaded")
            assert "stt (stand-in stt) and llm (stand-in llm) and tts (stand-in tts) are unloaded" in problem["detail"]
            assert int(response.headers["retry-after"]) >= 1
        # A WebRTC client would repeat its offer at once after a 5xx.
        offered = await http.post("/api/offer", json={"sdp": "v=0", "type": "offer"})
        assert "unloaded" in assert_problem(offered, 429, "unloaded")["detail"]
        assert int(offered.headers["retry-after"]) >= 1
        async with server.chat(hello=False) as chat:
            assert "are unloaded; POST /models/load" in (await chat.next())["message"]
            assert (await chat.closed())[0] == 1013

        loaded = await http.post("/models/load", json={"engine": "all"})
        assert loaded.status_code == 200
        assert loaded.json()["ready"] is True
        assert all(e["state"] == "ready" and e["load_s"] >= 0 and e["memory_mb"] >= 0 for e in loaded.json()["engines"])
        assert (await http.get("/ready")).status_code == 200
    async with server.chat("?extras=1") as chat:
        await chat.until("turn_complete")


async def test_one_engine_may_be_unloaded_and_loaded_and_a_load_of_what_is_there_does_nothing(serve):
    server = await serve()
    async with server.http() as http:
        body = (await http.post("/models/unload", json={"engine": "tts"})).json()
        assert states(body) == {"stt": "ready", "llm": "ready", "tts": "unloaded"}
        problem = assert_problem(await http.post("/session"), 503, "unloaded")
        assert problem["detail"].startswith("no calls now: tts (stand-in tts) is unloaded")
        for _ in range(2):
            assert states((await http.post("/models/load", json={"engine": "tts"})).json())["tts"] == "ready"
        assert [e.loads for e in server.engines.values()] == [1, 1, 2]
        assert_problem(await http.post("/models/load", json={"engine": "vision"}), 422, "invalid-request")
        assert_problem(await http.post("/models/load", json={"stage": "tts"}), 422, "invalid-request")


async def test_engines_are_not_taken_from_a_session_that_has_not_ended(serve):
    server = await serve()
    async with server.http() as http:
        session = (await http.post("/session")).json()
        refused = await http.post("/models/unload", json={"engine": "llm"})
        assert "1 session has not ended" in assert_problem(refused, 409, "calls-running")["detail"]
        assert states((await http.get("/status")).json())["llm"] == "ready"
        async with server.chat(f"?extras=1&resume={session['resume_token']}") as chat:
            await chat.until("turn_complete")
            assert_problem(await http.post("/models/unload"), 409, "calls-running")
            await chat.send({"type": "end_conversation"})
            await chat.closed()
        assert (await http.post("/models/unload")).status_code == 200


async def test_a_load_that_fails_names_the_engine_and_leaves_the_server_up(serve, make_engines):
    engines = make_engines()
    engines["tts"].load_error = RuntimeError("no voice")
    server = await serve(engines=engines, ready=False)
    await server.until(lambda: server.state.load_error, "loading fails")
    async with server.http() as http:
        status = (await http.get("/status")).json()
        assert states(status) == {"stt": "ready", "llm": "ready", "tts": "failed"}
        assert [e["error"] for e in status["engines"]] == [None, None, "no voice"]
        assert "no voice" in assert_problem(await http.post("/session"), 503, "unloaded")["detail"]
        failed = await http.post("/models/load", json={"engine": "tts"})
        assert assert_problem(failed, 503, "load-failed")["detail"] == "tts (stand-in tts): no voice"
        assert (await http.get("/health")).status_code == 200
        engines["tts"].load_error = None
        assert (await http.post("/models/load")).json()["ready"] is True
        assert (await http.get("/ready")).status_code == 200
        assert [e.loads for e in engines.values()] == [1, 1, 3]


async def test_status_tells_of_a_load_while_it_lasts_even_if_nobody_waits_for_its_answer(serve):
    server = await serve()
    async with server.http() as http:
        await http.post("/models/unload", json={"engine": "llm"})
        server.engines["llm"].hold.clear()
        waiting = asyncio.create_task(http.post("/models/load"))
        await server.until(lambda: server.engines["llm"].loads == 2, "the load begins")
        assert states((await http.get("/status")).json()) == {"stt": "ready", "llm": "loading", "tts": "ready"}
        assert_problem(await http.get("/ready"), 503, "loading")
        assert_problem(await http.post("/session"), 429, "at-capacity")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    server.engines["llm"].hold.set()
    await server.until(lambda: server.state.ready, "the load ends")


async def test_only_who_may_use_the_server_may_unload_it(serve):
    server = await serve(auth={"token": "a secret"})
    async with server.http() as http:
        for path in ("/models/load", "/models/unload"):
            assert_problem(await http.post(path), 401, "unauthorised")
            headers = {"Authorization": "Bearer a secret", "Origin": "https://elsewhere.example"}
            assert_problem(await http.post(path, headers=headers), 403, "origin-not-allowed")
            assert_problem(await http.get(path, headers={"Authorization": "Bearer a secret"}), 405)
        assert server.state.ready
        assert (await http.post("/models/unload", headers={"Authorization": "Bearer a secret"})).status_code == 200
    assert not server.state.ready
