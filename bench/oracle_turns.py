"""Turn stops that are told the end of a turn, for the machine row: one with Parley's detector in it, one for stock pipecat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipecat.frames.frames import EagerTranscriptionFrame, Frame, TranscriptionFrame, VADUserStartedSpeakingFrame
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy

from bench.oracle import Board
from pipeline.turn_stop import PatientTurnStop, sentence_end
from pipeline.turns.detector import Decision, Ended, Observation, Parameters, TurnDetector
from pipeline.turns.endpoint import MAX_WAIT_S, Curve, Pace

NEVER_SOONER = Curve(((1.0, MAX_WAIT_S), (0.0, MAX_WAIT_S)))
"""A waiting curve by which nothing that is heard ends a turn before the ceiling."""


class ToldDetector(TurnDetector):
    """Parley's detector, which guesses as it does, but whose turn ends when it is told, or once it hears silence after that.

    ``told_at`` gives the time at which the present turn is over, or ``None`` where that is not known.
    """

    def __init__(self, parameters: Parameters, *, told_at: Callable[[], float | None], **others: Any) -> None:
        super().__init__(replace(parameters, curve=NEVER_SOONER), **others)
        self._told_at = told_at
        self._told: float | None = None

    @property
    def next_check_s(self) -> float | None:
        """Also when the end is told."""
        check, told = super().next_check_s, self._due()
        if check is None or told is None:  # without silence there is nothing to check
            return check
        return max(self._now_s, min(check, told))

    def observe(self, what: Observation) -> list[Decision]:
        """Take ``what`` in and tell what follows."""
        decisions = super().observe(what)
        told = self._due()
        if told is not None and self._silence is not None and self._now_s + 1e-9 >= told:
            self._told = told
            decisions.append(Ended(self._now_s, self._last_voice_s, self._open_guess, 1.0))
            self.abandon()
        return decisions

    def _due(self) -> float | None:
        told = self._told_at()
        return told if self.in_turn and told != self._told else None


def told_turn_stop(board: Board) -> type[PatientTurnStop]:
    """Parley's own turn-stop strategy with a ``ToldDetector`` in it."""

    class ToldTurnStop(PatientTurnStop):
        def __init__(self, analyzer: Any, parameters: Parameters, *, pace: Pace, **others: Any) -> None:
            super().__init__(analyzer, parameters, pace=pace, **others)
            self._detector = ToldDetector(parameters, told_at=lambda: board.told_at, sentence_end=sentence_end, pace=pace)

        async def process_frame(self, frame: Frame) -> ProcessFrameResult:
            """Parley's own detector waits for the words before it ends a turn; who is told may hear them only after that."""
            result = await super().process_frame(frame)
            if isinstance(frame, EagerTranscriptionFrame) and self._over and self._eager:
                await self._guess()
            return result

    return ToldTurnStop


class StockToldStop(BaseUserTurnStopStrategy):
    """Ends a turn when it is told, and waits for the final words first, as pipecat's own strategies do."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self._over = self._is_final = False
        self._timer: asyncio.Task[None] | None = None

    async def cleanup(self) -> None:
        """Ends the timer."""
        await super().cleanup()
        await self._stop_timer()

    async def handle_user_turn_started(self) -> None:
        """From now on the end is waited for."""
        await self._stop_timer()
        self._over = self._is_final = False
        told = self._board.told_at
        if told is not None:
            self._timer = asyncio.get_running_loop().create_task(self._wait(told))

    async def handle_user_turn_stopped(self) -> None:
        """However it was ended."""
        self._over = self._is_final = False

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """A final before the learner went on is not the last one."""
        await super().process_frame(frame)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._is_final = False
        elif isinstance(frame, TranscriptionFrame) and frame.finalized:
            self._is_final = True
            await self._maybe_end()
        return ProcessFrameResult.CONTINUE

    async def _wait(self, told: float) -> None:
        await asyncio.sleep(max(0.0, told - time.monotonic()))
        self._over = True
        await self._maybe_end()

    async def _maybe_end(self) -> None:
        if self._over and self._is_final:
            await self.trigger_user_turn_stopped()

    async def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)
