"""The harness's own voice and ears: the embedded engines, so that nothing is downloaded.

Scenarios name them as factories: ``user.speech`` is the voice that speaks the learner's lines, ``judge.transcription`` the
recogniser that writes down what the tutor said. It is a decoder of the 2000s that hears a synthetic voice: let its words show
that the tutor spoke, and judge what the tutor said by ``llm_response``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame, StartFrame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from pipeline.engine import CallState
from pipeline.settings.tree import PocketsphinxSettings
from pipeline.stt.pocketsphinx import PocketsphinxSTTService
from pipeline.stt.sphinx_pool import SphinxPool
from pipeline.tts.espeak_engine import EspeakSynthesizer
from pipeline.tts.espeak_library import EspeakError
from pipeline.tts.resample import StreamResampler

VOICE, RATE_WPM = "en-us+f3", 120
"""Of espeak-ng's voices one that the embedded recogniser understands; as slow as a beginner speaks."""


class HarnessVoice(TTSService):
    """Speaks a simulated learner's line with espeak-ng, whole: the harness paces it."""

    def __init__(self, voice: str, rate_wpm: int) -> None:
        super().__init__(settings=TTSSettings(model=None, voice=voice, language=None))
        self._synthesizer = EspeakSynthesizer()
        self._voice, self._rate_wpm = voice, rate_wpm

    async def start(self, frame: StartFrame) -> None:
        """Load the library."""
        await super().start(frame)
        await self._synthesizer.load()

    async def cleanup(self) -> None:
        """End its thread."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._synthesizer.close()

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yields the line as frames of mono pcm16, or an ``ErrorFrame``."""
        resampler = StreamResampler(self._synthesizer.rate_hz, self.sample_rate)
        try:
            async for chunk in self._synthesizer.synthesize(text, voice=self._voice, rate_wpm=self._rate_wpm, pitch=50):
                if pcm16 := resampler.process(chunk.pcm):
                    yield TTSAudioRawFrame(pcm16, self.sample_rate, 1, context_id=context_id)
        except (ValueError, EspeakError) as e:
            yield ErrorFrame(f"espeak: {e}")
            return
        if pcm16 := resampler.flush():
            yield TTSAudioRawFrame(pcm16, self.sample_rate, 1, context_id=context_id)


class HarnessEars(PocketsphinxSTTService):
    """Writes down what the tutor says, with a worker of its own."""

    def __init__(self) -> None:
        settings = PocketsphinxSettings(workers=1)
        self._own_pool = SphinxPool(1, partials=False)
        super().__init__(self._own_pool, CallState("harness", "advanced", ""), settings=settings)

    async def start(self, frame: StartFrame) -> None:
        """Start the worker and wait until it has its models."""
        await self._own_pool.load()
        await super().start(frame)

    async def cleanup(self) -> None:
        """End it."""
        await super().cleanup()
        await self._own_pool.close()


def voice(config: Mapping[str, Any]) -> HarnessVoice:
    """``user.speech`` of a scenario; ``voice`` is a voice of espeak-ng's, ``rate_wpm`` its rate."""
    return HarnessVoice(str(config.get("voice") or VOICE), int(config.get("rate_wpm") or RATE_WPM))


def ears(_config: Mapping[str, Any]) -> HarnessEars:
    """``judge.transcription`` of a scenario."""
    return HarnessEars()
