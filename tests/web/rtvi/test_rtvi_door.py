"""RTVI over ``/ws/rtvi`` with a real server: the handshake, text, interruption, errors, and how it ends."""

from __future__ import annotations

import asyncio
import json

import pipecat.frames.protobufs.frames_pb2 as protobufs
import pytest

from tests.web.rtvi.conftest import READY, packed


async def test_handshake_then_greeting_in_order(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server, "?level=advanced&lesson=introductions") as chat:
        hello = next(m["data"] for m in chat.seen if m["type"] == "server-message")
        assert (hello["type"], hello["level"], hello["lesson"], hello["resumed"]) == (
            "connected",
            "advanced",
            "introductions",
            False,
        )
        ready = chat.seen[-1]
        assert ready["id"] == "ready"
        assert ready["data"]["version"] == "1.2.0"
        assert ready["data"]["capabilities"]["metrics"] is True
        await chat.until("bot-stopped-speaking")
        assert any(m["type"] == "server-message" and m["data"]["type"] == "turn_complete" for m in chat.seen)
    order = [
        "bot-ready",
        "bot-llm-started",
        "bot-llm-text",
        "bot-llm-stopped",
        "bot-started-speaking",
        "bot-stopped-speaking",
    ]
    positions = [chat.kinds.index(kind) for kind in order]
    assert positions[0] < min(positions[1:])
    assert positions[1:4] == sorted(positions[1:4])
    assert positions[4] < positions[5]
    assert len(chat.audio) == 0.3 * 48_000
    assert "".join(m["data"]["text"] for m in chat.seen if m["type"] == "bot-llm-text") == "Answer 0."


async def test_version_of_today_is_answered_with_the_servers_own(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server, ready=False) as chat:
        await chat.send("client-ready", {**READY, "version": "2.0.0"}, id="r")
        assert (await chat.until("bot-ready"))["data"]["version"].startswith("2.")


async def test_a_wrong_version_is_said_and_the_call_begins_all_the_same(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server, ready=False) as chat:
        await chat.send("client-ready", {"version": "7.0.0"}, id="r")
        assert "7.0.0" in (await chat.until("error-response"))["data"]["error"]
        await chat.until("bot-ready")
        await chat.until("bot-started-speaking")


