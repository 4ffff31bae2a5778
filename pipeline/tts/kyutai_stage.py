"""The tutor's voice from a Kyutai text-to-speech engine, as a pipecat TTS service: one call's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import EndFrame, Frame, InterruptionFrame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.utils.errors import ErrorCategory

from agent.record import Word
from pipeline.tts.kyutai_client import RATE_HZ, Endpoint, EngineError, SaidWord, Speech
from pipeline.tts.normalise import Normaliser, Unit
from pipeline.tts.resample import StreamResampler
from pipeline.tts.said_words import SaidWords

OnWords = Callable[[str, list[Word]], None]

FRAME_S = 0.02
_STOP_FRAME_TIMEOUT_S = 10.0
_KEPT_REPLIES = 16
_CLOSE_TIMEOUT_S = 3.0
# Kyutai's server leaves these out of a word, and takes a colon for a space: what it is given must stay one word to it.
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', ":": ",", "–": None, "(": None, ")": None, "—": ","})


@dataclass(slots=True)
class VoiceCounts:
    """What became of the replies of all calls: those open now, and since the start."""

    open: int = 0
    spoken: int = 0
    cancelled: int = 0
    failed: int = 0
    last_error: str | None = None


@dataclass(slots=True)
class _Reply:
    """One audio context: a whole reply of the tutor over one connection."""

    speech: Speech
    resampler: StreamResampler
    text: Normaliser = field(default_factory=Normaliser)
    words: SaidWords = field(default_factory=SaidWords)
    task: asyncio.Task[None] | None = None
    pending: bytearray = field(default_factory=bytearray)
    samples: int = 0  # produced so far, at the stage's rate
    reopened_at: int = 0  # where pipecat's own count of the context began, see on_audio_context_completed
    over: bool = False


def plain_words(spoken: Sequence[str]) -> list[str]:
    """``spoken`` as words that Kyutai's server takes as they are, and one word each."""
    words = (word.translate(_PLAIN) for word in spoken)
    return [word for word in words if any(c.isalnum() for c in word)]


