"""Calls through Telnyx, Plivo, Vonage and Exotel over a real server: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.web.conftest import Running
from tests.web.phone.caller import phoning
from tests.web.phone.fake_carriers import CARRIERS, FakeCarrier, FakeTelnyx, settings_of
from tests.web.phone.told import refused, report_of

PUBLIC = "https://tutor.example.org"
PHONE: dict[str, Any] = {"public_url": PUBLIC, **settings_of(*CARRIERS)}


@pytest.fixture(params=list(CARRIERS))
def carrier(request: pytest.FixtureRequest) -> type[FakeCarrier]:
    return CARRIERS[request.param]


def session_id_of(server: Running, call: FakeCarrier) -> str:
    return str(server.state.phone._entries[call.name, call.call_id].session_id)


def session_of(server: Running, call: FakeCarrier) -> Any:
    return server.state.sessions.get(session_id_of(server, call))


async def test_a_caller_is_greeted_and_hangs_up_in_the_middle_of_a_word(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        await call.connect(await call.answer())
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s >= 0.25, "the greeting is heard")
        await call.until(lambda: call.returned, "marks come back")
        assert session.record.door == "phone"
        await call.hang_up()
        await report_of(server, session_id_of(server, call))
        assert session.record.end_reason == "hung up by the caller"
        assert session.state == "ended"


async def test_the_tutor_hangs_up_when_the_caller_presses_the_hash_key(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        await call.connect(await call.answer())
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        await call.press("#")
        await asyncio.wait_for(call.ended.wait(), 20)
        await report_of(server, session_id_of(server, call))


async def test_marks_say_what_was_heard(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        await call.connect(await call.answer())
        session = session_of(server, call)
        await call.until(lambda: session.record.turns and session.record.turns[0].text, "the greeting is in the record")
        await call.until(lambda: call.marks and set(call.marks) <= set(call.returned), "every mark came back")
        await server.until(lambda: any(row.heard is not None for row in session.record.metrics), "the greeting was heard")


async def test_pieces_that_are_lost_or_out_of_order_do_not_shift_the_rest(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        # Every seventh piece is lost; of every five, two change places.
        call.mangle = lambda n: [] if n % 7 == 0 else [n, n - 1] if n % 5 == 1 else [] if n % 5 == 0 else [n]
        await call.connect(await call.answer())
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        ears = server.engines["stt"].made[-1]
        await call.until(lambda: ears.audio_bytes > 2 * 16_000, "a second was heard")
        assert session.state == "attached"
        await call.hang_up()
        await report_of(server, session_id_of(server, call))


async def test_a_stream_that_broke_off_comes_back_to_the_same_session(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        await call.connect(await call.answer())
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        await call.drop()
        await server.until(lambda: session.state == "detached", "the session waits")
        await call.connect(await call.answer())
        await server.until(lambda: session.state == "attached", "the session goes on")


async def test_a_call_that_ended_is_not_taken_again(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC)) as call:
        await call.connect(await call.answer())
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        await call.hang_up()
        await report_of(server, session_id_of(server, call))
        again = await call.dial()
        if carrier.name == "vonage":
            assert again == []
        elif carrier.name == "exotel":
            assert again.status_code == 410
        else:
            assert [e.tag for e in again] == ["Hangup"]


async def test_a_token_opens_one_stream_of_one_call(serve, carrier):
    server = await serve(phone=PHONE)
    async with phoning(carrier(server.url, PUBLIC), carrier(server.url, PUBLIC)) as (call, thief):
        address = await call.answer()
        own = await thief.answer()
        # With another call's token ...
        for name in ("parameters", "extra_headers", "headers"):
            if hasattr(call, name):
                value = getattr(call, name)
                setattr(thief, name, {**value, "call_id": thief.call_id} if name == "headers" else value)
        before = refused(carrier.name, "token")
        await thief.connect(address if carrier.name == "exotel" else own)
        await asyncio.wait_for(thief.ended.wait(), 20)
        assert thief.close_code == 1008
        assert refused(carrier.name, "token") == before + 1
        # ... and nobody else was harmed.
        await call.connect(address)
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")


async def test_a_carrier_that_is_not_set_up_is_not_there(serve, carrier):
    server = await serve()
    async with server.http() as http:
        method = http.get if carrier.name == "exotel" else http.post
        response = await method(f"/phone/{carrier.name}/voice")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_full_house_is_said_in_the_carriers_words(serve, make_engines, carrier):
    engines = make_engines()
    engines["llm"].full = True
    server = await serve(engines=engines, phone=PHONE)
    before = refused(carrier.name, "capacity")
    async with phoning(carrier(server.url, PUBLIC)) as call:
        said = await call.dial()
    match carrier.name:
        case "telnyx":
            assert [e.tag for e in said] == ["Reject"]
        case "plivo":
            assert [(e.tag, e.attrib) for e in said] == [("Hangup", {"reason": "busy"})]
        case "vonage":
            assert [a["action"] for a in said] == ["talk"]
        case _:
            assert said.status_code == 503
            assert "retry-after" in said.headers
    assert refused(carrier.name, "capacity") == before + 1


async def test_twenty_calls_of_four_carriers_at_once_do_not_meet(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 20})
    calls = [carrier(server.url, PUBLIC) for carrier in CARRIERS.values() for _ in range(5)]
    async with phoning(*calls):

        async def hold(call: FakeCarrier) -> str:
            await call.connect(await call.answer())
            session = session_of(server, call)
            await call.until(lambda: call.voiced_s >= 0.25, "the greeting is heard")
            await call.until(lambda: call.marks and set(call.marks) <= set(call.returned), "every mark came back")
            assert session.state == "attached"
            return str(session.id)

        sessions = await asyncio.gather(*map(hold, calls))
        assert len(set(sessions)) == 20
        assert server.state.sessions.active == 20
        await asyncio.gather(*(call.hang_up() for call in calls))
        await server.until(lambda: server.state.sessions.active == server.state.sessions.detached == 0, "all have ended")
    assert not any(call.clears for call in calls)


async def test_a_law_is_understood_where_telnyx_does_not_transcode(serve):
    server = await serve(phone=PHONE)
    async with phoning(FakeTelnyx(server.url, PUBLIC, encoding="PCMA")) as call:
        await call.connect(await call.answer())
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        ears = server.engines["stt"].made[-1]
        await call.until(lambda: ears.audio_bytes > 16_000, "half a second was heard")
