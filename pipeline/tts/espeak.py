"""The embedded voice of the tutor: espeak-ng as a pipecat TTS service, and as an engine for the process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from agent.record import Level, Word
from pipeline.engine import CallState, EngineState, EngineStatus
from pipeline.options import OptionName
from pipeline.settings.tree import EspeakSettings, Settings
from pipeline.tts.clauses import ClauseAggregator
from pipeline.tts.espeak_engine import EspeakSynthesizer, Utterance
from pipeline.tts.espeak_library import MAX_RATE_WPM, MIN_RATE_WPM, EspeakError
from pipeline.tts.resample import StreamResampler
from pipeline.tts.spoken_text import pause_s

OnWords = Callable[[str, list[Word]], None]

FRAME_S = 0.02
# Speech rate against the configured one. Of 150 words a minute (English as broadcast is 150 to 170) a beginner hears 128.
LEVEL_RATE: dict[Level, float] = {"beginner": 0.85, "intermediate": 1.0, "advanced": 1.15}
_KEPT_REPLIES = 16


@dataclass(slots=True)
class _Reply:
    """One audio context: a whole reply of the tutor, over all its pieces."""

    rate_wpm: int
    samples: int = 0  # produced so far, pauses and padding included
    reopened_at: int = 0  # where pipecat's own count of the context began, see on_audio_context_completed
    last_text: str = ""
    utterance: Utterance | None = None


class EspeakTTSService(TTSService):
    """Speaks a call's replies with espeak-ng.

    Emits 20 ms frames of mono pcm16 at the pipeline's output rate, so nothing behind it resamples again. The words of a reply
    are timed from the samples produced for it, pauses included: over all its pieces, from the first sample of its context.

    Args:
        synthesizer: Loaded, shared by all calls.
        settings: Voice, rate and pitch.
        call: Its level and its option ``speech_rate`` set the speech rate when a reply begins.
        on_words: Called with the context id and the words that have just become known, in order; together they are the
            reply's words. It may be set later, and runs on the event loop.
        sample_rate: Output rate in Hz; by default the pipeline's.
    """

    def __init__(
        self,
        synthesizer: EspeakSynthesizer,
        *,
        settings: EspeakSettings,
        call: CallState,
        on_words: OnWords | None = None,
        sample_rate: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            push_text_frames=False,
            push_start_frame=True,
            push_stop_frames=True,
            # Every context is closed by the end of its reply. This ends one whose reply never ends; pipecat's 3 s could cut
            # a reply in two where a model thinks in the middle of it.
            stop_frame_timeout_s=10.0,
            sample_rate=sample_rate,
            settings=TTSSettings(model=None, voice=settings.voice, language=None),
            **kwargs,
        )
        self.on_words = on_words
        self._synthesizer = synthesizer
        self._espeak = settings
        self._call = call
        self._text_aggregator = ClauseAggregator()  # type: ignore[assignment]  # as pipecat's own services replace it
        self._replies: OrderedDict[str, _Reply] = OrderedDict()

    def can_generate_metrics(self) -> bool:
        """pipecat measures this service's time to first byte."""
        return True

    async def on_turn_context_created(self, context_id: str) -> None:
        """A reply begins; its speech rate stays as it is now."""
        self._reply(context_id)

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        """Stop the synthesis of an interrupted reply at once."""
        reply = self._replies.pop(context_id, None)
        if reply is not None and reply.utterance is not None:
            reply.utterance.cancel()

    async def on_audio_context_completed(self, context_id: str) -> None:
        """All that was there of a reply has left.

        Where the reply goes on after all (it had been silent for longer than the timeout), pipecat opens the context anew and
        counts its word times from zero, while ours go on.
        """
        reply = self._replies.get(context_id)
        if reply is not None:
            reply.reopened_at = reply.samples

    async def cleanup(self) -> None:
        """Stop whatever is still being synthesised."""
        for reply in self._replies.values():
            if reply.utterance is not None:
                reply.utterance.cancel()
        self._replies.clear()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speak one piece of a reply.

        Yields 20 ms frames; an ``ErrorFrame`` where the piece cannot be spoken. A piece always gives at least one frame, of
        silence if need be (an emoji alone): pipecat closes a context by itself only behind audio, and takes a service that
        was silent three times for broken.
        """
        reply = self._reply(context_id)
        rate_hz = self.sample_rate
        frame_bytes = 2 * round(FRAME_S * rate_hz)
        pending = bytearray()

        def frames(padded: bool = False) -> list[Frame]:
            if padded and len(pending) % frame_bytes:
                pending.extend(bytes(frame_bytes - len(pending) % frame_bytes))
            whole = len(pending) - len(pending) % frame_bytes
            out: list[Frame] = [
                TTSAudioRawFrame(bytes(pending[i : i + frame_bytes]), rate_hz, 1, context_id=context_id)
                for i in range(0, whole, frame_bytes)
            ]
            del pending[:whole]
            reply.samples += whole // 2
            return out

        try:
            utterance = self._synthesizer.synthesize(
                text, voice=str(self._settings.voice), rate_wpm=reply.rate_wpm, pitch=self._espeak.pitch
            )
            resampler = StreamResampler(self._synthesizer.rate_hz, rate_hz)
        except (ValueError, EspeakError) as e:
            yield ErrorFrame(f"espeak: {e}")
            yield self._silence(reply, context_id)
            return
        reply.utterance = utterance
        await self.start_tts_usage_metrics(text)
        began = reply.samples
        try:
            base_s: float | None = None
            async for chunk in utterance:
                if base_s is None:
                    if reply.samples:
                        pending.extend(bytes(2 * round(pause_s(reply.last_text, reply.rate_wpm) * rate_hz)))
                    base_s = (reply.samples + len(pending) // 2) / rate_hz
                pending += resampler.process(chunk.pcm)
                for frame in frames():
                    yield frame
                if chunk.words:
                    await self._publish(context_id, reply, chunk.words, base_s)
                # Neither the chunks nor pipecat's queue make this wait: without a break the first frame would leave with the
                # last one, and a long sentence would hold the event loop for 20 ms.
                await asyncio.sleep(0)
            pending += resampler.flush()
            for frame in frames(padded=True):
                yield frame
        except EspeakError as e:
            yield ErrorFrame(f"espeak: {e}")
        finally:
            utterance.cancel()
            reply.utterance = None
        if reply.samples == began:
            yield self._silence(reply, context_id)
        else:
            reply.last_text = text

    def _silence(self, reply: _Reply, context_id: str) -> Frame:
        samples = round(FRAME_S * self.sample_rate)
        reply.samples += samples
        return TTSAudioRawFrame(bytes(2 * samples), self.sample_rate, 1, context_id=context_id)

    async def _publish(self, context_id: str, reply: _Reply, words: list[Word], base_s: float) -> None:
        timed = [replace(w, start_s=base_s + w.start_s, end_s=base_s + w.end_s) for w in words]
        if self.on_words is not None:
            self.on_words(context_id, timed)
        shift_s = reply.reopened_at / self.sample_rate
        await self.add_word_timestamps([(w.text, w.start_s - shift_s) for w in timed], context_id)

    def _reply(self, context_id: str) -> _Reply:
        reply = self._replies.get(context_id)
        if reply is None:
            rate = round(self._espeak.rate_wpm * LEVEL_RATE[self._call.level] * self._call.options.speech_rate)
            reply = self._replies[context_id] = _Reply(min(MAX_RATE_WPM, max(MIN_RATE_WPM, rate)))
            while len(self._replies) > _KEPT_REPLIES:
                self._replies.popitem(last=False)
        return reply


class EspeakEngine:
    """``pipeline.engine.Engine`` for espeak-ng: one library and one thread for all calls."""

    name: str = "espeak"
    stage: Literal["stt", "llm", "tts"] = "tts"
    honours: frozenset[OptionName] = frozenset({"speech_rate"})

    def __init__(self, settings: EspeakSettings) -> None:
        self._settings = settings
        self._synthesizer = EspeakSynthesizer()
        self._state: EngineState = "unloaded"
        self._error: str | None = None

    async def load(self) -> None:
        """Load espeak-ng and speak a word with the configured voice, which also reads that voice's files.

        Raises:
            EspeakError: where the library cannot be had.
            UnknownVoice: naming the voices there are.
        """
        self._state, self._error = "loading", None
        try:
            await self._synthesizer.load()
            async for _ in self._synthesizer.synthesize(
                "Ready.", voice=self._settings.voice, rate_wpm=self._settings.rate_wpm, pitch=self._settings.pitch
            ):
                pass
        except BaseException as e:
            self._state, self._error = "failed", str(e)
            await self._synthesizer.close()
            raise
        self._state = "ready"

    async def close(self) -> None:
        """End the thread. Safe to call twice. The library itself stays: the spare voice is spoken by it, and it is small."""
        await self._synthesizer.close()
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The engine's state now."""
        detail: dict[str, Any] = {"voice": self._settings.voice, "rate_wpm": self._settings.rate_wpm}
        if self._state == "ready":
            detail |= {
                "version": self._synthesizer.version,
                "sample_rate_hz": self._synthesizer.rate_hz,
                "active": self._synthesizer.active,
            }
        if self._error is not None:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Admits every call: one thread speaks for some hundred calls in real time.

        Raises:
            EspeakError: where the engine is not loaded.
        """
        if self._state != "ready":
            raise EspeakError("espeak is not loaded")

    def create(self, call: CallState) -> EspeakTTSService:
        """The voice of one call."""
        return EspeakTTSService(self._synthesizer, settings=self._settings, call=call)


def make_engine(settings: Settings) -> EspeakEngine:
    """The engine as ``settings`` want it."""
    return EspeakEngine(settings.tts.espeak)
