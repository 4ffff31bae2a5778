"""A call's pipeline with the Kyutai stage in it, and marked speech to speak into it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pipecat.frames.frames import (
    EagerTranscriptionFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipeline.engine import CallState, Engine
from pipeline.settings.tree import KyutaiSTTSettings
from pipeline.stt.flush import FlushSTTFrame
from pipeline.stt.kyutai_link import stream_url
from pipeline.stt.kyutai_shared import Shared
from pipeline.stt.kyutai_stage import KyutaiSTTService
from tests.pipeline.stt.marked_speech import mark
from tests.pipeline.stt.speech import COFFEE, MARKET, read_pcm, room_tone

SOON_S = 30.0
WORDS = (*MARKET.split(), *COFFEE.split())
"""What the pilots stand for."""
FIRST, SECOND = range(9), range(9, 17)
VOICE_STOP_S = 0.2
Wav = Callable[..., Path]


def sentence(flite_wav: Wav, numbers: range = FIRST) -> bytes:
    """A sentence whose words are marked, from its first sound to its last one."""
    pcm = read_pcm(flite_wav(" ".join(WORDS[n] for n in numbers)))
    return mark(pcm, numbers, begin_s=0.1, end_s=len(pcm) / 32_000)


class StageCall:
    """The stage alone between the ends of a pipeline; the test stands for the voice and turn detectors."""

    def __init__(
        self, url: str, *, spare: Engine | None = None, after: tuple[FrameProcessor, ...] = (), **settings: Any
    ) -> None:
        self.shared = Shared(stream_url(url), KyutaiSTTSettings(url=url, **{"fallback": "none", **settings}), spare)
        self.state = CallState("test", "beginner", "introductions")
        self.pauses: list[float] = []
        self.state.on_pause = self.pauses.append
        self.stt = KyutaiSTTService(self.shared, self.state)
        self.frames: list[Frame] = []
        self.errors: list[ErrorFrame] = []
        self.heard_s = 0.0
        self.stt.add_event_handler("on_before_push_frame", self._on_stt)
        self.worker = PipelineWorker(
            Pipeline([self.stt, *after]),
            params=PipelineParams(audio_in_sample_rate=16_000),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self.worker.add_event_handler("on_pipeline_error", self._on_error)
        self.started = asyncio.Event()
        self.worker.add_event_handler("on_pipeline_started", lambda _worker, _frame: self.started.set())

    async def run(self) -> None:
        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(self.worker)
        await runner.run()

    def _on_stt(self, _stt: FrameProcessor, frame: Frame) -> None:
        self.frames.append(frame)

    async def _on_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        self.errors.append(frame)

    def of(self, kind: type[Any]) -> list[Any]:
        return [f for f in self.frames if isinstance(f, kind)]

    @property
    def finals(self) -> list[TranscriptionFrame]:
        return self.of(TranscriptionFrame)

    @property
    def said(self) -> list[str]:
        """The finals that have words."""
        return [f.text for f in self.finals if f.text.strip()]

    @property
    def partials(self) -> list[str]:
        return [f.text for f in self.of(InterimTranscriptionFrame)]

    @property
    def eager(self) -> list[str]:
        return [f.text for f in self.of(EagerTranscriptionFrame)]

    async def hear(self, pcm: bytes, speed: float = 8.0) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for at in range(0, len(pcm), 640):
            frame = InputAudioRawFrame(pcm[at : at + 640], 16_000, 1)
            self.heard_s += len(frame.audio) / 32_000
            frame.metadata["capture_end_s"] = self.heard_s + 100.0
            await self.worker.queue_frame(frame)
            due += 0.02 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.sleep(0.05)

    async def tell(self, *frames: Frame) -> None:
        """Frames that the stage gets from the rest of the call."""
        for frame in frames:
            await self.stt.queue_frame(frame, FrameDirection.UPSTREAM)
        await asyncio.sleep(0.05)

    async def voice(self) -> None:
        await self.tell(VADUserStartedSpeakingFrame(start_secs=0.2))

    async def silence(self) -> None:
        """The voice detector's own pause, and then its word."""
        await self.hear(room_tone(VOICE_STOP_S))
        await self.tell(VADUserStoppedSpeakingFrame(stop_secs=VOICE_STOP_S))

    async def flush(self, *, commit: bool = False) -> None:
        await self.tell(FlushSTTFrame(commit=commit))

    async def speak(self, pcm: bytes) -> None:
        """A voice, from its beginning until the detector knows that it is over."""
        await self.hear(pcm[:6400])
        await self.voice()
        await self.hear(pcm[6400:])
        await self.silence()

    async def connected(self) -> None:
        await until(lambda: self.stt.link_state == "up")


@contextlib.asynccontextmanager
async def calling(call: StageCall) -> AsyncIterator[StageCall]:
    running = asyncio.create_task(call.run())
    try:
        await asyncio.wait_for(call.started.wait(), SOON_S)
        yield call
    finally:
        await call.worker.cancel()
        await asyncio.wait_for(running, SOON_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  (what is waited for tells nobody)
            await asyncio.sleep(0.02)
