"""Whisper by faster-whisper, in the process: one model for all calls, each utterance recognised as a whole when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import faster_whisper
import numpy as np
from pipecat.frames.frames import Frame, TranscriptionFrame
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from agent.record import Word
from pipeline.engine import AtCapacity, CallState, EngineState, EngineStatus
from pipeline.engine_manager.launch import models_dir
from pipeline.options import OptionName
from pipeline.settings.tree import Settings, WhisperSettings
from pipeline.stt.recognition import NOTHING_HEARD, Recognition

RATE_HZ = 16_000
_WAITING = 4
"""Utterances that may wait for each one that is recognised, before further calls are refused."""


class WhisperSTTService(SegmentedSTTService):
    """Recognises what lies between the voice's beginning and its end. A ``Recognition`` is the ``result`` of each final."""

    def __init__(self, engine: WhisperEngine) -> None:
        super().__init__(sample_rate=RATE_HZ, settings=STTSettings(model=engine.name, language=Language.EN))
        self._engine = engine

    @property
    def wants_wav_segments(self) -> bool:
        """False: segments come as plain pcm16."""
        return False

    def can_generate_metrics(self) -> bool:
        """pipecat measures this service's processing time."""
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """Recognise one utterance (16 kHz mono pcm16); one final, ``NOTHING_HEARD`` where there are no words."""
        await self.start_processing_metrics()
        heard = await self._engine.recognise(audio)
        await self.stop_processing_metrics()
        text = heard.text or NOTHING_HEARD
        yield TranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN, result=heard)


class WhisperEngine:
    """``pipeline.engine.Engine`` for faster-whisper: one model, and threads in which it lets go of the GIL."""

    name: str = "whisper"
    stage: Literal["stt", "llm", "tts"] = "stt"
    honours: frozenset[OptionName] = frozenset()

    def __init__(self, settings: WhisperSettings, folder: str) -> None:
        """``folder``: where weights lie, or are downloaded to."""
        self._settings = settings
        self._folder = folder
        self._model: Any = None
        self._threads: ThreadPoolExecutor | None = None
        self._state: EngineState = "unloaded"
        self._error: str | None = None
        self._waiting = 0

    async def load(self) -> None:
        """Load the model (and download it, the first time), and recognise a second of silence."""
        self._state, self._error = "loading", None
        self._threads = ThreadPoolExecutor(self._settings.at_once, thread_name_prefix="whisper")
        try:
            self._model = await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
            await self.recognise(bytes(2 * RATE_HZ))
        except BaseException as e:
            self._state, self._error = "failed", str(e) or type(e).__name__
            raise
        self._state = "ready"

    def _load(self) -> Any:
        own = self._settings
        return faster_whisper.WhisperModel(
            own.model,
            device=own.device,
            compute_type=own.compute_type,
            cpu_threads=own.threads,
            num_workers=own.at_once,
            download_root=self._folder,
        )

    async def close(self) -> None:
        """End the threads and let the model go. Safe to call twice."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        self._model = None
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The engine's state now."""
        detail: dict[str, Any] = {"model": self._settings.model, "device": self._settings.device, "waiting": self._waiting}
        if self._error is not None:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Raise ``AtCapacity`` where utterances wait for their turn already."""
        if self._state != "ready":
            raise AtCapacity(f"the recogniser is {self._state}")
        if self._waiting >= _WAITING * self._settings.at_once:
            raise AtCapacity("the recogniser is behind with its work")

    def create(self, call: CallState) -> WhisperSTTService:
        """The STT stage of one call."""
        return WhisperSTTService(self)

    async def recognise(self, pcm16: bytes) -> Recognition:
        """Recognise one utterance of 16 kHz mono. Work that nobody waits for any more still ends by itself."""
        if self._threads is None:
            raise RuntimeError("the recogniser is not loaded")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._recognise, pcm16)
        finally:
            self._waiting -= 1

    def _recognise(self, pcm16: bytes) -> Recognition:
        began = time.perf_counter()
        audio = np.frombuffer(pcm16, np.int16).astype(np.float32) / 32_768
        # What was said before is no hint of what is said now: with it, Whisper is apt to repeat itself.
        segments, _ = self._model.transcribe(audio, language="en", word_timestamps=True, condition_on_previous_text=False)
        kept = [segment for segment in segments if segment.no_speech_prob <= self._settings.no_speech]
        words = tuple(
            Word(word.word.strip(), float(word.start), float(word.end), float(word.probability))
            for segment in kept
            for word in segment.words or ()
            if word.word.strip()
        )
        took_ms = (time.perf_counter() - began) * 1000
        return Recognition(
            " ".join(filter(None, (segment.text.strip() for segment in kept))),
            words,
            sum(w.confidence or 0.0 for w in words) / len(words) if words else None,
            "free",
            len(audio) / RATE_HZ,
            took_ms,
            took_ms,
        )


def make_engine(settings: Settings) -> WhisperEngine:
    """The engine as ``settings`` want it."""
    return WhisperEngine(settings.stt.whisper, str(models_dir(settings)))
