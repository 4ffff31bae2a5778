"""What the LLM writes: at once where it answers a turn, only after the confirmation where it answers a guess."""

from __future__ import annotations

import pytest
from pipecat.frames.frames import Frame, InterruptionFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame

from pipeline.metrics import prometheus
from pipeline.observing.written import WrittenReplies
from pipeline.speculation import WithdrawnFrame


class Page:
    """What was let out, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.times: list[float] = []
        self.written = WrittenReplies(self._on_written)

    async def _on_written(self, frame: Frame, at_s: float) -> None:
        self.seen.append(frame.text if isinstance(frame, LLMTextFrame) else type(frame).__name__)
        self.times.append(at_s)

    async def writes(self, *frames: Frame) -> None:
        for frame in frames:
            await self.written.on_llm(None, frame)

    async def answers(self, text: str) -> None:
        await self.writes(LLMFullResponseStartFrame(), LLMTextFrame(text), LLMFullResponseEndFrame())


def answer(text: str) -> list[str]:
    return ["LLMFullResponseStartFrame", text, "LLMFullResponseEndFrame"]


def wasted() -> float:
    return prometheus.SPECULATION_WASTED_TOKENS._value.get()


@pytest.fixture
def page() -> Page:
    return Page()


async def test_an_answer_to_a_turn_is_let_out_as_it_comes(page: Page) -> None:
    await page.answers("Hello.")
    page.written.when_said(lambda: page.seen.append("done"))
    assert page.seen == [*answer("Hello."), "done"]


async def test_an_answer_to_a_guess_waits_with_what_follows_from_it(page: Page) -> None:
    page.written.hold()
    await page.answers("Hello.")
    page.written.when_said(lambda: page.seen.append("done"))
    assert page.seen == []
    await page.written.confirm()
    assert page.seen == [*answer("Hello."), "done"]
    assert page.times == sorted(page.times)
    await page.answers("And you?")
    assert page.seen[4:] == answer("And you?")


async def test_what_is_written_while_it_is_let_out_comes_behind_it(page: Page) -> None:
    page.written.hold()
    await page.answers("Hello.")
    page.written.when_said(lambda: page.written.when_said(lambda: page.seen.append("inner")))
    page.written.when_said(lambda: page.seen.append("outer"))
    await page.written.confirm()
    assert page.seen == [*answer("Hello."), "outer", "inner"]


async def test_a_withdrawn_answer_is_never_seen_and_neither_is_its_rest(page: Page) -> None:
    before = wasted()
    page.written.hold()
    await page.answers("Hello.")
    page.written.withdraw()
    await page.writes(LLMTextFrame("late"), WithdrawnFrame())
    assert wasted() == before + 1
    await page.answers("Good morning.")
    assert page.seen == answer("Good morning.")


async def test_an_interruption_ends_the_wait(page: Page) -> None:
    page.written.hold()
    await page.answers("Hello.")
    await page.writes(InterruptionFrame())
    await page.written.confirm()
    assert page.seen == []
    await page.answers("Yes?")
    assert page.seen == answer("Yes?")
