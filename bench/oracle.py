"""A recogniser that knows what is said, for both servers: the true words, when a good one would give them.

The client says beforehand what it will play (``add_oracle``), the ``Board`` holds it, ``OracleSTT`` reads it out: each word
``WORD_DELAY_S`` after it was spoken, and all that were spoken so far ``FLUSH_S`` after a flush, which is pipecat's own voice
detector's stop or Parley's ``FlushSTTFrame``, whichever comes first. A word that the learner has not spoken yet is not given.
The tutor behind it answers in one short sentence, with the times of ``bench/fakes.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from pipecat.frames.frames import (
    EagerTranscriptionFrame,
    Frame,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.stt_service import STTService

from bench.fakes import LLM_WORD_S, LLM_WORDS_PER_SENTENCE, TTS_CHUNK_MS, FakeLLM, FakeTTS, tone
from pipeline.stt.flush import FlushSTTFrame

Row = Literal["natural", "machine"]
"""``natural``: each server finds the ends of turns itself. ``machine``: both are told of them."""

WORD_DELAY_S = 0.5
FLUSH_S: dict[Row, float] = {"natural": 0.1, "machine": 0.05}
TOLD_AFTER_S = 0.2
"""In the machine row, when the end of a turn is told, after its last voiced sample."""
NOTHING_HEARD = " "
"""The text of a final without words: a turn waits for a final after each stop of the voice."""
ANSWER_WORDS = LLM_WORDS_PER_SENTENCE
ANSWER_WORD_MS = 100
VOICED_PEAK = 500
"""A frame of audio whose largest sample exceeds this is voiced."""
EARLIEST_S = 0.2
"""A voice that arrives sooner than announced by more than this is another one."""


@dataclass(slots=True)
class Board:
    """What the learner says in the present call. Pure: times are seconds on one monotonic clock and are passed in."""

    row: Row = "natural"
    words: list[tuple[str, float]] = field(default_factory=list)
    """Each word of the call and the time at which it is over."""
    voice_at: float | None = None
    """The first voiced sample of the latest utterance."""
    ends_at: float | None = None
    """The last voiced sample of the latest utterance."""
    arrivals_ms: list[float] = field(default_factory=list)
    """For each utterance, when its voice reached the recogniser's stage, against ``voice_at``."""

    def new_call(self, row: Row) -> None:
        """Forget what was said; the next call is of ``row``."""
        self.row, self.voice_at, self.ends_at = row, None, None
        self.words.clear()
        self.arrivals_ms.clear()

    def say(self, words: list[tuple[str, float]], begins_at: float, *, voice_s: float, end_s: float) -> None:
        """An utterance that begins at ``begins_at``: its words, each with its end. The other times count from there, too."""
        self.words += [(text, begins_at + end_s) for text, end_s in words]
        self.voice_at, self.ends_at = begins_at + voice_s, begins_at + end_s

    def spoken(self, now: float, *, since: int = 0) -> tuple[str, ...]:
        """The words, from the ``since``-th of the call, that are over at ``now``."""
        return tuple(text for text, end in self.words[since:] if end <= now)

    @property
    def told_at(self) -> float | None:
        """When the end of the latest utterance is told in the machine row."""
        return None if self.ends_at is None or self.row != "machine" else self.ends_at + TOLD_AFTER_S


