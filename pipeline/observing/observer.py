"""What a call tells its two sides of: each frame that they are about, from the stage where it is sure.

It hooks into the stages' own push events, which pipecat runs inline, so that it adds no stage and no queue to the chain. Each
hook is idempotent, because a frame that is broadcast passes twice (up and down).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from agent.record import TurnMetrics
from pipeline.faults.watch import Watch
from pipeline.messages import Metrics
from pipeline.metrics import prometheus
from pipeline.metrics.turn_clock import TurnClock
from pipeline.observing.conversation import Conversation
from pipeline.observing.learner import Learner
from pipeline.observing.tutor import Tutor
from pipeline.observing.written import WrittenReplies
from pipeline.speculation import HeldReply
from pipeline.transports.base import CallTransport
from pipeline.turns.barge import Speech

if TYPE_CHECKING:
    from pipeline.session import Session


class CallObserver:
    """Watches one call. Owned by the call; ``close`` awaits every task it started."""

    def __init__(
        self,
        session: Session,
        transport: CallTransport,
        watch: Watch,
        *,
        stt: Any,
        user: Any,
        llm: Any,
        tts: Any,
        assistant: Any,
        gate: HeldReply | None = None,
    ) -> None:
        self._session = session
        self._transport = transport
        self._watch = watch
        self._clock = TurnClock(self._on_row)
        self._exporter = prometheus.RowExporter(transport.door)
        self._tasks: set[asyncio.Task[None]] = set()
        self._interruption_settled = asyncio.Event()
        self.conversation = Conversation(session)
        self.learner = Learner(session, transport, watch, self._clock, self.conversation)
        self.tutor = Tutor(session, transport, watch, self._clock, self.conversation, self._spawn)
        self._written = WrittenReplies(self.tutor.wrote)

        transport.input().add_event_handler("on_before_push_frame", self.learner.on_input)
        stt.add_event_handler("on_before_push_frame", self.learner.on_stt)
        user.add_event_handler("on_before_push_frame", self._on_user)
        user.add_event_handler("on_user_turn_stopped", self.learner.on_turn_stopped)
        llm.add_event_handler("on_before_push_frame", self._written.on_llm)
        (gate or tts).add_event_handler("on_before_push_frame", self.tutor.on_tts)
        transport.output().add_event_handler("on_before_push_frame", self.tutor.on_output)
        assistant.add_event_handler("on_after_process_frame", self._on_assistant)
        if gate is not None:
            gate.words_to = self.tutor.on_words
        if hasattr(tts, "on_words"):
            tts.on_words = self.tutor.on_words if gate is None else gate.on_words
        transport.playout.on_first_voiced = lambda utterance, at: self._clock.sent(utterance, at)
        transport.playout.on_heard = lambda utterance, at: self._clock.heard(utterance, at)

    # What the call says

    def tutor_first(self) -> None:
        """The tutor is asked to speak without a learner's turn."""
        self._clock.tutor_first()

    def expect_interruption(self) -> asyncio.Event:
        """An event that is set when the next interruption has passed the whole chain."""
        self._interruption_settled.clear()
        return self._interruption_settled

    def insert_message(self, index: int, message: dict[str, Any]) -> None:
        """Put a message into the conversation, where nothing was said just now; the record does not get it."""
        self.conversation.insert(index, message, self.tutor.reply)

    def remove_message(self, message: dict[str, Any]) -> None:
        """Take a message out of the conversation; the record keeps it."""
        self.conversation.remove(message, self.tutor.reply)

    # What passes through the chain

    async def _on_user(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self.learner.voice_started()
        elif isinstance(frame, UserStartedSpeakingFrame):
            await self.learner.turn_started(over_tutor=self.tutor.speaking)
        elif isinstance(frame, InterruptionFrame):
            self._watch.interrupted(time.monotonic())
            await self.tutor.cut_reply()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self.learner.voice_stopped()
        elif isinstance(frame, UserStoppedSpeakingFrame):
            await self.learner.turn_stopped()
        elif isinstance(frame, LLMContextFrame) and not frame.speculation:
            await self.learner.turn_in_context(frame.context.messages)
            self._watch.asked(time.monotonic())

    def _on_assistant(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, LLMFullResponseEndFrame):
            reply = self.tutor.reply
            if reply is not None and not self.conversation.has_unsettled:
                reply.passed = reply.complete
            self.conversation.settle_passed()
        elif isinstance(frame, InterruptionFrame):
            self.conversation.settle_passed()
            self._interruption_settled.set()

    # Answers to a guess

    def hold(self) -> None:
        """What the LLM writes from now on answers a guess: it is neither shown nor recorded."""
        self._written.hold()

    async def confirm(self) -> None:
        """The guess was right: the turn stands in the context, and the answer is the tutor's."""
        now = time.monotonic()
        await self.learner.turn_in_context()
        self._watch.asked(now)
        await self._written.confirm()

    def withdraw(self) -> None:
        """The guess was wrong: nothing was written."""
        self._written.withdraw()

    def when_said(self, action: Callable[[], None]) -> None:
        """Do ``action``, which follows from what the LLM writes, unless that answers a guess: then when it is confirmed."""
        self._written.when_said(action)

    # Voices over the tutor

    def speech(self) -> Speech:
        """What the tutor says now, and how much of it is left where all of it is known."""
        return self.tutor.speech()

    def ducked(self, onset_at: float) -> None:
        """The tutor was held, for a voice that began at ``onset_at``."""
        self.tutor.ducked()

    def backchannel(self, words: tuple[str, ...]) -> None:
        """The learner said ``words`` and wants no turn for it."""
        self.tutor.backchannel(words)

    async def dropped(self, frame: TranscriptionFrame) -> None:
        """These words belong to no turn."""
        await self.learner.dropped(frame)

    async def belated(self, frame: TranscriptionFrame) -> bool:
        """These words belong to the learner's last turn; false where there was none that they could be added to."""
        return await self.learner.belated(frame)

    # Metrics and the end

    def _on_row(self, row: TurnMetrics) -> None:
        self._exporter.export(row)
        self._session.writer.add_metrics(row)
        self._spawn(self._session.send(Metrics(row=row.to_dict())))

    async def finish(self) -> None:
        """Record what is still unrecorded: a reply in mid-air and words of an unfinished turn. Safe to call twice."""
        await self.tutor.cut_reply()
        self.conversation.settle_passed()
        self.learner.finish()

    async def close(self) -> None:
        """Await the observer's tasks."""
        tasks = [t for t in self._tasks if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._transport.playout.on_first_voiced = self._transport.playout.on_heard = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
