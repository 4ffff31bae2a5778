"""The STT stage of a call on a Kyutai server: live words, a flush where the voice pauses, finals, and the spare recogniser."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from math import ceil
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EagerTranscriptionFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    StartFrame,
    STTMuteFrame,
    TranscriptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transcriptions.language import Language
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.time import time_now_iso8601

from engines.wire.kyutai import Committed, EndWord, Flushed, Marker, Step, Word
from pipeline.engine import CallState
from pipeline.stt.audio_ring import AudioRing
from pipeline.stt.flush import FlushSTTFrame
from pipeline.stt.kyutai_link import FRAME, KyutaiLink, ServerClock
from pipeline.stt.kyutai_link import RATE_HZ as LINK_RATE_HZ
from pipeline.stt.kyutai_shared import Shared
from pipeline.stt.kyutai_words import FRAME_S, HeardWord, LiveWords, joined, timed
from pipeline.stt.recognition import NOTHING_HEARD, Recognition
from pipeline.tts.resample import StreamResampler

RATE_HZ = 16_000
_PRE_ROLL_S = 0.35
_MIN_PRE_ROLL_S = 0.5
"""As long as a voice may have been there before the voice detector told of it."""
_KEEP_S = 60.0
"""The longest stretch of speech that the spare engine is given whole."""
_IDLE_KEEP_S = 2.0
_AT_THE_END_S = 0.02
"""A flush that was asked for so little before the voice ended, as the voice detector has it, has heard all of it."""
_NO_AUDIO_S = 0.3
_LAST_FINALS_S = 2.0
_IDLE_REPLAY_S = 1.0
"""What is sent again where nobody speaks."""
_END_HEAD = 2
"""Which of the pause heads tells of the end of a turn (a pause of 2 s)."""
_UNSURE_STEPS = 12
"""The pause heads of the first second of a connection say nothing."""
_LATE_STEPS_S = 0.5
_AHEAD_S = 2.0
"""Who sends so much more audio than time has passed sends a file, and can be made to wait."""
_UNHEARD_S = 2.0
"""How much of a file the server is given before it has heard what came first; the engine keeps 10 s at most."""


@dataclass(slots=True)
class _Flush:
    number: int
    connection: int
    asked_s: float
    eager: bool
    commit: bool = False
    answered: bool = False
    overtaken: bool = False


class KyutaiSTTService(STTService):
    """Streams the call's audio and tells the words as they come.

    Words appear as ``InterimTranscriptionFrame`` some time after they were said. On a ``FlushSTTFrame`` the engine is asked for
    those that are still to come, and the answer is an ``EagerTranscriptionFrame``; the learner may go on as if nothing had been
    asked. When the voice stops, or on a commit, all words become one ``TranscriptionFrame``, ``finalized`` unless the learner
    speaks again already, with a ``Recognition`` as its ``result``; without words its text is ``NOTHING_HEARD``. A voice that
    goes on before its final was made makes one stretch of speech with it.

    A moshi-server, which has no flush, is asked by a marker: the final comes when it has written everything. Zeros are sent
    only where the turn was committed or no audio comes any more, since they stay in what it remembers.

    Where there is no answer in time, the stretch is recognised by the spare engine, if there is one; else what is known counts,
    and without a word an ``ErrorFrame`` goes before the blank final.
    """

    def __init__(self, shared: Shared, call: CallState) -> None:
        settings = shared.settings
        super().__init__(
            sample_rate=RATE_HZ,
            ttfs_p99_latency=settings.answer_timeout_s,
            settings=STTSettings(model="kyutai", language=Language.EN),
        )
        self._shared = shared
        self._call = call
        self._limits = settings
        self._link = KyutaiLink(
            shared.url,
            shared.key,
            self,
            connect_timeout_s=settings.connect_timeout_s,
            keep_s=settings.replay_s,
        )
        self._resampler = StreamResampler(RATE_HZ, LINK_RATE_HZ)
        self._audio = AudioRing(RATE_HZ, _KEEP_S)
        self._capture_shift_s = 0.0  # from places in the audio to the call's own
        self._words = LiveWords()
        self._numbers = 0  # of flushes and markers
        self._flush: _Flush | None = None
        self._marker: int | None = None
        self._marked = False
        self._speaking = False
        self._turn_open = False
        self._start_s: float | None = None  # of the stretch of speech that has no final yet
        self._committed_s: float | None = None  # a final was given in this stretch, of what was said before
        self._ending: asyncio.Task[None] | None = None
        self._settled = False  # nothing can keep the final of ``_ending`` from being given
        self._news = asyncio.Event()
        self._progress = asyncio.Event()  # a step was made, or the link is another one
        self._steps = 0
        self._began_at = 0.0
        self._is_file = False

    def can_generate_metrics(self) -> bool:
        """TTFB and audio usage are reported."""
        return True

    @property
    def link_state(self) -> str:
        """Whether the server is connected: ``connecting``, ``up``, ``down`` or ``full``."""
        return self._link.state

    # Life

    async def start(self, frame: StartFrame) -> None:
        """The call begins."""
        await super().start(frame)
        if self not in self._shared.stages:
            self._shared.stages.add(self)
            self._began_at = time.monotonic()
            self._link.open()

    async def stop(self, frame: EndFrame) -> None:
        """The call ends: speech that was finished is still delivered, for at most 2 s."""
        if self._ending is not None:
            await asyncio.wait({self._ending}, timeout=_LAST_FINALS_S)
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
        if self._ending is not None:
            ending, self._ending = self._ending, None
            await self.cancel_task(ending)
        await self._link.close()
        self._shared.stages.discard(self)

    # What comes from the call

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Frames of the voice detector and of the turn, whichever way they come."""
        if isinstance(frame, FlushSTTFrame):
            await (self._commit() if frame.commit else self._ask_words())
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            await super().process_frame(frame, direction)
            await self._voice_started(frame)
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            await self._voice_stopped(frame)
            await super().process_frame(frame, direction)
        else:
            await super().process_frame(frame, direction)
            if isinstance(frame, UserStoppedSpeakingFrame):
                self._turn_open = False
            elif isinstance(frame, STTMuteFrame) and frame.mute:
                self._audio.clear()
                self._words.begin(self._now_s)

    async def process_audio_frame(self, frame: InputAudioRawFrame, direction: FrameDirection) -> None:
        """One frame of mono pcm16 at 16 kHz."""
        await super().process_audio_frame(frame, direction)
        end_s = frame.metadata.get("capture_end_s")
        if end_s is not None:
            self._capture_shift_s = end_s - self._audio.end_s

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take audio in. Yields no frame: words are pushed when they come."""
        self._audio.add(audio)
        if self._start_s is None and self._audio.end - self._audio.start > 2 * _IDLE_KEEP_S * RATE_HZ:
            self._audio.forget(self._audio.end - round(_IDLE_KEEP_S * RATE_HZ))
        self._link.hear(self._resampler.process(audio))
        if self._now_s - (time.monotonic() - self._began_at) > _AHEAD_S:
            await self._wait_for_room()
        yield None

    async def _wait_for_room(self) -> None:
        """Until the server is there and keeps up, within limits; only for audio that comes faster than anybody speaks."""
        self._is_file = True
        limit_s = self._limits.connect_timeout_s if self._link.state == "connecting" else self._limits.answer_timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._link.state == "connecting" or (
                    self._link.state == "up" and self._link.unheard_s(self._steps) > _UNHEARD_S
                ):
                    self._progress.clear()
                    await self._progress.wait()

    @property
    def _now_s(self) -> float:
        return self._link.audio.end_s

    async def _voice_started(self, frame: VADUserStartedSpeakingFrame) -> None:
        if self._speaking:
            return
        self._speaking = self._turn_open = True
        self._link.hurry()
        self._drop_flush()
        if self._ending is not None and not self._settled:
            ending, self._ending = self._ending, None
            await self.cancel_task(ending)
        if self._start_s is None:
            self._start_s = max(self._now_s - max(_MIN_PRE_ROLL_S, frame.start_secs + _PRE_ROLL_S), self._words.final_until_s)
            self._words.begin(self._start_s)
        self._committed_s = None

    async def _voice_stopped(self, frame: VADUserStoppedSpeakingFrame) -> None:
        if not self._speaking:
            return
        self._speaking = False
        voice_end_s = self._now_s - frame.stop_secs
        if self._committed_s is not None and self._committed_s >= voice_end_s - _AT_THE_END_S and not self._words.words:
            self._start_s = None
            await self._push_final(Recognition(""))
            return
        self._settled = self._marked = False
        self._marker = None
        self._ending = self.create_task(self._end_stretch(self._now_s, voice_end_s), name="end of speech")

    # Flushes

    async def _ask_words(self) -> None:
        if self._link.flushes:
            self._send_flush(eager=True)

    def _send_flush(self, *, eager: bool) -> _Flush:
        self._words.withdrawn()
        self._numbers += 1
        self._flush = _Flush(self._numbers, self._link.connections, self._now_s, eager)
        self._link.flush(self._numbers)
        return self._flush

    def _drop_flush(self) -> None:
        if self._flush is not None:
            self._link.withdraw(self._flush.number)
            self._words.withdrawn()
            self._flush = None

    async def _commit(self) -> None:
        flush = self._flush
        if not self._speaking:  # the final is under way, or was given
            if self._link.state == "up" and not self._link.flushes and self._marker is not None:
                self._link.fill(self._delay_samples)
        elif flush is None or not self._link.flushes:
            return
        elif flush.answered:
            await self._commit_now(flush)
        else:
            flush.commit = True

    async def _commit_now(self, flush: _Flush) -> None:
        if self._words.went_on(flush.asked_s) or self._start_s is None:
            return
        self._committed_s = flush.asked_s
        recognition = self._take(flush, flush.asked_s)
        self._start_s = flush.asked_s  # of what may still be said before the voice stops
        await self._push_final(recognition)

    @property
    def _delay_samples(self) -> int:
        # One frame more, as its last step writes what the frames before it were about.
        return (ceil(self._limits.delay_s / FRAME_S) + 1) * FRAME

    # The end of a stretch of speech

    async def _end_stretch(self, stop_s: float, voice_end_s: float) -> None:
        answered = await self._wait_for_words(voice_end_s)
        recognition: Recognition | None = None
        if not answered:
            recognition = await self._ask_spare(stop_s)
        self._settled = True
        if recognition is not None:
            self._words.take(stop_s)
            recognition = self._without_noise(recognition, stop_s)
        else:
            recognition = self._take(self._flush if answered else None, stop_s)
            if not answered and not recognition.text:
                await self.push_error(f"speech to text: {self._link.reason or 'no words came'}", category=ErrorCategory.UNKNOWN)
        self._start_s = None
        await self._push_final(recognition)

    async def _wait_for_words(self, voice_end_s: float) -> bool:
        """Whether the server has told all words of the voice that ended at ``voice_end_s``."""
        limit_s = self._limits.answer_timeout_s
        if self._link.state == "up" and not self._link.flushes:
            limit_s += self._limits.delay_s
        if self._is_file:
            limit_s += self._now_s
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    self._news.clear()
                    if self._link.state in ("down", "full"):
                        return False
                    if self._link.flushes:
                        if self._has_answer(voice_end_s):
                            return True
                    elif self._link.state == "up" and await self._is_marked():
                        return True
                    await self._news.wait()
        except TimeoutError:
            if self._link.state == "up":
                self._link.restart(f"no words came within {limit_s:g} s")
            return False

    def _has_answer(self, voice_end_s: float) -> bool:
        flush = self._flush
        if (
            flush is None
            or flush.connection != self._link.connections
            or flush.asked_s < voice_end_s - _AT_THE_END_S
            or self._words.went_on(flush.asked_s)
        ):
            self._send_flush(eager=False)
            return False
        return flush.answered

    async def _is_marked(self) -> bool:
        """The same of a moshi-server."""
        if self._marker is None:
            self._numbers += 1
            self._marker, self._marked = self._numbers, False
            self._link.marker(self._marker)
        heard = self._now_s
        try:
            async with asyncio.timeout(_NO_AUDIO_S):
                await self._news.wait()
        except TimeoutError:
            if self._now_s == heard and not self._marked:
                # A muted microphone: what it would give is silence.
                self._link.fill(self._delay_samples)
        return self._marked

    async def _ask_spare(self, stop_s: float) -> Recognition | None:
        spare = self._shared.spare
        if spare is None or self._start_s is None:
            return None
        logger.warning("speech to text: {}; {} is asked", self._link.reason or "no words came", spare.name)
        audio = self._audio.since(round(self._start_s * RATE_HZ), round(stop_s * RATE_HZ) + RATE_HZ // 10)
        return await self._shared.ask_spare(self._call, audio, self._start_s + self._capture_shift_s)

    def _take(self, flush: _Flush | None, until_s: float) -> Recognition:
        """All words are final; a flush that they rest on is committed."""
        committing = flush is not None and flush.answered and not flush.overtaken and self._link.flushes
        if flush is not None and committing:
            self._link.commit(flush.number)
            until_s = flush.asked_s
        words = self._words.take(until_s, committing=committing)
        self._flush = self._marker = None
        return self._without_noise(self._recognition(words, until_s), until_s)

    def _recognition(self, words: tuple[HeardWord, ...], until_s: float) -> Recognition:
        began_s = min(self._start_s if self._start_s is not None else until_s, *(word.start_s for word in words), until_s)
        return Recognition(
            joined(words),
            timed(words, began_s, until_s),
            audio_s=round(until_s - began_s, 3),
            started_s=began_s + self._capture_shift_s,
            details={"engine": "kyutai"},
        )

    def _is_noise(self, words: list[str], until_s: float) -> bool:
        if self._start_s is None:
            return False
        pcm = self._audio.since(round(self._start_s * RATE_HZ), round(until_s * RATE_HZ))
        return self._shared.is_noise(words, pcm, until_s - self._start_s - _MIN_PRE_ROLL_S)

    def _without_noise(self, recognition: Recognition, until_s: float) -> Recognition:
        if not recognition.text or not self._is_noise(recognition.text.split(), until_s):
            return recognition
        self._shared.noise_dropped += 1
        logger.debug("{}: taken for noise: {!r}", self, recognition.text)
        return Recognition("", started_s=recognition.started_s, details={**recognition.details, "noise": recognition.text})

    async def _push_final(self, recognition: Recognition) -> None:
        self._shared.finals += 1
        frame = TranscriptionFrame(
            recognition.text or NOTHING_HEARD,
            self._user_id,
            time_now_iso8601(),
            Language.EN,
            result=recognition,
            finalized=not self._speaking or self._committed_s is not None,
        )
        frame.interruptible = False  # the learner's words outlive the interruption that they cause
        await self.push_frame(frame)
        await self.emit_stt_usage_metrics()  # type: ignore[no-untyped-call]

    # What comes from the server

    def replay_from(self, oldest: int) -> int:
        """A new connection: what it is sent first. See ``Listener``."""
        self._flush = self._marker = None
        self._steps = 0
        wanted_s = self._start_s if self._start_s is not None else max(0.0, self._now_s - _IDLE_REPLAY_S)
        self._shared.connections += 1
        return round(self._words.lost(wanted_s, oldest / LINK_RATE_HZ) * LINK_RATE_HZ)

    def link_changed(self) -> None:
        """See ``Listener``."""
        if self._link.state == "full":
            self._shared.full_at = time.monotonic()
        elif self._link.state == "up":
            self._shared.full_at = None
        self._news.set()
        self._progress.set()

    async def link_message(self, message: Any, clock: ServerClock) -> None:
        """See ``Listener``."""
        match message:
            case Word():
                if self._words.told(message.text, clock.call_s(message.start_time)) and self._start_s is not None:
                    await self._push_partial()
            case EndWord():
                self._words.ended(clock.call_s(message.stop_time))
            case Step():
                self._step(message, clock)
            case Flushed():
                await self._flushed(message, clock)
            case Committed():
                self._words.committed()
            case Marker():
                if message.id == self._marker:
                    self._marked = True
                    self._news.set()

    async def _push_partial(self) -> None:
        text = self._words.partial
        if text:
            await self.push_frame(InterimTranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN))

    async def _flushed(self, message: Flushed, clock: ServerClock) -> None:
        flush = self._flush
        if flush is None or message.id != flush.number or flush.answered:
            return
        self._words.flushed(
            HeardWord(w.text, clock.call_s(w.start_time), None if w.stop_time is None else clock.call_s(w.stop_time))
            for w in message.words
        )
        flush.answered, flush.overtaken = True, message.overtaken
        self._news.set()
        if flush.commit:
            await self._commit_now(flush)
        elif flush.eager and self._start_s is not None:
            text = self._words.text
            if text and not self._is_noise(text.split(), flush.asked_s):
                await self.push_frame(EagerTranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN))

    def _step(self, step: Step, clock: ServerClock) -> None:
        self._steps += 1
        self._progress.set()
        if not (self._limits.pauses and self._turn_open and self._call.on_pause and len(step.prs) > _END_HEAD):
            return
        heard_s = clock.call_s(self._steps * FRAME_S)
        if self._steps > _UNSURE_STEPS and self._now_s - heard_s < _LATE_STEPS_S:
            self._call.on_pause(step.prs[_END_HEAD])
