"""Loss and jitter between an aiortc peer that sends audio and the network, the same at every run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any


class ImpairedLink:
    """Takes the RTP packets that a peer's first sender gives to its transport; RTCP and data pass as they are.

    Args:
        pc: The peer, before or after it is connected.
        loss: Share of the packets that never leave.
        jitter_s: Each packet leaves up to so much later, each by its own draw: packets overtake each other.
        drop: Decides instead of ``loss``, by the packet's count.
        seed: Of all draws.
    """

    def __init__(
        self, pc: Any, *, loss: float = 0.0, jitter_s: float = 0.0, drop: Callable[[int], bool] | None = None, seed: int = 1
    ) -> None:
        transport = pc.getSenders()[0].transport
        self._send: Callable[[bytes], Awaitable[None]] = transport._send_rtp
        self._random = random.Random(seed)
        self._drop = drop or (lambda _count: self._random.random() < self.loss)
        self._tasks: set[asyncio.Task[None]] = set()
        self.loss = loss
        self.jitter_s = jitter_s
        self.count = 0
        """RTP packets so far."""
        self.dropped: list[int] = []
        """Those that never left, by their count."""
        transport._send_rtp = self._impair

    async def _impair(self, data: bytes) -> None:
        if 192 <= data[1] <= 223:  # RTCP (RFC 5761)
            await self._send(data)
            return
        self.count += 1
        if self._drop(self.count):
            self.dropped.append(self.count)
            return
        late_s = self._random.uniform(0, self.jitter_s)
        if late_s == 0:
            await self._send(data)
            return
        task = asyncio.create_task(self._send_later(data, late_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_later(self, data: bytes, late_s: float) -> None:
        await asyncio.sleep(late_s)
        try:
            await self._send(data)
        except ConnectionError:
            pass  # the peer has closed meanwhile

    async def settle(self) -> None:
        """Wait until everything that is under way has left."""
        await asyncio.gather(*self._tasks)
