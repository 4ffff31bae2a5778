"""The RTVI door over a WebSocket: ``/ws/rtvi``. ``docs/doors/rtvi.md`` is its description.

One ``_Client`` per socket owns the read loop. The pipeline's own RTVI processor only shakes hands; what else a client asks for
is a command of the call, as over any other door, and what has no meaning here is answered with an error.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import soxr
from fastapi import APIRouter, WebSocket
from loguru import logger
from starlette.types import Message as SocketMessage
from starlette.websockets import WebSocketDisconnect

from pipeline.engine import AtCapacity
from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ, Error, Interrupt, Ping, Playout, Pong, to_wire
from pipeline.session import Session
from pipeline.transports.bucket import Bucket
from pipeline.transports.pacing import SpeedMeter
from pipeline.transports.rtvi import RtviTransport
from pipeline.transports.rtvi_wire import (
    BadFrame,
    Interruption,
    Message,
    Received,
    Sound,
    Writer,
    read_json,
    read_protobuf,
    rtvi,
)
from web.doors.rtvi.requests import BadRequest, Requests
from web.doors.socket import ABUSE, FAILED, TRY_LATER, Expelled, SocketWriter, accepted, check_size, serve_until_closed
from web.doors.wanted import Wanted, attached
from web.state import state_of

router = APIRouter()

FIRST_MESSAGE_WITHIN_S = 60.0
"""Client SDKs open the socket before their user has allowed the microphone, and say nothing until then."""
MAX_JSON_CHARS = 32_768
STRIKES, STRIKES_PER_S = 30, 1.0
MESSAGES, MESSAGES_PER_S = 200, 50.0
PIECES, PIECES_PER_S = 2_000, 1_000.0
READ_SPEED = 100.0
HUNG_UP = (1000, 1005)
"""How a client SDK closes the socket in its ``disconnect``. A page that is left (1001) or a lost network may come back."""


class _Sink(SocketWriter):
    """The socket as ``pipeline.transports.outbox.Sink``."""

    def __init__(self, websocket: WebSocket, writer: Writer) -> None:
        super().__init__(websocket)
        self._writer = writer

    async def send_json(self, data: dict[str, Any]) -> None:
        await self.send(self._writer.message(data))

    async def send_bytes(self, data: bytes) -> None:
        await self.send(self._writer.audio(data, OUTPUT_RATE_HZ))


@router.websocket("/ws/rtvi")
async def serve(websocket: WebSocket) -> None:
    """A call with an RTVI client over this socket."""
    if await accepted(websocket):
        await _Client(websocket).run()


class _Client:
    """One socket from its first message to its last."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._state = state_of(websocket)
        self._limits = self._state.settings.limits
        self._writer = Writer()
        self._sink = _Sink(websocket, self._writer)
        self._transport: RtviTransport | None = None
        self._session: Session | None = None
        self._hung_up = False
        self._requests: Requests | None = None
        self._wanted = Wanted(websocket.query_params, self._state.settings.options)
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._messages = Bucket(MESSAGES, MESSAGES_PER_S)
        self._pieces = Bucket(PIECES, PIECES_PER_S)
        self._speed = SpeedMeter(self._limits.ws_max_audio_speed)
        self._resampler: tuple[int, Any] = (INPUT_RATE_HZ, None)

    async def run(self) -> None:
        """Serve the socket until either side closes it."""
        await serve_until_closed(self._converse(), self._sink, self._finish, door="RTVI")

    async def _finish(self, reason: str, code: int) -> None:
        if self._requests is not None:
            await self._requests.close()
        if self._transport is not None:
            await self._transport.lost(reason)
            if self._hung_up and self._session is not None:
                self._session.end_soon("ended by the learner")
            await self._transport.close(code, reason)
        else:
            await self._sink.close(code, reason)

    async def _converse(self) -> str:
        """Open the session and read until the client is gone. Returns why it ended."""
        try:
            message = await self._first()
            self._writer.framing = "text" if message.get("text") is not None else "protobuf"
            session = await self._open()
            if session is None:
                return "refused"
            while True:
                await self._take(message, time.monotonic())
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", 1005))
        except WebSocketDisconnect as e:
            self._hung_up = e.code in HUNG_UP
            return f"the client closed the connection ({e.code})"
        except Expelled as e:
            await self._expel(e)
            return str(e)

    # Opening

    async def _first(self) -> SocketMessage:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_WITHIN_S):
                message = await self._websocket.receive()
        except TimeoutError:
            raise Expelled(ABUSE, f"no message within {FIRST_MESSAGE_WITHIN_S:.0f} s") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message

    async def _open(self) -> Session | None:
        """Find or make the session and attach to it; ``None`` where that was refused."""
        token: str | None = self._websocket.scope["state"].get("secrets", {}).get("resume")
        session = self._state.sessions.by_token(token) if token is not None else None
        if token is not None and session is None:
            self._wanted.notices.append("resume: no session waits for this token; a new one was started")
        fresh = session is None
        if session is None:
            session = await self._create()
        return session if session is not None and await self._attach(session, resumed=not fresh) else None

    async def _create(self) -> Session | None:
        try:
            return await self._wanted.create(self._state.sessions, "rtvi")
        except AtCapacity as e:
            await self._refuse(TRY_LATER, f"{e}; try again in {e.retry_after_s:.0f} s")
            return None

    async def _attach(self, session: Session, *, resumed: bool) -> bool:
        if session.state == "new":
            session.record.door = "rtvi"  # it may have been made over REST
            if not self._wanted.record:
                await session.decline_recording()
        transport = RtviTransport(self._sink, max_audio_speed=self._limits.ws_max_audio_speed)
        await transport.send(session.hello().model_copy(update={"resumed": resumed and session.record.turns != []}))
        for notice in self._wanted.notices:
            await transport.send(Error(message=notice))
        if not await attached(session, transport):
            transport.post(rtvi("error", {"error": "the call could not be built; please try again", "fatal": True}))
            await transport.close(FAILED, "the call could not be built")
            return False
        self._session, self._transport = session, transport
        self._requests = Requests(session, transport, self._writer)
        return True

    async def _refuse(self, code: int, reason: str) -> None:
        try:
            await self._sink.send_json(rtvi("error", {"error": reason, "fatal": True}))
        except OSError:
            pass
        await self._sink.close(code, reason)

    async def _expel(self, expelled: Expelled) -> None:
        logger.warning("an RTVI client was expelled: {}", expelled)
        if self._transport is not None:
            self._transport.post(rtvi("error", {"error": str(expelled), "fatal": True}))
            await self._transport.expel(expelled.code, str(expelled))
        else:
            await self._sink.close(expelled.code, str(expelled))

    # Reading

    async def _take(self, message: SocketMessage, now: float) -> None:
        check_size(message, self._limits.ws_max_message_bytes)
        data, text = message.get("bytes"), message.get("text")
        try:
            if data is not None:
                received = read_protobuf(data, MAX_JSON_CHARS)
            elif self._writer.framing == "protobuf":
                raise BadFrame("this connection speaks in binary messages since its first")
            else:
                received = read_json(text or "", MAX_JSON_CHARS)
            for item in received:
                await self._deal_with(item, now)
        except BadFrame as e:
            self._strike(str(e), e.id, now)

    async def _deal_with(self, item: Received, now: float) -> None:
        if isinstance(item, Sound):
            await self._take_sound(item, now)
            return
        if not self._messages.take(now):
            # Not reading is the one answer that costs a flood more than it costs the server.
            await asyncio.sleep(self._messages.retry_after_s(now))
        if isinstance(item, Interruption):
            await self._command(Interrupt(), None)
        else:
            await self._take_message(item, now)

    async def _take_sound(self, sound: Sound, now: float) -> None:
        assert self._transport is not None
        if not self._pieces.take(now):
            await asyncio.sleep(self._pieces.retry_after_s(now))
            now = time.monotonic()
        seconds = len(sound.pcm16) / 2 / sound.rate_hz
        if self._speed.observe(seconds, now):
            raise Expelled(ABUSE, f"audio has come at over {self._limits.ws_max_audio_speed:g} times real time for too long")
        pcm16 = self._at_input_rate(sound)
        if pcm16:
            self._transport.feed_audio(pcm16, now)
        if self._speed.over:
            await asyncio.sleep(min(1.0, seconds / READ_SPEED))

    def _at_input_rate(self, sound: Sound) -> bytes:
        rate_hz, resampler = self._resampler
        if sound.rate_hz != rate_hz:
            resampler = None
            if sound.rate_hz != INPUT_RATE_HZ:
                resampler = soxr.ResampleStream(sound.rate_hz, INPUT_RATE_HZ, 1, dtype="int16")
            self._resampler = (sound.rate_hz, resampler)
        if resampler is None:
            return sound.pcm16
        resampled: np.ndarray = resampler.resample_chunk(np.frombuffer(sound.pcm16, np.int16))
        return resampled.tobytes()

    async def _take_message(self, message: Message, now: float) -> None:
        assert self._requests is not None
        assert self._transport is not None
        try:
            command = await self._requests.take(message)
        except BadRequest as e:
            self._strike(str(e), message.id, now)
            return
        match command:
            case None:
                pass
            case Ping():
                self._respond(message, to_wire(Pong()))
            case Playout():
                self._transport.report_playout(command, now)
            case _:
                await self._command(command, message)

    def _respond(self, message: Message, data: dict[str, Any] | None = None) -> None:
        assert self._transport is not None
        if message.type == "client-message":
            answer: dict[str, Any] = {"t": message.data["t"]}
            self._transport.post(rtvi("server-response", answer | ({"d": data} if data else {}), message.id))

    async def _command(self, command: Any, message: Message | None) -> None:
        assert self._transport is not None
        handler = self._transport.on_command
        id = message.id if message is not None else None
        if handler is None:
            self._error(f"{command.type}: not possible now", id)
            return
        try:
            await handler(command)
        except Exception as e:
            logger.opt(exception=e).error("{} failed", command.type)
            self._error(f"{command.type}: the server could not do that", id)
            return
        if message is not None:
            self._respond(message)

    def _error(self, error: str, id: str | None) -> None:
        """Say what was wrong: as the answer to a message, where that has an id."""
        assert self._transport is not None
        if id:
            self._transport.post(rtvi("error-response", {"error": error}, id))
        else:
            self._transport.post(rtvi("error", {"error": error, "fatal": False}))

    def _strike(self, error: str, id: str | None, now: float) -> None:
        if not self._strikes.take(now):
            raise Expelled(ABUSE, f"too many bad messages; the last: {error}")
        self._error(error, id)
