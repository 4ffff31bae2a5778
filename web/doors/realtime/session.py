"""One session of the Realtime API: what the client sends, done to the call.

The door gives it a way to the call (``Line``); events go out through ``emit``. What takes time and has an order (recognising
speech that was committed, answering) is done by one task, so that the client can go on talking to the session meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from loguru import logger

from pipeline.brief import SILENT, Brief
from pipeline.messages import INPUT_RATE_HZ
from pipeline.session import Session
from pipeline.stt.once import recognise_once
from pipeline.stt.recognition import RecogniserError
from pipeline.transports.codecs import to_recogniser
from pipeline.tts.resample import StreamResampler
from web.doors.realtime import checks as ck
from web.doors.realtime import config as cf
from web.doors.realtime import events as ev
from web.doors.realtime.answering import Answering
from web.doors.realtime.editing import Editing
from web.doors.realtime.idle import IdleTimer
from web.doors.realtime.items import Item, Items
from web.doors.realtime.responses import Narrator

MIN_COMMIT_MS = 100
MAX_WORK = 32
Emit = Callable[[Sequence[ev.ServerEvent]], Awaitable[None]]


class Line(Protocol):
    """How a door carries the call."""

    webrtc: bool

    async def build(self) -> None:
        """Run the call of the session, or run it anew, as its ``call_state`` now is."""
        ...

    def post(self, message: dict[str, Any]) -> None:
        """Put a message of the door's own behind those that the call has sent."""
        ...

    def feed(self, pcm16: bytes) -> None:
        """Audio of the user for the call: 16 kHz."""
        ...


