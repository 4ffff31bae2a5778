"""The WebSocket protocol over a real server and a real client: what is said, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from pipeline.messages import EXTRA_SERVER_TYPES

FIXED = {"connected", "transcript", "ai_text", "ai_audio_start", "turn_complete", "analysis", "error", "pong"}
TOKEN = {"auth": {"token": "sesame"}}


async def test_a_plain_client_gets_exactly_the_fixed_protocol(serve):
    server = await serve()
    async with server.chat(hello=False) as chat:
        connected = await chat.next()
        assert connected.keys() == {"type", "session_id"}
        await chat.until("turn_complete")
        await chat.send({"type": "ping"})
        await chat.until("pong")
        await chat.send({"type": "end_conversation"})
        report = (await chat.until("analysis"))["data"]
        assert {"grammar_score", "final_score", "mistakes", "strengths", "suggestions"} <= report.keys()
        assert await chat.closed() == (1000, "ended by the learner")
    assert set(chat.kinds) - {"audio"} <= FIXED
    speech = chat.kinds[chat.kinds.index("ai_audio_start") :]
    assert speech[:2] == ["ai_audio_start", "audio"]
    assert len(chat.audio) == 0.3 * 48_000
    deltas = [m for m in chat.seen if m["type"] == "ai_text"]
    assert "".join(m["text"] for m in deltas[:-1]) == deltas[-1]["text"] == "Answer 0."
    assert [m["is_complete"] for m in deltas] == [False, False, True]


async def test_extras_add_their_messages_and_a_resume_token(serve):
    server = await serve()
    async with server.chat("?extras=1&level=advanced&lesson=introductions", hello=False) as chat:
        connected = await chat.next()
        assert connected["level"] == "advanced"
        assert connected["lesson"] == "introductions"
        assert connected["resumed"] is False
        assert server.state.sessions.by_token(connected["resume_token"]).id == connected["session_id"]
        await chat.until("turn_complete")
        await chat.send({"type": "text", "text": "hello there"})
        assert (await chat.until("transcript", is_final=True))["text"] == "hello there"
        assert (await chat.until("ai_text", is_complete=True))["text"] == "Answer 1."
        await chat.until("speaking", who="tutor", active=False)
    assert set(chat.kinds) & EXTRA_SERVER_TYPES


async def test_interrupting_stops_the_tutor(serve):
    server = await serve(speech_s=30.0)
    async with server.chat("?extras=1") as chat:
        await chat.until("speaking", who="tutor", active=True)
        await chat.send({"type": "interrupt"})
        await chat.until("interrupted")
        received = len(chat.audio)
        await chat.send({"type": "ping"})
        await chat.until("pong")
        await asyncio.sleep(0.3)
        await chat.send({"type": "ping"})
        await chat.until("pong")
        assert len(chat.audio) == received < 20 * 48_000


async def test_level_and_lesson_change_in_mid_call(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        session = server.state.sessions.get(chat.seen[0]["session_id"])
        await chat.send({"type": "set_level", "level": "advanced"})
        await server.until(lambda: session.record.level == "advanced", "the level changes")
        await chat.send({"type": "set_lesson", "lesson": "nowhere"})
        assert "nowhere" in (await chat.until("error"))["message"]


async def test_wrong_wishes_are_said_and_the_call_begins_all_the_same(serve):
    server = await serve()
    async with server.chat("?level=expert&lesson=nowhere") as chat:
        said = [(await chat.until("error"))["message"] for _ in range(2)]
        assert any("expert" in m and "beginner" in m for m in said)
        assert any("nowhere" in m and "introductions" in m for m in said)
        await chat.until("turn_complete")


async def test_audio_reaches_the_recogniser(serve):
    server = await serve()
    async with server.chat() as chat:
        for _ in range(50):
            await chat.send(bytes(640))
        await chat.send(b"")
        made = server.engines["stt"].made
        await server.until(lambda: made and made[0].audio_bytes == 32_000, "all audio arrives")


async def test_at_capacity_a_client_is_told_and_asked_to_come_back(serve):
    server = await serve(limits={"max_calls": 1})
    async with server.chat() as first:
        async with server.chat(hello=False) as second:
            refusal = await second.next()
            assert refusal["type"] == "error"
            assert "at capacity" in refusal["message"]
            code, reason = await second.closed()
            assert (code, "capacity" in reason) == (1013, True)
        await first.send({"type": "end_conversation"})
        await first.closed()
    await server.until(lambda: server.state.sessions.get(first.seen[0]["session_id"]) is None, "the place is free")
    async with server.chat() as third:
        await third.until("ai_text")


async def test_an_engine_without_room_refuses_too(serve):
    server = await serve()
    server.engines["stt"].full = True
    async with server.chat(hello=False) as chat:
        assert "stt engine is busy" in (await chat.next())["message"]
        assert (await chat.closed())[0] == 1013


async def test_a_call_that_cannot_be_built_is_an_error_and_leaves_nothing(serve):
    server = await serve()
    server.engines["tts"].broken = True
    async with server.chat() as chat:
        assert "could not be built" in (await chat.until("error"))["message"]
        assert (await chat.closed())[0] == 1011
    assert (server.state.sessions.active, server.state.sessions.detached) == (0, 0)


async def test_so_does_one_for_a_session_made_over_rest(serve):
    server = await serve()
    server.engines["tts"].broken = True
    async with server.http() as http:
        made = (await http.post("/session")).json()
    async with server.chat(f"?extras=1&resume={made['resume_token']}") as chat:
        await chat.until("error")
        assert (await chat.closed())[0] == 1011
    assert (server.state.sessions.active, server.state.sessions.detached) == (0, 0)


async def test_before_the_engines_are_loaded_a_client_is_told_to_wait(serve, make_engines):
    engines = make_engines()
    engines["llm"].hold.clear()
    server = await serve(engines=engines, ready=False)
    async with server.chat(hello=False) as chat:
        assert "not ready" in (await chat.next())["message"]
        assert (await chat.closed())[0] == 1013
    engines["llm"].hold.set()


async def test_too_many_new_sessions_from_one_address_are_refused_before_the_handshake(serve):
    server = await serve(server={"session_rate_per_minute": 2})
    for _ in range(2):
        async with server.chat():
            pass
    with pytest.raises(InvalidStatus) as refused:
        async with server.chat():
            pass
    response = refused.value.response
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert json.loads(response.body)["type"] == "urn:parley:problem:too-many-sessions"


# Lost and found


async def test_a_dropped_client_takes_its_session_up_again(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        await chat.until("turn_complete")
        await chat.send({"type": "text", "text": "one"})
        await chat.until("ai_text", text="Answer 1.", is_complete=True)
        connected = chat.seen[0]
        chat.socket.transport.abort()
    session = server.state.sessions.get(connected["session_id"])
    await server.until(lambda: session.state == "detached", "the session is detached")
    async with server.chat("?extras=1", hello=False) as chat:
        await chat.send({"type": "resume", "token": connected["resume_token"]})
        again = await chat.next()
        assert (again["session_id"], again["resumed"]) == (connected["session_id"], True)
        await chat.send({"type": "text", "text": "two"})
        await chat.until("ai_text", text="Answer 2.", is_complete=True)
    assert [t.text for t in session.record.turns if t.role == "learner"] == ["one", "two"]


async def test_samples_are_counted_over_the_whole_connection(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        await chat.until("turn_complete")
        connected = chat.seen[0]
        chat.socket.transport.abort()
    session = server.state.sessions.get(connected["session_id"])
    await server.until(lambda: session.state == "detached", "the session is detached")
    async with server.chat("?extras=1") as chat:
        await chat.until("turn_complete")
        assert chat.audio, "another session has begun before this one is taken up again"
        await chat.send({"type": "resume", "token": connected["resume_token"]})
        await chat.until("connected", session_id=connected["session_id"])
        await chat.send({"type": "text", "text": "two"})
        await chat.until("turn_complete")
        await chat.send({"type": "playout", "sample": len(chat.audio) // 2})
        row = (await chat.until("metrics"))["row"]
        while row.get("heard") is None:
            row = (await chat.until("metrics"))["row"]
        assert row["heard"] >= row["sent"]


async def test_the_token_in_the_address_does_the_same(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        connected = chat.seen[0]
    async with server.chat(f"?extras=1&resume={connected['resume_token']}", hello=False) as chat:
        again = await chat.next()
        assert (again["session_id"], again["resumed"]) == (connected["session_id"], True)


async def test_resuming_later_discards_the_empty_session(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        connected = chat.seen[0]
    async with server.chat("?extras=1") as chat:
        fresh = chat.seen[0]
        assert fresh["session_id"] != connected["session_id"]
        await chat.send({"type": "resume", "token": connected["resume_token"]})
        again = await chat.until("connected")
        assert (again["session_id"], again["resumed"]) == (connected["session_id"], True)
        assert server.state.sessions.get(fresh["session_id"]) is None
        await chat.send({"type": "text", "text": "still here"})
        await chat.until("transcript", text="still here", is_final=True)
        assert "analysis" not in chat.kinds


async def test_resuming_is_refused_once_the_learner_has_spoken(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        token = chat.seen[0]["resume_token"]
    async with server.chat("?extras=1") as chat:
        await chat.send({"type": "text", "text": "hello"})
        await chat.until("transcript", is_final=True)
        await chat.send({"type": "resume", "token": token})
        assert "too late" in (await chat.until("error"))["message"]
        await chat.send({"type": "resume", "token": chat.seen[0]["resume_token"]})
        assert "already" in (await chat.until("error"))["message"]


@pytest.mark.parametrize("early", [True, False])
async def test_an_unknown_token_is_an_error_and_a_fresh_session_goes_on(serve, early):
    server = await serve()
    async with server.chat("?extras=1", hello=False) as chat:
        if not early:
            await chat.until("connected")
        await chat.send({"type": "resume", "token": "nobody's"})
        assert "resume" in (await chat.until("error"))["message"]
        await chat.send({"type": "text", "text": "hello"})
        await chat.until("transcript", is_final=True)
        assert chat.kinds.count("connected") == 1


async def test_resume_needs_extras(serve):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        token = chat.seen[0]["resume_token"]
    async with server.chat(f"?resume={token}") as chat:
        assert "extras" in (await chat.until("error"))["message"]


async def test_a_second_connection_takes_the_session_from_the_first(serve):
    server = await serve()
    async with server.chat("?extras=1") as first:
        connected = first.seen[0]
        async with server.chat(f"?extras=1&resume={connected['resume_token']}", hello=False) as second:
            assert (await second.next())["session_id"] == connected["session_id"]
            assert (await first.closed())[0] == 1001
            await second.send({"type": "text", "text": "mine"})
            await second.until("transcript", text="mine", is_final=True)
            assert server.state.sessions.active == 1


async def test_a_client_that_does_not_come_back_ends_its_session_with_a_report(serve):
    server = await serve(session={"resume_for_s": 0.3})
    async with server.chat() as chat:
        session = server.state.sessions.get(chat.seen[0]["session_id"])
    await asyncio.wait_for(session.wait_ended(), 20)
    assert await server.state.sessions.store.get_report(session.id) is not None


async def test_a_session_made_over_rest_is_taken_up(serve):
    server = await serve()
    async with server.http() as http:
        made = (await http.post("/session", json={"level": "intermediate"})).json()
    async with server.chat(f"?extras=1&resume={made['resume_token']}", hello=False) as chat:
        connected = await chat.next()
        assert (connected["session_id"], connected["level"], connected["resumed"]) == (
            made["session_id"],
            "intermediate",
            False,
        )
        await chat.until("turn_complete")


async def test_a_session_ended_over_rest_says_so_to_its_client(serve):
    server = await serve()
    async with server.chat() as chat, server.http() as http:
        await chat.until("turn_complete")
        ended = await http.delete(f"/session/{chat.seen[0]['session_id']}")
        assert ended.status_code == 200
        assert (await chat.until("analysis"))["data"] == ended.json()["report"]
        assert (await chat.closed())[0] == 1000


async def test_stopping_the_server_ends_calls_with_their_reports(serve):
    server = await serve()
    async with server.chat() as chat:
        session = server.state.sessions.get(chat.seen[0]["session_id"])
        await server.stop()
        assert (await chat.closed())[0] in (1001, 1012, 1000)
    assert session.state == "ended"


async def test_many_connections_leave_nothing_behind(serve):
    server = await serve(session={"resume_for_s": 0.0})
    for i in range(10):
        async with server.chat("?extras=1" if i % 2 else "") as chat:
            await chat.send(bytes(6400))
            if i % 3 == 0:
                await chat.send({"type": "end_conversation"})
                await chat.closed()
            elif i % 3 == 1:
                chat.socket.transport.abort()
    sessions = server.state.sessions
    await server.until(lambda: not sessions.active and not sessions.detached and not sessions._sessions, "all sessions end")
    await server.until(
        lambda: not [t for t in asyncio.all_tasks() if t.get_name().startswith(("websocket", "call-"))], "all tasks end"
    )
