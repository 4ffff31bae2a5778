"""An answer that is begun before the turn is surely over: LLM and voice work on it, and nobody hears, sees or keeps any of it
until the turn detector confirms the guess.

pipecat's own gate stands before the voice and so never hides the voice's time. Here the guess runs on a copy of the context,
the gate stands behind the voice, and a guess that is withdrawn sends a ``WithdrawnFrame`` from the LLM to the gate, which
stages take for an interruption. What stands above the LLM and below the gate never learns of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from loguru import logger
from pipecat.frames.frames import EndFrame, Frame, InterruptionFrame, LLMContextFrame, SystemFrame
from pipecat.processors.aggregators.llm_context import LLMContext, LLMContextMessage
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from agent.analysis.words import tokens
from agent.record import Word
from pipeline.metrics import prometheus
from pipeline.pipecat_private import watch_speculation
from pipeline.turns.gate import Gate

OnWords = Callable[[str, list[Word]], None]


class WithdrawnFrame(InterruptionFrame):
    """Stops what LLM and voice do for a withdrawn guess. Goes no further than the gate."""


@dataclass(frozen=True, slots=True)
class _Words:
    context_id: str
    words: list[Word]


class HeldReply(FrameProcessor):
    """The gate: stands between the voice and the transport. ``words_to`` gets the words' times when their audio may go on."""

    def __init__(self) -> None:
        # Without a queue of its own, in which an interruption would overtake what it is to stop.
        super().__init__(enable_direct_mode=True)
        self.words_to: OnWords | None = None
        self.on_interrupted: Callable[[], None] | None = None
        self._gate: Gate[Frame | _Words] = Gate()
        self._interruptions = 0

    def hold(self) -> None:
        """Hold what comes."""
        self._gate.hold()

    async def release(self) -> None:
        """Let go what is held; what comes meanwhile follows behind it."""
        interruptions = self._interruptions
        while items := self._gate.drain():
            for item in items:
                if interruptions != self._interruptions:
                    return
                await self._pass(item)
        self._gate.release()

    def withdraw(self) -> None:
        """Drop what is held, and what comes until the ``WithdrawnFrame``."""
        self._gate.withdraw()

    def on_words(self, context_id: str, words: list[Word]) -> None:
        """The voice tells when it says which words."""
        for item in self._gate.take(_Words(context_id, words)):
            self._tell(cast(_Words, item))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Hold or drop what answers a guess; everything else goes on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, WithdrawnFrame):
            self._gate.mark()
            return
        if isinstance(frame, (InterruptionFrame, EndFrame)):
            self._interruptions += 1
            self._gate.clear()
            if self.on_interrupted is not None:
                self.on_interrupted()
        if direction == FrameDirection.UPSTREAM or isinstance(frame, (SystemFrame, EndFrame)):
            await self.push_frame(frame, direction)
            return
        if self._gate.holding:
            frame.metadata.setdefault("made_at", time.monotonic())
        for item in self._gate.take(frame):
            await self._pass(item)

    async def _pass(self, item: Frame | _Words) -> None:
        if isinstance(item, _Words):
            self._tell(item)
        else:
            await self.push_frame(item)

    def _tell(self, item: _Words) -> None:
        if self.words_to is not None:
            self.words_to(item.context_id, item.words)


class Audience(Protocol):
    """Who sees the LLM's frames of a call, and must not take those of a guess for said."""

    def hold(self) -> None:
        """What the LLM writes from now on answers a guess."""
        ...

    async def confirm(self) -> None:
        """The guess was right: its turn stands in the context, and what was held is said now."""
        ...

    def withdraw(self) -> None:
        """The guess was wrong: forget what was held."""
        ...


class Speculation:
    """The guesses of one call, at most one at a time. ``may`` tells whether there is headroom for one."""

    def __init__(self, context: LLMContext, llm: FrameProcessor, gate: HeldReply, may: Callable[[], bool]) -> None:
        self.audience: Audience | None = None
        self._context = context
        self._llm = llm
        self._gate = gate
        self._may = may
        self._guess: str | None = None
        self._guard = watch_speculation(llm)
        gate.on_interrupted = self._interrupted

    @property
    def open(self) -> bool:
        """Whether an answer to a guess is being made or held."""
        return self._guess is not None

    async def begin(self, text: str) -> None:
        """Answer ``text`` as the learner's whole turn, in secret."""
        if self._guess is not None:
            await self.withdraw()
        if not self._may():
            prometheus.SPECULATIONS.labels("refused").inc()
            return
        self._guess = text
        self._gate.hold()
        if self.audience is not None:
            self.audience.hold()
        provisional = LLMContext(
            messages=[*self._context.messages, cast(LLMContextMessage, {"role": "user", "content": text})],
            tools=self._context.tools,
            tool_choice=self._context.tool_choice,
        )
        await self._llm.queue_frame(LLMContextFrame(context=provisional, speculation=True))

    def answers(self, text: str) -> bool:
        """Whether the answer that is held is one to ``text``: the same words, whatever their spelling and marks."""
        return self._guess is not None and tokens(self._guess) == tokens(text)

    async def confirm(self) -> bool:
        """The turn is over and stands in the context: let the answer go. False where it answers something else."""
        last: Any = self._context.messages[-1] if self._context.messages else None
        said = last.get("content") if isinstance(last, dict) and last.get("role") == "user" else None
        if not isinstance(said, str) or not self.answers(said):
            await self.withdraw()
            return False
        self._guess = None
        self._guard.settle()
        prometheus.SPECULATIONS.labels("confirmed").inc()
        if self.audience is not None:
            await self.audience.confirm()
        await self._gate.release()
        return True

    async def withdraw(self) -> None:
        """The turn is not over, or was another one: stop the answer and forget it."""
        if self._guess is None:
            return
        logger.debug("an answer that was begun too early is withdrawn")
        self._forget()
        self._gate.withdraw()
        await self._llm.queue_frame(WithdrawnFrame())

    def _interrupted(self) -> None:
        # It has stopped everything: there is nothing left to withdraw.
        if self._guess is not None:
            self._forget()

    def _forget(self) -> None:
        self._guess = None
        self._guard.settle()
        prometheus.SPECULATIONS.labels("withdrawn").inc()
        if self.audience is not None:
            self.audience.withdraw()
