"""A tutor's stage in a pipeline of its own, and what comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from agent.tutor import Message, TutorReply
from pipeline.engine import CallState
from pipeline.llm.tutor_service import TutorLLMService
from pipeline.pipecat_private import watch_speculation


class Out(FrameProcessor):
    """What would go to the voice."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)


@dataclass
class Tutoring:
    """One call's tutor."""

    call: CallState
    out: Out
    worker: PipelineWorker
    errors: list[ErrorFrame] = field(default_factory=list)
    replies: list[TutorReply] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was said so far."""
        return "".join(f.text for f in self.out.frames if isinstance(f, LLMTextFrame))

    def count(self, kind: type[Frame]) -> int:
        """How many frames of ``kind`` came out."""
        return sum(isinstance(f, kind) for f in self.out.frames)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what has no event."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def ask(self, messages: Sequence[Message], *, speculation: bool = False) -> None:
        """Give the conversation, and do not wait."""
        context = LLMContext(messages=list(messages))  # type: ignore[arg-type]
        await self.worker.queue_frame(LLMContextFrame(context=context, speculation=speculation))

    async def answer(self, messages: Sequence[Message]) -> str:
        """The answer to the conversation, once it is whole, or as far as it came."""
        before, ends = self.text, self.count(LLMFullResponseEndFrame)
        await self.ask(messages)
        await self.until(lambda: self.count(LLMFullResponseEndFrame) > ends)
        return self.text[len(before) :]

    async def interrupt(self, frame: InterruptionFrame | None = None) -> None:
        """Interrupt, and wait until that has passed."""
        seen = self.count(InterruptionFrame)
        await self.worker.queue_frame(frame or InterruptionFrame())
        await self.until(lambda: self.count(InterruptionFrame) > seen)


@asynccontextmanager
async def tutoring(create: Callable[[CallState], TutorLLMService], **call: str) -> AsyncIterator[Tutoring]:
    """The stage that ``create`` makes, running."""
    state = CallState("test", call.get("level", "beginner"), call.get("lesson", "introductions"))  # type: ignore[arg-type]
    replies: list[TutorReply] = []
    state.on_reply = replies.append
    stage, out = create(state), Out()
    watch_speculation(stage)  # as a call does
    worker = PipelineWorker(
        Pipeline([stage, out]),
        params=PipelineParams(),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    started = asyncio.Event()
    tutor = Tutoring(state, out, worker, replies=replies)
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    worker.add_event_handler("on_pipeline_error", lambda _worker, frame: tutor.errors.append(frame))
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(started.wait(), 20)
    try:
        yield tutor
    finally:
        await worker.cancel()
        await asyncio.wait({running}, timeout=10)
