"""The STT stage of a call on a Kyutai server: live words, a flush where the voice pauses, finals, and the spare recogniser."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
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
from pipeline.stt.flush import FlushSTTFrame
from pipeline.stt.kyutai_asked import Flush, heard_all
from pipeline.stt.kyutai_asking import Asking
from pipeline.stt.kyutai_link import RATE_HZ as LINK_RATE_HZ
from pipeline.stt.kyutai_link import KyutaiLink, ServerClock
from pipeline.stt.kyutai_pauses import PauseHeads
from pipeline.stt.kyutai_shared import Shared
from pipeline.stt.kyutai_stretch import RATE_HZ, Stretch
from pipeline.stt.kyutai_words import HeardWord, LiveWords
from pipeline.stt.recognition import NOTHING_HEARD, Recognition
from pipeline.tts.resample import StreamResampler

_LAST_FINALS_S = 2.0
_IDLE_REPLAY_S = 1.0
"""What is sent again where nobody speaks."""
_AHEAD_S = 2.0
"""Who sends so much more audio than time has passed sends a file, and can be made to wait."""
_UNHEARD_S = 2.0
"""How much of a file the server is given before it has heard what came first; the engine keeps 10 s at most."""


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
        self._stretch = Stretch(shared.is_noise)
        self._words = LiveWords()
        self._asking = Asking(self._link, self._words, settings)
        self._pauses = PauseHeads()
        self._speaking = False
        self._turn_open = False
        self._committed_s: float | None = None  # a final was given in this stretch, of what was said before
        self._ending: asyncio.Task[None] | None = None
        self._settled = False  # nothing can keep the final of ``_ending`` from being given
        self._progress = asyncio.Event()  # a step was made, or the link is another one
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
                self._stretch.mute()
                self._words.begin(self._now_s)

    async def process_audio_frame(self, frame: InputAudioRawFrame, direction: FrameDirection) -> None:
        """One frame of mono pcm16 at 16 kHz."""
        await super().process_audio_frame(frame, direction)
        end_s = frame.metadata.get("capture_end_s")
        if end_s is not None:
            self._stretch.captured(end_s)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take audio in. Yields no frame: words are pushed when they come."""
        self._stretch.add(audio)
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
                    self._link.state == "up" and self._link.unheard_s(self._pauses.steps) > _UNHEARD_S
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
        self._asking.withdraw()
        if self._ending is not None and not self._settled:
            ending, self._ending = self._ending, None
            await self.cancel_task(ending)
        if self._stretch.start_s is None:
            self._words.begin(self._stretch.begin(self._now_s, frame.start_secs, self._words.final_until_s))
        self._committed_s = None

    async def _voice_stopped(self, frame: VADUserStoppedSpeakingFrame) -> None:
        if not self._speaking:
            return
        self._speaking = False
        voice_end_s = self._now_s - frame.stop_secs
        if self._committed_s is not None and heard_all(self._committed_s, voice_end_s) and not self._words.words:
            self._stretch.start_s = None
            await self._push_final(Recognition(""))
            return
        self._settled = False
        self._asking.voice_ended()
        self._ending = self.create_task(self._end_stretch(self._now_s, voice_end_s), name="end of speech")

    # Flushes

    async def _ask_words(self) -> None:
        if self._link.flushes:
            self._asking.flush(eager=True)

    async def _commit(self) -> None:
        flush = self._asking.open_flush
        if not self._speaking:  # the final is under way, or was given
            self._asking.hurry_marker()
        elif flush is None or not self._link.flushes:
            return
        elif flush.answered:
            await self._commit_now(flush)
        else:
            flush.commit = True

    async def _commit_now(self, flush: Flush) -> None:
        if self._words.went_on(flush.asked_s) or self._stretch.start_s is None:
            return
        self._committed_s = flush.asked_s
        recognition = self._take(flush, flush.asked_s)
        self._stretch.start_s = flush.asked_s  # of what may still be said before the voice stops
        await self._push_final(recognition)

    # The end of a stretch of speech

    async def _end_stretch(self, stop_s: float, voice_end_s: float) -> None:
        answered = await self._asking.all_told(voice_end_s, more_s=self._now_s if self._is_file else 0.0)
        recognition: Recognition | None = None
        if not answered:
            recognition = await self._ask_spare(stop_s)
        self._settled = True
        if recognition is not None:
            self._words.take(stop_s)
            recognition = self._without_noise(recognition, stop_s)
        else:
            recognition = self._take(self._asking.open_flush if answered else None, stop_s)
            if not answered and not recognition.text:
                await self.push_error(f"speech to text: {self._link.reason or 'no words came'}", category=ErrorCategory.UNKNOWN)
        self._stretch.start_s = None
        await self._push_final(recognition)

    async def _ask_spare(self, stop_s: float) -> Recognition | None:
        spare = self._shared.spare
        if spare is None or self._stretch.start_s is None:
            return None
        logger.warning("speech to text: {}; {} is asked", self._link.reason or "no words came", spare.name)
        return await self._shared.ask_spare(self._call, *self._stretch.sound(stop_s))

    def _take(self, flush: Flush | None, until_s: float) -> Recognition:
        """All words are final; a flush that they rest on is committed."""
        committing = flush is not None and flush.answered and not flush.overtaken and self._link.flushes
        if flush is not None and committing:
            self._link.commit(flush.number)
            until_s = flush.asked_s
        words = self._words.take(until_s, committing=committing)
        self._asking.forget()
        return self._without_noise(self._stretch.recognition(words, until_s, engine="kyutai"), until_s)

    def _without_noise(self, recognition: Recognition, until_s: float) -> Recognition:
        result = self._stretch.without_noise(recognition, until_s)
        if result is not recognition:
            self._shared.noise_dropped += 1
            logger.debug("{}: taken for noise: {!r}", self, recognition.text)
        return result

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
        self._asking.forget()
        self._pauses.restart()
        wanted_s = self._stretch.start_s if self._stretch.start_s is not None else max(0.0, self._now_s - _IDLE_REPLAY_S)
        self._shared.connections += 1
        return round(self._words.lost(wanted_s, oldest / LINK_RATE_HZ) * LINK_RATE_HZ)

    def link_changed(self) -> None:
        """See ``Listener``."""
        if self._link.state == "full":
            self._shared.full_at = time.monotonic()
        elif self._link.state == "up":
            self._shared.full_at = None
        self._asking.changed()
        self._progress.set()

    async def link_message(self, message: Any, clock: ServerClock) -> None:
        """See ``Listener``."""
        match message:
            case Word():
                if self._words.told(message.text, clock.call_s(message.start_time)) and self._stretch.start_s is not None:
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
                self._asking.marker_came(message.id)

    async def _push_partial(self) -> None:
        text = self._words.partial
        if text:
            await self.push_frame(InterimTranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN))

    async def _flushed(self, message: Flushed, clock: ServerClock) -> None:
        words = [
            HeardWord(w.text, clock.call_s(w.start_time), None if w.stop_time is None else clock.call_s(w.stop_time))
            for w in message.words
        ]
        flush = self._asking.flushed(message.id, words, overtaken=message.overtaken)
        if flush is None:
            return
        if flush.commit:
            await self._commit_now(flush)
        elif flush.eager and self._stretch.start_s is not None:
            text = self._words.text
            if text and not self._stretch.is_noise(text.split(), flush.asked_s):
                await self.push_frame(EagerTranscriptionFrame(text, self._user_id, time_now_iso8601(), Language.EN))

    def _step(self, step: Step, clock: ServerClock) -> None:
        self._pauses.step()
        self._progress.set()
        if not (self._limits.pauses and self._turn_open and self._call.on_pause):
            return
        over = self._pauses.end_of_turn(step.prs, self._now_s - clock.call_s(self._pauses.heard_s))
        if over is not None:
            self._call.on_pause(over)
