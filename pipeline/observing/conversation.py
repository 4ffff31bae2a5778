"""The messages that the LLM is given, as a call changes them beside pipecat's own aggregators. No clock and no event loop.

pipecat's aggregator gathers the tutor's reply from the frames of its words. In its place is put what was written, or what was
heard of it, with its punctuation: once when the reply is over, and again when its end has passed the aggregator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from pipecat.processors.aggregators.llm_context import LLMContext

from pipeline.observing.reply import Reply

INSERTED_KEPT = 64


class Holder(Protocol):
    """Whose conversation it is: it outlives the call."""

    context: LLMContext
    messages_recorded: int
    """How many of its messages the record has taken in."""


class Conversation:
    """What one call does to ``holder``'s messages. ``reply`` is everywhere the one that is being made or spoken, if any."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._inserted: deque[dict[str, Any]] = deque(maxlen=INSERTED_KEPT)
        self._unsettled: Reply | None = None

    def __len__(self) -> int:
        return len(self._holder.context.messages)

    @property
    def has_unsettled(self) -> bool:
        """Whether a reply is over whose end has not passed the aggregator."""
        return self._unsettled is not None

    def forget(self) -> None:
        """The context was emptied."""
        self._holder.messages_recorded = 0
        self._unsettled = None

    # What the learner said

    def take_new(self, messages: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """The learner's messages that the record does not have yet; after this it has them."""
        messages = self._messages() if messages is None else messages
        new = messages[self._holder.messages_recorded :]
        self._holder.messages_recorded = len(messages)
        mine = (m for m in new if isinstance(m, dict) and m.get("role") == "user")
        return [m for m in mine if not any(m is inserted for inserted in self._inserted)]

    def last_of_learner(self) -> Any:
        """The learner's last message, or ``None``."""
        messages = reversed(self._messages())
        return next((m for m in messages if isinstance(m, dict) and m.get("role") == "user"), None)

    def add_recorded(self, text: str) -> None:
        """The learner said ``text``, which the record has already."""
        self._holder.context.add_message({"role": "user", "content": text})
        self._holder.messages_recorded = len(self)

    # What was not said in this call

    def insert(self, index: int, message: dict[str, Any], reply: Reply | None) -> None:
        """Put a message into the conversation, where nothing was said just now; the record does not get it."""
        messages = self._messages()
        self._inserted.append(message)
        messages.insert(index, message)
        self._set(messages, index, 1, reply)

    def remove(self, message: dict[str, Any], reply: Reply | None) -> None:
        """Take a message out of the conversation; the record keeps it."""
        messages = self._messages()
        index = next((i for i, m in enumerate(messages) if m is message), None)
        if index is not None:
            del messages[index]
            self._set(messages, index, -1, reply)

    def _set(self, messages: list[Any], index: int, by: int, reply: Reply | None) -> None:
        self._holder.context.set_messages(messages)
        if index < self._holder.messages_recorded or by > 0:
            self._holder.messages_recorded = max(0, self._holder.messages_recorded + by)
        for moved in (reply, self._unsettled):
            if moved is not None and index < moved.context_start + (by > 0):
                moved.context_start += by

    # What the tutor said

    def settle(self, reply: Reply) -> None:
        """Put what lasts of ``reply`` in place of what the aggregator gathered of it."""
        text = reply.lasting_text
        messages = self._messages()
        head, tail = messages[: reply.context_start], messages[reply.context_start :]
        taken = messages[reply.context_start : self._holder.messages_recorded]
        tail = [m for m in tail if not (isinstance(m, dict) and self._is_stock(m))]
        if text and not reply.aside:
            reply.message = reply.message or {"role": "assistant", "content": text}
            reply.message["content"] = text
            head.append(reply.message)
        self._holder.context.set_messages(head + tail)
        # Messages that moved behind the reply are new to the record only if they were before.
        behind = sum(any(m is known for known in taken) for m in tail)
        recorded = len(head) + behind if behind else self._holder.messages_recorded
        self._holder.messages_recorded = min(recorded, len(head) + len(tail))

    def settle_later(self, reply: Reply | None) -> None:
        """The aggregator has yet to add to ``reply``: it is settled when that has passed."""
        self._unsettled = reply

    def settle_passed(self) -> None:
        """All that was on its way to the aggregator has passed."""
        reply, self._unsettled = self._unsettled, None
        if reply is not None:
            self.settle(reply)

    def shorten(self, reply: Reply, text: str, current: Reply | None) -> None:
        """Only ``text`` of a ``reply`` that is over stays; ``current``: the one that is being made or spoken."""
        if reply.message is not None and text:
            reply.message["content"] = text
        elif reply.message is not None:
            self.remove(reply.message, current)
            reply.message = None

    def _messages(self) -> list[Any]:
        return list(self._holder.context.messages)

    def _is_stock(self, message: dict[str, Any]) -> bool:
        """Whether the stock aggregator put it there, and neither the client nor a function that was asked for."""
        mine = message.get("role") != "assistant" or bool(message.get("tool_calls"))
        return not mine and not any(message is inserted for inserted in self._inserted)
