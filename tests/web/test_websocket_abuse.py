"""Bad input at the WebSocket door: each gets an error that says what was wrong and the call goes on, until it is abuse."""

from __future__ import annotations

import asyncio
import json
import socket

import psutil
import pytest

from web.doors.websocket import MESSAGES, STRIKES

BAD = [
    ("odd-length audio", b"\x00" * 641, "16-bit"),
    ("one byte", b"\x00", "16-bit"),
    ("not JSON", "hello", "JSON"),
    ("half JSON", '{"type":', "JSON"),
    ("deep JSON", "[" * 10_000, "JSON"),
    ("endless number", '{"type":"ping","n":' + "1" * 8_000 + "}", None),
    ("not an object", "[1, 2]", "object"),
    ("a bare string", '"ping"', "object"),
    ("null", "null", "object"),
    ("no type", "{}", "type"),
    ("unknown type", '{"type":"dance"}', "dance"),
    ("a type that is no string", '{"type":7}', "type"),
    ("a type that is a list", '{"type":[]}', "type"),
    ("a server's type", '{"type":"pong"}', "pong"),
    ("wrong level", '{"type":"set_level","level":"expert"}', "level"),
    ("level of another kind", '{"type":"set_level","level":1}', "level"),
    ("missing level", '{"type":"set_level"}', "level"),
    ("a field too many", '{"type":"ping","x":1}', "x"),
    ("extras: text", '{"type":"text","text":"hi"}', "extras"),
    ("extras: interrupt", '{"type":"interrupt"}', "extras"),
    ("extras: set_lesson", '{"type":"set_lesson","lesson":"introductions"}', "extras"),
    ("extras: resume", '{"type":"resume","token":"t"}', "extras"),
    ("extras: playout", '{"type":"playout","sample":1}', "extras"),
    ("long text", json.dumps({"type": "ping", "pad": "x" * 20_000}), "characters"),
]


@pytest.mark.parametrize(("data", "says"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_input_is_answered_and_the_call_goes_on(serve, data, says):
    server = await serve()
    async with server.chat() as chat:
        await chat.send(data)
        message = (await chat.until("error"))["message"]
        assert says is None or says in message
        assert len(message) < 1_000
        await chat.send({"type": "ping"})
        await chat.until("pong")
        await chat.until("turn_complete")


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "text", "text": ""}, "text"),
        ({"type": "text", "text": "x" * 2_001}, "text"),
        ({"type": "text", "text": "\ud800"}, "text"),
        ({"type": "text"}, "text"),
        ({"type": "set_lesson", "lesson": "../../etc/passwd"}, "unknown lesson"),
        ({"type": "playout", "sample": -1}, "sample"),
        ({"type": "playout", "rtp_timestamp": 5}, "sample"),
        ({"type": "playout"}, "sample"),
        ({"type": "resume", "token": ""}, "token"),
    ],
)
async def test_bad_extras_too(serve, message, says):
    server = await serve()
    async with server.chat("?extras=1") as chat:
        await chat.send(message)
        assert says in (await chat.until("error"))["message"]
        await chat.send({"type": "text", "text": "still here"})
        await chat.until("transcript", text="still here", is_final=True)


async def test_even_length_garbage_is_audio_like_any_other(serve):
    server = await serve()
    async with server.chat() as chat:
        for i in range(20):
            await chat.send(bytes((i * 7 + j * 31) % 256 for j in range(0, 640)))
        await chat.send({"type": "ping"})
        await chat.until("pong")
    assert "error" not in chat.kinds


async def test_a_message_over_the_limit_is_named_and_closes_the_connection(serve):
    server = await serve()
    async with server.chat() as chat:
        await chat.send(bytes(10_000_000))
        message = (await chat.until("error"))["message"]
        assert "10000000" in message
        assert "1000000" in message
        assert (await chat.closed())[0] == 1009


async def test_an_enormous_message_is_not_even_read(serve):
    server = await serve(limits={"ws_max_message_bytes": 10_000})
    async with server.chat() as chat:
        await chat.send(bytes(1_000_000))
        code, reason = await chat.closed()
        assert code == 1009
        assert "1000000" in reason


async def test_invalid_utf8_closes_as_the_protocol_asks(serve):
    server = await serve()
    async with server.chat() as chat:
        await chat.socket.send(b"\xff\xfe", text=True)
        assert (await chat.closed())[0] == 1007


