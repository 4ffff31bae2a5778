"""A session: one conversation, which may outlive the connection that it began on.

The session owns what must survive a lost connection: the conversation, the record, the level and the lesson. A ``Call`` is one
connection of a session: the pipeline that runs while a client is attached.

::

    new ──attach──► attached ──client lost──► detached ──attach──► attached
                       │                         │ resume_for_s passed
                       └────────── end ──────────┴──────────► ended (report made)
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from loguru import logger
from pipecat.processors.aggregators.llm_context import LLMContext

from agent.record import CallRecord, Correction, Level
from agent.tutor import TutorReply
from pipeline.analyst import Analyst
from pipeline.call import BuildFailed, Call
from pipeline.engine import CallState, Engine
from pipeline.faults.lines import TIME_IS_UP
from pipeline.headroom import Headroom
from pipeline.messages import (
    Analysis,
    ClientMessage,
    Connected,
    EndConversation,
    Error,
    Interrupt,
    RecordingStopped,
    ServerMessage,
    SetLesson,
    SetLevel,
    SetOptions,
    Suggestions,
    TextInput,
)
from pipeline.metrics import prometheus
from pipeline.models import SharedModels
from pipeline.observing.reply import Reply
from pipeline.options import BadOption, CallOptions
from pipeline.record_writer import RecordWriter
from pipeline.recording.archive import Archive
from pipeline.recording.recorder import SessionRecorder
from pipeline.settings.tree import Settings
from pipeline.store.journal import Journal
from pipeline.stt.once import recognise_once
from pipeline.stt.recognition import Recognition
from pipeline.transports.base import CallTransport, LostHandler
from pipeline.turns.endpoint import Pace
from pipeline.wall_clock import WallClock

REPLIES_KEPT = 32
FAREWELL_WITHIN_S = 20.0
"""A farewell that takes longer than this is left off."""
State = Literal["new", "attached", "detached", "ended"]


class NotInCall(RuntimeError):
    """What was asked for needs a call that runs."""


class UploadBusy(RuntimeError):
    """One file at a time."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every session of the process shares."""

    settings: Settings
    engines: Mapping[str, Engine]
    models: SharedModels
    journal: Journal
    lessons: Mapping[str, Any]
    analyst: Analyst
    recordings: Archive | None = None
    """Where calls are recorded; ``None``: nowhere."""
    wall: WallClock = field(default_factory=WallClock)
    """What tells when a session began."""
    headroom: Headroom = field(default_factory=Headroom)
    """How much more the process can take on. While it is ``low``, nothing should be done that may turn out to be in vain."""


