"""A crowd that means no good, in a process of its own: ``python -m bench.abuse_attacker --url URL --door NAME --kind KIND``.

It speaks raw TCP on the loopback network alone, with messages made beforehand, so that it costs its own machine little. Kinds:

- ``drops``: connections that are opened, say a first word or none, and go without a goodbye.
- ``garbage``: connections that send noise, broken and twisted messages as fast as they are taken; opened anew when thrown out.
- ``giants``: the same with messages just below and far over every limit.
- ``endless``: the same with proper audio (or, over HTTP, a body that never ends).
- ``floods``: the last three at once.

Every connection comes from an address of its own in 127.0.0.0/8, or all of them from one. The last line says what was done.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import math
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import pipecat.frames.protobufs.frames_pb2 as protobufs

AT_ONCE = 20
FLOODING = 10
GIANT_BYTES = 900_000
OVER_BYTES = 4_000_000
ANSWER_WITHIN_S = 10.0
SILENCE = bytes(640)
FLOODS = ("garbage", "giants", "endless")
KINDS = ("drops", *FLOODS, "floods")
TEXT, BINARY = 1, 2


@dataclass
class Told:
    """What one crowd did."""

    opened: int = 0
    refused: int = 0
    """Answered with a status that is not the door's yes."""
    failed: int = 0
    """Not answered at all, or cut off before."""
    mb: float = 0.0
    seconds: float = 0.0


