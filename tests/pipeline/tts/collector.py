"""The end of a pipeline in which a voice is tested."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

LIVE_S = 60
F = TypeVar("F", bound=Frame)


class Collector(FrameProcessor):
    """Keeps every frame that reaches the end of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.changed = asyncio.Event()
        self.on_frame: Callable[[Frame], Awaitable[None]] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            self.frames.append(frame)
            self.changed.set()
            if self.on_frame is not None:
                await self.on_frame(frame)
        await self.push_frame(frame, direction)

    def of(self, kind: type[F]) -> list[F]:
        return [f for f in self.frames if isinstance(f, kind)]

    async def wait(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIVE_S):
            while not done():
                self.changed.clear()
                await self.changed.wait()
