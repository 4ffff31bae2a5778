"""A bound on how long a recogniser may hold up the audio.

Audio passes through the recogniser's stage, so one that waits on a dead socket stops everything behind it: voice detection,
turns, interruptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.utils.errors import ErrorCategory

RunSTT = Callable[[bytes], AsyncGenerator[Frame | None, None]]

CHUNK_S = 0.005
"""Once a recogniser hangs, each further chunk of streamed audio may take this long: a quarter of what it lasts, so that what
has piled up behind the hang, an interruption too, gets through soon."""
TELL_EVERY_S = 1.0


def bounded(run_stt: RunSTT, timeout_s: float, *, then_s: float | None = None) -> RunSTT:
    """``run_stt`` that gives up a chunk of audio after ``timeout_s`` without a frame, with an error at most once a second.

    After a chunk was given up the next ones may take ``then_s``, until one goes through: the audio must not fall further and
    further behind. What ``run_stt`` raises becomes an ``ErrorFrame`` too, and its chunk goes on down the pipeline.
    """
    allowed_s = timeout_s
    told_at = float("-inf")

    def telling(text: str) -> ErrorFrame | None:
        nonlocal told_at
        now = asyncio.get_running_loop().time()
        if now - told_at < TELL_EVERY_S:
            return None
        told_at = now
        return ErrorFrame(text, category=ErrorCategory.UNKNOWN)

    async def run(audio: bytes) -> AsyncGenerator[Frame | None, None]:
        nonlocal allowed_s
        frames = run_stt(audio)
        try:
            while True:
                try:
                    async with asyncio.timeout(allowed_s):
                        frame = await anext(frames)
                except StopAsyncIteration:
                    allowed_s = timeout_s
                    return
                except TimeoutError:
                    allowed_s = timeout_s if then_s is None else then_s
                    yield telling(f"the recogniser took no audio for {timeout_s:g} s")
                    return
                except Exception as e:
                    yield telling(f"{type(e).__name__}: {e}")
                    return
                yield frame
        finally:
            await frames.aclose()

    return run


def guard_stt(stt: Any, timeout_s: float) -> None:
    """Bound the stage's ``run_stt``, where it has one."""
    if hasattr(stt, "run_stt"):
        # A segmented service gets whole utterances, in a task of its own: nothing waits behind it.
        then_s = None if isinstance(stt, SegmentedSTTService) else CHUNK_S
        stt.run_stt = bounded(stt.run_stt, timeout_s, then_s=then_s)
