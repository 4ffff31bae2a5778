"""Handles what a client sends one item at a time, in order, in a task that never stops in the middle of a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from loguru import logger

T = TypeVar("T")


class Inbox(Generic[T]):
    """A bounded queue and the task that empties it.

    ``close`` may be called from inside ``handle`` or from what it waits for: it does not cancel or await a running handler,
    which ends by itself; nothing is handled after it.

    Args:
        handle: Called with each item; what it raises is logged and given to ``on_error``.
        limit: Items that may wait.
        on_error: Told of the item whose handler failed.
    """

    def __init__(self, handle: Callable[[T], Awaitable[None]], limit: int, on_error: Callable[[T], None] | None = None) -> None:
        self._handle = handle
        self._on_error = on_error
        self._queue: asyncio.Queue[T] = asyncio.Queue(limit)
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._closed = False

    def put(self, item: T) -> bool:
        """Queue ``item``; ``False`` when the limit is reached or the inbox is closed."""
        if self._closed or self._queue.full():
            return False
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        self._queue.put_nowait(item)
        return True

    async def close(self) -> None:
        """Handle nothing more. Safe to call twice."""
        self._closed = True
        if self._task is not None and not self._busy:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closed:
            item = await self._queue.get()
            self._busy = True
            try:
                await self._handle(item)
            except Exception:
                logger.exception("a handler of a client's message failed")
                if self._on_error is not None:
                    self._on_error(item)
            finally:
                self._busy = False
