"""Loss and jitter between an aiortc peer that sends audio and the network, the same at every run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bench.impairment import Fates, Impairment


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
        self._fates = Fates(Impairment(loss, jitter_s), seed)
        self._drop = drop
        self._tasks: set[asyncio.Task[None]] = set()
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
        late_s = self._fates.next()
        if late_s is None or (self._drop is not None and self._drop(self.count)):
            self.dropped.append(self.count)
            return
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

    def mend(self) -> None:
        """From now on nothing is lost or late, but for what ``drop`` says."""
        self._fates.impairment = Impairment()

    async def settle(self) -> None:
        """Wait until everything that is under way has left."""
        await asyncio.gather(*self._tasks)
