"""The Realtime API over a WebSocket: ``WS /v1/realtime``. ``docs/doors/realtime.md`` is its description.

Nothing that a client sends ends the connection but abuse: a bad event is answered with an ``error`` event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, WebSocket
from loguru import logger
from starlette.responses import JSONResponse
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from agent.record import LEVELS, Level
from pipeline.call import BuildFailed
from pipeline.engine import AtCapacity
from pipeline.session import Session
from pipeline.sessions import UnknownLesson
from pipeline.transports.bucket import Bucket
from pipeline.transports.pacing import SpeedMeter
from pipeline.transports.websocket import CLOSE_TIMEOUT_S, WebSocketTransport
from web.doors.realtime import checks as ck
from web.doors.realtime import config as cf
from web.doors.realtime import events as ev
from web.doors.realtime.abilities import abilities, rate_limits
from web.doors.realtime.session import RealtimeSession
from web.doors.socket import ABUSE, FAILED, TOO_BIG, Expelled, SocketWriter
from web.problems import ProblemError
from web.state import WebState, count_session, state_of

router = APIRouter()

SUBPROTOCOL = "realtime"
WAIT_FOR_UPDATE_S = 1.0
"""How long the call waits to be built for the client's first ``session.update``."""
STRIKES, STRIKES_PER_S = 30, 1.0  # bad events that are forgiven at once, and per second
EVENTS, EVENTS_PER_S = 2_000, 1_000.0
READ_SPEED = 100.0  # a client that is too fast is read no faster than this multiple of real time


class _Sink:
    """What one transport writes; one that was replaced closes nothing."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def send_json(self, data: dict[str, Any]) -> None:
        await self._connection.realtime.told(data)

    async def send_bytes(self, data: bytes) -> None:
        await self._connection.realtime.heard(data)

    async def close(self, code: int, reason: str) -> None:
        if self._connection.sink is self:
            await self._connection.close(code, reason)


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    """A session over this socket."""
    state = state_of(websocket)
    try:
        count_session(websocket)
        session, config = await _session(websocket, state)
    except (ev.ApiError, ProblemError, AtCapacity) as e:
        await websocket.send_denial_response(refusal(e))
        return
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    await _Connection(websocket, state, session, config).run()


def refusal(e: Exception) -> JSONResponse:
    """An error as the body of an HTTP answer, in OpenAI's form."""
    headers: dict[str, str] = {}
    if isinstance(e, ev.ApiError):
        status, detail = (404 if e.code == "not_found" else 400), e.detail()
    elif isinstance(e, AtCapacity):
        status, headers = 429, {"Retry-After": str(max(1, round(e.retry_after_s)))}
        detail = ev.ErrorDetail(type="rate_limit_error", code="at_capacity", message=str(e))
    elif isinstance(e, ProblemError):
        status, headers = e.status_code, dict(e.headers or {})
        detail = ev.ErrorDetail(type="rate_limit_error", code="rate_limit_exceeded", message=str(e.detail))
    else:
        status, detail = 500, ev.ErrorDetail(type="server_error", code="server_error", message="the server could not do that")
    return JSONResponse({"error": detail.model_dump(exclude={"event_id"})}, status, headers=headers)


async def new_session(state: WebState, *, door: str, level: str | None, lesson: str | None) -> Session:
    """A session of this door; raises ``ApiError`` or ``AtCapacity``."""
    if level is not None and level not in LEVELS:
        raise ev.ApiError(f"Invalid value for 'level': one of {', '.join(LEVELS)}.", code="invalid_value", param="level")
    wanted: Level | None = level
    try:
        return await state.sessions.create(door=door, level=wanted, lesson=lesson)
    except UnknownLesson as e:
        raise ev.ApiError(str(e), code="invalid_value", param="lesson") from None


async def _session(websocket: WebSocket, state: WebState) -> tuple[Session, cf.Config]:
    query = websocket.query_params
    if query.get("call_id") is not None:
        raise ck.unsupported("call_id", "a call is controlled over its own connection")
    if query.get("intent") not in (None, "conversation"):
        raise ck.unsupported("intent", "this server holds conversations")
    can = abilities(state)
    config = cf.Config(voice=can.voice, model=query.get("model"))
    secret = websocket.scope.get("state", {}).get("client_secret")
    if secret is not None:
        config = secret.config
    session = await new_session(state, door="realtime", level=query.get("level"), lesson=query.get("lesson"))
    return session, config


