"""Engines for the benchmark of bad networks: a recogniser that keeps what it hears, and a tutor of one short sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import Frame, TranscriptionFrame

from bench.fakes import STT_FINAL_S, FakeEngine, FakeSTT, FakeTTS
from bench.oracle import BriefLLM

TEXT = "I like it very much."


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


def net_engines(board: Board) -> dict[str, FakeEngine]:
    """The three stages, for ``web.app.create_app(settings, engines=…)``.

    An answer is one sentence of 1.5 s: what is measured is how it begins, and what was heard before.
    """
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