class RealtimeSession:
    """The state of one client."""

    def __init__(
        self,
        session: Session,
        can: ck.Abilities,
        config: cf.Config,
        line: Line,
        emit: Emit,
        *,
        max_buffer_s: float,
        rate_limits: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self.session = session
        self.config = config
        self.items = Items()
        self.begun = False
        self.narrator = Narrator(
            self.items,
            lambda: self.config,
            webrtc=line.webrtc,
            rate_limits=rate_limits,
            spoken_ms=lambda: self._spoken_bytes / 2 / INPUT_RATE_HZ * 1000,
        )
        self.narrator.on_user_item = self._take_user_item
        self.can = can
        self.line = line
        self._emit = emit
        self._max_buffer = int(max_buffer_s * INPUT_RATE_HZ) * 2
        self._buffer = bytearray()
        self._spoken_bytes = 0
        self._input = cf.codec_of(config.input_format)
        self._resampler = to_recogniser(self._input.rate_hz)
        self._built: Any = None
        self._rebuild = False
        self._work: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue(MAX_WORK)
        self._worker: asyncio.Task[None] | None = None
        self._editing = Editing(self)
        self._answering = Answering(self)
        self._idle = IdleTimer(lambda: self.config.idle_s, lambda: self.queue(self._prompt))
        self._lock = asyncio.Lock()
        session.call_state.on_function_calls = self._answering.functions_called
        session.call_state.on_answer_end = self._answering.answer_ended
        self.configure()

    # Life

    @property
    def input_bytes_per_s(self) -> int:
        """Of the user's audio as the client sends it."""
        return self._input.rate_hz * self._input.sample_bytes

    def greeting(self) -> list[ev.ServerEvent]:
        """The first event."""
        return [ev.SessionCreated(session=self.wire())]

    def wire(self) -> dict[str, Any]:
        """The session in the API's form."""
        ends_at = self.session.record.started_at + self.session.services.settings.limits.max_call_s
        return self.config.to_wire(f"sess_{self.session.id}", int(ends_at))

    async def begin(self) -> None:
        """Run the call, unless it runs; raises what the door's ``build`` raises."""
        async with self._lock:
            if not self.begun:
                await self._build()
                self.begun = True

    async def close(self) -> None:
        """End the session's own tasks."""
        self._idle.close()
        await self._answering.asides.close()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def emit(self, events: Sequence[ev.ServerEvent]) -> None:
        """Send these events to the client, in their order."""
        self._idle.tell(events)
        await self._emit(events)

    async def told(self, message: dict[str, Any]) -> None:
        """The call says something, in its turn."""
        busy = self.narrator.active is not None
        await self.emit(self.narrator.tell(message))
        if busy and self.narrator.active is None:
            self.configure()
            call = self.session.call
            if call is not None:
                await call.speak(self.config.spoken)
            if self._rebuild:
                self.queue(self._build_again)

    async def heard(self, pcm16: bytes) -> None:
        """A piece of the assistant's voice leaves."""
        await self.emit(self.narrator.audio(pcm16))

    # The client's events

    async def handle(self, event: ev.ClientEvent) -> None:
        """Do what the client wants; raises ``ApiError``."""
        if not isinstance(event, ev.SessionUpdateEvent):
            await self.begin()
        match event:
            case ev.SessionUpdateEvent():
                await self._update(event.session)
            case ev.AppendEvent():
                self._append(event.audio)
            case ev.CommitEvent():
                await self._commit()
            case ev.ClearEvent():
                self._buffer.clear()
                await self.emit([ev.Cleared()])
            case ev.ClearOutputEvent():
                if not self.line.webrtc:
                    raise ev.ApiError("output_audio_buffer.clear is for WebRTC: use response.cancel.", code="invalid_event")
                await self._answering.stop(self.narrator.active)
            case ev.ItemCreateEvent():
                await self._editing.create(event.item, event.previous_item_id)
            case ev.ItemRetrieveEvent():
                await self.emit([ev.ItemRetrieved(item=self.items.get(event.item_id).to_wire())])
            case ev.ItemDeleteEvent():
                await self._editing.delete(self.items.get(event.item_id))
            case ev.ItemTruncateEvent():
                await self._editing.truncate(event)
            case ev.ResponseCreateEvent():
                await self._answering.respond(event.response or ev.ResponseOptions())
            case ev.ResponseCancelEvent():
                await self._answering.cancel(event.response_id)

    async def _update(self, wanted: ev.SessionUpdate) -> None:
        old = self.config
        new = cf.changed(old, wanted, self.can, begun=self.begun, sounded=self.narrator.sounded)
        self.config = new
        try:
            self.configure()
            if self.begun and new.turn_detection is not None and self._built != self._turn_taking():
                if self.line.webrtc:
                    raise ev.ApiError(
                        "Over WebRTC, turn detection is set with the offer or with the client secret.",
                        code="cannot_update_turn_detection",
                        param="session.audio.input.turn_detection",
                    )
                self._rebuild = True
        except ev.ApiError:
            self.config = old
            self.configure()
            raise
        if old.input_format != new.input_format:
            self._input = cf.codec_of(new.input_format)
            self._resampler = to_recogniser(self._input.rate_hz)
        self.narrator.codec = cf.codec_of(new.output_format)
        call = self.session.call
        if call is not None and self.narrator.active is None:
            await call.speak(new.spoken)
        await self.emit([ev.SessionUpdated(session=self.wire())])
        if self._rebuild and self.narrator.active is None:
            self.queue(self._build_again)

    def configure(self, **changes: Any) -> None:
        """Tell the stages of the call what is in force; ``changes`` are one response's."""
        settings, state = self.session.services.settings, self.session.call_state
        state.brief = self.config.brief(**changes)
        tokens = self.max_tokens(state.brief, changes)
        wanted: dict[str, Any] = {"max_tokens": tokens} if tokens is not None else {}
        if self.can.speed is not None:
            wanted["speech_rate"] = self.config.speed
        state.options = state.options.changed(wanted, settings.options)
        if self.config.turn_detection is not None:
            state.turns = self.config.turns(settings.turns)
            state.vad = self.config.vad(settings.vad)
        state.answers, state.interruptible = self.config.answers, self.config.interrupts

    def max_tokens(self, brief: Brief | None, changes: dict[str, Any]) -> int | None:
        """The longest answer; ``None`` where the assistant has no such thing."""
        if self.can.max_tokens is None:
            return None
        usual = self.session.services.settings.options.max_tokens.default
        # The tutor's own instructions are long, and its answers are not.
        most = self.can.max_tokens[1] if brief is not None and brief.instructions is not None else usual
        tokens = changes.get("max_output_tokens") or self.config.max_output_tokens
        return most if tokens == "inf" else int(tokens)

    def _turn_taking(self) -> Any:
        state = self.session.call_state
        return state.turns, state.vad, state.answers, state.interruptible

    async def _build(self) -> None:
        self.narrator.codec = cf.codec_of(self.config.output_format)
        self.narrator.reply_count(self.session.replies)
        self._built = self._turn_taking()
        self._rebuild = False
        await self.line.build()
        if self.session.call is not None:
            await self.session.call.speak(self.config.spoken)

    async def _build_again(self) -> None:
        async with self._lock:
            if self._rebuild and self.narrator.active is None:
                await self._build()

    # The user's audio

    def _decoded(self, audio: str, param: str) -> bytes:
        try:
            return self._input.decode(base64.b64decode(audio, validate=True))
        except (binascii.Error, ValueError):
            raise ev.ApiError(
                f"Invalid {param!r}: it must be base64 of whole samples of {self.config.input_format.type}.",
                code="invalid_audio",
                param=param,
            ) from None

    def _append(self, audio: str) -> None:
        pcm16 = self._resampler.process(self._decoded(audio, "audio"))
        self.take_audio(pcm16)

    def take_audio(self, pcm16: bytes) -> None:
        """Audio of the user at 16 kHz; raises ``ApiError`` where too much waits to be committed."""
        self._spoken_bytes += len(pcm16)
        if self.config.turn_detection is not None:
            self.line.feed(pcm16)
        elif len(self._buffer) + len(pcm16) > self._max_buffer:
            raise ev.ApiError(
                f"The input audio buffer is full ({self._max_buffer / 2 / INPUT_RATE_HZ:.0f} s): commit or clear it.",
                code="input_audio_buffer_full",
            )
        else:
            self._buffer += pcm16

    def speech(self, audio: str) -> bytes:
        """Speech of an item at 16 kHz."""
        resampler = to_recogniser(self._input.rate_hz)
        pcm16 = resampler.process(self._decoded(audio, "item.content.audio"))
        if isinstance(resampler, StreamResampler):
            pcm16 += resampler.flush()
        if len(pcm16) > self._max_buffer:
            raise ev.ApiError("The audio is too long.", code="invalid_value", param="item.content.audio")
        return pcm16

    async def _commit(self) -> None:
        buffered_ms = len(self._buffer) / 2 / INPUT_RATE_HZ * 1000
        if self.config.turn_detection is not None or buffered_ms < MIN_COMMIT_MS:
            why = (
                "turn detection is on, so the server commits each turn of the user"
                if self.config.turn_detection is not None
                else f"expected at least {MIN_COMMIT_MS} ms of audio, the buffer has {buffered_ms:.0f} ms"
            )
            raise ev.ApiError(f"Error committing input audio buffer: {why}.", code="input_audio_buffer_commit_empty")
        self.check_work()
        pcm16 = bytes(self._buffer)
        self._buffer.clear()
        if isinstance(self._resampler, StreamResampler):
            pcm16 += self._resampler.flush()
        item = Item(content=[{"type": "input_audio", "audio": None, "transcript": None}], audio_ms=buffered_ms)
        await self.emit(self.narrator.committed(item))
        self.queue(lambda: self.recognise(item, pcm16))

    async def recognise(self, item: Item, pcm16: bytes, *, after: bool = False) -> None:
        """Take in what is said in ``pcm16`` as ``item``; ``after``: there are later items."""
        services = self.session.services
        try:
            heard = await recognise_once(services.engines["stt"].create(self.session.call_state), pcm16)
        except RecogniserError as e:
            error = {"type": "server_error", "code": "transcription_failed", "message": str(e), "param": None}
            await self.emit([ev.TranscriptionFailed(item_id=item.id, error=error)])
            return
        call = self.session.call
        if call is None or item not in self.items:
            return
        if heard.text and not after:
            self.narrator.own_turns.append(heard.text)
            item.message = await call.take_in(heard.text, heard.words)
        else:
            # Nothing that could be made out: an answer will say so.
            self._editing.insert(call, item, {"role": "user", "content": heard.text})
        await self.emit(self.narrator.transcribed(item, heard.text, item.audio_ms))

    def _take_user_item(self, item: Item, text: str) -> None:
        """The call has taken a spoken turn into its conversation."""
        messages: list[Any] = self.session.context.messages
        item.message = next((m for m in reversed(messages) if isinstance(m, dict) and m.get("content") == text), None)

    def message_of(self, item: Item) -> dict[str, Any] | None:
        """What stands for ``item`` in the conversation; ``None`` while nothing does."""
        return self._editing.message_of(item)

    async def _prompt(self) -> None:
        """The user has been silent for too long: that is answered like a turn."""
        call = self.session.call
        if not self._idle.due or self.narrator.active is not None or self.narrator.user_speaks or call is None:
            return
        item = Item(content=[{"type": "input_audio", "audio": None, "transcript": None}])
        await self.emit(self.narrator.timed_out(item))
        if self.config.brief() is not None:
            # The tutor knows by itself what to say to a silence; others are told of it.
            self._editing.insert(call, item, {"role": "user", "content": SILENT})
        if self.config.answers:
            await self._answering.respond(ev.ResponseOptions())

    # Work that has an order

    def check_work(self) -> None:
        """Raise ``ApiError`` where too much waits to be done."""
        if self._work.full():
            raise ev.ApiError(
                "Too much is asked for at a time; wait for answers.", code="too_many_requests", kind="rate_limit_error"
            )

    def queue(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have something done behind what waits to be done."""
        try:
            self._work.put_nowait(work)
        except asyncio.QueueFull:
            logger.warning("a Realtime client asks for too much at a time")
            return
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run(), name="realtime work")

    async def _run(self) -> None:
        while True:
            work = await self._work.get()
            try:
                await work()
            except Exception as e:
                logger.opt(exception=e).error("a Realtime client's wish failed")
                detail = ev.ErrorDetail(type="server_error", code="server_error", message="the server could not do that")
                await self.emit([ev.ErrorEvent(error=detail)])
