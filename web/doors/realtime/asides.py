"""Responses that do not answer the conversation: what they answer (``input``), and written ones that are no part of it.

A written response outside of the conversation (``conversation: none``) is the language model's alone: it is made by a task of
its own beside the call, and several may be under way. A spoken one needs the voice, and takes its turn like any response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from loguru import logger

from pipeline.brief import AnswerEnd, Brief, FunctionCall
from pipeline.llm.chat import ChatFailed
from pipeline.stt.once import recognise_once
from web.doors.realtime import events as ev
from web.doors.realtime.items import Item
from web.doors.realtime.new_items import Made, calls_made, item_of
from web.doors.realtime.responses import Response

if TYPE_CHECKING:
    from web.doors.realtime.session import RealtimeSession

MAX_ASIDES = 8
"""Written responses of one session at a time."""


class Asides:
    """The responses of one session, its owner, that have an input of their own or are no part of the conversation."""

    def __init__(self, owner: RealtimeSession) -> None:
        self._owner = owner
        self._open: set[Response] = set()
        self._tasks: dict[Response, asyncio.Task[None]] = {}
        self._telling = asyncio.Lock()

    def input_of(self, wanted: Sequence[ev.InputItem]) -> list[Made]:
        """The items of a response's ``input``, with what stands for each as far as that is known.

        Raises:
            ApiError: one of them cannot be answered, or is not there.
        """
        made: list[Made] = []
        for one in wanted:
            try:
                if isinstance(one, ev.ItemReference):
                    made.append((self._owner.items.get(one.id), None, None))
                    continue
                known = [*self._owner.items, *(item for item, _, _ in made)]
                made.append(item_of(one, known, self._owner.can, briefed=True, decode=self._owner.speech))
            except ev.ApiError as e:
                e.param = "response.input"
                raise
        return made

    async def messages_of(self, made: Sequence[Made]) -> tuple[dict[str, Any], ...]:
        """What the model is given for these items; speech among them is recognised.

        Raises:
            RecogniserError: it could not be.
        """
        messages: list[dict[str, Any]] = []
        for item, known, audio in made:
            message = known
            if audio is not None:
                services = self._owner.session.services
                heard = await recognise_once(services.engines["stt"].create(self._owner.session.call_state), audio)
                message = {"role": "user", "content": heard.text}
            elif message is None:
                message = self._owner.message_of(item) or _by_its_words(item)
            if message is not None:
                messages.append(message)
        return tuple(messages)

    # Written responses outside of the conversation

    def check(self) -> None:
        """Raise ``ApiError`` where too many are under way."""
        if len(self._open) >= MAX_ASIDES:
            raise ev.ApiError(
                f"At most {MAX_ASIDES} responses outside of the conversation may be in progress.",
                code="too_many_requests",
                kind="rate_limit_error",
            )

    def expect(self, response: Response) -> None:
        """``response`` was begun; ``start`` follows when what it answers is known."""
        self._open.add(response)

    def find(self, response_id: str | None) -> Response | None:
        """The response of that id, while it is in progress."""
        return next((r for r in self._open if r.id == response_id), None)

    async def start(self, response: Response, brief: Brief, max_tokens: int | None) -> None:
        """Have the model answer."""
        if response not in self._open:
            return  # it was cancelled meanwhile
        task = asyncio.create_task(self._run(response, brief, max_tokens), name="realtime aside")
        self._tasks[response] = task
        task.add_done_callback(lambda _: self._tasks.pop(response, None))

    async def fail(self, response: Response, why: str) -> None:
        """It could not be begun."""
        response.failed = why
        await self._end(response)

    async def cancel(self, response: Response) -> None:
        """End it; the client is told what there was of it."""
        response.reason = "client_cancelled"
        task = self._tasks.pop(response, None)
        if task is not None:
            async with self._telling:
                # Not in the middle of what it tells.
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._end(response)

    async def close(self) -> None:
        """End all of them; nobody is told."""
        tasks = list(self._tasks.values())
        self._open.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, response: Response, brief: Brief, max_tokens: int | None) -> None:
        calls: list[FunctionCall] = []

        def ended(end: AnswerEnd) -> None:
            response.end = end

        call, narrator = self._owner.session.call, self._owner.narrator
        pieces = call.aside(brief, max_tokens=max_tokens, on_calls=calls.extend, on_end=ended) if call is not None else None
        try:
            if pieces is None:
                raise ChatFailed("the call has ended")
            async with aclosing(pieces):
                async for text in pieces:
                    async with self._telling:
                        await self._owner.emit(narrator.aside_words(response, text))
        except ChatFailed as e:
            logger.warning("no answer beside the call: {}", e)
            response.failed = "the language model failed"
        except ConnectionError:
            return  # nobody is left to be told
        await self._end(response, calls)

    async def _end(self, response: Response, calls: Sequence[FunctionCall] = ()) -> None:
        """Tell the client that it is over, once."""
        if response not in self._open:
            return
        self._open.discard(response)
        try:
            await self._owner.emit(self._owner.narrator.aside_over(response, calls_made(calls)))
        except ConnectionError:
            logger.debug("a Realtime client left before it was answered")


def _by_its_words(item: Item) -> dict[str, Any] | None:
    """What an item says, where nothing stands for it in the conversation yet."""
    text = " ".join(filter(None, (str(p.get("text") or p.get("transcript") or "") for p in item.content)))
    return {"role": item.role, "content": text} if item.kind == "message" else None
