"""Options of a call over every way in: set at its start, changed while it lasts, kept when it is taken up again."""

from __future__ import annotations

from tests.web.test_rest import assert_problem

DEFAULTS = {"temperature": 0.7, "max_tokens": 200, "speech_rate": 1.0}
NARROW = {"speech_rate": {"min": 0.9, "max": 1.1}}


async def test_a_page_is_told_the_ranges_and_what_the_engines_use(serve, make_engines):
    engines = make_engines()
    engines["llm"].honours = frozenset({"temperature"})
    server = await serve(engines=engines, options=NARROW)
    async with server.http() as http:
        infos = {o["name"]: o for o in (await http.get("/api/client-config")).json()["options"]}
        engine = next(e for e in (await http.get("/status")).json()["engines"] if e["stage"] == "llm")
    assert infos["speech_rate"] == {
        "name": "speech_rate",
        "min": 0.9,
        "max": 1.1,
        "default": 1.0,
        "whole": False,
        "used": False,
        "reason": "The stand-in tts voice does not use it.",
    }
    assert infos["temperature"]["used"] is True
    assert "reason" not in infos["temperature"]
    assert infos["max_tokens"]["whole"] is True
    assert infos["max_tokens"]["reason"] == "The stand-in llm tutor does not use it."
    assert engine["honours"] == ["temperature"]


async def test_the_address_sets_them_and_a_wrong_one_is_said_and_left(serve):
    server = await serve(options=NARROW)
    async with server.chat("?extras=1&speech_rate=1.1&max_tokens=50&temperature=9", hello=False) as chat:
        assert (await chat.next())["options"] == {**DEFAULTS, "speech_rate": 1.1, "max_tokens": 50}
        assert (await chat.until("error"))["message"] == "temperature must be a number from 0 to 1.5, not 9"
        await chat.until("turn_complete")
    async with server.chat("?speech_rate=1.1", hello=False) as plain:
        connected = await plain.next()
        assert connected.keys() == {"type", "session_id"}, "the fixed protocol is as it was"
        assert server.state.sessions.get(connected["session_id"]).call_state.options.speech_rate == 1.1


async def test_a_message_changes_them_for_the_engines_of_the_running_call(serve):
    server = await serve(options=NARROW)
    async with server.chat("?extras=1") as chat:
        await chat.until("turn_complete")
        (state,) = server.engines["tts"].calls
        await chat.send({"type": "set_options", "speech_rate": 0.9})
        await server.until(lambda: state.options.speech_rate == 0.9, "the change arrives")
        assert state.options.max_tokens == 200
        await chat.send({"type": "set_options", "speech_rate": 2, "max_tokens": 30})
        refusal = (await chat.until("error"))["message"]
        assert refusal == "set_options: speech_rate must be a number from 0.9 to 1.1, not 2"
        await chat.send({"type": "set_options", "speech_rate": "slow"})
        assert "set_options: speech_rate" in (await chat.until("error"))["message"]
        assert (state.options.speech_rate, state.options.max_tokens) == (0.9, 200), "all of a message, or nothing"
        async with server.http() as http:
            detail = (await http.get(f"/api/sessions/{chat.seen[0]['session_id']}")).json()
            assert detail["options"] == {**DEFAULTS, "speech_rate": 0.9}
    async with server.chat() as plain:
        await plain.send({"type": "set_options", "speech_rate": 0.9})
        assert "extras=1" in (await plain.until("error"))["message"]


async def test_a_session_that_is_taken_up_again_has_them_still(serve):
    server = await serve()
    async with server.chat("?extras=1&temperature=0.1") as first:
        await first.until("turn_complete")
        await first.send({"type": "set_options", "speech_rate": 1.3})
        state = server.engines["tts"].calls[0]
        await server.until(lambda: state.options.speech_rate == 1.3, "the change arrives")
        token = first.seen[0]["resume_token"]
    async with server.chat(f"?extras=1&resume={token}&speech_rate=0.8", hello=False) as again:
        connected = await again.next()
        assert connected["resumed"] is True
        assert connected["options"] == {**DEFAULTS, "temperature": 0.1, "speech_rate": 1.3}
        await server.until(lambda: len(server.engines["tts"].calls) == 2, "the call is built anew")
        assert server.engines["tts"].calls[1].options.speech_rate == 1.3


async def test_a_request_that_asks_for_too_much_is_refused_with_the_range(serve):
    server = await serve(options=NARROW)
    async with server.http() as http:
        refused = await http.post("/session", json={"speech_rate": 3, "lesson": "introductions"})
        assert assert_problem(refused, 422, "bad-option")["detail"] == "speech_rate must be a number from 0.9 to 1.1, not 3"
        assert_problem(await http.post("/session", json={"speech_rate": "quick"}), 422, "invalid-request")
    assert (server.state.sessions.active, server.state.sessions.detached) == (0, 0)


async def test_a_session_made_over_rest_has_them_when_its_client_comes(serve):
    server = await serve()
    async with server.http() as http:
        made = (await http.post("/session", json={"speech_rate": 1.25, "max_tokens": 20})).json()
    async with server.chat(f"?extras=1&resume={made['resume_token']}", hello=False) as chat:
        assert (await chat.next())["options"] == {**DEFAULTS, "speech_rate": 1.25, "max_tokens": 20}
        await chat.until("turn_complete")
