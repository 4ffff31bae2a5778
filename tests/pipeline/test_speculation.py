"""Answers to a guess, with pipecat's own pipeline and the real voice: held, confirmed, withdrawn, interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMAssistantAggregator
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallFromLLM, LLMService
from pipecat.workers.runner import WorkerRunner

from agent.record import Word
from pipeline.engine import CallState
from pipeline.settings.tree import Settings
from pipeline.speculation import HeldReply, Speculation
from pipeline.tts.espeak import make_engine


class Echo(LLMService):
    """Says what it was told, a word at a time; ``slow`` keeps it from its last word until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: asyncio.Event | None = None
        self.tool: FunctionCallFromLLM | None = None
        self.finished = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        if self.tool is not None:
            await self.run_function_calls([self.tool])
            return
        said: Any = frame.context.messages[-1]
        words = f"You said, {said['content']}. Is that right?".split()
        await self.push_frame(LLMFullResponseStartFrame())
        for word in words[:-1]:
            await self.push_frame(LLMTextFrame(word + " "))
        if self.slow is not None:
            await self.slow.wait()
        await self.push_frame(LLMTextFrame(words[-1]))
        await self.push_frame(LLMFullResponseEndFrame())
        self.finished += 1


class Wire(FrameProcessor):
    """What would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    @property
    def pcm(self) -> bytes:
        return b"".join(f.audio for f in self.frames if isinstance(f, TTSAudioRawFrame))

    def count(self, kind: type[Frame]) -> int:
        return sum(isinstance(f, kind) for f in self.frames)


@dataclass
class Seen:
    """What the call's observer would be told."""

    events: list[str] = field(default_factory=list)

    def hold(self) -> None:
        self.events.append("hold")

    async def confirm(self) -> None:
        self.events.append("confirm")

    def withdraw(self) -> None:
        self.events.append("withdraw")