class KyutaiTTSService(TTSService):
    """Speaks a call's replies with an engine at ``endpoint``.

    The connection is opened when the language model begins, and words go over as they are written. Emits 20 ms frames of mono
    pcm16 at the pipeline's output rate, so nothing behind it resamples again.

    Args:
        endpoint: The engine.
        voice: A voice's name, ``None`` for the engine's own.
        counts: Shared by all calls.
        on_words: Called with the context id and the words that have just become known, in order; together they are the
            reply's words, and their times count from the first sample of its context. It may be set later.
        sample_rate: Output rate in Hz; by default the pipeline's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        voice: str | None,
        counts: VoiceCounts,
        on_words: OnWords | None = None,
        sample_rate: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            text_aggregation_mode=TextAggregationMode.TOKEN,
            push_text_frames=False,
            push_start_frame=True,
            push_stop_frames=True,
            stop_frame_timeout_s=_STOP_FRAME_TIMEOUT_S,
            # An engine that was away comes back; how often it is asked is for the call's keeper to decide.
            max_consecutive_zero_audio_contexts=0,
            sample_rate=sample_rate,
            settings=TTSSettings(model=None, voice=voice, language=None),
            **kwargs,
        )
        self.on_words = on_words
        self._endpoint = endpoint
        self._counts = counts
        self._replies: dict[str, _Reply] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def supports_processing_metrics(self) -> bool:
        """False: the sound comes later than ``run_tts`` returns."""
        return False

    def can_generate_metrics(self) -> bool:
        """pipecat measures this service's time to first byte."""
        return True

    # A reply's beginning and its text

    async def on_turn_context_created(self, context_id: str) -> None:
        """A reply begins to be written: connect. Where the one before was never ended, pipecat goes on in its context."""
        reply = self._replies.get(context_id)
        if reply is None or reply.over:
            self._begin(context_id)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Send the words that ``text`` completes; their sound comes by itself."""
        reply = self._replies.get(context_id) or self._begin(context_id)
        self._give(reply, reply.text.feed(text))
        yield None

    async def flush_audio(self, context_id: str | None = None) -> None:
        """The reply is written: send the rest of it, and its end."""
        reply = self._replies.get(context_id or "")
        if reply is None or context_id is None:
            return
        if reply.over:
            # It failed while it was written, and the text behind that has opened the context again.
            await self.remove_audio_context(context_id)
            return
        self._give(reply, reply.text.flush())
        reply.speech.end()
        if not reply.speech.words:
            # Nothing of it can be heard (an emoji alone). pipecat closes a context by itself only behind audio.
            self._give_up(reply)
            await self._audio(context_id, reply, bytes(2 * self._frame_samples))
            await self._publish(context_id, reply, reply.words.finish(0.0))
            await self.remove_audio_context(context_id)

    async def on_turn_context_completed(self) -> None:
        """The reply is written; one without any text needs no connection."""
        context_id = self._turn_context_id
        await super().on_turn_context_completed()
        reply = self._replies.get(context_id or "")
        if reply is not None and not reply.over and not reply.speech.ended:
            self._give_up(reply)

    # Its end

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        """Stop the synthesis of an interrupted reply at once."""
        reply = self._replies.get(context_id)
        if reply is not None:
            self._give_up(reply)

    async def on_audio_context_completed(self, context_id: str) -> None:
        """All that was there of a reply has left.

        Where the reply goes on after all (it had been silent for longer than the timeout), pipecat opens the context anew and
        counts its word times from zero, while ours go on.
        """
        reply = self._replies.get(context_id)
        if reply is not None:
            reply.reopened_at = reply.samples

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """As every TTS service; an interruption also ends replies of which nothing was written yet."""
        if isinstance(frame, InterruptionFrame):
            for context_id, reply in self._replies.items():
                if not self.audio_context_available(context_id):
                    self._give_up(reply)
        await super().process_frame(frame, direction)

    async def stop(self, frame: EndFrame) -> None:
        """Speak what was written so far, then stop."""
        for context_id, reply in list(self._replies.items()):
            if self.audio_context_available(context_id):
                await self.flush_audio(context_id)
            else:
                self._give_up(reply)
        await super().stop(frame)

    async def cleanup(self) -> None:
        """Cancel whatever is still being spoken, and wait until its connections are closed."""
        for reply in self._replies.values():
            self._give_up(reply)
        self._replies.clear()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_TIMEOUT_S)
        await super().cleanup()

    def _begin(self, context_id: str) -> _Reply:
        voice = self._settings.voice if isinstance(self._settings.voice, str) else None
        reply = _Reply(Speech(self._endpoint, voice), StreamResampler(RATE_HZ, self.sample_rate))
        self._replies[context_id] = reply
        over = [old for old, kept in self._replies.items() if kept.over]
        for old in over[: max(0, len(self._replies) - _KEPT_REPLIES)]:
            del self._replies[old]
        self._counts.open += 1
        reply.task = asyncio.create_task(self._speak(context_id, reply), name="kyutai-reply")
        self._closing.add(reply.task)
        reply.task.add_done_callback(self._closed)
        return reply

    def _closed(self, task: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step runs none of it.
        self._closing.discard(task)
        self._counts.open -= 1

    def _give_up(self, reply: _Reply) -> None:
        if not reply.over and reply.task is not None:
            reply.over = True
            self._counts.cancelled += 1
            reply.task.cancel()

    # Its sound

    def _give(self, reply: _Reply, units: list[Unit]) -> None:
        for unit in units:
            words = plain_words(unit.spoken)
            reply.words.add(unit.written, words)
            if words:
                reply.speech.say(words)

    async def _speak(self, context_id: str, reply: _Reply) -> None:
        """Turn what the engine sends into frames, until it is done or fails."""
        try:
            async with contextlib.aclosing(reply.speech.sound()) as items:
                async for item in items:
                    if isinstance(item, SaidWord):
                        await self._publish(context_id, reply, reply.words.said(item.text, item.start_s, item.stop_s))
                    else:
                        await self._audio(context_id, reply, reply.resampler.process(item))
            await self._spoken(context_id, reply)
        except EngineError as e:
            await self._failed(context_id, reply, str(e))
        except Exception as e:  # a fault of ours must not leave the context open for ever
            await self._failed(context_id, reply, f"{type(e).__name__}: {e}")

    async def _spoken(self, context_id: str, reply: _Reply) -> None:
        if reply.speech.words and not reply.samples and not reply.pending:
            raise EngineError("the engine ended the reply without any sound")
        await self._audio(context_id, reply, reply.resampler.flush(), last=True)
        await self._publish(context_id, reply, reply.words.finish(reply.samples / self.sample_rate))
        reply.over = True
        self._counts.spoken += 1
        if self.audio_context_available(context_id):
            await self.remove_audio_context(context_id)

    async def _failed(self, context_id: str, reply: _Reply, error: str) -> None:
        reply.over = True
        self._counts.failed += 1
        self._counts.last_error = error
        await self.push_error(f"kyutai: {error}", category=ErrorCategory.UNKNOWN)
        if self.audio_context_available(context_id):
            await self.remove_audio_context(context_id)

    @property
    def _frame_samples(self) -> int:
        return round(FRAME_S * self.sample_rate)

    async def _audio(self, context_id: str, reply: _Reply, pcm16: bytes, *, last: bool = False) -> None:
        size = 2 * self._frame_samples
        pending = reply.pending
        pending += pcm16
        if last and len(pending) % size:
            pending += bytes(size - len(pending) % size)
        whole = len(pending) - len(pending) % size
        frames = [bytes(pending[i : i + size]) for i in range(0, whole, size)]
        del pending[:whole]
        for frame in frames:
            reply.samples += self._frame_samples
            await self.append_to_audio_context(context_id, TTSAudioRawFrame(frame, self.sample_rate, 1, context_id=context_id))

    async def _publish(self, context_id: str, reply: _Reply, words: list[Word]) -> None:
        if not words:
            return
        if self.on_words is not None:
            self.on_words(context_id, words)
        shift_s = reply.reopened_at / self.sample_rate
        await self.add_word_timestamps([(w.text, w.start_s - shift_s) for w in words], context_id)