async def test_bad_messages_without_end_are_abuse(serve):
    server = await serve()
    async with server.chat() as chat:
        for _ in range(STRIKES * 4):
            await chat.send("{}")
        code, reason = await chat.closed()
        assert (code, "too many bad messages" in reason) == (1008, True)
    assert STRIKES <= chat.kinds.count("error") <= STRIKES * 3


async def test_a_flood_of_good_messages_is_abuse_too(serve):
    server = await serve()
    async with server.chat() as chat:
        for _ in range(MESSAGES * 3):
            await chat.send('{"type":"ping"}')
        assert (await chat.closed())[0] == 1008
    said = [m["message"] for m in chat.seen if m["type"] == "error"]
    assert any("too many messages" in m for m in said)
    assert len(said) < 10


async def test_audio_at_a_hundred_times_real_time_is_said_and_bounded(serve):
    server = await serve()
    process = psutil.Process()
    async with server.chat() as chat:
        await chat.until("turn_complete")
        before = process.memory_info().rss
        for _ in range(3_000):  # a minute of speech
            await chat.send(bytes(640))
        message = (await chat.until("error"))["message"]
        assert "faster" in message
        # The call goes on: what the pipeline was given is bounded, and the client is still served.
        await chat.send({"type": "ping"})
        await chat.until("pong")
        session = server.state.sessions.get(chat.seen[0]["session_id"])
        assert session._transport.intake.backlog_s <= 5.0
        assert process.memory_info().rss - before < 50_000_000


async def test_audio_that_stays_too_fast_is_abuse(serve, monkeypatch):
    from pipeline.transports import pacing

    patient = pacing.SpeedMeter.__init__
    monkeypatch.setattr(
        pacing.SpeedMeter, "__init__", lambda self, max_speed, **_: patient(self, max_speed, burst_s=1.0, patience_s=0.2)
    )
    server = await serve()
    async with server.chat() as chat:

        async def flood() -> None:
            while True:
                await chat.send(bytes(64_000))

        flooding = asyncio.create_task(flood())
        code, reason = await chat.closed()
        await asyncio.gather(flooding, return_exceptions=True)
        assert (code, "real time" in reason) == (1008, True)
    assert chat.seen[-1]["type"] == "error"


async def test_a_client_that_stops_reading_is_dropped_and_its_session_waits(serve, monkeypatch):
    """The kernel's buffers are made small, so that a minute of speech does not fit."""
    from pipeline.transports import websocket

    patient = websocket.WebSocketTransport.__init__
    monkeypatch.setattr(
        websocket.WebSocketTransport, "__init__", lambda self, sink, **kw: patient(self, sink, **{**kw, "send_timeout_s": 0.5})
    )
    server = await serve(speech_s=120.0)
    listening = server.server.servers[0].sockets[0]
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    _, writer = await open_raw(server.port)
    try:
        await server.until(lambda: server.state.sessions.active == 1, "the call begins")
        session = next(iter(server.state.sessions._sessions.values()))
        # Nothing is read any more; the call must notice by itself and let go.
        await server.until(lambda: session.state == "detached", "the client is given up")
        assert server.state.sessions.active == 0
    finally:
        writer.transport.abort()


async def open_raw(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket handshake by hand, over a socket with a tiny receive buffer and a reader that holds at most 1 KiB."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=512)
    writer.write(
        b"GET /ws/conversation HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await writer.drain()
    return reader, writer


async def test_a_silent_client_is_pinged_and_stays(serve):
    """Silent for longer than a vanished client would be given."""
    server = await serve(session={"detach_after_s": 1.5})
    async with server.chat() as chat:
        session = server.state.sessions.get(chat.seen[0]["session_id"])
        await chat.until("turn_complete")
        await asyncio.sleep(4.0)
        assert session.state == "attached"
        await chat.send({"type": "ping"})
        await chat.until("pong")


async def test_a_client_that_vanished_is_noticed(serve):
    server = await serve(session={"detach_after_s": 0.4})
    _, writer = await open_raw(server.port)  # answers no ping
    try:
        await server.until(lambda: server.state.sessions.active == 1, "the call begins")
        await server.until(lambda: server.state.sessions.active == 0, "the client is missed")
    finally:
        writer.transport.abort()
