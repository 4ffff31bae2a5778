"""What answers a chat: a server or a process of one's own. The same interface for both, streamed and cancellable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from loguru import logger

from agent.tutor import Message
from pipeline.brief import AnswerEnd, FunctionCall


class ChatFailed(RuntimeError):
    """No answer, or not the whole of one; the text says why. ``absent``: nobody is there who could answer now."""

    def __init__(self, message: str, *, absent: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.absent = absent
        self.status = status


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a model.

    ``temperature`` 0 always takes the likeliest token. ``schema`` is a JSON schema that the answer must have, where the source
    can see to that; it is part of the prompt in any case. ``on_prompt_tokens`` is told how long the prompt was, where that is
    known. ``tools`` are functions that the model may ask for (OpenAI's form); what it asked for is told to ``on_calls`` when
    the answer is whole. ``on_end`` is told how it ended, where the source knows.
    """

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.7
    top_p: float = 1.0
    stop: Sequence[str] = ()
    schema: dict[str, Any] | None = None
    on_prompt_tokens: Callable[[int], None] | None = field(default=None, compare=False)
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str | dict[str, Any] = "auto"
    on_calls: Callable[[list[FunctionCall]], None] | None = field(default=None, compare=False)
    on_end: Callable[[AnswerEnd], None] | None = field(default=None, compare=False)


class ChatSource(Protocol):
    """Where answers come from."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """The answer in pieces. Closing the generator, or cancelling who reads it, stops the model.

        Raises:
            ChatFailed: at any piece.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds; answers under way fail. Safe to call twice."""
        ...


async def whole(source: ChatSource, request: ChatRequest) -> str:
    """The answer as one text. Raises ``ChatFailed``."""
    async with aclosing(source.stream(request)) as pieces:
        return "".join([piece async for piece in pieces])


class FallbackChat:
    """``first``, and ``second`` in its place while nobody is there.

    Args:
        first: Asked first, unless it was absent within ``forget_after_s``: a machine that does not answer costs
            each turn seconds.
        second: Asked when ``first`` turns out to be absent before it has said anything.
        now: The monotonic clock, in seconds.
        forget_after_s: How long an absence is remembered.
    """

    def __init__(self, first: ChatSource, second: ChatSource, now: Callable[[], float], forget_after_s: float = 5.0) -> None:
        self._first, self._second = first, second
        self._now = now
        self._forget_after_s = forget_after_s
        self._absent_at: float | None = None

    @property
    def on_fallback(self) -> bool:
        """Whether the first one was absent when it was asked last."""
        return self._absent_at is not None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """As ``ChatSource.stream``."""
        if self._absent_at is None or self._now() - self._absent_at >= self._forget_after_s:
            said = False
            try:
                async with aclosing(self._first.stream(request)) as pieces:
                    async for piece in pieces:
                        said = True
                        self._absent_at = None
                        yield piece
                self._absent_at = None
                return
            except ChatFailed as e:
                if said or not e.absent:
                    raise
                logger.warning("the fallback answers: {}", e)
                self._absent_at = self._now()
        async with aclosing(self._second.stream(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close both."""
        await self._first.close()
        await self._second.close()
