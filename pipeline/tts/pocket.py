"""Kyutai's Pocket TTS, in the process, on the CPU: copies of the model that calls take turns with, a clause at a time."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from agent.record import Word
from pipeline.engine import CallState, EngineState, EngineStatus, NotLoaded
from pipeline.engine_manager.launch import models_dir
from pipeline.options import OptionName
from pipeline.settings.tree import PocketSettings, Settings
from pipeline.tts.clauses import ClauseAggregator
from pipeline.tts.normalise import spoken
from pipeline.tts.resample import StreamResampler
from pipeline.tts.spoken_text import pieces
from pipeline.tts.word_times import WordTimer

OnWords = Callable[[str, list[Word]], None]
FRAME_S = 0.02


class PocketTTSService(TTSService):
    """Speaks a call's replies. Emits mono pcm16 at the pipeline's output rate in frames of 20 ms.

    The model tells no word times: a clause's words share its sound by their lengths, once all of it is there.
    """

    def __init__(self, engine: PocketEngine, *, on_words: OnWords | None = None, **kwargs: Any) -> None:
        super().__init__(
            push_text_frames=False,
            push_start_frame=True,
            push_stop_frames=True,
            stop_frame_timeout_s=10.0,
            settings=TTSSettings(model=None, voice=engine.voice, language=None),
            **kwargs,
        )
        self.on_words = on_words
        self._engine = engine
        self._text_aggregator = ClauseAggregator()  # type: ignore[assignment]  # as pipecat's own services replace it
        self._stops: dict[str, threading.Event] = {}
        self._samples: dict[str, int] = {}

    def can_generate_metrics(self) -> bool:
        """pipecat measures this service's time to first byte."""
        return True

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        """Stop the synthesis of an interrupted reply."""
        self._forget(context_id)

    async def on_audio_context_completed(self, context_id: str) -> None:
        """All that was there of a reply has left."""
        self._forget(context_id)

    async def cleanup(self) -> None:
        """Stop whatever is still being synthesised."""
        for context_id in list(self._stops):
            self._forget(context_id)
        await super().cleanup()  # type: ignore[no-untyped-call]

    def _forget(self, context_id: str) -> None:
        stop = self._stops.pop(context_id, None)
        if stop is not None:
            stop.set()
        self._samples.pop(context_id, None)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speak a clause; at least one frame, of silence if need be, since pipecat closes contexts behind audio."""
        stop = self._stops.setdefault(context_id, threading.Event())
        began = self._samples.setdefault(context_id, 0)
        await self.start_tts_usage_metrics(text)
        try:
            for piece in pieces(text):
                timer = WordTimer(piece.tokens, self.sample_rate, self._samples.get(context_id, 0))
                timer.start(0, 0)
                # The model reads what is spelled out; a piece of signs alone goes over as it is.
                async for pcm16 in self._frames(spoken(" ".join(t.text for t in piece.tokens)) or piece.spoken, stop):
                    timer.audio(pcm16)
                    yield self._frame(pcm16, context_id)
                if stop.is_set():
                    return
                words = timer.finish()
                if self.on_words is not None:
                    self.on_words(context_id, words)
                await self.add_word_timestamps([(word.text, word.start_s) for word in words], context_id)
        except Exception as e:  # Whatever the library raises, the call goes on: with the spare voice.
            yield ErrorFrame(f"pocket: {e}")
        if self._samples.get(context_id) == began:
            yield self._frame(bytes(2 * round(FRAME_S * self.sample_rate)), context_id)

    def _frame(self, pcm16: bytes, context_id: str) -> Frame:
        if context_id in self._samples:
            self._samples[context_id] += len(pcm16) // 2
        return TTSAudioRawFrame(pcm16, self.sample_rate, 1, context_id=context_id)

    async def _frames(self, spoken: str, stop: threading.Event) -> AsyncGenerator[bytes, None]:
        """``spoken`` in frames of 20 ms at the stage's rate, the last one filled with silence."""
        size = 2 * round(FRAME_S * self.sample_rate)
        resampler = StreamResampler(self._engine.rate_hz, self.sample_rate)
        pending = bytearray()
        async with contextlib.aclosing(self._engine.speak(spoken, stop)) as sound:
            async for pcm16 in sound:
                pending += resampler.process(pcm16)
                while len(pending) >= size:
                    yield bytes(pending[:size])
                    del pending[:size]
        pending += resampler.flush()
        pending += bytes(-len(pending) % size)
        for at in range(0, len(pending), size):
            yield bytes(pending[at : at + size])


