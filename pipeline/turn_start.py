"""The verdict on who speaks over the tutor (``pipeline.turns.barge``) as a pipecat strategy. Thin.

Where the tutor is silent, a voice starts a turn at once, as with pipecat's own strategy. A voice over the tutor's holds it
first, and starts a turn, which interrupts, once it is sure to want one. Words that took no turn are taken out of the user
aggregator, which puts every transcript into the next turn whether or not one is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from loguru import logger
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerTranscriptionFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start import BaseUserTurnStartStrategy

from agent.analysis.words import tokens
from pipeline.metrics import prometheus
from pipeline.pipecat_private import SharedSileroVAD
from pipeline.transports.base import CallTransport
from pipeline.turns.barge import (
    Backchannel,
    BargeIn,
    Decision,
    Ducked,
    Interrupted,
    Observation,
    Parameters,
    Resumed,
    Speech,
    Started,
    Tick,
    Tutor,
    Voice,
    VoiceEdge,
    Words,
)
from pipeline.turns.echo import level_db

EXPECTED_DOUBT = 0.2
"""What is taken off the confidence of an expected reply: who looks for a few finds one of them in any short sound."""


class Audience(Protocol):
    """Who keeps the record of a call."""

    def speech(self) -> Speech:
        """What the tutor says now."""
        ...

    def ducked(self, onset_at: float) -> None:
        """The tutor was held, for a voice that began at ``onset_at`` (monotonic seconds)."""
        ...

    def backchannel(self, words: tuple[str, ...]) -> None:
        """The learner said ``words`` over the tutor and wants no turn for it."""
        ...

    async def dropped(self, frame: TranscriptionFrame) -> None:
        """These words belong to no turn."""
        ...

    async def belated(self, frame: TranscriptionFrame) -> bool:
        """These words belong to the turn before; false where there was none that they could be added to."""
        ...


class VerdictTurnStart(BaseUserTurnStartStrategy):
    """Starts a learner's turn; over the tutor only after a verdict. ``audience`` is set before the call begins.

    ``interrupt`` stops the tutor and returns once that has passed the whole pipeline. ``say_again``: the strategy that ends
    turns takes only words into account that come within one. ``interrupts``: whether a turn stops the tutor; otherwise the
    tutor is not held either, and speaks on.
    """

    def __init__(
        self,
        vad: SharedSileroVAD,
        transport: CallTransport,
        parameters: Parameters,
        *,
        interrupt: Callable[[], Awaitable[bool]],
        say_again: bool,
        interrupts: bool = True,
    ) -> None:
        super().__init__(enable_interruptions=interrupts)
        self._interrupts = interrupts
        self._interrupt = interrupt
        self._say_again = say_again
        self.audience: Audience | None = None
        self._transport = transport
        self._barge = BargeIn(parameters)
        self._undecided: list[TranscriptionFrame] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        vad.on_window(self._on_window)
        transport.playout.on_played = self._on_played

    async def cleanup(self) -> None:
        """Ends the timer and what is under way."""
        await super().cleanup()
        self._transport.playout.on_played = None
        self._set_timer(None)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def handle_user_turn_started(self) -> None:
        """Whoever started it."""
        self._undecided.clear()
        self._barge.turn_began(time.monotonic())

    async def handle_user_turn_stopped(self) -> None:
        """However it was ended."""
        self._barge.turn_over()

    def _on_played(self, pcm16: bytes, at: float) -> None:
        self._barge.echo.played(at, level_db(pcm16))

    def _on_window(self, probability: float, window: bytes) -> None:
        # Inline, since the tutor is to be held at once; what takes longer follows in a task.
        self._observe_soon(Voice(time.monotonic(), probability, level_db(window)))

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Takes in what the frame tells."""
        await super().process_frame(frame)
        now_s = time.monotonic()
        match frame:
            case VADUserStartedSpeakingFrame():
                await self._observe(VoiceEdge(now_s, True, now_s - frame.start_secs))
            case VADUserStoppedSpeakingFrame():
                await self._observe(VoiceEdge(now_s, False, now_s - frame.stop_secs))
            case BotStartedSpeakingFrame():
                await self._observe(Tutor(now_s, True))
            case BotStoppedSpeakingFrame():
                await self._observe(Tutor(now_s, False))
            case InterimTranscriptionFrame() | EagerTranscriptionFrame():
                await self._observe(Words(now_s, tuple(tokens(frame.text))))
            case TranscriptionFrame():
                await self._worded(frame, now_s)
        return ProcessFrameResult.CONTINUE

    async def _worded(self, frame: TranscriptionFrame, now_s: float) -> None:
        owner = self._barge.owner(now_s=now_s)
        decisions = self._decide(Words(now_s, tuple(tokens(frame.text)), True, _confidence(frame)))
        if any(isinstance(d, Interrupted) and d.late for d in decisions):
            self._spawn(self._start_late(frame))
            return
        await self._follow(decisions)
        if self._barge.in_turn or not frame.text.strip():
            return
        if owner == "nobody":
            if self._barge.held:
                self._undecided.append(frame)
            else:
                await self._drop([frame])
        elif self.audience is not None and await self.audience.belated(frame):
            await self.trigger_reset_aggregation()

    async def _start_late(self, frame: TranscriptionFrame) -> None:
        """Start a turn all of which is said already. Its end follows at once, so the interruption has to be through before."""
        if self._interrupts:
            await self._interrupt()
        if self._say_again:
            await self.trigger_reset_aggregation()
        await self.trigger_user_turn_started(enable_interruptions=False)
        if self._say_again:
            await self.push_frame(frame)

    async def _drop(self, frames: list[TranscriptionFrame]) -> None:
        if not frames:
            return
        await self.trigger_reset_aggregation()
        if self.audience is not None:
            for frame in frames:
                await self.audience.dropped(frame)

    def _decide(self, what: Observation) -> list[Decision]:
        if self.audience is not None and self._barge.held:
            self._barge.speech = self.audience.speech()
        decisions = self._barge.observe(what)
        for decision in decisions:
            self._act_at_once(decision)
        self._set_timer(self._barge.next_check_s)
        return decisions

    def _act_at_once(self, decision: Decision) -> None:
        match decision:
            case Ducked() if not self._interrupts:
                if self.audience is not None:
                    self._barge.speech = self.audience.speech()
            case Resumed() | Interrupted() if not self._interrupts:
                pass
            case Ducked():
                self._transport.hold()
                if self.audience is not None:
                    self._barge.speech = self.audience.speech()
                    self.audience.ducked(decision.onset_s)
            case Resumed():
                self._transport.resume()
                prometheus.BARGE_IN_VERDICTS.labels(decision.why).inc()
                logger.debug("the tutor goes on: {}", decision.why)
            case Interrupted():
                prometheus.BARGE_IN_VERDICTS.labels("real").inc()
            case Backchannel():
                if self.audience is not None:
                    self.audience.backchannel(decision.words)

    async def _follow(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Started() | Interrupted():
                    self._undecided.clear()
                    # The interruption ends the hold, when it reaches the output.
                    await self.trigger_user_turn_started()
                case Resumed():
                    frames, self._undecided = self._undecided, []
                    await self._drop(frames)

    async def _observe(self, what: Observation) -> None:
        await self._follow(self._decide(what))

    def _observe_soon(self, what: Observation) -> None:
        decisions = self._decide(what)
        if any(isinstance(d, (Started, Interrupted, Resumed)) for d in decisions):
            self._spawn(self._follow(decisions))

    def _set_timer(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            delay_s = max(0.0, at_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, lambda: self._observe_soon(Tick(time.monotonic())))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _confidence(frame: TranscriptionFrame) -> float | None:
    """The mean confidence of the words of a final, ``None`` where its recogniser gives none."""
    values = [w.confidence for w in getattr(frame.result, "words", ()) if w.confidence is not None]
    if not values:
        return None
    doubt = EXPECTED_DOUBT if getattr(frame.result, "source", "free") == "expected" else 0.0
    return float(sum(values) / len(values) - doubt)
