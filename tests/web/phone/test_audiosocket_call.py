"""Calls from an Asterisk over a real server and a stand-in for Asterisk: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.sessions import SessionManager
from pipeline.settings.exchange import AudioSocketSettings
from pipeline.settings.tree import Settings
from tests.web.conftest import Running, stand_ins
from tests.web.phone.caller import phoning
from tests.web.phone.fake_asterisk import FakeAsterisk
from tests.web.phone.told import refused, report_of
from web.doors.phone.audiosocket import MAX_STRANGERS, STRIKES, AudioSocketServer, is_among
from web.doors.phone.desk import Desk

PHONE = {"audiosocket": {"port": 0}}


def caller(server: Running, **options: Any) -> FakeAsterisk:
    port = server.state.audiosocket.port
    assert port is not None
    return FakeAsterisk(port, **options)


def session_of(server: Running, call: FakeAsterisk) -> Any:
    entry = server.state.phone._entries.get(("audiosocket", str(call.uuid)))
    return server.state.sessions.get(entry.session_id) if entry else None


async def greeted(call: FakeAsterisk) -> None:
    await call.dial()
    await call.until(lambda: call.voiced_s > 0.1, "the greeting is heard")


async def test_it_does_not_listen_unless_a_port_is_set(serve):
    server = await serve()
    assert server.state.audiosocket.port is None


async def test_a_port_that_is_taken_is_told_with_the_name_of_the_setting():
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with taken:
        settings = Settings.model_validate({"phone": {"audiosocket": {"port": taken.sockets[0].getsockname()[1]}}})
        server = AudioSocketServer(settings.phone.audiosocket, Desk(settings, SessionManager(settings, engines=stand_ins())))
        with pytest.raises(OSError, match=r"phone\.audiosocket: .*in use"):
            await server.start()
        await server.close()


@pytest.mark.parametrize("peer", ["10.0.0.1/8", "asterisk.example.org", "10.0.0"])
def test_a_peer_that_is_no_network_is_told(peer):
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        AudioSocketSettings(port=0, peers=[peer])


@pytest.mark.parametrize("word", [True, False])
async def test_a_caller_is_greeted_and_can_hang_up_with_a_word_or_without(serve, word):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        assert session.record.door == "phone"
        await call.hang_up(word=word)
        await server.until(lambda: session.state == "ended", "the session ends")
        assert (await report_of(server, session.id)).keys() >= {"grammar_score", "mistakes"}


async def test_hash_hangs_up_on_the_exchange_and_makes_the_report(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        call.press("#")
        await call.until(call.ended.is_set, "the connection ends")
        assert call.hung_up, "an Asterisk is told"
        assert (await report_of(server, session.id)).keys() >= {"grammar_score"}


async def test_2_makes_the_tutor_louder(serve):
    server = await serve(phone=PHONE, speech_s=4.0)
    async with phoning(caller(server)) as call:
        await greeted(call)
        usual = np.abs(call.samples[-800:]).max()
        call.press("2")
        await call.until(lambda: np.abs(call.samples[-320:]).max() > 1.4 * usual, "it is louder")


@pytest.mark.parametrize("rate_hz", [8_000, 12_000, 16_000, 24_000, 44_100, 48_000])
async def test_a_call_is_answered_at_the_rate_at_which_it_speaks(serve, rate_hz):
    server = await serve(phone=PHONE, speech_s=1.0)
    async with phoning(caller(server, rate_hz=rate_hz)) as call:
        await call.dial()
        await call.until(lambda: call.voiced_s > 0.9, "the greeting is heard")
        tone = call.samples[: rate_hz // 2].astype(float)
        peak_hz = np.abs(np.fft.rfft(tone * np.hanning(len(tone)))).argmax() * rate_hz / len(tone)
        assert peak_hz == pytest.approx(440, abs=4)
        ears, frames = server.engines["stt"].made[-1], call.frames
        heard = ears.audio_bytes
        await call.until(lambda: call.frames > frames + 50, "the caller is on the line")
        # 50 pieces of 20 ms; a resampler may hold some of it back.
        await call.until(lambda: ears.audio_bytes - heard >= 45 * 640, "the recogniser hears it all")


async def test_a_telephone_that_sends_nothing_while_nobody_speaks_is_greeted(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server, silent=True)) as call:
        await greeted(call)
        call.play(np.zeros(16_000))
        await call.until(lambda: call.frames > 20, "it speaks")
        assert session_of(server, call).state == "attached"


async def test_the_voice_leaves_as_it_is_due_since_it_cannot_be_taken_back(serve):
    server = await serve(phone=PHONE, speech_s=3.0)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        await call.until(lambda: call.voiced_s > 2.0, "some of it was heard")
        call.press("0")
        await call.until(lambda: len(session.record.turns) > 0, "the line was broken off")
        ahead_s = len(call.heard) / 2 / 8_000 - (call.arrivals[-1] - call.arrivals[0])
        assert ahead_s < 0.1, "nothing had been sent long before it was due"
        assert session.record.turns[0].interrupted


async def test_a_connection_that_broke_off_finds_its_call_again(serve):
    server = await serve(phone=PHONE)
    first, second = caller(server), caller(server)
    second.uuid = first.uuid
    async with phoning(first, second):
        await greeted(first)
        session = session_of(server, first)
        first.break_off()
        await server.until(lambda: session.state == "detached", "the call is lost")
        await second.dial()
        await server.until(lambda: session.state == "attached", "the call goes on")
        assert session_of(server, second) is session


async def test_a_connection_that_does_not_come_back_is_a_hang_up(serve):
    server = await serve(phone={**PHONE, "return_within_s": 0.2})
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        call.break_off()
        await server.until(lambda: session.state == "ended", "the session ends")


async def test_a_uuid_that_is_talking_is_no_other_calls(serve):
    server = await serve(phone=PHONE)
    first, second = caller(server), caller(server)
    second.uuid, before = first.uuid, refused("audiosocket", "uuid in use")
    async with phoning(first, second):
        await greeted(first)
        await second.dial()
        await second.until(second.ended.is_set, "the second is hung up on")
        assert second.hung_up
        assert refused("audiosocket", "uuid in use") == before + 1
        assert session_of(server, first).state == "attached"


async def test_a_dialplan_may_come_back_at_once_with_the_uuid_of_a_call_that_is_over(serve):
    server = await serve(phone=PHONE)
    first, second = caller(server), caller(server)
    second.uuid = first.uuid
    async with phoning(first, second):
        await greeted(first)
        before = session_of(server, first)
        await first.hang_up(word=False)
        await greeted(second)
        assert session_of(server, second) not in (before, None)
        assert before.state == "ended"


async def test_one_uuid_in_several_connections_at_once_is_one_call(serve):
    server = await serve(phone=PHONE, speech_s=4.0)
    calls = [caller(server) for _ in range(5)]
    for call in calls:
        call.uuid = calls[0].uuid
    async with phoning(*calls):
        await asyncio.gather(*(call.dial() for call in calls))
        await server.until(lambda: sum(call.ended.is_set() for call in calls) == 4, "all but one are hung up on")
        assert server.state.sessions.active == 1
        assert server.state.sessions.detached == 0


async def test_one_call_too_many_is_hung_up_on(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 1})
    one, other, third = caller(server), caller(server), caller(server)
    async with phoning(one, other, third):
        await greeted(one)
        await other.dial()
        await other.until(other.ended.is_set, "the second is hung up on")
        assert other.hung_up
        assert not other.heard
        await one.hang_up()
        await server.until(lambda: server.state.sessions.active == 0, "the place is free")
        await greeted(third)


async def test_a_call_that_cannot_be_built_is_hung_up_on_and_leaves_no_session(serve):
    server = await serve(phone=PHONE)
    server.engines["tts"].broken = True
    async with phoning(caller(server)) as call:
        await call.dial()
        await call.until(call.ended.is_set, "it is hung up on")
        assert call.hung_up
        await server.until(lambda: server.state.sessions.detached == 0, "no session waits")


async def test_strangers_addresses_are_hung_up_on(serve):
    server = await serve(phone={"audiosocket": {"port": 0, "peers": ["192.0.2.0/24"]}})
    before = refused("audiosocket", "peer")
    async with phoning(caller(server)) as call:
        await call.dial()
        await call.until(call.ended.is_set, "it is hung up on")
        assert refused("audiosocket", "peer") == before + 1
        assert server.state.sessions.detached == 0


@pytest.mark.parametrize(
    ("peer", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
        ("", False),
        ("a.example.org", False),
    ],
)
def test_peers_are_addresses_in_networks(peer, inside):
    assert is_among(peer, [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]) is inside


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x10\x01\x40" + bytes(320), b"\x01\x00\x05hello", b"\x00\x00\x00"]
)
async def test_whoever_does_not_name_a_call_is_hung_up_on(serve, sent):
    server = await serve(phone=PHONE)
    before = refused("audiosocket", "no audiosocket")
    async with phoning(caller(server)) as call:
        await call.connect()
        call.raw(sent)
        await call.until(call.ended.is_set, "it is hung up on")
        assert refused("audiosocket", "no audiosocket") == before + 1
        assert server.state.sessions.detached == 0


async def test_whoever_only_names_a_call_and_goes_leaves_no_session(serve):
    server = await serve(phone=PHONE)
    for _ in range(20):
        async with phoning(caller(server)) as call:
            await call.connect()
            call.frame(0x01, call.uuid.bytes)
    await server.until(lambda: server.state.audiosocket.strangers == 0, "nobody waits")
    assert server.state.sessions.detached == 0


async def test_a_thousand_connections_opened_and_dropped_leave_nothing(serve):
    server = await serve(phone=PHONE, speech_s=8.0)
    async with phoning(caller(server)) as call:
        await greeted(call)
        for _ in range(20):
            idle = [caller(server) for _ in range(50)]
            async with phoning(*idle):
                await asyncio.gather(*(i.connect() for i in idle))
        await server.until(lambda: len(server.state.audiosocket._connections) == 1, "all are gone")
        assert server.state.audiosocket.strangers == 0
        assert session_of(server, call).state == "attached"


async def test_no_more_than_so_many_may_say_nothing(serve):
    server = await serve(phone=PHONE)
    before = refused("audiosocket", "too many streams")
    idle = [caller(server) for _ in range(MAX_STRANGERS + 5)]
    async with phoning(*idle):
        for call in idle:
            await call.connect()
        await server.until(lambda: refused("audiosocket", "too many streams") == before + 5, "the last are hung up on")
        assert server.state.audiosocket.strangers == MAX_STRANGERS


async def test_bad_frames_are_forgiven_until_it_is_abuse(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        session = session_of(server, call)
        for kind, payload in (
            (0x10, b"\0"),
            (0x77, b"?"),
            (0x03, b"??"),
            (0x01, call.uuid.bytes),
            (0x12, b"\0\0"),
            (0xFF, b"\2"),
        ):
            call.frame(kind, payload)
        frames = call.frames
        await call.until(lambda: call.frames > frames + 10, "the call goes on")
        assert session.state == "attached"
        for _ in range(STRIKES + 5):
            call.frame(0x77)
        await call.until(call.ended.is_set, "it is hung up on")
        assert call.hung_up


async def test_audio_faster_than_anybody_speaks_is_abuse(serve):
    server = await serve(phone=PHONE)
    before = refused("audiosocket", "too fast")
    async with phoning(caller(server)) as call:
        await greeted(call)
        async with asyncio.timeout(60):
            while not call.ended.is_set():
                call.frame(0x10, bytes(16_000))
                await asyncio.sleep(0.02)
        assert refused("audiosocket", "too fast") == before + 1


async def test_the_end_of_the_server_hangs_up(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await greeted(call)
        await server.stop()
        await call.until(call.ended.is_set, "it is hung up on")
        assert call.hung_up


async def test_twenty_calls_at_once(serve, record_property):
    server = await serve(phone=PHONE, limits={"max_calls": 20}, speech_s=3.0)
    calls = [caller(server) for _ in range(20)]
    async with phoning(*calls):
        await asyncio.gather(*(call.dial() for call in calls))
        for call in calls:
            await call.until(lambda call=call: call.voiced_s > 2.97, "the whole greeting is heard")
        gaps = np.concatenate([np.diff(call.arrivals) for call in calls])
        record_property("packet_gap_ms_p50_p99_max", [round(1e3 * float(np.quantile(gaps, q)), 1) for q in (0.5, 0.99, 1.0)])
        assert len({session_of(server, call).id for call in calls}) == 20
        assert all(call.voiced_s == pytest.approx(3.0, abs=0.05) for call in calls)
        assert server.state.sessions.active == 20
        for call in calls:
            await call.hang_up()
        await server.until(lambda: server.state.sessions.active == 0, "all calls are over")