def framed(payload: bytes | str, opcode: int | None = None) -> bytes:
    """A WebSocket frame as a client sends it; the mask is zero, which leaves the payload as it is."""
    data = payload.encode() if isinstance(payload, str) else payload
    kind = opcode if opcode is not None else (TEXT if isinstance(payload, str) else BINARY)
    size = len(data)
    if size < 126:
        head = bytes((0x80 | kind, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | kind, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((0x80 | kind, 0x80 | 127)) + size.to_bytes(8)
    return head + bytes(4) + data


@dataclass(frozen=True)
class Door:
    """A door and what its own clients say to it. ``hello`` and ``audio`` are payloads, not yet framed."""

    transport: str
    """``ws``, ``http`` or ``tcp``."""
    path: str
    hello: Callable[[], list[bytes | str]]
    audio: Callable[[], bytes | str]
    content_type: str = "application/json"


def _json(**fields: object) -> str:
    return json.dumps(fields)


def _media(**more: object) -> str:
    return _json(event="media", media={"payload": base64.b64encode(bytes(160)).decode(), "track": "inbound"}, **more)


def _rtvi(data: dict[str, object]) -> bytes:
    return bytes(protobufs.Frame(message=protobufs.MessageFrame(data=json.dumps(data))).SerializeToString())


def _rtvi_hello() -> list[bytes | str]:
    about = {"version": "1.2.0", "about": {"library": "bench"}}
    return [_rtvi({"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": about})]


def _rtvi_sound() -> bytes:
    audio = protobufs.AudioRawFrame(audio=SILENCE, sample_rate=16_000, num_channels=1)
    return bytes(protobufs.Frame(audio=audio).SerializeToString())


def _slin(kind: int, payload: bytes) -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(2) + payload


def _carrier(name: str, start: dict[str, object], **fields: object) -> Door:
    message = _json(event="start", start=start, **fields)
    return Door("ws", f"/phone/{name}/stream", lambda: [message], lambda: _media(**fields))


def _offer() -> str:
    """An SDP offer of a client with a microphone and a data channel, whose ICE candidates lead nowhere."""

    async def make() -> str:
        from aiortc import RTCConfiguration, RTCPeerConnection
        from aiortc.mediastreams import AudioStreamTrack

        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTrack(AudioStreamTrack())
        pc.createDataChannel("chat")
        await pc.setLocalDescription(await pc.createOffer())
        sdp = str(pc.localDescription.sdp)
        await pc.close()
        return sdp

    return asyncio.run(make())


def doors(sdp: str) -> dict[str, Door]:
    """All of them, by name; ``sdp`` is the offer that the WebRTC doors are sent."""
    ulaw = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    append = _json(type="input_audio_buffer.append", audio=base64.b64encode(bytes(960)).decode())
    wide = {"encoding": "audio/x-raw", "sample_rate": "16000", "bit_rate": "16"}
    return {
        "ws": Door("ws", "/ws/conversation", list, lambda: SILENCE),
        "webrtc": Door("http", "/api/offer", lambda: [_json(sdp=sdp, type="offer")], str),
        "realtime": Door(
            "ws", "/v1/realtime", lambda: [_json(type="session.update", session={"type": "realtime"})], lambda: append
        ),
        "realtime_calls": Door("http", "/v1/realtime/calls", lambda: [sdp], str, "application/sdp"),
        "rtvi": Door("ws", "/ws/rtvi", _rtvi_hello, _rtvi_sound),
        "start": Door("http", "/start", lambda: [_json(transport="websocket", body={})], str),
        "twilio": _carrier(
            "twilio",
            {"streamSid": "MZ1", "callSid": "CA1", "mediaFormat": ulaw, "customParameters": {"token": "wrong"}},
            streamSid="MZ1",
        ),
        "telnyx": _carrier(
            "telnyx",
            {"call_control_id": "v3:1", "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}},
            stream_id="1",
        ),
        "plivo": _carrier("plivo", {"callId": "1", "streamId": "1", "mediaFormat": ulaw}, streamId="1"),
        "vonage": Door(
            "ws",
            "/phone/vonage/stream",
            lambda: [_json(**{"event": "websocket:connected", "content-type": "audio/l16;rate=16000"})],
            lambda: SILENCE,
        ),
        "exotel": _carrier("exotel", {"stream_sid": "1", "call_sid": "1", "media_format": wide}, stream_sid="1"),
        "audiosocket": Door("tcp", "", lambda: [_slin(0x01, uuid.uuid4().bytes)], lambda: _slin(0x10, bytes(320))),
        "peer": Door("ws", "/ws", _rtvi_hello, _rtvi_sound),
    }


def noise(draw: random.Random, door: Door) -> bytes | str:
    """Bytes, text, JSON that means nothing, or a twisted or cut message of the door's own."""
    own = [*door.hello(), door.audio()][draw.randrange(2) if door.hello() else 0]
    match draw.randrange(6):
        case 0:
            return draw.randbytes(draw.randrange(1, 2_000))
        case 1:
            return "".join(draw.choices('{}[]":,\\u0 abc\U0001f600', k=draw.randrange(1, 400)))
        case 2:
            return _json(type=draw.choice(["x", 7, None, [], {}]), event=draw.choice(["x", 7, None]), label="rtvi-ai")
        case 3:
            return own[: draw.randrange(len(own) + 1)]
        case 4:
            changed = bytearray(own.encode() if isinstance(own, str) else own)
            for _ in range(4):
                if changed:
                    changed[draw.randrange(len(changed))] = draw.randrange(256)
            return bytes(changed) if isinstance(own, bytes) else changed.decode("latin-1")
        case _:
            return "[" * draw.randrange(1, 5_000)


def crumbs(draw: random.Random, index: int) -> bytes:
    """What is small and costs most for its size: thousands of messages of a byte or none, pings, and pieces without an end."""
    fin, ping = 0x80, 9
    match index % 4:
        case 0:
            one = framed(draw.randbytes(1))
        case 1:
            one = framed("")
        case 2:
            one = framed(b"", ping)
        case _:
            first, more = bytearray(framed(b"")), bytearray(framed(b"", 0))
            first[0] &= ~fin
            more[0] &= ~fin
            return bytes(first + more * 5_000)
    return one * 5_000


def giant(index: int, door: Door, sdp: str) -> bytes | str:
    """Below the limits and over them: text of one field, JSON of many small ones, a deep one, an offer of many candidates."""
    small = GIANT_BYTES // 32
    candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
    shapes: list[Callable[[], bytes | str]] = [
        lambda: _json(type="text", label="rtvi-ai", text="x" * GIANT_BYTES),
        lambda: _json(type="x", event="x", data=[{"a": i} for i in range(small)]),
        lambda: "[" * GIANT_BYTES,
        lambda: bytes(OVER_BYTES),
        lambda: "x" * OVER_BYTES,
    ]
    if door.transport == "http":
        many = sdp + candidate * (GIANT_BYTES // len(candidate))
        sections = sdp + sdp[sdp.index("m=") :] * (GIANT_BYTES // len(sdp))
        offers = (
            (many, sections)
            if door.content_type == "application/sdp"
            else (_json(sdp=many, type="offer"), _json(sdp=sections, type="offer"))
        )
        shapes += [lambda: offers[0], lambda: offers[1]]
    return shapes[index % len(shapes)]()


class Crowd:
    """One crowd at one door."""

    def __init__(self, url: str, port: int | None, door: Door, kind: str, sdp: str, *, network: int, one_address: bool) -> None:
        split = urlsplit(url)
        self._host = split.netloc
        self._port = port if door.transport == "tcp" else split.port
        self._door = door
        self._kind = kind
        self._one_address = one_address
        self._numbers = itertools.count(1)
        self._network = network
        self.told = Told()
        draw = random.Random(0)
        payloads: list[bytes | str] = []
        if kind == "garbage":
            payloads = [noise(draw, door) for _ in range(200)]
        elif kind == "giants":
            payloads = [giant(index, door, sdp) for index in range(7)]
        self._messages = [self._wired(payload) for payload in payloads]
        if kind == "garbage" and door.transport == "ws":
            self._messages[::20] = [crumbs(draw, index) for index in range(len(self._messages[::20]))]

    def _wired(self, payload: bytes | str) -> bytes:
        if self._door.transport == "ws":
            return framed(payload)
        data = payload.encode() if isinstance(payload, str) else payload
        if self._door.transport == "tcp":
            return data if data[:1] in (b"\x01", b"\x10") else _slin(data[0] if data else 0, data[:65_535])
        return self._head(len(data)) + data

    def _head(self, size: int | None) -> bytes:
        length = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
        return (
            f"POST {self._door.path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {self._door.content_type}\r\n{length}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()

    def _source(self) -> str:
        number = 1 if self._one_address else next(self._numbers)
        return f"127.{self._network}.{number // 250 % 250}.{number % 250 + 1}"

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._source(), 0), limit=1 << 20)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection whose handshake was answered with yes; ``None`` where it was refused."""
        reader, writer = await self._connected()
        if self._door.transport == "ws":
            writer.write(
                (
                    f"GET {self._door.path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
                ).encode()
            )
            async with asyncio.timeout(ANSWER_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self.told.refused += 1
                writer.transport.abort()
                return None
        self.told.opened += 1
        return reader, writer

    async def run(self, seconds: float, connections: int, at_once: int) -> Told:
        """Until the time is over, or all connections were made, ``at_once`` at a time."""
        begun = time.monotonic()
        numbers = iter(range(connections))
        one = self._drop_all if self._kind == "drops" else self._flood_all
        workers = [asyncio.create_task(one(numbers)) for _ in range(at_once)]
        await asyncio.wait(workers, timeout=seconds)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self.told.seconds = round(time.monotonic() - begun, 1)
        return self.told

    # Opened and dropped

    async def _drop_all(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            try:
                await self._drop(random.Random(number))
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                self.told.failed += 1
                await asyncio.sleep(0.005)

    async def _drop(self, draw: random.Random) -> None:
        if self._door.transport == "http":
            await self._post(self._wired(self._door.hello()[0]), waits=draw.random() < 0.7)
            return
        opened = await self._open()
        if opened is None:
            return
        _, writer = opened
        try:
            said = draw.choice([[], self._door.hello(), [*self._door.hello(), *[self._door.audio()] * 5]])
            for payload in said:
                writer.write(self._wired(payload))
            await asyncio.sleep(draw.choice([0.0, 0.0, 0.02]))
        finally:
            writer.transport.abort()

    async def _post(self, request: bytes, *, waits: bool) -> None:
        reader, writer = await self._connected()
        try:
            writer.write(request)
            self.told.mb += len(request) / 1e6
            if waits:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    status = await reader.readline()
                if b" 20" in status:
                    self.told.opened += 1
                elif status:
                    self.told.refused += 1
                else:
                    self.told.failed += 1
            else:
                await asyncio.sleep(0.005)
                self.told.opened += 1
        finally:
            writer.transport.abort()

    # Floods

    async def _flood_all(self, numbers: Iterator[int]) -> None:
        for number in itertools.count(next(numbers)):
            try:
                await self._flood(number)
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                self.told.failed += 1
            await asyncio.sleep(0.005)

    async def _flood(self, number: int) -> None:
        if self._door.transport == "http":
            if self._kind == "endless":
                await self._endless_body()
            else:
                await self._post(self._messages[number % len(self._messages)], waits=True)
            return
        opened = await self._open()
        if opened is None:
            return
        reader, writer = opened
        answers = asyncio.create_task(_swallow(reader))
        try:
            # Without a first word that is right, nobody gets further than the first check.
            for payload in self._door.hello():
                writer.write(self._wired(payload))
            sound = self._wired(self._door.audio())
            for index in itertools.count(number * 7):
                data = self._messages[index % len(self._messages)] if self._messages else sound * 50
                writer.write(data)
                self.told.mb += len(data) / 1e6
                await writer.drain()
                if answers.done():
                    return
                await asyncio.sleep(0)
        finally:
            answers.cancel()
            writer.transport.abort()

    async def _endless_body(self) -> None:
        reader, writer = await self._connected()
        self.told.opened += 1
        answers = asyncio.create_task(_swallow(reader))
        try:
            writer.write(self._head(None))
            chunk = b"1000\r\n" + b"x" * 4_096 + b"\r\n"
            while not answers.done():
                writer.write(chunk)
                self.told.mb += len(chunk) / 1e6
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            answers.cancel()
            writer.transport.abort()


async def _swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


def main() -> None:
    """Attack, and say what was done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--audiosocket", type=int)
    parser.add_argument("--door", required=True)
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--network", type=int, default=2, help="the second part of the addresses that it comes from")
    parser.add_argument("--one-address", action="store_true")
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    import uvloop

    sdp = _offer()
    door = doors(sdp)[options.door]
    kinds = FLOODS if options.kind == "floods" else (options.kind,)
    at_once = AT_ONCE if options.kind == "drops" else math.ceil(FLOODING / len(kinds))
    crowds = [
        # So that two of them never come from the same address, each has a network of its own.
        Crowd(
            options.url,
            options.audiosocket,
            door,
            kind,
            sdp,
            network=(options.network + 80 * index) % 250 + 2,
            one_address=options.one_address,
        )
        for index, kind in enumerate(kinds)
    ]

    async def all_at_once() -> list[Told]:
        return await asyncio.gather(*(crowd.run(options.seconds, options.connections, at_once) for crowd in crowds))

    print(json.dumps({"ready": True}), flush=True)
    told = [asdict(one) for one in uvloop.run(all_at_once())]
    whole = {name: round(sum(one[name] for one in told), 1) for name in told[0]} | {"seconds": max(t["seconds"] for t in told)}
    print(json.dumps(whole), flush=True)


if __name__ == "__main__":
    main()