async def test_text_is_a_turn_of_the_learner(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        await chat.until("server-message", type="turn_complete")
        id = await chat.send("send-text", {"content": "hello there"})
        said = (await chat.until("user-input"))["data"]
        assert (said["text"], said["input_type"], said["msg_id"]) == ("hello there", "chat", id)
        await chat.until("server-message", type="ai_text", text="Answer 1.")
        session_id = next(m["data"]["session_id"] for m in chat.seen if m["type"] == "server-message")
        turns = server.state.sessions.get(session_id).record.turns
        assert [(t.role, t.typed) for t in turns if t.text == "hello there"] == [("learner", True)]
        await chat.until("metrics")


async def test_text_may_wait_for_its_answer(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        await chat.until("server-message", type="turn_complete")
        await chat.send("send-text", {"content": "one", "options": {"run_immediately": False}})
        await chat.until("server-message", type="transcript", text="one", is_final=True)
        await chat.send("send-text", {"content": "two"})
        await chat.until("server-message", type="ai_text", text="Answer 2.")
        assert not any(m["data"].get("text") == "Answer 1." for m in chat.seen if m["type"] == "server-message")


async def test_interruption_empties_what_has_not_left(serve, rtvi_chat):
    server = await serve(speech_s=30.0)
    async with rtvi_chat(server) as chat:
        await chat.until("bot-started-speaking")
        await chat.send("client-message", {"t": "interrupt"}, id="i")
        await chat.until("bot-interrupted")
        await chat.until("server-response", t="interrupt")
        await chat.send("client-message", {"t": "ping"})
        await chat.until("server-response", t="ping")
        received = len(chat.audio)
        await asyncio.sleep(0.3)
        await chat.send("client-message", {"t": "ping"})
        await chat.until("server-response", t="ping")
        assert len(chat.audio) == received < 20 * 48_000
        await chat.send("send-text", {"content": "go on"})
        await chat.until("bot-started-speaking")
        await chat.socket.send(packed(interruption=protobufs.InterruptionFrame()))
        await chat.until("bot-interrupted")


async def test_disconnect_makes_the_report_and_closes(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        await chat.send("disconnect-bot")
        report = (await chat.until("server-message", type="analysis"))["data"]["data"]
        assert "final_score" in report
        assert await chat.closed() == (1000, "ended by the learner")
    assert server.state.sessions.active == 0


async def test_a_client_that_hangs_up_ends_the_session(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        await chat.until("bot-started-speaking")
        session = server.state.sessions.get(chat.seen[0]["data"]["session_id"])
        await chat.socket.close(1000)
    await server.until(lambda: session.state == "ended", "the session ends")
    assert session.record.end_reason == "ended by the learner"


async def test_a_lost_client_takes_its_session_up_again(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        hello = chat.seen[0]["data"]
        await chat.until("server-message", type="turn_complete")
        await chat.send("send-text", {"content": "remember me"})
        await chat.until("server-message", type="ai_text", text="Answer 1.")
        await chat.socket.close(1001)
    async with rtvi_chat(server, f"?resume={hello['resume_token']}") as chat:
        again = chat.seen[0]["data"]
        assert (again["session_id"], again["resumed"]) == (hello["session_id"], True)
        await chat.send("send-text", {"content": "still here"})
        await chat.until("server-message", type="ai_text", text="Answer 2.")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
async def test_voice_comes_at_any_rate_and_is_heard_at_one(serve, rtvi_chat, rate_hz):
    server = await serve()
    async with rtvi_chat(server) as chat:
        await chat.until("server-message", type="turn_complete")
        ears = server.engines["stt"].made[-1]
        before = ears.audio_bytes
        for _ in range(50):
            await chat.speak(bytes(2 * (rate_hz // 50)), rate_hz)
            await asyncio.sleep(0.01)
        await server.until(lambda: ears.audio_bytes - before > 0.9 * 32_000, "a second of audio arrives")
        assert ears.audio_bytes - before <= 32_000


async def test_what_is_not_understood_is_answered_by_its_id(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        for kind, data, wanted in (
            ("send-file", {"content": "x"}, "send-file"),
            ("send-text", {"content": ""}, "content"),
            ("send-text", None, "content"),
            ("client-message", {"t": "dance"}, "dance"),
            ("client-message", {"d": {}}, "'t'"),
            ("client-message", {"t": "eval-context", "d": {"messages": []}}, "eval-context"),
            ("llm-function-call-result", {"function_name": "f", "tool_call_id": "9", "result": 1}, "'9'"),
            ("send-text", [1], "data"),
        ):
            id = await chat.send(kind, data)
            answer = await chat.until("error-response")
            assert answer["id"] == id
            assert wanted in answer["data"]["error"]
        for raw, wanted in (
            ("hello", "binary messages since its first"),
            (b"\xff\xff\xff", "protobuf frames"),
            (b"", "empty frame"),
            (packed(text=protobufs.TextFrame(text="hi")), "send-text"),
            (packed(message=protobufs.MessageFrame(data="{")), "JSON"),
            (packed(message=protobufs.MessageFrame(data="[]")), "label"),
            (packed(message=protobufs.MessageFrame(data="x" * 40_000)), "over the limit"),
            (packed(audio=protobufs.AudioRawFrame(audio=b"123", sample_rate=16_000, num_channels=1)), "whole 16-bit"),
            (packed(audio=protobufs.AudioRawFrame(audio=b"12", sample_rate=1, num_channels=1)), "samples a second"),
            (packed(audio=protobufs.AudioRawFrame(audio=b"1234", sample_rate=16_000, num_channels=2)), "channel"),
        ):
            await chat.socket.send(raw)
            error = (await chat.until("error"))["data"]
            assert wanted in error["error"]
            assert error["fatal"] is False
        await chat.send("client-message", {"t": "ping"})
        await chat.until("server-response", t="ping")


async def test_too_much_of_it_ends_the_connection(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server) as chat:
        for _ in range(60):
            await chat.socket.send(b"\xff\xff")
        assert (await chat.until("error", fatal=True))["data"]["error"].startswith("too many bad messages")
        assert (await chat.closed())[0] == 1008
    async with rtvi_chat(server) as chat:
        await chat.socket.send(bytes(server.state.settings.limits.ws_max_message_bytes + 1))
        assert (await chat.closed())[0] == 1009
    await server.until(lambda: not server.state.sessions.active, "no call is left")


async def test_at_capacity_is_said_and_closed_with_try_again(serve, rtvi_chat):
    server = await serve(limits={"max_calls": 1})
    async with rtvi_chat(server), rtvi_chat(server, ready=False) as second:
        await second.send("client-ready", READY)
        error = (await second.until("error", fatal=True))["data"]["error"]
        assert "try again in" in error
        assert (await second.closed())[0] == 1013


async def test_wrong_wishes_are_said_and_the_call_begins_all_the_same(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server, "?level=guru&lesson=nowhere&temperature=x&resume=gone") as chat:
        errors = " ".join(m["data"]["error"] for m in chat.seen if m["type"] == "error")
        assert all(word in errors for word in ("guru", "nowhere", "temperature", "resume"))
        await chat.until("bot-started-speaking")


async def test_text_framing_is_that_of_pipecats_own_client(serve, rtvi_chat):
    server = await serve()
    async with rtvi_chat(server, ready=False, text=True) as chat:
        await chat.send("client-message", {"t": "eval-connect", "d": {"capture_bot_audio": True}})
        await chat.send("client-ready", READY)
        await chat.until("bot-ready")
        await chat.until("bot-stopped-speaking")
        assert [m for m in chat.seen if m["type"] == "eval-bot-audio"]
        silence = {"base64Audio": "AAA=", "sampleRate": 16_000, "numChannels": 1}
        await chat.send("raw-audio", silence)
        await chat.send("raw-audio", {**silence, "base64Audio": "*"})
        assert "base64" in (await chat.until("error-response"))["data"]["error"]
        await chat.send("client-message", {"t": "eval-cancel"})
        assert (await chat.closed())[0] == 1000


async def test_start_answers_as_pipecats_runner_does(serve, rtvi_chat):
    server = await serve(webrtc={"ice_servers": [{"urls": ["stun:stun.example.org"]}]})
    async with server.http() as http:
        answer = (await http.post("/start", json={"transport": "websocket", "body": {"level": "advanced"}})).json()
        assert answer.keys() == {"wsUrl"}
        assert answer["wsUrl"].startswith(f"ws://127.0.0.1:{server.port}/ws/rtvi?resume=")
        async with rtvi_chat(server, "?" + answer["wsUrl"].partition("?")[2]) as chat:
            assert chat.seen[0]["data"]["level"] == "advanced"
            assert chat.seen[0]["data"]["resumed"] is False
            await chat.until("bot-started-speaking")
            record = server.state.sessions.get(chat.seen[0]["data"]["session_id"]).record
            assert (record.door, record.level) == ("rtvi", "advanced")
        answer = await http.post("/start", json={"body": {"lesson": "introductions"}})
        assert answer.headers["cache-control"] == "no-store"
        started = answer.json()
        assert started.keys() == {"sessionId", "iceConfig"}
        assert started["iceConfig"] == {"iceServers": [{"urls": ["stun:stun.example.org"]}]}
        assert server.state.sessions.get(started["sessionId"]).state == "new"
        assert (await http.post("/start")).status_code == 200
        for wrong in ({"transport": "daily"}, {"body": {"lesson": "nowhere"}}, {"body": {"instructions": "be a cat"}}, [], "x"):
            problem = await http.post("/start", json=wrong)
            assert problem.status_code == 422, wrong
            assert problem.json()["detail"]
        unknown = await http.post("/sessions/nobody/api/offer", json={"sdp": "v=0", "type": "offer"})
        assert unknown.status_code == 404
        bad = await http.post(f"/sessions/{started['sessionId']}/api/offer", json={"sdp": "v=0", "type": "offer"})
        assert bad.status_code == 400


async def test_start_hands_on_the_callers_own_token_for_the_socket(serve, rtvi_chat):
    server = await serve(auth={"token": "sesame"})
    async with server.http() as http:
        assert (await http.post("/start", json={"transport": "websocket"})).status_code == 401
        headers = {"Authorization": "Bearer sesame"}
        answer = (await http.post("/start", json={"transport": "websocket"}, headers=headers)).json()
    assert answer["token"] == "sesame"
    query = f"?{answer['wsUrl'].partition('?')[2]}&token={answer['token']}"
    async with rtvi_chat(server, query) as chat:
        assert "bot-ready" in chat.kinds
    assert json.dumps(answer).count("sesame") == 1
