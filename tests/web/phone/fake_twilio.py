"""A stand-in for Twilio, written from its public pages: it calls the webhook, opens the stream, plays a caller's voice in real
time, plays what it is sent at the rate of a loudspeaker, and checks every message against the documents.

The pages: "Media Streams - WebSocket Messages", "TwiML: Stream", "Webhooks security", "Voice status callbacks".
"""

from __future__ import annotations

import asyncio
import audioop
import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from web.talk.wavs import read_wav

AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = "AC" + "0" * 32
PIECE_BYTES, PIECE_S = 160, 0.02
LIVENESS_S = 30.0
NUMBER = "+15550100"


def sid(kind: str) -> str:
    return kind + secrets.token_hex(16)


def signature(url: str, form: dict[str, str], auth_token: str = AUTH_TOKEN) -> str:
    """As "Webhooks security" has it: the URL, then each name and value of the form in the order of the names."""
    signed = url
    for name in sorted(form):
        signed += name + form[name]
    return base64.b64encode(hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


@dataclass
class Heard:
    """What a caller heard, piece by piece, with the time at which each was played."""

    ulaw: bytearray = field(default_factory=bytearray)
    pieces: int = 0
    cleared_bytes: int = 0
    arrivals: list[float] = field(default_factory=list)

    def samples(self) -> np.ndarray:
        return np.frombuffer(audioop.ulaw2lin(bytes(self.ulaw), 2), np.int16)

    @property
    def voiced_s(self) -> float:
        pcm = self.samples().astype(np.float32)
        whole = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
        return float((np.sqrt((whole**2).mean(axis=1)) > 200).sum() * PIECE_S)


class FakeTwilio:
    """One call: ``await dial()``, then ``await connect()``, then ``say`` and ``press`` until ``hang_up``."""

    def __init__(
        self, url: str, public_url: str, *, number: str = NUMBER, mark_delay_s: float = 0.05, clear_returns: bool = True
    ) -> None:
        self.url, self.public_url, self.number = url, public_url, number
        self.call_sid, self.stream_sid = sid("CA"), sid("MZ")
        self.heard = Heard()
        self.marks: list[str] = []
        """Marks that were sent, in order ..."""
        self.returned: list[str] = []
        """... and those that were sent back."""
        self.clears = 0
        self.ended = asyncio.Event()
        self.close_code: int | None = None
        self.mangle: Callable[[int], list[int]] = lambda chunk: [chunk]
        """Which pieces to send when it is a piece's turn: none for a loss, another order for a mix-up."""
        self._mark_delay_s = mark_delay_s
        self._clear_returns = clear_returns
        self._http = httpx.AsyncClient(timeout=LIVENESS_S, trust_env=False)
        self._socket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._sequence = 0
        self._chunk = 0
        self._voice = np.zeros(0, np.int16)
        self._said = asyncio.Event()
        self._buffer: list[bytes | str] = []
        self._kept: dict[int, str] = {}
        self._rng = np.random.default_rng(7)

    # The webhooks

    def form(self, **more: str) -> dict[str, str]:
        return {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "CallSid": self.call_sid,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "From": "+15550199",
            "To": self.number,
            **more,
        }

    async def post(self, path: str, form: dict[str, str], *, signed: str | None = "") -> httpx.Response:
        """A webhook of ``path``; ``signed`` replaces the signature, ``None`` leaves it out."""
        headers = {}
        if signed is not None:
            headers["X-Twilio-Signature"] = signed or signature(f"{self.public_url}{path}", form)
        return await self._http.post(f"{self.url}{path}", data=form, headers=headers)

    async def dial(self, **more: str) -> ET.Element:
        """The TwiML that answers the call."""
        response = await self.post("/phone/twilio/voice", self.form(**more))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith(("application/xml", "text/xml"))
        root = ET.fromstring(response.text)
        assert root.tag == "Response"
        return root

    # The stream

    async def connect(self, twiml: ET.Element) -> FakeTwilio:
        """Open the stream that the TwiML asks for."""
        stream = twiml.find("Connect/Stream")
        assert stream is not None, ET.tostring(twiml)
        assert set(stream.attrib) <= {"url", "name", "statusCallback", "statusCallbackMethod", "track"}
        url = stream.attrib["url"]
        assert url.startswith("ws")
        assert "?" not in url, "Twilio passes no query on"
        parameters = {p.attrib["name"]: p.attrib["value"] for p in stream.findall("Parameter")}
        assert all(len(k) + len(v) < 500 for k, v in parameters.items())
        return await self.open(parameters)

    async def open(self, parameters: dict[str, str], **start: Any) -> FakeTwilio:
        self.stream_sid, self._sequence, self._chunk = sid("MZ"), 0, 0
        self.ended, self.close_code = asyncio.Event(), None
        self._buffer.clear()
        address = self.url.replace("http", "ws", 1) + "/phone/twilio/stream"
        self._socket = await connect(address, max_size=None, ping_interval=None)
        await self._socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        await self._send(
            "start",
            start={
                "streamSid": self.stream_sid,
                "accountSid": ACCOUNT,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "customParameters": parameters,
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                **start,
            },
        )
        for work in (self._read(), self._speak(), self._play()):
            self._tasks.append(asyncio.create_task(work))
        return self

    async def _send(self, event: str, **body: Any) -> None:
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.stream_sid, **body}
        await self._write(json.dumps(message))

    async def _write(self, message: str) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(message)

    async def _speak(self) -> None:
        """The caller's side: voice or the noise of a line, 20 ms a message, at real time."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.ended.is_set():
            piece, self._voice = self._voice[:PIECE_BYTES], self._voice[PIECE_BYTES:]
            if not len(self._voice):
                self._said.set()
            frame = self._rng.normal(0, 8, PIECE_BYTES).astype(np.int16)
            frame[: len(piece)] += piece
            self._chunk += 1
            payload = base64.b64encode(audioop.lin2ulaw(frame.tobytes(), 2)).decode()
            self._sequence += 1
            self._kept[self._chunk] = json.dumps(
                {
                    "event": "media",
                    "sequenceNumber": str(self._sequence),
                    "streamSid": self.stream_sid,
                    "media": {
                        "track": "inbound",
                        "chunk": str(self._chunk),
                        "timestamp": str(self._chunk * 20),
                        "payload": payload,
                    },
                }
            )
            for chunk in self.mangle(self._chunk):
                if chunk in self._kept:
                    await self._write(self._kept[chunk])
            self._kept.pop(self._chunk - 10, None)
            due += PIECE_S
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _read(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            async for data in self._socket:
                assert isinstance(data, str), "Twilio takes text messages"
                message = json.loads(data)
                check_message(message, self.stream_sid)
                match message["event"]:
                    case "media":
                        self.heard.arrivals.append(loop.time())
                        self._buffer.append(base64.b64decode(message["media"]["payload"]))
                    case "mark":
                        self.marks.append(message["mark"]["name"])
                        self._buffer.append(message["mark"]["name"])
                    case "clear":
                        await self._clear()
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self._socket.close_code
            self.ended.set()

    async def _clear(self) -> None:
        self.clears += 1
        thrown, self._buffer = self._buffer, []
        for item in thrown:
            if isinstance(item, bytes):
                self.heard.cleared_bytes += len(item)
            elif self._clear_returns:
                await self._give_back(item)

    async def _give_back(self, name: str) -> None:
        self.returned.append(name)
        await self._send("mark", mark={"name": name})

    async def _play(self) -> None:
        """The caller's loudspeaker: plays the buffer at real time and gives marks back ``mark_delay_s`` after their audio."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.ended.is_set():
            if not self._buffer:
                await asyncio.sleep(0.005)
                due = max(due, loop.time())
                continue
            item = self._buffer.pop(0)
            if isinstance(item, str):
                self._tasks.append(asyncio.create_task(self._later(item)))
                continue
            self.heard.ulaw += item
            self.heard.pieces += 1
            due = max(due, loop.time() - PIECE_S) + len(item) / 8_000
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _later(self, name: str) -> None:
        await asyncio.sleep(self._mark_delay_s)
        await self._give_back(name)

    # The caller

    def play(self, pcm16_8k: np.ndarray) -> None:
        self._said.clear()
        self._voice = np.concatenate([self._voice, pcm16_8k.astype(np.int16)])

    async def say(self, wav: Path, *, wait: bool = True) -> None:
        self.play(read_wav(wav, 8_000))
        if wait:
            await asyncio.wait_for(self._said.wait(), LIVENESS_S)

    async def press(self, digit: str) -> None:
        await self._send("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def raw(self, message: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(message)

    async def raw_quietly(self, message: str) -> None:
        """As ``raw``, to whoever may have closed the stream."""
        await self._write(message)

    def voice_message(self, ulaw: bytes) -> str:
        """A message with this audio and no number."""
        media = {"track": "inbound", "payload": base64.b64encode(ulaw).decode()}
        return json.dumps({"event": "media", "streamSid": self.stream_sid, "media": media})

    async def hang_up(self, *, callback: bool = True) -> None:
        """The caller puts the receiver down."""
        await self._send("stop", stop={"accountSid": ACCOUNT, "callSid": self.call_sid})
        await self.drop()
        if callback:
            response = await self.post("/phone/twilio/status", self.form(CallStatus="completed", CallDuration="9"))
            assert response.status_code == 204

    async def drop(self) -> None:
        """The stream's connection goes, without a word."""
        assert self._socket is not None
        self.ended.set()
        await self._socket.close()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time") from None

    async def close(self) -> None:
        self.ended.set()
        if self._socket is not None:
            await self._socket.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        for result in results:
            if isinstance(result, Exception):
                raise result


def check_message(message: dict[str, Any], stream_sid: str) -> None:
    """A message to Twilio is one of the three that its page documents, with nothing else in it."""
    assert message["streamSid"] == stream_sid
    match message["event"]:
        case "media":
            assert message.keys() == {"event", "streamSid", "media"}
            assert message["media"].keys() == {"payload"}
            audio = base64.b64decode(message["media"]["payload"], validate=True)
            assert audio, "empty audio"
            assert audio[:4] != b"RIFF", "no file header"
        case "mark":
            assert message.keys() == {"event", "streamSid", "mark"}
            assert message["mark"].keys() == {"name"}
        case "clear":
            assert message.keys() == {"event", "streamSid"}
        case other:
            raise AssertionError(f"Twilio knows no {other!r}")


@contextlib.asynccontextmanager
async def phoning(*calls: FakeTwilio) -> AsyncIterator[Any]:
    """Puts all receivers down at the end."""
    try:
        yield calls[0] if len(calls) == 1 else calls
    finally:
        for call in calls:
            await call.close()