class _Connection:
    """One socket from its first event to its last."""

    webrtc = False

    def __init__(self, websocket: WebSocket, state: WebState, session: Session, config: cf.Config) -> None:
        self._websocket = websocket
        self._state = state
        self._session = session
        self._limits = state.settings.limits
        self._writing = asyncio.Lock()
        self._writer = SocketWriter(websocket)
        self._transport: WebSocketTransport | None = None
        self.sink: _Sink | None = None
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._events = Bucket(EVENTS, EVENTS_PER_S)
        self._speed = SpeedMeter(self._limits.ws_max_audio_speed)
        self.realtime = RealtimeSession(
            session,
            abilities(state),
            config,
            self,
            self._emit,
            max_buffer_s=state.settings.upload.max_s,
            rate_limits=lambda: rate_limits(state, websocket),
        )

    async def run(self) -> None:
        """Serve the socket until either side closes it, and end the session."""
        reader = asyncio.create_task(self._converse(), name="realtime reader")
        waiter = asyncio.create_task(self._begin_soon(), name="realtime begin")
        closed = asyncio.create_task(self._writer.closed.wait(), name="realtime closed")
        reason, code = "the connection ended", 1000
        try:
            await asyncio.wait({reader, closed}, return_when=asyncio.FIRST_COMPLETED)
            # A closed socket ends the reader by itself, unless the client has stalled.
            await asyncio.wait({reader}, timeout=CLOSE_TIMEOUT_S + 1.0)
        finally:
            for task in (reader, waiter, closed):
                task.cancel()
            outcome, *_ = await asyncio.gather(reader, waiter, closed, return_exceptions=True)
            if isinstance(outcome, str):
                reason = outcome
            elif isinstance(outcome, Exception):
                logger.opt(exception=outcome).error("the Realtime door failed")
                code = FAILED
            if self._transport is not None:
                self._transport.on_lost = None
                await self._transport.lost(reason)
            await self.realtime.close()
            await self._session.end(reason)
            await self.close(code, reason)

    async def _begin_soon(self) -> None:
        """A client may say nothing for long: the session must not wait for it as for one that has not come."""
        await asyncio.sleep(WAIT_FOR_UPDATE_S)
        try:
            await self.realtime.begin()
        except BuildFailed as e:
            await self._build_failed(e)

    async def _build_failed(self, e: BuildFailed) -> None:
        if self._session.state != "ended":  # as it is where its client took too long
            logger.error("a call could not be built: {}", e)
        error = ev.ApiError("the call could not be built; please try again", code="server_error", kind="server_error")
        await self._turn_out(error, FAILED, "the call could not be built")

    async def _turn_out(self, error: ev.ApiError, code: int, reason: str) -> None:
        with contextlib.suppress(ConnectionError):  # who is gone already need not be told
            await self._refuse(error)
        await self.close(code, reason)

    # What the session asks

    async def build(self) -> None:
        """Run the call, or run it anew with other turn-taking; raises ``BuildFailed``."""
        rate_hz = self.realtime.narrator.codec.rate_hz
        sink = self.sink = _Sink(self)
        transport = WebSocketTransport(
            sink,
            door="realtime",
            extras=True,
            client_holds=False,
            greets=False,
            rate_hz=rate_hz,
            max_audio_speed=self._limits.ws_max_audio_speed,
        )
        try:
            await self._session.attach(transport)
        except BaseException:
            await transport.release()
            raise
        self._transport = transport
        transport.on_lost = self._lost

    async def _lost(self, reason: str) -> None:
        await self.close(ABUSE, reason)

    def post(self, message: dict[str, Any]) -> None:
        """A message of the door's own, in its turn."""
        if self._transport is not None:
            self._transport.outbox.put(message)

    def feed(self, pcm16: bytes) -> None:
        """Audio of the user for the call."""
        if self._transport is not None:
            self._transport.feed_audio(pcm16, time.monotonic())

    # Writing

    async def _emit(self, events: Sequence[ev.ServerEvent]) -> None:
        async with self._writing:
            for event in events:
                await self._writer.send(event.model_dump_json())

    async def _refuse(self, error: ev.ApiError, event_id: str | None = None) -> None:
        await self._emit([ev.ErrorEvent(error=error.detail(event_id))])

    async def close(self, code: int, reason: str) -> None:
        """Close the socket. Safe to call twice."""
        await self._writer.close(code, reason)

    # Reading

    async def _converse(self) -> str:
        try:
            await self._emit(self.realtime.greeting())
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return "ended by the learner"
                await self._take(message)
        except (WebSocketDisconnect, ConnectionError):
            return "ended by the learner"
        except BuildFailed as e:
            await self._build_failed(e)
            return "the call could not be built"
        except Expelled as e:
            logger.warning("a Realtime client was expelled: {}", e)
            await self._turn_out(ev.ApiError(str(e), code="policy_violation"), e.code, str(e))
            return str(e)

    async def _take(self, message: Message) -> None:
        data, text = message.get("bytes"), message.get("text") or ""
        now = time.monotonic()
        # Characters stand in for the bytes of a text: at most four times too lenient, and cheap.
        size = len(data) if data is not None else len(text)
        if size > self._limits.ws_max_message_bytes:
            raise Expelled(TOO_BIG, f"an event of {size} bytes is over the limit of {self._limits.ws_max_message_bytes}")
        if not self._events.take(now):
            # Not reading is the one answer that costs a flood more than it costs the server.
            await asyncio.sleep(self._events.retry_after_s(now))
        event_id: str | None = None
        try:
            if data is not None:
                raise ev.ApiError("Events are JSON in text messages; audio goes into them as base64.", code="invalid_event")
            try:
                decoded = json.loads(text)
            except (ValueError, RecursionError):
                raise ev.ApiError("The event is not valid JSON.", code="invalid_json") from None
            given = decoded.get("event_id") if isinstance(decoded, dict) else None
            event_id = given[:512] if isinstance(given, str) else None
            event = ev.parse_client_event(decoded)
            await self.realtime.handle(event)
        except ev.ApiError as e:
            if not self._strikes.take(now):
                raise Expelled(ABUSE, f"too many bad events; the last: {e}") from None
            await self._refuse(e, event_id)
            return
        if isinstance(event, ev.AppendEvent):
            await self._check_speed(event)

    async def _check_speed(self, event: ev.AppendEvent) -> None:
        if self.realtime.config.turn_detection is None:
            return  # it only waits to be committed, and not much of it may wait
        seconds = len(event.audio) * 3 / 4 / self.realtime.input_bytes_per_s
        if self._speed.observe(seconds, time.monotonic()):
            raise Expelled(ABUSE, f"audio has come at over {self._limits.ws_max_audio_speed:g} times real time for too long")
        if self._speed.over:
            await asyncio.sleep(min(1.0, seconds / READ_SPEED))
