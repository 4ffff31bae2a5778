"""Engines for the benchmark of bad networks: a recogniser that keeps what it hears, and a tutor of one short sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService

from bench.fakes import LLM_WORD_S, STT_FINAL_S, FakeEngine, FakeSTT, FakeTTS

TEXT = "I like it very much."
WORDS = 5
"""An answer is 1.5 s long: what is measured is how it begins, and what was heard before."""


class Board:
    """The sound that each call's recogniser was given, in the order in which the calls began."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[float, bytes]]] = []

    def begin(self) -> list[tuple[float, bytes]]:
        """A further call's: (monotonic time, pcm16) as it comes."""
        self.calls.append([])
        return self.calls[-1]

    def heard(self, call: int, since: float, until: float) -> bytes:
        """What the recogniser of ``call`` was given between two monotonic times: 16 kHz mono pcm16."""
        return b"".join(audio for at, audio in self.calls[call] if since <= at < until)


class KeepingSTT(FakeSTT):
    """The fake recogniser, which keeps what it hears. Its words are a whole sentence: a turn does not wait for more of them."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._kept = board.begin()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Keep the audio."""
        self._kept.append((time.monotonic(), audio))
        return
        yield None

    async def _final(self) -> None:
        await asyncio.sleep(STT_FINAL_S)
        frame = TranscriptionFrame(TEXT, "", "")
        frame.finalized = True
        await self.push_frame(frame)


class BriefLLM(LLMService):
    """Says one sentence to everything, as fast as the other fake does."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, pass on everything else."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for index in range(WORDS):
            await asyncio.sleep(LLM_WORD_S)
            await self.push_frame(LLMTextFrame(f"word{index}{'. ' if index == WORDS - 1 else ' '}"))
        await self.push_frame(LLMFullResponseEndFrame())


def net_engines(board: Board) -> dict[str, FakeEngine]:
    """The three stages, for ``web.app.create_app(settings, engines=…)``."""
    return {
        "stt": FakeEngine("stt", lambda: KeepingSTT(board)),
        "llm": FakeEngine("llm", BriefLLM),
        "tts": FakeEngine("tts", FakeTTS),
    }


def add_board(app: Any, board: Board) -> None:
    """``GET /bench/calls``: how many recognisers there were; ``GET /bench/heard?call=0&since=1.0&until=2.0``: their sound."""
    from fastapi.routing import APIRoute
    from starlette.responses import Response

    async def calls() -> dict[str, int]:
        return {"calls": len(board.calls)}

    async def heard(call: int, since: float, until: float) -> Response:
        return Response(board.heard(call, since, until), media_type="application/octet-stream")

    for path, route in (("/bench/calls", calls), ("/bench/heard", heard)):
        app.router.routes.insert(0, APIRoute(path, route, methods=["GET"]))