@dataclass
class Bench:
    llm: Echo
    wire: Wire
    gate: HeldReply
    context: LLMContext
    speculation: Speculation
    seen: Seen
    worker: PipelineWorker
    words: list[Word]
    headroom: list[bool]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    async def guess(self, text: str) -> None:
        """Begin an answer, and wait until it is held whole."""
        done = self.llm.finished
        await self.speculation.begin(text)
        await self.until(lambda: self.llm.finished == done + 1)
        held = -1
        while held != self.gate._gate.held:
            held = self.gate._gate.held
            await asyncio.sleep(0.2)
        assert held > 10

    async def said(self, text: str) -> None:
        """The turn is over and stands in the context."""
        self.context.add_message({"role": "user", "content": text})

    async def spoken(self) -> None:
        """The whole answer has gone on."""
        ends = self.wire.count(LLMFullResponseEndFrame)
        await self.until(lambda: self.wire.count(LLMFullResponseEndFrame) > ends or ends)
        size = -1
        while size != len(self.wire.pcm):
            size = len(self.wire.pcm)
            await asyncio.sleep(0.2)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    engine = make_engine(Settings())
    await engine.load()
    context, headroom, words = LLMContext(), [True], []
    llm, gate, wire, seen = Echo(), HeldReply(), Wire(), Seen()
    tts = engine.create(CallState("test", "intermediate", "introductions"))
    gate.words_to = lambda _context_id, timed: words.extend(timed)
    tts.on_words = gate.on_words
    speculation = Speculation(context, llm, gate, may=lambda: headroom[-1])
    speculation.audience = seen
    worker = PipelineWorker(
        Pipeline([llm, tts, gate, wire, LLMAssistantAggregator(context)]),
        params=PipelineParams(audio_out_sample_rate=24_000),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(started.wait(), 20)
    yield Bench(llm, wire, gate, context, speculation, seen, worker, words, headroom)
    await worker.cancel()
    await asyncio.wait({running}, timeout=10)
    await engine.close()


async def straight(bench: Bench, text: str) -> bytes:
    """The audio of an answer that nobody guessed."""
    await bench.said(text)
    await bench.worker.queue_frame(LLMContextFrame(bench.context))
    await bench.until(lambda: bench.wire.count(LLMFullResponseEndFrame))
    await bench.spoken()
    return bench.wire.pcm


async def test_a_confirmed_answer_is_the_one_that_would_have_been_given(bench: Bench) -> None:
    await bench.guess("I like tea")
    assert not bench.wire.pcm
    assert not bench.words
    assert bench.context.messages == []
    await bench.said("I like tea")
    assert await bench.speculation.confirm()
    await bench.spoken()
    held, held_words = bench.wire.pcm, list(bench.words)
    assert [w.text for w in bench.words] == ["You", "said,", "I", "like", "tea.", "Is", "that", "right?"]
    assert bench.seen.events == ["hold", "confirm"]
    assert not bench.speculation.open
    bench.wire.frames.clear()
    bench.context.set_messages([])
    bench.words.clear()
    # The voice's breath noise is drawn anew each time, so the same words give other samples.
    assert len(await straight(bench, "I like tea")) == len(held)
    assert [w.text for w in bench.words] == [w.text for w in held_words]
    assert all(abs(a.start_s - b.start_s) < 0.02 for a, b in zip(bench.words, held_words, strict=True))


async def test_an_answer_may_be_confirmed_before_it_is_whole(bench: Bench) -> None:
    bench.llm.slow = asyncio.Event()
    await bench.speculation.begin("I like tea")
    await bench.until(lambda: bench.gate._gate.held > 10)
    await bench.said("I like tea")
    assert await bench.speculation.confirm()
    await bench.until(lambda: bench.wire.pcm)
    assert not bench.wire.count(LLMFullResponseEndFrame)
    bench.llm.slow.set()
    await bench.until(lambda: bench.wire.count(LLMFullResponseEndFrame))
    await bench.spoken()
    assert [w.text for w in bench.words][-3:] == ["Is", "that", "right?"]


async def test_a_withdrawn_answer_leaves_nothing(bench: Bench) -> None:
    before = list(bench.wire.frames)
    await bench.guess("I like tea")
    await bench.speculation.withdraw()
    await bench.guess("I like tea and coffee")
    assert bench.wire.frames == before
    assert bench.context.messages == []
    assert bench.seen.events == ["hold", "withdraw", "hold"]
    await bench.said("I like tea and coffee.")
    assert await bench.speculation.confirm()
    await bench.spoken()
    assert [w.text for w in bench.words][4:8] == ["tea", "and", "coffee.", "Is"]
    assert bench.wire.count(LLMFullResponseStartFrame) == bench.wire.count(LLMFullResponseEndFrame) == 1
    assert not bench.wire.count(InterruptionFrame)
    last: Any = bench.context.messages[-1]
    assert "coffee" in last["content"]
    assert sum("You said" in str(m) for m in bench.context.messages) == 1


async def test_an_answer_that_is_withdrawn_in_mid_word_never_ends(bench: Bench) -> None:
    bench.llm.slow = asyncio.Event()
    await bench.speculation.begin("I like tea")
    await bench.until(lambda: bench.gate._gate.held > 3)
    await bench.speculation.withdraw()
    bench.llm.slow.set()
    bench.llm.slow = None
    assert await straight(bench, "No, coffee")
    assert bench.llm.finished == 1
    assert [w.text for w in bench.words][2:4] == ["No,", "coffee."]


async def test_the_answer_to_other_words_is_not_given(bench: Bench) -> None:
    await bench.guess("I like tea")
    assert not bench.speculation.answers("I like the")
    assert bench.speculation.answers("i like TEA.")
    await bench.said("I like the tea")
    assert not await bench.speculation.confirm()
    assert not bench.wire.pcm
    assert bench.seen.events == ["hold", "withdraw"]


async def test_an_interruption_ends_the_guess(bench: Bench) -> None:
    await bench.guess("I like tea")
    await bench.worker.queue_frame(InterruptionFrame())
    await bench.until(lambda: not bench.speculation.open)
    assert bench.seen.events == ["hold", "withdraw"]
    assert not bench.wire.pcm
    assert await straight(bench, "Coffee")


async def test_without_headroom_nothing_is_begun(bench: Bench) -> None:
    bench.headroom.append(False)
    await bench.speculation.begin("I like tea")
    assert not bench.speculation.open
    assert bench.seen.events == []
    assert await straight(bench, "I like tea")


async def test_a_guess_runs_no_tool(bench: Bench) -> None:
    ran: list[str] = []

    async def order_tea(params: Any) -> None:
        ran.append("tea")
        bench.llm.tool = None
        await params.result_callback({"ordered": True})

    bench.llm.register_function("order_tea", order_tea)
    bench.llm.tool = FunctionCallFromLLM(function_name="order_tea", tool_call_id="1", arguments={}, context=bench.context)
    await bench.speculation.begin("A tea, please")
    await asyncio.sleep(0.3)
    assert ran == []
    await bench.speculation.withdraw()
    await bench.said("A tea, please")
    await bench.worker.queue_frame(LLMContextFrame(bench.context))
    await bench.until(lambda: ran)
    assert ran == ["tea"]
