"""The Realtime API over WebRTC: ``POST /v1/realtime/calls``, SDP in and SDP out, with events over the data channel.

The body is the offer alone (``application/sdp``), or a form with the fields ``sdp`` and ``session``. The call is built before
the offer is answered; so turn detection and voice formats are those of the offer's session, or of the client secret.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from fastapi import APIRouter, Request
from loguru import logger
from starlette.responses import JSONResponse, Response

from pipeline.call import BuildFailed
from pipeline.engine import AtCapacity
from pipeline.messages import ServerMessage, to_wire
from pipeline.session import Session
from pipeline.transports.bucket import Bucket
from pipeline.transports.signalling import BadOffer
from pipeline.transports.webrtc import WebRTCTransport
from pipeline.transports.webrtc_messages import Dialogue, Keepalive, Received
from web.doors.realtime import config as cf
from web.doors.realtime import events as ev
from web.doors.realtime.abilities import abilities, rate_limits
from web.doors.realtime.session import RealtimeSession
from web.doors.realtime.websocket import STRIKES, STRIKES_PER_S, new_session, refusal
from web.problems import ProblemError
from web.state import WebState, count_session, state_of

router = APIRouter(prefix="/v1/realtime")

MAX_EVENT_CHARS = 65_536
MAX_WAITING = 512


class _EventDialogue(Dialogue):
    """Passes on what both sides say; the events are the session's to make."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(MAX_EVENT_CHARS)
        self.language = "plain"
        self._connection = connection

    def read(self, raw: str | bytes) -> Received:
        self._connection.take(("client", raw))
        return Keepalive(sdk=False)

    def write(self, message: ServerMessage | dict[str, Any]) -> str | None:
        if isinstance(message, dict):
            return json.dumps(message)
        self._connection.take(("call", to_wire(message)))
        return None


