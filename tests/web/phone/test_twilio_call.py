"""Calls through Twilio over a real server and a stand-in for Twilio: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.web.conftest import Running
from tests.web.phone.caller import NUMBER, phoning
from tests.web.phone.fake_twilio import ACCOUNT, AUTH_TOKEN, FakeTwilio, sid, signature
from tests.web.phone.told import refused, report_of
from web.doors.phone import stream
from web.doors.phone.stream import STRIKES

PUBLIC = "https://tutor.example.org"
PHONE = {"public_url": PUBLIC, "twilio": {"auth_token": AUTH_TOKEN}}
VOICE = "/phone/twilio/voice"


def caller(server: Running, **options: Any) -> FakeTwilio:
    return FakeTwilio(server.url, PUBLIC, **options)


def entry_of(server: Running, call: FakeTwilio) -> Any:
    return server.state.phone._entries["twilio", call.call_id]


def session_of(server: Running, call: FakeTwilio) -> Any:
    return server.state.sessions.get(entry_of(server, call).session_id)


async def greeted(call: FakeTwilio) -> None:
    await call.connect(await call.dial())
    await call.until(lambda: call.voiced_s > 0.1, "the greeting is heard")


async def test_a_caller_is_greeted_at_once_and_can_hang_up(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await call.connect(await call.dial())
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s >= 0.28, "the greeting is heard")
        assert session.record.door == "phone"
        assert call.voiced_s == pytest.approx(0.3, abs=0.04)
        await call.until(lambda: call.returned, "marks come back")
        await call.hang_up()
        await report_of(server, entry_of(server, call).session_id)
        assert session.record.end_reason == "hung up by the caller"
        # Twilio asks once more what to do behind <Connect>.
        assert [e.tag for e in await call.dial()] == ["Hangup"]


# Who is let in


async def test_a_request_without_the_right_signature_is_refused_and_counted(serve):
    server = await serve(phone=PHONE)
    before = refused("twilio", "signature")
    async with phoning(caller(server)) as call:
        form = call.form()
        wrong = [
            None,
            "AAAA",
            signature(f"{PUBLIC}{VOICE}", form, "another token"),
            signature(f"{server.url}{VOICE}", form),
            signature(f"{PUBLIC}{VOICE}", {**form, "To": "+1900"}),
        ]
        for path in (VOICE, "/phone/twilio/status"):
            for signed in wrong:
                response = await call.post(path, form, signed=signed)
                assert response.status_code == 403
                assert response.headers["content-type"] == "application/problem+json"
        assert refused("twilio", "signature") == before + 2 * len(wrong)
        assert server.state.sessions.detached == 0


async def test_a_tunnel_opens_the_phone_without_the_servers_token_and_nothing_else(serve):
    server = await serve(phone=PHONE, auth={"token": "sesame"})
    async with server.http() as http:
        call = caller(server)
        form = call.form()
        headers = {"Host": "tutor.example.org", "X-Twilio-Signature": signature(f"{PUBLIC}{VOICE}", form)}
        assert (await http.post(VOICE, data=form, headers=headers)).status_code == 200
        assert (await http.post(VOICE, data=form, headers={**headers, "Host": "evil.example"})).status_code == 403
        for path in ("/", "/api/sessions", "/ready", "/phone/twilio", "/api/phone/twilio/voice"):
            response = await http.get(path, headers={"Host": "tutor.example.org", "Authorization": "Bearer sesame"})
            assert (response.status_code, response.json()["title"]) == (403, "Host not allowed"), path
        await call.close()


async def test_calls_of_another_account_are_refused(serve):
    server = await serve(phone={**PHONE, "twilio": {"auth_token": AUTH_TOKEN, "account_sid": ACCOUNT}})
    async with phoning(caller(server)) as call:
        response = await call.post(VOICE, call.form(AccountSid=sid("AC")))
        assert response.status_code == 403
        await greeted(call)


async def test_without_a_key_there_is_no_phone(serve):
    server = await serve()
    async with phoning(caller(server)) as call:
        response = await call.post(VOICE, call.form())
        assert response.status_code == 404
        with pytest.raises(InvalidStatus):
            await call.open({"token": "t"})


async def test_a_stream_needs_the_token_of_its_call_and_each_only_once(serve):
    server = await serve(phone=PHONE)
    before = refused("twilio", "token")
    one, other, thief = caller(server), caller(server), caller(server)
    async with phoning(one, other, thief):
        twiml = await one.dial()
        token = twiml.find("Connect/Stream/Parameter").attrib["value"]
        await other.dial()

        async def try_to_get_in(call_id: str, parameters: dict[str, str]) -> None:
            thief.call_id = call_id
            await thief.open(parameters)
            await thief.until(thief.ended.is_set, "the stream is closed")
            assert thief.close_code == 1008
            assert not thief.heard

        await try_to_get_in(one.call_id, {})
        await try_to_get_in(one.call_id, {"token": token + "x"})
        await try_to_get_in(other.call_id, {"token": token})
        await try_to_get_in(sid("CA"), {"token": token})
        await one.connect(twiml)
        await one.until(lambda: one.voiced_s > 0.1, "the greeting is heard")
        await try_to_get_in(one.call_id, {"token": token})
        assert refused("twilio", "token") == before + 5
        assert session_of(server, one).state == "attached"


async def test_a_token_that_is_too_old_is_none(serve):
    server = await serve(phone={**PHONE, "token_ttl_s": 0.05})
    async with phoning(caller(server)) as call:
        twiml = await call.dial()
        await asyncio.sleep(0.2)
        await call.connect(twiml)
        await call.until(call.ended.is_set, "the stream is closed")
        assert call.close_code == 1008


async def test_one_call_too_many_hears_the_busy_tone(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 1})
    one, other = caller(server), caller(server)
    async with phoning(one, other):
        await greeted(one)
        twiml = await other.dial()
        assert [(e.tag, e.attrib) for e in twiml] == [("Reject", {"reason": "busy"})]
        await one.hang_up()
        await server.until(lambda: server.state.sessions.active == 0, "the place is free")
        await greeted(other)


async def test_a_number_has_its_lesson_and_level(serve):
    numbers = {NUMBER: {"level": "advanced", "lesson": "introductions"}, "+15550111": {"lesson": "there is none"}}
    server = await serve(phone={**PHONE, "level": "beginner", "numbers": numbers})
    one, other = caller(server), caller(server, number="+15550111")
    async with phoning(one, other):
        await one.dial()
        await other.dial()
        assert (session_of(server, one).record.level, session_of(server, one).record.lesson) == ("advanced", "introductions")
        assert session_of(server, other).record.level == "beginner"
        assert session_of(server, other).record.lesson == server.state.settings.tutor.lesson


# What a caller can press


async def test_0_says_the_line_again_and_empties_the_carriers_buffer(serve):
    server = await serve(phone=PHONE, speech_s=3.0)
    async with phoning(caller(server, mark_delay_s=0.1)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s > 2.0, "some of it was heard")
        await call.press("0")
        await call.until(lambda: call.clears, "the buffer is emptied")
        first = session.record.turns[0]
        assert first.interrupted
        assert first.text == "Answer"
        await call.until(lambda: len(session.record.turns) > 1, "the line is said again")
        assert session.record.turns[1].text == "Answer 0."
        assert not session.record.turns[1].interrupted


async def test_1_slows_the_tutor_down_to_the_least_that_is_allowed(serve):
    server = await serve(phone=PHONE, options={"speech_rate": {"min": 0.8}})
    async with phoning(caller(server)) as call:
        await greeted(call)
        options = session_of(server, call).call_state
        for rate in (0.85, 0.8, 0.8):
            await call.press("1")
            await call.press("9")  # means nothing
            await call.until(lambda rate=rate: options.options.speech_rate == rate, f"the rate is {rate}")


async def test_2_makes_the_tutor_louder_at_once(serve):
    server = await serve(phone=PHONE, speech_s=4.0)
    async with phoning(caller(server)) as call:
        await greeted(call)
        usual = np.abs(call.samples[-1_600:]).max()
        await call.press("2")
        await call.until(lambda: np.abs(call.samples[-800:]).max() > 1.4 * usual, "it is louder")


async def test_hash_ends_the_call_with_a_report(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.close_code == 1000
        assert (await report_of(server, entry_of(server, call).session_id)).keys() >= {"final_score", "mistakes"}
        assert session.record.end_reason == "ended by the learner"
        assert [e.tag for e in await call.dial()] == ["Hangup"]


# How a call ends, and how it does not


async def test_a_call_that_has_lasted_long_enough_ends_with_a_farewell_that_is_heard_to_its_end(serve):
    server = await serve(phone=PHONE, limits={"max_call_s": 1.5}, speech_s=0.8)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.until(call.ended.is_set, "the server hangs up")
        await report_of(server, entry_of(server, call).session_id)
        assert session.record.end_reason == "time limit"
        assert call.voiced_s == pytest.approx(1.6, abs=0.05)


@pytest.mark.parametrize("how", ["stop", "status"])
async def test_hanging_up_in_mid_word_ends_the_call_with_its_report(serve, how):
    server = await serve(phone=PHONE, speech_s=3.0)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s > 2.0, "some of it was heard")
        if how == "stop":
            await call.hang_up(callback=False)
        else:
            response = await call.post("/phone/twilio/status", call.form(CallStatus="completed"))
            assert response.status_code == 204
        await report_of(server, entry_of(server, call).session_id)
        assert session.record.end_reason == "hung up by the caller"
        assert [(t.text, t.interrupted) for t in session.record.turns] == [("Answer", True)]


async def test_a_call_whose_stream_broke_off_is_taken_up_again(serve):
    server = await serve(phone={**PHONE, "return_within_s": 8})
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.drop()
        # Behind <Connect> stands <Redirect>: Twilio asks again, for the same call.
        again = await call.dial(CallStatus="in-progress")
        await call.connect(again)
        await server.until(lambda: session.state == "attached", "the call is taken up again")
        assert session_of(server, call) is session
        await call.press("0")
        heard = call.voiced_s
        await call.until(lambda: call.voiced_s > heard + 0.1, "the tutor speaks again")


async def test_a_call_whose_stream_broke_off_ends_where_nobody_comes_back(serve):
    server = await serve(phone={**PHONE, "return_within_s": 0.2})
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.drop()
        await report_of(server, entry_of(server, call).session_id)
        assert session.record.end_reason == "connection lost"


async def test_a_carrier_that_falls_silent_is_gone(serve):
    server = await serve(phone={**PHONE, "return_within_s": 0.2}, session={"detach_after_s": 1.0})
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        call.mangle = lambda chunk: []
        await report_of(server, entry_of(server, call).session_id)
        assert session.record.end_reason == "connection lost"
        await call.until(call.ended.is_set, "the stream is closed")


async def test_a_caller_who_says_nothing_is_asked_and_then_hung_up_on(serve):
    server = await serve(phone=PHONE, silence={"ask_after_s": 1.0, "asks": 1})
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.close_code == 1000
        assert len(session.record.turns) >= 2
        await report_of(server, entry_of(server, call).session_id)


async def test_a_call_that_was_announced_and_never_came_leaves_no_session(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await call.dial()
        assert server.state.sessions.detached == 1
        await call.post("/phone/twilio/status", call.form(CallStatus="no-answer"))
        await server.until(lambda: server.state.sessions.detached == 0, "its place is free")


# What comes damaged


async def test_lost_and_mixed_up_pieces_leave_the_rest_in_order(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        mixed = itertools.cycle([[0], [], [0, -1], [0], [-40], [0]])
        call.mangle = lambda chunk: [chunk + shift for shift in next(mixed)]
        await greeted(call)
        ears = server.engines["stt"].made[-1]
        chunks, heard = call.frames, ears.audio_bytes
        await call.until(lambda: call.frames > chunks + 100, "the caller is on the line")
        # What was lost is silence: the voice that follows keeps its time.
        await call.until(lambda: ears.audio_bytes - heard >= 100 * 640, "time goes on evenly")


async def test_streams_that_never_begin_are_few_and_shut_nobody_out_for_long(serve, monkeypatch):
    # Few enough to be there together before the first is shown out, however slow the machine.
    monkeypatch.setattr(stream, "START_WITHIN_S", 5.0)
    monkeypatch.setattr(stream, "MAX_STRANGERS", 10)
    server = await serve(phone=PHONE)
    address = server.url.replace("http", "ws", 1) + "/phone/twilio/stream"
    async with contextlib.AsyncExitStack() as sockets, phoning(caller(server)) as call:
        silent = [await sockets.enter_async_context(connect(address)) for _ in range(stream.MAX_STRANGERS)]
        one_more = await sockets.enter_async_context(connect(address))
        await asyncio.wait_for(one_more.wait_closed(), 30)
        assert one_more.close_code == 1013
        for socket in silent:
            await asyncio.wait_for(socket.wait_closed(), 30)
        await greeted(call)


async def test_bad_messages_are_forgiven_until_it_is_abuse(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        for bad in ("", "hello", b"\x00\xff", '{"event":"media"}', '{"event":"stop","streamSid":"MZ0"}', "[" * 10_000):
            await call.raw(bad)
        await call.press("2")
        session = session_of(server, call)
        await asyncio.sleep(0.2)
        assert session.state == "attached"
        for _ in range(STRIKES + 5):
            await call.raw("hello")
        await call.until(call.ended.is_set, "the stream is closed")
        assert call.close_code == 1008


async def test_a_giant_message_closes_the_stream(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        await call.raw("x" * 100_000)
        await call.until(call.ended.is_set, "the stream is closed")
        assert call.close_code == 1009


async def test_audio_faster_than_anybody_speaks_is_abuse(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        call.mangle = lambda chunk: []
        second = call.voice_message(b"\xff" * 8_000)
        async with asyncio.timeout(60):
            while not call.ended.is_set():
                await call.raw_quietly(second)
                await asyncio.sleep(0.02)
        assert call.close_code == 1008


async def test_twenty_calls_at_once(serve, record_testsuite_property):
    server = await serve(phone=PHONE, limits={"max_calls": 20}, speech_s=3.0)
    calls = [caller(server) for _ in range(20)]
    async with phoning(*calls):
        for call in calls:
            await call.connect(await call.dial())
        for call in calls:
            await call.until(lambda call=call: call.voiced_s > 2.97, "the whole greeting is heard")
        gaps = np.concatenate([np.diff(call.arrivals) for call in calls])
        record_testsuite_property(
            "packet_gap_ms_p50_p99_max", [round(1e3 * float(np.quantile(gaps, q)), 1) for q in (0.5, 0.99, 1.0)]
        )
        assert len({session_of(server, call).id for call in calls}) == 20
        assert all(call.voiced_s == pytest.approx(3.0, abs=0.05) for call in calls)
        assert server.state.sessions.active == 20
        for call in calls:
            await call.hang_up()
        await server.until(lambda: server.state.sessions.active == 0, "all calls are over")
