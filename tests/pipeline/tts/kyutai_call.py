"""A pipeline of the Kyutai voice alone, and what comes out of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

from agent.record import Word
from pipeline.engine import CallState
from pipeline.settings.tree import KyutaiTTSSettings
from pipeline.speculation import HeldReply
from pipeline.tts.kyutai import KyutaiEngine
from pipeline.tts.kyutai_stage import KyutaiTTSService
from tests.pipeline.tts.collector import LIVE_S, Collector


@dataclass
class Bench:
    """A pipeline of the service alone."""

    service: KyutaiTTSService
    out: Collector
    worker: PipelineWorker
    words: dict[str, list[Word]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, *frames: Frame) -> None:
        await self.worker.queue_frames(list(frames))

    async def write(self, text: str) -> None:
        """A reply, written word by word."""
        pieces = [LLMTextFrame(piece) for piece in _pieces(text)]
        await self.send(LLMFullResponseStartFrame(), *pieces, LLMFullResponseEndFrame())

    async def reply(self, text: str) -> str:
        """Speak a reply to its end; returns its context id."""
        stopped = len(self.out.of(TTSStoppedFrame))
        await self.write(text)
        await self.out.wait(lambda: len(self.out.of(TTSStoppedFrame)) > stopped)
        context_id = self.out.of(TTSStoppedFrame)[stopped].context_id
        assert context_id is not None
        return context_id

    async def passed(self) -> None:
        """Until all that was queued has gone through."""
        ends = len(self.out.of(LLMFullResponseEndFrame))
        await self.send(LLMFullResponseStartFrame(), LLMFullResponseEndFrame())
        await self.out.wait(lambda: len(self.out.of(LLMFullResponseEndFrame)) > ends)

    def audio(self, context_id: str) -> np.ndarray:
        """int16 (samples,) of one context."""
        return np.frombuffer(
            b"".join(f.audio for f in self.out.of(TTSAudioRawFrame) if f.context_id == context_id), dtype=np.int16
        )

    def text(self, context_id: str) -> str:
        return " ".join(w.text for w in self.words.get(context_id, []))


def _pieces(text: str) -> list[str]:
    """As a language model writes: the space comes with the next word."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


@contextlib.asynccontextmanager
async def speaking(
    url: str, rate_hz: int = 24_000, *, gate: HeldReply | None = None, **settings: object
) -> AsyncIterator[Bench]:
    """The running pipeline, which ends with the last of what it has to say; nothing is open behind it."""
    engine = KyutaiEngine(KyutaiTTSSettings.model_validate({"url": url, **settings}))
    service, out = engine.create(CallState("s1", "intermediate", "introductions")), Collector()
    worker = PipelineWorker(
        Pipeline([service, *([gate] if gate is not None else []), out]),
        params=PipelineParams(audio_out_sample_rate=rate_hz),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    bench = Bench(service, out, worker)

    async def on_error(_service: object, error: ErrorFrame) -> None:
        bench.errors.append(error.error)
        bench.failed.set()

    def on_words(context_id: str, words: list[Word]) -> None:
        bench.words.setdefault(context_id, []).extend(words)

    if gate is None:
        service.on_words = on_words
    else:
        service.on_words, gate.words_to = gate.on_words, on_words
    service.add_event_handler("on_error", on_error)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run(auto_end=True))
    try:
        yield bench
    finally:
        await worker.queue_frame(EndFrame())
        async with asyncio.timeout(LIVE_S):
            await running
    assert engine.status().detail["active"] == 0