class _Connection:
    """One peer connection. What the client and the call say is dealt with by one task each, in order."""

    webrtc = True

    def __init__(self, state: WebState, config: cf.Config, request: Request) -> None:
        self._state = state
        self._config = config
        self._request = request
        self._transport: WebRTCTransport | None = None
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)
        self._events: asyncio.Queue[str | bytes] = asyncio.Queue(MAX_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._session: Session | None = None
        self.realtime: RealtimeSession | None = None
        self.dialogue = _EventDialogue(self)

    async def open(self, transport: WebRTCTransport) -> Session:
        """Build the call over ``transport``."""
        query = self._request.query_params
        session = await new_session(self._state, door="realtime", level=query.get("level"), lesson=query.get("lesson"))
        self._transport, self._session = transport, session
        state = self._state
        self.realtime = realtime = RealtimeSession(
            session,
            abilities(state),
            self._config,
            self,
            self._emit,
            max_buffer_s=state.settings.upload.max_s,
            rate_limits=lambda: rate_limits(state, self._request),
        )
        transport.on_pcm = self._take_pcm
        await self._emit(realtime.greeting())
        try:
            await realtime.begin()
        except BaseException:
            await realtime.close()
            await session.discard()
            raise
        transport.on_lost = self._lost
        self._tasks = [asyncio.create_task(self._tell()), asyncio.create_task(self._read()), asyncio.create_task(self._ended())]
        return session

    async def build(self) -> None:
        """Run the call."""
        assert self._session is not None
        assert self._transport is not None
        await self._session.attach(self._transport)

    def post(self, message: dict[str, Any]) -> None:
        """A message of the door's own, in its turn."""
        self.take(("call", message))

    def feed(self, _pcm16: bytes) -> None:
        """The call has its audio from the track."""

    def take(self, said: tuple[str, Any]) -> None:
        """Something the client or the call says."""
        queue: asyncio.Queue[Any] = self._events if said[0] == "client" else self._said
        try:
            queue.put_nowait(said[1])
        except asyncio.QueueFull:
            logger.warning("a Realtime client sends faster than it can be answered: an event was dropped")

    def _take_pcm(self, pcm16: bytes) -> bool:
        assert self.realtime is not None
        try:
            self.realtime.take_audio(pcm16)
        except ev.ApiError:
            pass  # what nobody commits for so long is not kept
        return self.realtime.config.turn_detection is None

    async def _emit(self, events: Sequence[ev.ServerEvent]) -> None:
        assert self._transport is not None
        for event in events:
            self._transport.post(event.model_dump(mode="json"))

    async def _tell(self) -> None:
        assert self.realtime is not None
        while True:
            await self.realtime.told(await self._said.get())

    async def _read(self) -> None:
        while True:
            raw = await self._events.get()
            try:
                await self._handle(raw)
            except Exception as e:
                logger.opt(exception=e).error("a Realtime event failed")

    async def _handle(self, raw: str | bytes) -> None:
        assert self.realtime is not None
        event_id: str | None = None
        try:
            if isinstance(raw, bytes) or len(raw) > MAX_EVENT_CHARS:
                raise ev.ApiError(f"An event is a text message of at most {MAX_EVENT_CHARS} characters.", code="invalid_event")
            try:
                decoded = json.loads(raw)
            except (ValueError, RecursionError):
                raise ev.ApiError("The event is not valid JSON.", code="invalid_json") from None
            given = decoded.get("event_id") if isinstance(decoded, dict) else None
            event_id = given[:512] if isinstance(given, str) else None
            event = ev.parse_client_event(decoded)
            if isinstance(event, ev.AppendEvent):
                raise ev.ApiError("Over WebRTC, audio comes over the audio track.", code="invalid_event")
            await self.realtime.handle(event)
        except ev.ApiError as e:
            if self._strikes.take(asyncio.get_running_loop().time()):
                await self._emit([ev.ErrorEvent(error=e.detail(event_id))])
            elif self._session is not None:
                self._session.end_soon("too many bad events")

    async def _lost(self, _reason: str) -> None:
        if self._session is not None:
            self._session.end_soon("ended by the learner")

    async def _ended(self) -> None:
        assert self._session is not None
        assert self.realtime is not None
        await self._session.wait_ended()
        await self.realtime.close()
        others = [t for t in self._tasks if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@router.post("/calls", include_in_schema=False)
async def calls(request: Request) -> Response:
    """Start a session over a new peer connection."""
    state = state_of(request)
    try:
        count_session(request)
        sdp, wanted = await _offer(request)
        can = abilities(state)
        secret = request.scope.get("state", {}).get("client_secret")
        config = secret.config if secret is not None else cf.Config(voice=can.voice, model=request.query_params.get("model"))
        if wanted is not None:
            config = cf.changed(config, ev.parse_session(wanted), can)
        state.sessions.admit()
        connection = _Connection(state, config, request)
        answer, session = await state.signalling.offer(
            sdp, "offer", connection.open, door="realtime", dialogue=connection.dialogue, greets=False
        )
    except (ev.ApiError, ProblemError, AtCapacity) as e:
        return refusal(e)
    except BadOffer as e:
        return refusal(ev.ApiError(str(e), code="invalid_offer", param="sdp"))
    except BuildFailed as e:
        logger.error("a call could not be built: {}", e)
        return refusal(e)
    headers = {"Location": f"/v1/realtime/calls/rtc_{session.id}", "Cache-Control": "no-store"}
    return Response(answer["sdp"], 201, headers=headers, media_type="application/sdp")


@router.post("/calls/{call_id}/hangup", include_in_schema=False)
async def hangup(call_id: str, request: Request) -> Response:
    """End a call."""
    session = state_of(request).sessions.get(call_id.removeprefix("rtc_"))
    if session is None or session.record.door != "realtime":
        return refusal(ev.ApiError("There is no such call.", code="not_found", param="call_id"))
    await session.end("ended by the learner")
    return JSONResponse({})


async def _offer(request: Request) -> tuple[str, Any]:
    """The SDP of a request, and its session's configuration, if it has one; raises ``ApiError``."""
    kind = request.headers.get("content-type", "")
    body = await request.body()
    if not kind.startswith("multipart/form-data"):
        return body.decode(errors="replace"), None
    form = message_from_bytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body, policy=HTTP)
    fields: dict[str, str] = {}
    for part in form.iter_parts() if form.is_multipart() else []:
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode(errors="replace")
    for name in fields.keys() - {"sdp", "session"}:
        raise ev.ApiError(f"Unknown parameter: {name[:60]!r}.", code="unknown_parameter", param=name[:60])
    if "sdp" not in fields:
        raise ev.ApiError("Missing required parameter: 'sdp'.", code="missing_required_parameter", param="sdp")
    try:
        return fields["sdp"], json.loads(fields["session"]) if "session" in fields else None
    except (ValueError, RecursionError):
        raise ev.ApiError("Invalid value for 'session': not JSON.", code="invalid_value", param="session") from None
