"""Models that every call shares: loaded and warmed once per process, before it is ready."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
from pipecat.audio.vad.vad_analyzer import VADParams

from pipeline.faults.spare_voice import SpareVoice
from pipeline.pipecat_private import CallVAD, SharedSileroVAD, SharedSmartTurn, import_the_rest, load_silero, load_smart_turn
from pipeline.settings.tree import TurnSettings, VADSettings


class SharedModels:
    """Silero VAD, smart-turn with the threads that it runs on, and the spare voice."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._silero: onnxruntime.InferenceSession | None = None
        self._smart_turn: onnxruntime.InferenceSession | None = None
        self._spare_voice: SpareVoice | None = None

    async def load(self) -> None:
        """Load the models off the loop and run each once."""
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="smart-turn")
        await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    def _load(self) -> None:
        assert self._executor is not None
        import_the_rest()
        self._silero = load_silero()
        vad = SharedSileroVAD(self._silero, VADParams())
        vad.set_sample_rate(16_000)
        vad.voice_confidence(bytes(1024))
        self._smart_turn = load_smart_turn()
        SharedSmartTurn(self._smart_turn, self._executor).warm_up()
        self._spare_voice = SpareVoice.render()

    def vad(self, settings: VADSettings) -> CallVAD:
        """A voice activity detector for one call."""
        assert self._silero is not None, "models are not loaded"
        params = VADParams(
            confidence=settings.confidence,
            start_secs=settings.start_s,
            stop_secs=settings.stop_s,
            min_volume=settings.min_volume,
        )
        return CallVAD(self._silero, params, sure=settings.sure)

    def smart_turn(self, settings: TurnSettings) -> SharedSmartTurn:
        """A turn analyzer for one call."""
        assert self._smart_turn is not None, "models are not loaded"
        assert self._executor is not None
        return SharedSmartTurn(self._smart_turn, self._executor, incomplete_wait_s=settings.incomplete_wait_s)

    @property
    def spare_voice(self) -> SpareVoice:
        """The lines that are said when the tutor's own voice fails."""
        assert self._spare_voice is not None, "models are not loaded"
        return self._spare_voice

    async def close(self) -> None:
        """End the threads. Safe to call twice."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)
