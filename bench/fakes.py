"""Engines whose times are known, so that what is measured is what lies between them.

STT: a final 50 ms after the voice detector's stop, marked as final. LLM: 20 words, 10 ms each, in sentences of 5 words. TTS: at
once, 300 ms of a 440 Hz tone a word. Frozen: changing one changes what every published figure means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import cache
from typing import Literal

import numpy as np
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from pipeline.engine import CallState, EngineStatus
from pipeline.options import OptionName

STT_FINAL_S = 0.05
STT_TEXT = "the quick brown fox"
LLM_WORDS = 20
LLM_WORD_S = 0.01
LLM_WORDS_PER_SENTENCE = 5
TTS_WORD_MS = 300
TTS_TONE_HZ = 440
TTS_AMPLITUDE = 8000
TTS_CHUNK_MS = 20
ANSWER_S = LLM_WORDS * TTS_WORD_MS / 1000
"""How long the fake tutor speaks."""


class FakeSTT(STTService):
    """Hears the same words in everything."""

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Audio is taken and gives nothing; the text comes with the detector's stop."""
        return
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Start the clock of a final when the voice stops."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self.create_task(self._final())

    async def _final(self) -> None:
        await asyncio.sleep(STT_FINAL_S)
        frame = TranscriptionFrame(STT_TEXT, "", "")
        frame.finalized = True
        await self.push_frame(frame)


class FakeLLM(LLMService):
    """Says the same to everything."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, pass on everything else."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for index in range(LLM_WORDS):
            await asyncio.sleep(LLM_WORD_S)
            last = index % LLM_WORDS_PER_SENTENCE == LLM_WORDS_PER_SENTENCE - 1
            await self.push_frame(LLMTextFrame(f"word{index}{'. ' if last else ' '}"))
        await self.push_frame(LLMFullResponseEndFrame())


@cache
def tone(rate_hz: int) -> bytes:
    """One word: pcm16 mono at ``rate_hz``, whole periods, so that words join without a click."""
    t = np.arange(rate_hz * TTS_WORD_MS // 1000) / rate_hz
    return (TTS_AMPLITUDE * np.sin(2 * np.pi * TTS_TONE_HZ * t)).astype("<i2").tobytes()


class FakeTTS(TTSService):
    """Sings every word on one note."""

    def __init__(self) -> None:
        super().__init__(push_start_frame=True, push_stop_frames=True, stop_frame_timeout_s=0.3)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """All of the audio at once, in chunks of 20 ms."""
        pcm = tone(self.sample_rate) * len(text.split())
        step = self.sample_rate * TTS_CHUNK_MS // 1000 * 2
        for start in range(0, len(pcm), step):
            yield TTSAudioRawFrame(pcm[start : start + step], self.sample_rate, 1, context_id=context_id)


Stage = Literal["stt", "llm", "tts"]


class FakeEngine:
    """One of the fakes as a ``pipeline.engine.Engine``."""

    def __init__(self, stage: Stage, make: Callable[[], FrameProcessor]) -> None:
        self.name = "fake"
        self.stage: Stage = stage
        self.honours: frozenset[OptionName] = frozenset()
        self._make = make

    async def load(self) -> None:
        """Nothing but one of each, so that what a first one imports is imported."""
        await asyncio.to_thread(tone, 24_000)
        self._make()

    async def close(self) -> None:
        """Nothing to release."""

    def status(self) -> EngineStatus:
        """Always ready."""
        return EngineStatus(self.name, self.stage, "ready")

    def admit(self) -> None:
        """Always room."""

    def create(self, call: CallState) -> FrameProcessor:
        """The stage for one call."""
        return self._make()


def fake_engines() -> dict[str, FakeEngine]:
    """The three fakes, for ``web.app.create_app(settings, engines=…)``."""
    return {"stt": FakeEngine("stt", FakeSTT), "llm": FakeEngine("llm", FakeLLM), "tts": FakeEngine("tts", FakeTTS)}
