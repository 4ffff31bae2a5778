"""The fakes with faults that can be switched on call by call: each stage fails or stalls in every way that a real one does.

A fault stands on the ``Board`` under its session until it is taken off; the stage that it names looks there at
each piece of work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService

from bench.fakes import LLM_WORD_S, STT_FINAL_S, STT_TEXT, FakeEngine, FakeLLM, FakeSTT, FakeTTS, Stage
from pipeline.engine import CallState

FOR_EVER_S = 3600.0
FAULTS: dict[str, str] = {
    "stt.raise": "run_stt raises on every chunk of audio",
    "stt.hang": "run_stt never returns, so no audio passes",
    "stt.error": "an error in place of the final words",
    "stt.stall": "no final words, ever",
    "stt.empty": "a final without a word",
    "stt.late": "the final words come 2 s late",
    "llm.raise": "the stage raises before its first word",
    "llm.raise_mid": "the stage raises after three words",
    "llm.error": "an error in place of an answer",
    "llm.stall": "no first word, ever",
    "llm.stall_mid": "no further word after three",
    "llm.empty": "an answer without a word",
    "llm.no_end": "all the words, and no end",
    "llm.late": "the first word comes 2 s late",
    "tts.raise": "run_tts raises",
    "tts.error": "an error in place of audio",
    "tts.stall": "no audio, ever",
    "tts.stall_mid": "no further audio after 0.3 s",
    "tts.empty": "no audio, and no error",
    "tts.silent": "audio of zeros",
    "tts.late": "the first audio comes 2 s late",
}
"""What can be injected: ``stage.kind`` and what the stage does."""
LATE_S = 2.0
WORDS = 6
"""Fewer than the frozen fake's 20, so that a good answer does not take six seconds."""


class Injected(RuntimeError):
    """Raised by a stage on purpose."""


class Board:
    """Which fault stands for which session."""

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}

    def put(self, session_id: str, fault: str | None) -> None:
        """Switch ``fault`` on, or any off.

        Raises:
            ValueError: naming the faults that there are.
        """
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"unknown fault {fault!r}, allowed: {', '.join(FAULTS)}")
        if fault is None:
            self._standing.pop(session_id, None)
        else:
            self._standing[session_id] = fault

    def of(self, session_id: str, stage: Stage) -> str | None:
        """The kind of fault that ``stage`` has to show now."""
        found, _, kind = self._standing.get(session_id, "").partition(".")
        return kind if found == stage else None


class FaultySTT(FakeSTT):
    """The fake recogniser, with its faults."""

    def __init__(self, board: Board, call: CallState) -> None:
        super().__init__()
        self._board, self._call = board, call

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Take one chunk of audio, or fail to."""
        match self._board.of(self._call.session_id, "stt"):
            case "raise":
                raise Injected("stt.raise")
            case "hang":
                await asyncio.sleep(FOR_EVER_S)
        return
        yield None

    async def _final(self) -> None:
        kind = self._board.of(self._call.session_id, "stt")
        await asyncio.sleep(LATE_S if kind == "late" else STT_FINAL_S)
        match kind:
            case "error":
                await self.push_error("stt.error")
            case "stall" | "raise" | "hang":
                pass
            case _:
                frame = TranscriptionFrame(" " if kind == "empty" else STT_TEXT, "", "")
                frame.finalized = True
                await self.push_frame(frame)


class FaultyLLM(FakeLLM):
    """The fake tutor, with its faults."""

    def __init__(self, board: Board, call: CallState) -> None:
        super().__init__()
        self._board, self._call = board, call

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, or fail to."""
        if not isinstance(frame, LLMContextFrame):
            await super().process_frame(frame, direction)
            return
        await LLMService.process_frame(self, frame, direction)
        kind = self._board.of(self._call.session_id, "llm")
        match kind:
            case "raise":
                raise Injected("llm.raise")
            case "error":
                await self.push_error("llm.error")
                return
            case "stall":
                await asyncio.sleep(FOR_EVER_S)
            case "late":
                await asyncio.sleep(LATE_S)
        await self.push_frame(LLMFullResponseStartFrame())
        for index in range(0 if kind == "empty" else WORDS):
            if index == 3 and kind == "raise_mid":
                raise Injected("llm.raise_mid")
            if index == 3 and kind == "stall_mid":
                await asyncio.sleep(FOR_EVER_S)
            await asyncio.sleep(LLM_WORD_S)
            await self.push_frame(LLMTextFrame(f"word{index}{'. ' if index == WORDS - 1 else ' '}"))
        if kind != "no_end":
            await self.push_frame(LLMFullResponseEndFrame())


class FaultyTTS(FakeTTS):
    """The fake voice, with its faults."""

    def __init__(self, board: Board, call: CallState) -> None:
        # pipecat's own 3 s: with the frozen fake's 0.3 s a voice that is late would count as one that has ended.
        TTSService.__init__(self, push_start_frame=True, push_stop_frames=True, stop_frame_timeout_s=3.0)
        self._board, self._call = board, call

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speak, or fail to."""
        kind = self._board.of(self._call.session_id, "tts")
        match kind:
            case "raise":
                raise Injected("tts.raise")
            case "error":
                yield ErrorFrame("tts.error")
                return
            case "stall":
                await asyncio.sleep(FOR_EVER_S)
            case "empty":
                return
            case "late":
                await asyncio.sleep(LATE_S)
        sent = 0
        async for frame in super().run_tts(text, context_id):
            if isinstance(frame, TTSAudioRawFrame):
                if kind == "silent":
                    frame = TTSAudioRawFrame(bytes(len(frame.audio)), frame.sample_rate, 1, context_id=context_id)
                sent += len(frame.audio)
                if kind == "stall_mid" and sent > 0.3 * self.sample_rate * 2:
                    await asyncio.sleep(FOR_EVER_S)
            yield frame


_STAGES: dict[Stage, Any] = {"stt": FaultySTT, "llm": FaultyLLM, "tts": FaultyTTS}


class FaultyEngine(FakeEngine):
    """One of the faulty fakes as a ``pipeline.engine.Engine``."""

    def __init__(self, stage: Stage, board: Board) -> None:
        super().__init__(stage, lambda: _STAGES[stage](board, CallState("", "beginner", "")))
        self._board = board

    def create(self, call: CallState) -> FrameProcessor:
        """The stage for one call."""
        made: FrameProcessor = _STAGES[self.stage](self._board, call)
        return made


def faulty_engines(board: Board) -> dict[str, FakeEngine]:
    """The three faulty fakes, for ``web.app.create_app(settings, engines=…)``."""
    return {stage: FaultyEngine(stage, board) for stage in _STAGES}