class OracleSTT(STTService):
    """Reads the board out."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self._given = len(board.words)  # words that stand in a final
        self._shown = 0  # words that stand in the latest interim, from ``_given`` on
        self._speaking = False
        self._finals = 0  # that are on their way
        self._flushed: tuple[float, int] | None = None  # the latest flush, and how many words were spoken by then
        self._arrived: float | None = None  # the latest voice that was noted

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """For every 20 ms of audio: the words whose time has come."""
        now = time.monotonic()
        self._note_arrival(audio, now)
        due = self._board.spoken(now - WORD_DELAY_S, since=self._given)
        if len(due) > self._shown and not self._finals:
            self._shown = len(due)
            if self._speaking:
                yield InterimTranscriptionFrame(" ".join(due), "", "")
            else:  # over, by the aligner, only after the voice detector's stop
                yield self._final(due)

    def _note_arrival(self, audio: bytes, now: float) -> None:
        voice_at = self._board.voice_at
        if voice_at is None or voice_at == self._arrived or now < voice_at - EARLIEST_S:
            return
        if int(np.abs(np.frombuffer(audio, np.int16).astype(np.int32)).max(initial=0)) > VOICED_PEAK:
            self._arrived = voice_at
            self._board.arrivals_ms.append(round((now - voice_at) * 1000, 1))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """A final ``FLUSH_S`` after the voice stops, and what there is as long after a flush."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._speaking = True
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._speaking = False
            self._finals += 1
            self.create_task(self._after_stop(time.monotonic()))
        elif isinstance(frame, FlushSTTFrame) and frame.commit:
            await self._commit(time.monotonic())
        elif isinstance(frame, FlushSTTFrame):
            self.create_task(self._after_flush(time.monotonic()))

    async def _after_stop(self, asked_at: float) -> None:
        flushed_at, words = self._flushed or (asked_at, 0)
        if words != len(self._board.spoken(asked_at)):
            flushed_at = asked_at
        # What was flushed already, and was followed by silence, is worked out once.
        await asyncio.sleep(max(0.0, flushed_at + FLUSH_S[self._board.row] - time.monotonic()))
        self._finals -= 1
        frame = self._final(self._board.spoken(asked_at, since=self._given))
        frame.finalized = not self._speaking
        await self.push_frame(frame)

    async def _commit(self, now: float) -> None:
        if self._flushed is not None and self._flushed[1] == len(self._board.spoken(now)):
            await self.push_frame(self._final(self._board.spoken(now, since=self._given)))

    async def _after_flush(self, asked_at: float) -> None:
        since = self._given
        self._flushed = asked_at, len(self._board.spoken(asked_at))
        await asyncio.sleep(FLUSH_S[self._board.row])
        if since == self._given:  # a final that has come since says the same
            words = self._board.spoken(asked_at, since=since)
            await self.push_frame(EagerTranscriptionFrame(" ".join(words), "", ""))

    def _final(self, words: tuple[str, ...]) -> TranscriptionFrame:
        self._given += len(words)
        self._shown = 0
        return TranscriptionFrame(" ".join(words) or NOTHING_HEARD, "", "", finalized=True)


class BriefLLM(FakeLLM):
    """Says one sentence of the fake's: what comes after it is not measured, and takes time."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, pass on everything else."""
        if not isinstance(frame, LLMContextFrame):
            await super().process_frame(frame, direction)
            return
        await super(FakeLLM, self).process_frame(frame, direction)
        await self.push_frame(LLMFullResponseStartFrame())
        for index in range(ANSWER_WORDS):
            await asyncio.sleep(LLM_WORD_S)
            await self.push_frame(LLMTextFrame(f"word{index}{'. ' if index == ANSWER_WORDS - 1 else ' '}"))
        await self.push_frame(LLMFullResponseEndFrame())


class BriefTTS(FakeTTS):
    """Sings a third of each of the fake's words."""

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """All of the audio at once, in chunks of 20 ms."""
        word = tone(self.sample_rate)[: self.sample_rate * ANSWER_WORD_MS // 1000 * 2]
        pcm = word * len(text.split())
        step = self.sample_rate * TTS_CHUNK_MS // 1000 * 2
        for start in range(0, len(pcm), step):
            yield TTSAudioRawFrame(pcm[start : start + step], self.sample_rate, 1, context_id=context_id)


def add_oracle(app: Any, board: Board) -> None:
    """Let a FastAPI app be told what will be said, below ``/bench/oracle``.

    ``POST …/call {"row"}`` before a call. ``POST …/say {"lead_s", "words": [[text, end_s], …], "voice_s", "end_s"}``: the first
    sample is sent ``lead_s`` after this request, and the other times count from there. ``GET …/arrivals``: how well that
    agreed with the voice, in ms.
    """
    from fastapi.routing import APIRoute

    async def call(body: dict[str, Any]) -> dict[str, bool]:
        row = body["row"]
        if row not in get_args(Row):
            raise ValueError(f"row must be one of {', '.join(get_args(Row))}, not {row!r}")
        board.new_call(row)
        return {"ok": True}

    async def say(body: dict[str, Any]) -> dict[str, bool]:
        begins_at = time.monotonic() + float(body["lead_s"])
        words = [(str(text), float(end_s)) for text, end_s in body["words"]]
        board.say(words, begins_at, voice_s=float(body["voice_s"]), end_s=float(body["end_s"]))
        return {"ok": True}

    async def arrivals() -> list[float]:
        return board.arrivals_ms

    # First, because an app may end its routes with one that takes everything.
    for path, endpoint, method in (("call", call, "POST"), ("say", say, "POST"), ("arrivals", arrivals, "GET")):
        app.router.routes.insert(0, APIRoute(f"/bench/oracle/{path}", endpoint, methods=[method]))