class Session:
    """One conversation with one learner."""

    def __init__(
        self,
        services: Services,
        *,
        door: str,
        level: Level,
        lesson: str,
        on_ended: Callable[[Session], None] | None = None,
        record: bool = True,
        options: CallOptions | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.resume_token = secrets.token_urlsafe(24)
        self.services = services
        self.context = LLMContext()
        self.said: deque[Reply] = deque(maxlen=REPLIES_KEPT)
        """The tutor's last replies, for whoever learns late how much of one was heard."""
        self.replies = 0
        """How many replies are over."""
        self.messages_recorded = 0
        """How many messages of the context the record has taken in."""
        self.faults = 0
        """Stages that failed or stalled so far."""
        self.faults_in_a_row = 0
        """The same, since the tutor's last answer that was spoken as it should be."""
        self.lesson_done = False
        """Whether the tutor has said the lesson's last word."""
        self.state: State = "new"
        self.now = services.wall.from_here()
        """The time of day in this session, in seconds since the epoch: even, whatever is done to the system's clock."""
        self.record = CallRecord(session_id=self.id, started_at=self.now(), door=door, level=level, lesson=lesson)
        self.pace = Pace()
        self.call_state = CallState(
            session_id=self.id,
            level=level,
            lesson=lesson,
            options=options or CallOptions.of(services.settings.options),
            on_reply=self._on_reply,
        )
        self._call: Call | None = None
        self._transport: CallTransport | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._limit: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._on_ended = on_ended
        self._report: dict[str, Any] | None = None
        self.writer = RecordWriter(self.record, services.analyst, send=self.send, spawn=self._spawn)
        self._uploading = False
        self._recorder: SessionRecorder | None = None
        if record and services.recordings is not None and services.settings.recording.enabled:
            self._recorder = services.recordings.begin(self.id, self._recording_failed, wall=self.now)

    @property
    def report(self) -> dict[str, Any] | None:
        """The report, as soon as it is made: a moment before the session has ended."""
        return self._report

    @property
    def call(self) -> Call | None:
        """The call that runs; ``None`` while no client is attached."""
        return self._call

    # The recording

    @property
    def recording(self) -> bool:
        """Whether both voices are kept."""
        return self._recorder is not None and self._recorder.failed is None

    async def decline_recording(self) -> None:
        """The learner does not want to be recorded: nothing is kept of what was recorded so far."""
        await self._end_recording(keep=False)

    def _recording_failed(self, reason: str) -> None:
        self._spawn(self.send(RecordingStopped(reason=f"The recording stopped: {reason}. The call goes on.")))

    async def _end_recording(self, *, keep: bool) -> None:
        recorder, self._recorder = self._recorder, None
        recordings = self.services.recordings
        if recorder is None or recordings is None:
            return
        await recorder.close()
        if keep:
            # Minutes of sound take seconds to encode, which nobody needs to wait for.
            self._spawn(self._finish_recording(recordings))
            return
        try:
            await recordings.drop(self.id)
        except OSError as e:
            prometheus.ERRORS.labels("recording").inc()
            logger.error("the recording could not be deleted: {}", e)

    async def _finish_recording(self, recordings: Archive) -> None:
        await recordings.finish(self.id)

    # Connections

    def hello(self) -> Connected:
        """The first message to a client that knows the extras; made before ``attach``."""
        return Connected(
            session_id=self.id,
            resume_token=self.resume_token,
            level=self.record.level,
            lesson=self.record.lesson,
            resumed=self.state != "new",
            recording=self.recording or None,
            options=asdict(self.call_state.options),
        )

    async def attach(self, transport: CallTransport) -> None:
        """Build a call over ``transport`` and run it. An older connection of the session is closed first.

        Raises:
            BuildFailed: the call could not be built, or the session has ended. The transport is left to the caller.
        """
        async with self._lock:
            if self.state == "ended":
                raise BuildFailed("the session has ended")
            resumed = self.state == "detached" or self._call is not None
            self._stop_timer()
            await self._drop_call("replaced by a new connection")
            if self.writer.open(self.services.journal):
                prometheus.CALLS.labels(self.record.door).inc()
            call = Call(self, transport, resumed=resumed)
            if self._recorder is not None:
                self._recorder.listen(transport)
            self.services.headroom.begun(time.monotonic())
            transport.playout.on_late = self.services.headroom.sent
            transport.on_command = self._on_command
            transport.on_lost = self._lost_handler(transport)
            transport.on_ready = call.on_ready
            with logger.contextualize(call=self.id):
                try:
                    await call.start()
                except BaseException:
                    self._set_state("detached" if resumed else "new")
                    self._start_timer()
                    raise
            self._call, self._transport = call, transport
            self._set_state("attached")
            if self._limit is None:
                self._limit = self._spawn(self._end_in_time(self.services.settings.limits.max_call_s))
            if transport.lost_reason is not None:
                self._spawn(self.detach(transport.lost_reason, transport))

    async def detach(self, reason: str, transport: CallTransport | None = None) -> None:
        """The client is gone: engines are cancelled, and the session waits ``resume_for_s`` for it to come back.

        With ``transport``, only if the session is still attached to that one.
        """
        async with self._lock:
            if self.state != "attached" or transport not in (None, self._transport):
                return
            logger.bind(call=self.id).info("client detached: {}", reason)
            self._set_state("detached")
            await self._drop_call(reason)
            self._start_timer()

    def await_client(self, within_s: float | None = None) -> None:
        """End the session unless a client attaches within ``within_s``, or ``resume_for_s``."""
        self._start_timer(within_s)

    async def _drop_call(self, reason: str) -> None:
        call, self._call = self._call, None
        transport, self._transport = self._transport, None
        if call is not None:
            await call.stop()
        if transport is not None:
            transport.on_command = transport.on_lost = transport.on_ready = None
            await transport.close(1001, reason)

    def _lost_handler(self, transport: CallTransport) -> LostHandler:
        async def on_lost(reason: str) -> None:
            # The transport reports from one of its own tasks, which stopping the call would cancel.
            self._spawn(self.detach(reason, transport))

        return on_lost

    def _start_timer(self, within_s: float | None = None) -> None:
        self._stop_timer()
        wait_s = self.services.settings.session.resume_for_s if within_s is None else within_s
        self._timer = self._spawn(self._end_after(wait_s, "client did not return"))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()

    async def _end_after(self, seconds: float, reason: str) -> None:
        await asyncio.sleep(seconds)
        await self.end(reason)

    async def _end_in_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            if self._call is not None:
                async with asyncio.timeout(FAREWELL_WITHIN_S):
                    await self._call.farewell(TIME_IS_UP)
        except Exception as e:
            logger.bind(call=self.id).error("the farewell failed: {!r}", e)
        await self.end("time limit")

    def end_soon(self, reason: str) -> None:
        """End the session from within one of its call's own tasks, which the end stops."""
        self._spawn(self._end_quietly(reason))

    def say_again(self, text: str) -> None:
        """Have the tutor say ``text``, which it has said before, in place of what it says now; nothing between two calls."""
        if self._call is not None:
            self._spawn(self._call.say_again(text))

    def reconnect(self, reason: str) -> None:
        """Drop a call that no longer works: its client is told to come back, and finds the session as it was."""
        self._spawn(self.detach(reason, self._transport))

    # What the client asks

    async def _on_command(self, message: ClientMessage) -> None:
        with logger.contextualize(call=self.id):
            await self._handle(message)

    async def _handle(self, message: ClientMessage) -> None:
        call = self._call
        match message:
            case EndConversation():
                self._spawn(self._end_quietly("ended by the learner"))
            case SetLevel(level=level):
                self.call_state.level = self.record.level = level
                self.writer.update(level=level)
            case SetOptions():
                # Kept by the session, so that a connection that is taken up again has them too.
                state, ranges = self.call_state, self.services.settings.options
                try:
                    state.options = state.options.changed(message.model_dump(exclude={"type"}), ranges)
                except BadOption as e:
                    await self.send(Error(message=f"set_options: {e}"))
            case SetLesson(lesson=lesson):
                if lesson not in self.services.lessons:
                    await self.send(
                        Error(message=f"unknown lesson {lesson!r}; there are: {', '.join(sorted(self.services.lessons))}")
                    )
                    return
                self.call_state.lesson = self.record.lesson = lesson
                self.call_state.expected, self.call_state.careful = [], []
                self.lesson_done = False
                self.writer.update(lesson=lesson)
                if call is not None:
                    await call.restart_lesson()
            case TextInput(text=text):
                if call is not None:
                    await call.typed(text)
            case Interrupt():
                if call is not None:
                    await call.interrupt()
            case _:
                await self.send(Error(message=f"{message.type} cannot be used now"))

    async def upload(self, pcm16: bytes) -> Recognition:
        """Take speech of the learner (16 kHz mono) as a turn of the running call, and have it answered.

        Returns what was recognised; without any word there is no turn.

        Raises:
            NotInCall: no client is attached, or the call ended meanwhile.
            UploadBusy: another one is being recognised.
            RecogniserError: the recogniser failed.
        """
        if self.state != "attached" or self._call is None:
            raise NotInCall("the session is not in a call")
        if self._uploading:
            raise UploadBusy("another file of this session is being recognised")
        self._uploading = True
        try:
            # A stage of its own, which knows what the learner is expected to say.
            heard = await recognise_once(self.services.engines["stt"].create(self.call_state), pcm16)
            call = self._call
            if self.state != "attached" or call is None:
                raise NotInCall("the call ended before the file was recognised")
            if heard.text:
                await call.uploaded(heard.text, heard.words)
            return heard
        finally:
            self._uploading = False

    async def send(self, message: ServerMessage) -> None:
        """Send to the attached client, if there is one."""
        if self._transport is not None:
            await self._transport.send(message)

    # What the call reports

    async def unheard(self) -> None:
        """The learner spoke, but nothing could be made out."""
        if self._call is not None and self.call_state.answers:
            await self._call.unheard()

    def _on_reply(self, reply: TutorReply) -> None:
        if self._call is None:
            self._take_reply(reply)
        else:
            self._call.when_said(lambda: self._take_reply(reply))

    def _take_reply(self, reply: TutorReply) -> None:
        self.call_state.expected, self.call_state.careful = list(reply.expected), list(reply.careful)
        self.lesson_done = reply.done
        self._spawn(self._pass_on(reply))

    async def _pass_on(self, reply: TutorReply) -> None:
        await self.writer.correct_last(Correction(c.original, c.correction, c.explanation) for c in reply.corrections)
        await self.send(Suggestions(items=list(reply.suggestions)))

    # The end

    async def end(self, reason: str) -> dict[str, Any]:
        """End the session and return its report. Idempotent: a second call waits for the first and returns the same."""
        async with self._lock:
            if self.state == "ended":
                return self._report or {}
            self._stop_timer()
            if self._limit is not None and self._limit is not asyncio.current_task():
                self._limit.cancel()
            with logger.contextualize(call=self.id):
                call, self._call = self._call, None
                if call is not None:
                    await call.finish()
                self.record.ended_at = self.now()
                self.record.end_reason = reason
                try:
                    self._report = await self.services.analyst.report(self.record)
                except Exception:
                    prometheus.ERRORS.labels("report").inc()
                    logger.exception("the report could not be made")
                    self._report = {"notes": ["The report could not be made."]}
                await self.send(Analysis(data=self._report))
                self.writer.close(ended_at=self.record.ended_at, reason=reason, report=self._report)
                transport, self._transport = self._transport, None
                if transport is not None:
                    transport.on_command = transport.on_lost = transport.on_ready = None
                if call is not None:
                    await call.stop()
                await self._end_recording(keep=True)
                self._set_state("ended")
                prometheus.CALLS_ENDED.labels(reason).inc()
                logger.info("call ended: {}; {} turns", reason, len(self.record.turns))
        # The place is free before the client learns that the call is over, so that it may dial again at once.
        if self._on_ended is not None:
            self._on_ended(self)
        await self.writer.written()
        self._ended.set()
        if transport is not None:
            await transport.close(1000, reason)
        return self._report

    async def _end_quietly(self, reason: str) -> None:
        await self.end(reason)

    async def discard(self) -> None:
        """End a session in which nothing was said, leaving its transport to the caller and no report behind."""
        async with self._lock:
            if self.state == "ended":
                return
            self._stop_timer()
            if self._limit is not None:
                self._limit.cancel()
            call, self._call = self._call, None
            self._transport = None
            if call is not None:
                await call.stop()
            await self._end_recording(keep=False)
            self.writer.close(ended_at=self.now(), reason="replaced by a resumed session", report=None)
            self._set_state("ended")
            self._ended.set()
        if self._on_ended is not None:
            self._on_ended(self)

    async def wait_ended(self) -> None:
        """Return when the session has ended."""
        await self._ended.wait()

    async def settle(self) -> None:
        """Wait for the session's own background tasks. Called by the manager after the end."""
        tasks = [t for t in self._tasks if t is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def _set_state(self, state: State) -> None:
        for gauge, name in ((prometheus.ACTIVE_CALLS, "attached"), (prometheus.DETACHED_CALLS, "detached")):
            if self.state == name:
                gauge.dec()
            if state == name:
                gauge.inc()
        self.state = state

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            prometheus.ERRORS.labels("session").inc()
            logger.bind(call=self.id).opt(exception=task.exception()).error("a task of the session failed")
