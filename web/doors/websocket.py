"""The WebSocket door: ``/ws/conversation``. ``docs/websocket.md`` is its description.

One ``_Conversation`` per socket owns the read loop; what it reads goes into the transport of the session's call. Nothing that a
client sends ends the loop but abuse: a bad message is answered with an ``error`` that says what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from fastapi import APIRouter, WebSocket
from loguru import logger
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from pipeline.engine import AtCapacity, NotLoaded
from pipeline.messages import (
    EXTRA_CLIENT_TYPES,
    INPUT_RATE_HZ,
    BadMessage,
    Connected,
    EndConversation,
    Error,
    Ping,
    Playout,
    Pong,
    Resume,
    parse_client_message,
    to_wire,
)
from pipeline.session import Session
from pipeline.transports.bucket import Bucket
from pipeline.transports.pacing import SpeedMeter
from pipeline.transports.websocket import WebSocketTransport
from web.doors.socket import ABUSE, FAILED, TRY_LATER, Expelled, SocketWriter, accepted, check_size, serve_until_closed
from web.doors.wanted import Wanted, attached
from web.state import state_of

router = APIRouter()

RESUME_WAIT_S = 0.3  # how long the first message of a client with extras may take to be a ``resume``
MAX_JSON_CHARS = 16_384
STRIKES, STRIKES_PER_S = 30, 1.0  # bad messages that are forgiven at once, and per second
MESSAGES, MESSAGES_PER_S = 200, 50.0  # JSON messages
CHUNKS, CHUNKS_PER_S = 2_000, 1_000.0  # binary messages
READ_SPEED = 100.0  # a client that is too fast is read no faster than this multiple of real time


class _SocketSink(SocketWriter):
    """The socket as ``pipeline.transports.outbox.Sink``."""

    async def send_json(self, data: dict[str, Any]) -> None:
        await self.send(json.dumps(data, separators=(",", ":")))

    async def send_bytes(self, data: bytes) -> None:
        await self.send(data)


@router.websocket("/ws/conversation")
async def conversation(websocket: WebSocket) -> None:
    """A call over this socket."""
    if await accepted(websocket):
        await _Conversation(websocket).run()


class _Conversation:
    """One socket from its first message to its last."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._state = state_of(websocket)
        self._limits = self._state.settings.limits
        self._query = websocket.query_params
        self._extras = self._query.get("extras", "").lower() in ("1", "true", "yes")
        self._sink = _SocketSink(websocket)
        self._transport: WebSocketTransport | None = None
        self._position = 0  # samples sent over this connection before the present transport
        self._session: Session | None = None
        self._wanted = Wanted(self._query, self._state.settings.options)
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._messages = Bucket(MESSAGES, MESSAGES_PER_S)
        self._chunks = Bucket(CHUNKS, CHUNKS_PER_S)
        self._speed = SpeedMeter(self._limits.ws_max_audio_speed)
        self._slowed_at = float("-inf")

    async def run(self) -> None:
        """Serve the socket until either side closes it."""
        await serve_until_closed(self._converse(), self._sink, self._finish, door="WebSocket")

    async def _finish(self, reason: str, code: int) -> None:
        transport = self._transport
        if transport is not None:
            await transport.lost(reason)
            await transport.close(code, reason)
        else:
            await self._sink.close(code, reason)

    async def _converse(self) -> str:
        """Open the session and read until the client is gone. Returns why it ended."""
        try:
            pending = await self._open()
            if self._transport is None:
                return "refused"
            while True:
                message = pending or await self._websocket.receive()
                pending = None
                if message["type"] == "websocket.disconnect":
                    return f"the client closed the connection ({message.get('code', 1005)})"
                await self._take(message, time.monotonic())
        except WebSocketDisconnect as e:
            return f"the client closed the connection ({e.code})"
        except Expelled as e:
            await self._expel(e)
            return str(e)

    # Opening

    async def _open(self) -> Message | None:
        """Find or make the session and attach to it. Returns a message that was read on the way and is not dealt with."""
        pending: Message | None = None
        token: str | None = self._websocket.scope["state"].get("secrets", {}).get("resume")
        if token is not None and not self._extras:
            self._wanted.notices.append("resume: needs ?extras=1")
            token = None
        if token is None and self._extras:
            token, pending = await self._early_resume()
            if pending is not None and pending["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(pending.get("code", 1005))
        session = self._state.sessions.by_token(token) if token is not None else None
        if token is not None and session is None:
            self._wanted.notices.append("resume: no session waits for this token; a new one was started")
        if session is not None:
            await self._attach(session, resumed=session.state != "new" or session.record.door != "rest")
        elif (session := await self._create()) is not None:
            await self._attach(session, resumed=False)
        return pending

    async def _early_resume(self) -> tuple[str | None, Message | None]:
        try:
            async with asyncio.timeout(RESUME_WAIT_S):
                first = await self._websocket.receive()
        except TimeoutError:
            return None, None
        text = first.get("text")
        if text is not None and len(text) <= MAX_JSON_CHARS:
            try:
                message = parse_client_message(json.loads(text))
            except (ValueError, RecursionError):
                return None, first
            if isinstance(message, Resume):
                return message.token, None
        return None, first

    async def _create(self) -> Session | None:
        try:
            return await self._wanted.create(self._state.sessions, "websocket")
        except AtCapacity as e:
            what = "" if isinstance(e, NotLoaded) else "at capacity: "
            await self._refuse(TRY_LATER, f"{what}{e}; try again in {e.retry_after_s:.0f} s")
            return None

    async def _attach(self, session: Session, *, resumed: bool) -> None:
        if not resumed:
            session.record.door = "websocket"  # it may have been made over REST
        transport = WebSocketTransport(
            self._sink,
            extras=self._extras,
            max_audio_speed=self._limits.ws_max_audio_speed,
            position=self._position,
            clock=time.monotonic,
        )
        if session.state == "new" and not self._wanted.record:
            await session.decline_recording()
        hello = Connected(session_id=session.id, recording=session.recording or None)
        if self._extras:
            hello = session.hello().model_copy(update={"resumed": resumed})
        await transport.send(hello)
        for notice in self._wanted.notices:
            await transport.send(Error(message=notice))
        self._wanted.notices.clear()
        if not await attached(session, transport):
            await transport.send(Error(message="the call could not be built; please try again"))
            await transport.close(FAILED, "the call could not be built")
            return
        self._session, self._transport = session, transport

    async def _refuse(self, code: int, reason: str) -> None:
        try:
            await self._sink.send_json(to_wire(Error(message=reason)))
        except OSError:
            pass
        await self._sink.close(code, reason)

    async def _expel(self, abuse: Expelled) -> None:
        logger.warning("a WebSocket client was expelled: {}", abuse)
        if self._transport is not None:
            await self._transport.send(Error(message=str(abuse)))
            await self._transport.expel(abuse.code, str(abuse))

    # Reading

    async def _take(self, message: Message, now: float) -> None:
        check_size(message, self._limits.ws_max_message_bytes)
        data, text = message.get("bytes"), message.get("text")
        if data is not None:
            await self._take_audio(data, now)
        elif text is not None:
            await self._take_json(text, now)

    async def _take_audio(self, data: bytes, now: float) -> None:
        assert self._transport is not None
        if not self._chunks.take(now):
            # Not reading is the one answer that costs a flood more than it costs the server.
            await asyncio.sleep(self._chunks.retry_after_s(now))
            now = time.monotonic()
        if len(data) % 2:
            await self._strike(f"audio must be whole 16-bit samples, this message has {len(data)} bytes", now)
            return
        seconds = len(data) / 2 / INPUT_RATE_HZ
        if self._speed.observe(seconds, now):
            raise Expelled(ABUSE, f"audio has come at over {self._limits.ws_max_audio_speed:g} times real time for too long")
        self._transport.feed_audio(data, now)
        if self._speed.over:
            await asyncio.sleep(min(1.0, seconds / READ_SPEED))

    async def _take_json(self, text: str, now: float) -> None:
        if not self._messages.take(now):
            await self._strike(f"too many messages: {MESSAGES_PER_S:g} a second are allowed", now, once_a_second=True)
            return
        if len(text) > MAX_JSON_CHARS:
            await self._strike(f"a message of {len(text)} characters is over the limit of {MAX_JSON_CHARS}", now)
            return
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as e:
            what = f": {e}" if isinstance(e, json.JSONDecodeError) else ""
            await self._strike(f"not valid JSON{what}", now)
            return
        try:
            message = parse_client_message(data)
        except BadMessage as e:
            await self._strike(str(e), now)
            return
        if message.type in EXTRA_CLIENT_TYPES and not self._extras:
            await self._strike(f"{message.type!r} needs ?extras=1", now)
            return
        assert self._transport is not None
        match message:
            case Ping():
                await self._transport.send(Pong())
            case Playout():
                self._transport.report_playout(message, now)
            case Resume(token=token):
                await self._resume(token)
            case _:
                await self._command(message)

    async def _command(self, message: Any) -> None:
        assert self._transport is not None
        assert self._session is not None
        handler = self._transport.on_command
        if handler is None:
            if isinstance(message, EndConversation):
                await self._session.end("ended by the learner")
                return
            await self._transport.send(Error(message=f"{message.type}: not possible now"))
            return
        try:
            await handler(message)
        except Exception as e:
            logger.opt(exception=e).error("{} failed", message.type)
            await self._transport.send(Error(message=f"{message.type}: the server could not do that"))

    async def _resume(self, token: str) -> None:
        """Leave the new session for a detached one; possible until the learner has said something in the new one."""
        assert self._transport is not None
        assert self._session is not None
        found, fresh = self._state.sessions.by_token(token), self._session
        problem = None
        if found is None:
            problem = "resume: no session waits for this token"
        elif found is fresh:
            problem = "resume: this connection has that session already"
        elif any(turn.role == "learner" for turn in fresh.record.turns):
            problem = "resume: too late, this conversation has begun"
        if problem is not None or found is None:
            await self._transport.send(Error(message=problem or ""))
            return
        old, self._transport = self._transport, None
        old.on_command = old.on_lost = old.on_ready = None
        await fresh.discard()
        await old.release()
        self._position = old.playout.position
        await self._attach(found, resumed=True)
        if self._transport is None:
            raise Expelled(FAILED, "the session could not be taken up")

    async def _strike(self, error: str, now: float, *, once_a_second: bool = False) -> None:
        assert self._transport is not None
        if not self._strikes.take(now):
            raise Expelled(ABUSE, f"too many bad messages; the last: {error}")
        if once_a_second and now - self._slowed_at < 1.0:
            return
        self._slowed_at = now
        await self._transport.send(Error(message=error))
