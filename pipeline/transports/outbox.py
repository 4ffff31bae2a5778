"""What waits to be written to a socket: messages and audio in one order, bounded, with an end to patience."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from loguru import logger


class Sink(Protocol):
    """The writing half of a socket. Each method returns when the socket has taken the data."""

    async def send_json(self, data: dict[str, Any]) -> None:
        """Write a text message.

        Raises:
            OSError: the peer is gone.
        """
        ...

    async def send_bytes(self, data: bytes) -> None:
        """Write a binary message.

        Raises:
            OSError: the peer is gone.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake. Safe to call twice; never raises for a peer that is gone."""
        ...


@dataclass(slots=True)
class _Audio:
    pcm16: bytes
    written: asyncio.Future[bool]


class Outbox:
    """Writes to a sink from one task, first in, first out.

    A client that does not read lets at most ``max_messages`` messages gather; more, or one write of over ``timeout_s``, makes
    the outbox give up: ``on_failed`` is called once with the reason and everything put in later is dropped.
    """

    def __init__(
        self, sink: Sink, *, on_failed: Callable[[str], None], max_messages: int = 512, timeout_s: float = 5.0
    ) -> None:
        self._sink = sink
        self._on_failed = on_failed
        self._max_messages = max_messages
        self._timeout_s = timeout_s
        self._items: deque[dict[str, Any] | _Audio] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = True
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether what is put in still has a chance of leaving."""
        return self._open

    @property
    def waiting(self) -> int:
        """Items that have not been written yet."""
        return len(self._items)

    def put(self, message: dict[str, Any]) -> bool:
        """Queue a message. False: it was dropped, because the client is gone or does not read."""
        if not self._open:
            return False
        if len(self._items) >= self._max_messages:
            self._fail("the client does not read its messages")
            return False
        self._add(message)
        return True

    async def put_audio(self, pcm16: bytes) -> bool:
        """Queue audio and wait until the socket has taken it. False: it was dropped."""
        if not self._open:
            return False
        item = _Audio(pcm16, asyncio.get_running_loop().create_future())
        self._add(item)
        return await item.written

    def clear_audio(self) -> None:
        """Drop all audio that is not being written yet; messages stay."""
        kept: deque[dict[str, Any] | _Audio] = deque()
        for item in self._items:
            if isinstance(item, _Audio):
                self._settle(item, False)
            else:
                kept.append(item)
        self._items = kept

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything was written, at most ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            logger.debug("{} items were not written in time", len(self._items))

    async def stop(self) -> None:
        """Drop what waits and end the task. Safe to call twice."""
        self._shut()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    def _add(self, item: dict[str, Any] | _Audio) -> None:
        self._items.append(item)
        self._idle.clear()
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="websocket outbox")

    async def _run(self) -> None:
        while self._open:
            if not self._items:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._write(self._items.popleft())

    async def _write(self, item: dict[str, Any] | _Audio) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                if isinstance(item, _Audio):
                    await self._sink.send_bytes(item.pcm16)
                else:
                    await self._sink.send_json(item)
        except TimeoutError:
            self._fail(f"the client has read nothing for {self._timeout_s:g} s")
        except OSError as e:
            self._fail(f"the connection is gone ({e or type(e).__name__})")
        finally:
            if isinstance(item, _Audio):
                self._settle(item, self._open)

    def _fail(self, reason: str) -> None:
        if self._open:
            self._shut()
            self._on_failed(reason)

    def _shut(self) -> None:
        self._open = False
        for item in self._items:
            if isinstance(item, _Audio):
                self._settle(item, False)
        self._items.clear()
        self._idle.set()
        self._wake.set()

    @staticmethod
    def _settle(item: _Audio, written: bool) -> None:
        if not item.written.done():
            item.written.set_result(written)
