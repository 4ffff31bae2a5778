"""Calls by SIP over a real server and a telephone of the tests' own: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from pipeline.metrics import prometheus
from tests.web.conftest import Running
from tests.web.phone.sip.telephone import Telephone, phoning
from tests.web.phone.told import refused, report_of

PHONE = {"sip": {"port": 0}}


def telephone(server: Running, **options: Any) -> Telephone:
    port = server.state.sip.port
    assert port is not None
    return Telephone(port, **options)


def session_of(server: Running) -> Any:
    entries = [e for (carrier, _), e in server.state.phone._entries.items() if carrier == "sip"]
    return server.state.sessions.get(entries[-1].session_id) if entries else None


async def greeted(call: Telephone) -> None:
    assert await call.dial() == "200"
    await call.until(lambda: call.voiced_s > 0.1, "the greeting is heard")


async def test_it_does_not_listen_unless_a_port_is_set(serve):
    server = await serve()
    assert server.state.sip.port is None


@pytest.mark.parametrize("codec", [0, 8])
async def test_a_caller_is_greeted_and_hangs_up(serve, codec):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server, codec=codec)) as call:
        await greeted(call)
        session = session_of(server)
        assert session.record.door == "phone"
        await call.hang_up()
        await server.until(lambda: session.state == "ended", "the session ends")
        assert (await report_of(server, session.id)).keys() >= {"grammar_score", "mistakes"}
    await server.until(lambda: not server.state.sip.calls and not server.state.sip.agent.dialogs, "nothing is left")


async def test_hash_as_an_event_hangs_up_and_makes_the_report(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        session = session_of(server)
        call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.messages[-1][0] == "BYE"
        assert (await report_of(server, session.id)).keys() >= {"grammar_score"}


async def test_2_makes_the_tutor_louder_once_a_press(serve):
    server = await serve(phone=PHONE, speech_s=6.0)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        usual = np.abs(call.samples[-800:]).max()
        call.press("2")
        await call.until(lambda: np.abs(call.samples[-320:]).max() > 1.4 * usual, "it is louder")
        # One step is 4 dB: a factor of 1.58.
        assert np.abs(call.samples[-320:]).max() < 1.9 * usual


async def test_0_says_the_last_line_again_by_a_message_too(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        await call.until(lambda: not np.any(call.samples[-1_600:]), "the greeting is over")
        before = call.voiced_s
        call.cseq += 1
        call.send("INFO", body="Signal=0\r\nDuration=160\r\n")
        await call.until(lambda: call.voiced_s > before + 0.1, "it is said again")


@pytest.mark.parametrize("codec", [0, 8])
async def test_both_ways_have_the_right_pitch_level_and_length(serve, codec):
    server = await serve(phone=PHONE, speech_s=1.5)
    async with phoning(telephone(server, codec=codec)) as call:
        await call.dial()
        await call.until(lambda: call.voiced_s > 1.4, "the greeting is heard")
        voiced = np.flatnonzero(np.abs(call.samples) > 500)
        tone = call.samples[voiced[0] : voiced[0] + 8_000].astype(float)
        peak_hz = np.abs(np.fft.rfft(tone * np.hanning(len(tone)))).argmax() * 8_000 / len(tone)
        assert peak_hz == pytest.approx(440, abs=2)
        ears, frames = server.engines["stt"].made[-1], call.frames
        heard = ears.audio_bytes
        await call.until(lambda: call.frames > frames + 50, "the caller is on the line")
        await call.until(lambda: ears.audio_bytes - heard >= 45 * 640, "the recogniser hears it all")


async def test_the_numbers_of_caller_and_called_are_known(serve):
    server = await serve(phone={**PHONE, "numbers": {"tutor": {"level": "advanced"}}})
    async with phoning(telephone(server, user="4930123456")) as call:
        assert await call.dial() == "200"
        (entry,) = server.state.phone._entries.values()
        assert (entry.carrier, entry.caller) == ("sip", "+4930123456")
        assert session_of(server).record.level == "advanced"


async def test_a_full_server_is_busy(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 1})
    before = refused("sip", "capacity")
    async with phoning(telephone(server), telephone(server)) as (first, second):
        await greeted(first)
        assert await second.dial() == "486"
        assert int(second.messages[-1][1]["retry-after"]) > 0
        assert refused("sip", "capacity") == before + 1
        await first.hang_up()
        await server.until(lambda: not server.state.sip.calls, "the place is free")
        third = telephone(server)
        async with phoning(third):
            assert await third.dial() == "200"


@pytest.mark.parametrize(("formats", "protocol"), [("9 18", "RTP/AVP"), ("0 8", "RTP/SAVP")])
async def test_a_telephone_that_speaks_nothing_known_is_told(serve, formats, protocol):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await call.ready()
        call.send("INVITE", body=call.description(formats=formats, protocol=protocol))
        assert (await call.answer("INVITE"))[0] == "488"
    assert not server.state.phone._entries


async def test_no_port_for_sound_is_told_and_costs_no_place(serve):
    server = await serve(phone={"sip": {"port": 0, "rtp_port_from": 28_100, "rtp_port_to": 28_102}})
    calls = [telephone(server) for _ in range(3)]
    async with phoning(*calls):
        assert [await call.dial() for call in calls] == ["200", "200", "503"]
        assert refused("sip", "no port") > 0
        assert len(server.state.sip.calls) == 2


async def test_a_caller_who_gives_up_at_once_leaves_nothing_behind(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await call.ready()
        call.auto_ack = False
        call.send("INVITE", body=call.description(), branch="z9hG4bKgivingup")
        call.invite_branch = "z9hG4bKgivingup"
        call.send("CANCEL", branch="z9hG4bKgivingup")
        status = (await call.answer("INVITE"))[0]
        assert status in ("487", "200")
        if status == "200":  # it was answered in the same moment
            call.acknowledge()
            await call.hang_up()
        await server.until(lambda: not server.state.sip.calls, "the call is over")
        await server.until(lambda: session_of(server) is None or session_of(server).state == "ended", "so is its session")


async def test_who_hangs_up_without_having_confirmed_gets_no_report(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        call.auto_ack = False
        assert await call.dial() == "200"
        session = session_of(server)
        await call.hang_up()
        await server.until(lambda: session.state == "ended", "the session is over")
        assert session.report is None
        assert call.heard == b"", "no sound to whoever has not confirmed"


async def test_a_call_on_hold_is_neither_spoken_to_nor_heard(serve):
    server = await serve(phone=PHONE, speech_s=10.0)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        ears = server.engines["stt"].made[-1]
        call.cseq += 1
        call.send("INVITE", body=call.description(direction="sendonly"))
        assert "a=recvonly" in (await call.answer("INVITE"))[2]
        frames = call.frames
        await call.until(lambda: call.frames > frames + 25, "the change has come through")
        frames, heard, packets = call.frames, ears.audio_bytes, len(call.sequences)
        await call.until(lambda: call.frames > frames + 50, "music is played")
        assert (ears.audio_bytes, len(call.sequences)) == (heard, packets)
        call.cseq += 1
        call.send("INVITE", body=call.description())
        await call.answer("INVITE")
        await call.until(lambda: len(call.sequences) > packets + 20, "the tutor is back")
        await call.until(lambda: ears.audio_bytes > heard + 10 * 640, "and so is the caller")


async def test_a_telephone_behind_a_router_is_found(serve):
    server = await serve(phone=PHONE)
    call = telephone(server)
    async with phoning(call):
        # The address that it gives is one at which nobody is.
        assert await call.dial(call.description(port=9, formats="0 101")) == "200"
        await call.until(lambda: call.voiced_s > 0.1, "the greeting is heard")


async def test_a_stranger_who_finds_the_port_is_neither_heard_nor_told(serve):
    server = await serve(phone=PHONE)
    call, stranger = telephone(server), telephone(server)
    async with phoning(call, stranger):
        await greeted(call)
        await stranger.ready()
        stranger.remote, ears, frames = call.remote, server.engines["stt"].made[-1], call.frames
        heard = ears.audio_bytes
        for _ in range(100):
            stranger._out(stranger.packet(0, bytes(160)))
        await call.until(lambda: call.frames > frames + 50, "the call goes on")
        assert ears.audio_bytes - heard <= 70 * 640
        assert stranger.heard == b""


async def test_a_line_that_falls_silent_ends(serve):
    server = await serve(phone={"sip": {"port": 0, "media_timeout_s": 1.0}})
    async with phoning(telephone(server)) as call:
        await greeted(call)
        session = session_of(server)
        call.mute = True
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.messages[-1][0] == "BYE"
        await server.until(lambda: session.state == "ended", "the session ends")
        assert session.record.end_reason == "nothing came any more"


async def test_a_call_on_hold_may_be_silent(serve):
    server = await serve(phone={"sip": {"port": 0, "media_timeout_s": 1.0}})
    async with phoning(telephone(server)) as call:
        await greeted(call)
        call.cseq += 1
        call.send("INVITE", body=call.description(direction="inactive"))
        await call.answer("INVITE")
        frames, call.mute = call.frames, True
        await call.until(lambda: call.frames > frames + 150, "three times the limit is over")
        assert not call.ended.is_set()
        call.cseq += 1
        call.send("INVITE", body=call.description())
        await call.answer("INVITE")
        await call.until(call.ended.is_set, "off hold, silence is silence")


async def test_a_call_that_stays_on_hold_ends_as_one_in_which_nobody_speaks(serve):
    server = await serve(phone=PHONE, silence={"ask_after_s": 1.0, "asks": 1})
    async with phoning(telephone(server)) as call:
        await greeted(call)
        session = session_of(server)
        call.cseq += 1
        call.send("INVITE", body=call.description(direction="sendonly"))
        await call.answer("INVITE")
        await call.until(call.ended.is_set, "the server hangs up")
        assert session.record.end_reason not in ("nothing came any more", "hung up by the caller")


async def test_rubbish_disturbs_no_call(serve):
    server = await serve(phone=PHONE, speech_s=3.0)
    rng = np.random.default_rng(1)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        assert call.remote is not None
        before = refused("sip", "bad messages")
        for size in (0, 1, 4, 11, 12, 13, 40, 172, 1_400):
            for first in (b"", b"\x80", b"\x80\xc8", b"\x90\x00", b"\xa0\x00", b"\x80\x65"):
                call.rtp.sendto(first + rng.bytes(size), call.remote)
                call.sip.sendto(first + rng.bytes(size), call.server)
        call.sip.sendto(b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n", call.server)
        frames = call.frames
        await call.until(lambda: call.frames > frames + 25, "the call goes on")
        assert refused("sip", "bad messages") > before
        await call.hang_up()


async def test_strangers_are_turned_away_cheaply_and_counted(serve):
    server = await serve(phone={"sip": {"port": 0, "peers": ["192.0.2.0/24"]}})
    before = refused("sip", "peer")
    async with phoning(telephone(server)) as call:
        assert await call.dial() == "403"
        for number in range(2_000):
            call.send("INVITE", body=call.description(), extra=f"X-Number: {number}\r\n")
            if number % 50 == 0:
                await asyncio.sleep(0.005)
        await server.until(lambda: refused("sip", "peer") > before + 1_000, "they are counted")
        agent = server.state.sip.agent
        assert (agent.dialogs, agent.transactions, len(server.state.sip.calls)) == (0, 0, 0)
        # The first few get an answer, the others silence; the ACKs to the answers are strangers, too.
        assert len(call.messages) < 60
        async with server.http() as http:
            assert (await http.get("/health")).status_code == 200


async def test_a_peer_that_rings_like_mad_is_held_off(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 2})
    before = refused("sip", "too fast")
    async with phoning(telephone(server), telephone(server)) as (mad, sane):
        await greeted(sane)
        await mad.ready()
        for number in range(200):
            mad.call_id = f"mad{number}"
            mad.tag = f"mad{number}"
            mad.sip.sendto(
                (
                    f"INVITE sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{number}\r\n"
                    f"From: <sip:m@127.0.0.1>;tag={number}\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: mad{number}\r\n"
                    "CSeq: 1 INVITE\r\nContact: <sip:m@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
                ).encode(),
                mad.server,
            )
        await server.until(lambda: refused("sip", "too fast") > before + 50, "it is held off")
        frames = sane.frames
        await sane.until(lambda: sane.frames > frames + 25, "the other call goes on")
        assert not sane.ended.is_set()


async def test_a_server_that_stops_hangs_up(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        await server.stop()
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.messages[-1][0] == "BYE"


async def test_twenty_calls_at_once_all_hear_the_tutor_and_leave_nothing(serve):
    server = await serve(phone=PHONE, speech_s=1.0, limits={"max_calls": 20})
    calls = [telephone(server, codec=8 * (i % 2)) for i in range(20)]
    tasks = len(asyncio.all_tasks())
    async with phoning(*calls):
        assert set(await asyncio.gather(*(call.dial() for call in calls))) == {"200"}
        await asyncio.gather(*(call.until(lambda c=call: c.voiced_s > 0.9, "the greeting is heard") for call in calls))
        assert len({call.remote for call in calls}) == 20
        for number, call in enumerate(calls):
            if number % 2:
                call.press("#")
            else:
                await call.hang_up()
        await asyncio.gather(*(call.until(call.ended.is_set, "the call ends") for call in calls))
    await server.until(lambda: not server.state.sip.calls and not server.state.sip.agent.dialogs, "nothing is left")
    await server.until(lambda: len(asyncio.all_tasks()) <= tasks, "no task is left")


async def test_thousands_of_broken_messages_break_nothing(serve):
    server = await serve(phone=PHONE, limits={"max_calls": 3})
    failed = prometheus.REGISTRY.get_sample_value("parley_errors_total", {"stage": "phone"}) or 0.0
    rng = np.random.default_rng(5)
    async with phoning(telephone(server)) as broken:
        await broken.ready()
        # What is answered goes to where nobody listens: the telephone takes answers to its own requests only.
        broken.sip.pause_reading()
        address = f"127.0.0.1:{broken.sip_port}"
        for number in range(2_000):
            method = str(rng.choice(["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "REGISTER"]))
            body = broken.description() if method == "INVITE" else ""
            text = bytearray(
                f"{method} sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{number // 3};rport\r\n"
                f"From: <sip:x@127.0.0.1>;tag=x\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: {broken.call_id}{number // 3}\r\n"
                f"CSeq: {number % 4} {method}\r\nContact: <sip:x@{address}>\r\nContent-Type: application/sdp\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            for _ in range(rng.integers(0, 4)):
                at = int(rng.integers(0, len(text) - 50))
                match rng.integers(0, 3):
                    case 0:
                        text[at] = int(rng.integers(0, 256))
                    case 1:
                        del text[at : at + int(rng.integers(1, 40))]
                    case _:
                        text[at:at] = text[at : at + 40]
            server.state.sip._transport.get_protocol().datagram_received(bytes(text), ("127.0.0.1", broken.sip_port))
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert (prometheus.REGISTRY.get_sample_value("parley_errors_total", {"stage": "phone"}) or 0.0) == failed
        assert server.state.sip.agent.transactions <= 2_000
        async with server.http() as http:
            assert (await http.get("/health")).status_code == 200
