"""The embedded recogniser as an engine of the process and as the STT stage of a call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Literal

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    StartFrame,
    STTMuteFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transcriptions.language import Language
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.time import time_now_iso8601

from pipeline.engine import AtCapacity, CallState, EngineState, EngineStatus
from pipeline.options import OptionName
from pipeline.settings.tree import PocketsphinxSettings, Settings
from pipeline.stt.recognition import NOTHING_HEARD, RecogniserError, Recognition, UtteranceCancelled
from pipeline.stt.room_tone import with_room_tone
from pipeline.stt.sphinx_link import end_fork_server
from pipeline.stt.sphinx_pool import BYTES_PER_S, SphinxPool, Utterance

RATE_HZ = 16_000

_PRE_ROLL_S = 0.35
"""Audio before the VAD's own ``start_s``, which passed before it reported the voice: weak first sounds, its window, queues."""
_MIN_PRE_ROLL_S = 0.5
_KEEP_S = 1.5
_LAST_FINALS_S = 2.0
_FINAL_ALLOWANCE_S = 1.0


class PocketsphinxEngine:
    """The pool of workers that all calls share."""

    name = "pocketsphinx"
    stage: Literal["stt"] = "stt"
    honours: frozenset[OptionName] = frozenset()

    def __init__(self, settings: PocketsphinxSettings) -> None:
        self._settings = settings
        self._state: EngineState = "unloaded"
        self._error: str | None = None
        self.pool = SphinxPool(
            settings.workers,
            partials=settings.partials,
            queue_deadline_s=settings.queue_deadline_s,
            utterance_timeout_s=settings.utterance_timeout_s,
            max_utterance_s=settings.max_utterance_s,
        )

    async def load(self) -> None:
        """Start the workers and wait until each has loaded its models."""
        self._state = "loading"
        try:
            await self.pool.load()
        except BaseException as e:
            self._state, self._error = "failed", str(e) or type(e).__name__
            raise
        self._state, self._error = "ready", None

    async def close(self) -> None:
        """End the workers, and the process that they were forked from."""
        await self.pool.close()
        await asyncio.to_thread(end_fork_server)
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The pool's numbers; see ``SphinxPool.status``."""
        detail = self.pool.status()
        if self._error is not None:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Raise ``AtCapacity`` where the workers could not follow one more call."""
        if self._state != "ready":
            raise AtCapacity(f"the recogniser is {self._state}")
        self.pool.admit()

    def create(self, call: CallState) -> FrameProcessor:
        """The STT stage of one call."""
        return PocketsphinxSTTService(self.pool, call, settings=self._settings)


class PocketsphinxSTTService(STTService):
    """Recognises each stretch of speech that the VAD marks out.

    The VAD frames come from the user aggregator, upstream, some 200 ms after the voice began; audio from before is kept for
    that. Words appear as ``InterimTranscriptionFrame`` while they are spoken. Each stretch ends in one ``TranscriptionFrame``
    whose ``result`` is its ``Recognition``, in order. It is ``finalized`` unless the learner already speaks again, so that a
    turn does not end on words of before its last pause. Where nothing was recognised its text is ``NOTHING_HEARD``; where
    recognition failed an ``ErrorFrame`` goes before it. An interruption changes nothing here: it is the learner who is being
    listened to.
    """

    def __init__(self, pool: SphinxPool, call: CallState, *, settings: PocketsphinxSettings) -> None:
        super().__init__(
            sample_rate=RATE_HZ,
            # Only the wait for a final that is lost: every stretch of speech gets one, marked as final.
            ttfs_p99_latency=settings.queue_deadline_s + _FINAL_ALLOWANCE_S,
            settings=STTSettings(model="pocketsphinx en-us", language=Language.EN_US),
        )
        self._pool = pool
        self._call = call
        self._partials = settings.partials
        self._recent = bytearray()  # audio before the next utterance
        self._heard_bytes = 0  # of the call so far
        self._capture_end_s: float | None = None
        self._utterance: Utterance | None = None
        self._started_s: dict[Utterance, float] = {}
        self._finals: deque[Utterance] = deque()
        self._partial: tuple[Utterance, str] | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._delivery: asyncio.Task[None] | None = None
        self._joined = False

    def can_generate_metrics(self) -> bool:
        """TTFB and audio usage are reported."""
        return True

    # Life

    async def start(self, frame: StartFrame) -> None:
        """The call begins."""
        await super().start(frame)
        if self._delivery is None:
            self._pool.join()
            self._joined = True
            self._delivery = self.create_task(self._deliver(), name="deliver")

    async def stop(self, frame: EndFrame) -> None:
        """The call ends: speech that was finished is still delivered, for at most 2 s."""
        self._drop_utterance()
        if self._finals or not self._idle.is_set():
            try:
                await asyncio.wait_for(self._idle.wait(), _LAST_FINALS_S)
            except TimeoutError:
                logger.warning("{}: the call ended before its last words were recognised", self)
        await self._release()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """The call ends at once."""
        await self._release()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        """Whatever the end, nothing is left of it."""
        await self._release()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _release(self) -> None:
        self._drop_utterance()
        if self._delivery is not None:
            delivery, self._delivery = self._delivery, None
            await self.cancel_task(delivery)
        while self._finals:
            self._finals.popleft().cancel()
        self._started_s.clear()
        if self._joined:
            self._joined = False
            self._pool.leave()

    # Audio in

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """VAD frames open and finish utterances, whichever way they come."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            await super().process_frame(frame, direction)
            await self._voice_started(frame)
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            # First the final: what follows waits for it.
            self._voice_stopped()
            await super().process_frame(frame, direction)
        else:
            await super().process_frame(frame, direction)
            if isinstance(frame, STTMuteFrame) and frame.mute:
                self._recent.clear()

    async def process_audio_frame(self, frame: InputAudioRawFrame, direction: FrameDirection) -> None:
        """Keep or feed one frame of mono pcm16 at 16 kHz."""
        self._capture_end_s = frame.metadata.get("capture_end_s")
        self._heard_bytes += len(frame.audio)
        await super().process_audio_frame(frame, direction)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take audio in. Yields no frame: words are pushed when they are ready."""
        audio = with_room_tone(audio)
        if self._utterance is None:
            self._recent += audio
            del self._recent[: -int(_KEEP_S * BYTES_PER_S)]
        else:
            self._feed(audio)
        yield None

    def _feed(self, audio: bytes) -> None:
        assert self._utterance is not None
        taken = self._utterance.feed(audio)
        while taken < len(audio):
            # Longer than the recogniser takes at once: go on in the next utterance, without a gap.
            started_s = self._started_s.get(self._utterance, 0.0) + len(self._utterance.audio) / BYTES_PER_S
            self._finish_utterance()
            if not self._open(started_s):
                return
            audio = audio[taken:]
            taken = self._utterance.feed(audio)

    async def _voice_started(self, frame: VADUserStartedSpeakingFrame) -> None:
        if self._utterance is not None or self._delivery is None:
            return
        pre_roll_s = max(_MIN_PRE_ROLL_S, frame.start_secs + _PRE_ROLL_S)
        pre_roll = bytes(self._recent[-int(pre_roll_s * BYTES_PER_S) :])
        self._recent.clear()
        end_s = self._capture_end_s if self._capture_end_s is not None else self._heard_bytes / BYTES_PER_S
        try:
            self._utterance = self._open_utterance()
        except RecogniserError as e:
            await self._report(e)
            return
        self._started_s[self._utterance] = max(0.0, end_s - len(pre_roll) / BYTES_PER_S)
        self._feed(pre_roll)

    def _open(self, started_s: float) -> bool:
        try:
            self._utterance = self._open_utterance()
        except RecogniserError as e:
            logger.warning("{}: {}", self, e)
            return False
        self._started_s[self._utterance] = started_s
        return True

    def _open_utterance(self) -> Utterance:
        on_partial = self._on_partial if self._partials else None
        return self._pool.open(self._call.expected, on_partial, careful=self._call.careful)

    def _voice_stopped(self) -> None:
        self._finish_utterance()

    def _finish_utterance(self) -> None:
        if self._utterance is None:
            return
        utterance, self._utterance = self._utterance, None
        utterance.finish()
        self._finals.append(utterance)
        self._idle.clear()
        self._news.set()

    def _drop_utterance(self) -> None:
        if self._utterance is not None:
            self._utterance.cancel()
            self._started_s.pop(self._utterance, None)
            self._utterance = None

    # Words out

    def _on_partial(self, text: str) -> None:
        if self._utterance is not None:
            self._partial = (self._utterance, text)
            self._news.set()

    async def _deliver(self) -> None:
        """Push finals in order, and between them the latest partial of the utterance that is spoken."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._finals:
                await self._push_final(self._finals[0])
            self._idle.set()
            partial, self._partial = self._partial, None
            # One that comes after its final would make the turn wait for another.
            if partial is not None and partial[0] is self._utterance:
                await self.push_frame(InterimTranscriptionFrame(partial[1], self._user_id, time_now_iso8601()))

    async def _push_final(self, utterance: Utterance) -> None:
        try:
            result = await utterance.finish()
        except UtteranceCancelled as e:
            logger.debug("{}: {}", self, e)
            result = Recognition("", details={"error": str(e)})
        except RecogniserError as e:
            await self._report(e)
            result = Recognition("", details={"error": str(e)})
        result = replace(result, started_s=self._started_s.pop(utterance, None))
        self._finals.popleft()
        frame = TranscriptionFrame(
            result.text or NOTHING_HEARD,
            self._user_id,
            time_now_iso8601(),
            Language.EN_US,
            result=result,
            finalized=self._utterance is None and not self._finals,
        )
        frame.interruptible = False  # the learner's words outlive the interruption that they cause
        await self.push_frame(frame)
        await self.emit_stt_usage_metrics()  # type: ignore[no-untyped-call]

    async def _report(self, error: RecogniserError) -> None:
        # Of unknown category: the next utterance may well succeed, so the stage must stay in use.
        await self.push_error(str(error), category=ErrorCategory.UNKNOWN)


def make_engine(settings: Settings) -> PocketsphinxEngine:
    """The engine as ``settings`` want it."""
    return PocketsphinxEngine(settings.stt.pocketsphinx)