class PocketEngine:
    """``pipeline.engine.Engine`` for Pocket TTS. A copy of the model speaks one clause at a time, so there are ``at_once``."""

    name: str = "pocket"
    stage: Literal["stt", "llm", "tts"] = "tts"
    honours: frozenset[OptionName] = frozenset()

    def __init__(self, settings: PocketSettings, library: Any) -> None:
        """``library``: the module ``pocket_tts``."""
        self._settings = settings
        self._library = library
        self._threads: ThreadPoolExecutor | None = None
        self._idle: asyncio.LifoQueue[tuple[Any, Any]] = asyncio.LifoQueue()
        self._state: EngineState = "unloaded"
        self._error: str | None = None
        self._active = 0
        self.voice = settings.voice
        self.rate_hz = 24_000

    async def load(self) -> None:
        """Load the copies (and download the model, the first time), and have each say a word."""
        self._state, self._error = "loading", None
        self._threads = ThreadPoolExecutor(self._settings.at_once, thread_name_prefix="pocket")
        self._idle = asyncio.LifoQueue()
        loop = asyncio.get_running_loop()
        try:
            for _ in range(self._settings.at_once):
                model, voice = await loop.run_in_executor(self._threads, self._load)
                self.rate_hz = int(model.sample_rate)
                self._idle.put_nowait((model, voice))
                async for _ in self.speak("Ready.", threading.Event()):
                    pass
        except BaseException as e:
            self._state, self._error = "failed", str(e) or type(e).__name__
            raise
        self._state = "ready"

    def _load(self) -> tuple[Any, Any]:
        model = self._library.TTSModel.load_model(temp=self._settings.temp, quantize=self._settings.quantize)
        return model, model.get_state_for_audio_prompt(self._settings.voice)

    async def close(self) -> None:
        """End the threads and let the models go. Safe to call twice."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        self._idle = asyncio.LifoQueue()
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The engine's state now."""
        detail: dict[str, Any] = {"voice": self.voice, "sample_rate_hz": self.rate_hz, "active": self._active}
        if self._error is not None:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Admits every call; ``limits.max_calls`` says how many the machine can speak for.

        Raises:
            NotLoaded: the engine is not loaded.
        """
        if self._state != "ready":
            raise NotLoaded("text to speech is not loaded")

    def create(self, call: CallState) -> PocketTTSService:
        """The voice of one call."""
        return PocketTTSService(self)

    async def speak(self, text: str, stop: threading.Event) -> AsyncGenerator[bytes, None]:
        """``text`` as mono pcm16 at ``rate_hz``, piece by piece as it is made. Setting ``stop`` ends it early."""
        if self._threads is None:
            raise RuntimeError("text to speech is not loaded")
        loop = asyncio.get_running_loop()
        idle, threads = self._idle, self._threads
        model, voice = await idle.get()
        self._active += 1
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

        def work() -> None:
            try:
                for piece in model.generate_audio_stream(voice, text, copy_state=True, stop=stop):
                    samples = np.clip(np.asarray(piece, dtype=np.float32), -1.0, 1.0)
                    loop.call_soon_threadsafe(pieces.put_nowait, (samples * 32_767).astype(np.int16).tobytes())
                    if stop.is_set():
                        break
            finally:
                loop.call_soon_threadsafe(pieces.put_nowait, None)

        working = loop.run_in_executor(threads, work)
        # A copy is free when its thread has left it, be it later than its listener.
        working.add_done_callback(lambda _: self._release(idle, model, voice))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await working
        finally:
            if not working.done():
                stop.set()

    def _release(self, idle: asyncio.LifoQueue[tuple[Any, Any]], model: Any, voice: Any) -> None:
        self._active -= 1
        idle.put_nowait((model, voice))


def make_engine(settings: Settings) -> PocketEngine:
    """The engine as ``settings`` want it.

    Raises:
        ModuleNotFoundError: the library is not installed.
    """
    # The library takes the place of its weights from nowhere else, and looks when it is imported.
    os.environ.setdefault("HF_HUB_CACHE", str(models_dir(settings)))
    return PocketEngine(settings.tts.pocket, importlib.import_module("pocket_tts"))
