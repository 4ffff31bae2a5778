"""What the LLM writes, and what follows from it, in order. Where it answers a guess it is held until the guess is confirmed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import Frame, InterruptionFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame

from pipeline.metrics import prometheus
from pipeline.speculation import WithdrawnFrame
from pipeline.turns.gate import Gate


@dataclass(frozen=True, slots=True)
class _Written:
    """A frame of the LLM, and when it came."""

    frame: Frame
    at_s: float


class WrittenReplies:
    """``on_written`` gets each frame of an answer that is given, and when it was written, in monotonic seconds."""

    def __init__(self, on_written: Callable[[Frame, float], Awaitable[None]]) -> None:
        self._on_written = on_written
        self._gate: Gate[_Written | Callable[[], None]] = Gate()

    async def on_llm(self, _processor: Any, frame: Frame) -> None:
        """What the LLM pushes."""
        if isinstance(frame, (LLMFullResponseStartFrame, LLMTextFrame, LLMFullResponseEndFrame)):
            for item in self._gate.take(_Written(frame, time.monotonic())):
                await self._let_out(item)
        elif isinstance(frame, WithdrawnFrame):  # which is an InterruptionFrame, too
            self._gate.mark()
        elif isinstance(frame, InterruptionFrame):
            self._wasted(self._gate.clear())

    def when_said(self, action: Callable[[], None]) -> None:
        """Do ``action``, which follows from what the LLM writes, unless that answers a guess: then when it is confirmed."""
        for item in self._gate.take(action):
            assert callable(item)
            item()

    def hold(self) -> None:
        """What the LLM writes from now on answers a guess: it is neither shown nor recorded."""
        self._gate.hold()

    async def confirm(self) -> None:
        """The guess was right: the answer is the tutor's."""
        while held := self._gate.drain():
            for item in held:
                await self._let_out(item)
        self._gate.release()

    def withdraw(self) -> None:
        """The guess was wrong: nothing was written."""
        self._wasted(self._gate.withdraw())

    async def _let_out(self, item: _Written | Callable[[], None]) -> None:
        if isinstance(item, _Written):
            await self._on_written(item.frame, item.at_s)
        else:
            item()

    def _wasted(self, dropped: Sequence[_Written | Callable[[], None]]) -> None:
        pieces = sum(isinstance(x, _Written) and isinstance(x.frame, LLMTextFrame) for x in dropped)
        prometheus.SPECULATION_WASTED_TOKENS.inc(pieces)
