"""What clients do to the conversation: items put in, taken out, and cut to what was heard. All of it raises ``ApiError``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.call import Call
from web.doors.realtime import events as ev
from web.doors.realtime.items import Item
from web.doors.realtime.new_items import item_of
from web.doors.realtime.responses import TRUNCATED

if TYPE_CHECKING:
    from web.doors.realtime.session import RealtimeSession


class Editing:
    """Edits the conversation of one session, its owner."""

    def __init__(self, owner: RealtimeSession) -> None:
        self._owner = owner

    async def create(self, wanted: ev.NewItem, previous: str | None) -> None:
        """Put an item into the conversation, at its end or behind ``previous``."""
        self._owner.items.check_new(wanted.id)
        if previous not in (None, "root"):
            self._owner.items.get(str(previous), "previous_item_id")
        item, message, audio = item_of(
            wanted,
            self._owner.items,
            self._owner.can,
            briefed=self._owner.config.brief() is not None,
            decode=self._owner.speech,
        )
        self._owner.check_work()
        before = self._owner.items.add(item, previous)
        wire = item.to_wire()
        await self._owner.emit(
            [ev.ItemAdded(previous_item_id=before, item=wire), ev.ItemDone(previous_item_id=before, item=wire)]
        )
        later = not self._owner.items.is_last(item)
        if audio is not None:
            pcm16 = audio
            self._owner.queue(lambda: self._owner.recognise(item, pcm16, after=later))
            return
        assert message is not None
        self._owner.queue(lambda: self._take_in(item, message, later=later))

    async def _take_in(self, item: Item, message: dict[str, Any], *, later: bool) -> None:
        call = self._owner.session.call
        if call is None or item not in self._owner.items:
            return
        if message["role"] == "user" and not later:
            self._owner.narrator.own_turns.append(message["content"])
            item.message = await call.take_in(message["content"])
        else:
            self.insert(call, item, message)

    def insert(self, call: Call, item: Item, message: dict[str, Any]) -> None:
        """Put ``message`` into the conversation where ``item`` stands."""
        messages: list[Any] = self._owner.session.context.messages
        index = len(messages)
        if not self._owner.items.is_last(item):
            index = 0
            for before in self._owner.items.ahead_of(item):
                place = self.message_of(before)
                found = next((i for i, m in enumerate(messages) if m is place), None) if place is not None else None
                if found is not None:
                    index = found + 1
                    break
        call.insert_message(index, message)
        item.message = message

    def message_of(self, item: Item) -> dict[str, Any] | None:
        """What stands for ``item`` in the conversation; ``None`` while nothing does."""
        if item.message is None and item.reply is not None:
            reply = next((r for r in self._owner.session.said if r.number == item.reply), None)
            item.message = reply.message if reply is not None else None
        return item.message

    async def delete(self, item: Item) -> None:
        """Take an item out of what the assistant is given."""
        active = self._owner.narrator.active
        if active is not None and item in active.output:
            raise ev.ApiError("The item belongs to the active response.", code="item_in_use", param="item_id")
        message, call = self.message_of(item), self._owner.session.call
        self._owner.items.remove(item)
        if message is not None and call is not None:
            call.remove_message(message)
        await self._owner.emit([ev.ItemDeleted(item_id=item.id)])

    async def truncate(self, event: ev.ItemTruncateEvent) -> None:
        """Keep of an answer what was heard of it, by what the client has played."""
        item, call = self._owner.items.get(event.item_id), self._owner.session.call
        if item.role != "assistant" or item.kind != "message" or item.reply is None or call is None:
            raise ev.ApiError("Only the assistant's spoken messages can be truncated.", code="invalid_value", param="item_id")
        if event.content_index != 0:
            raise ev.ApiError("The item has one part, 0.", code="invalid_value", param="content_index")
        sent_ms = self._sent_ms(item)
        if item.status == "completed" and event.audio_end_ms > sent_ms + 1:
            raise ev.ApiError(
                f"Audio content of {sent_ms:.0f}ms is already shorter than {event.audio_end_ms}ms.",
                code="invalid_value",
                param="audio_end_ms",
            )
        if self._owner.narrator.active is not None and item in self._owner.narrator.active.output:
            self._owner.narrator.next_reason = self._owner.narrator.next_reason or "turn_detected"
            await call.interrupt()
        end_ms = int(min(event.audio_end_ms, self._sent_ms(item)))
        text = call.truncate(item.reply, end_ms / 1000)
        if text is None:
            raise ev.ApiError("The item is too old to be truncated.", code="invalid_value", param="item_id")
        self._owner.line.post({"type": TRUNCATED, "item": item, "text": text, "audio_end_ms": end_ms})

    def _sent_ms(self, item: Item) -> float:
        """How long an answer is, as far as it was sent or, over WebRTC, made."""
        if not self._owner.line.webrtc:
            return item.audio_ms
        reply = next((r for r in self._owner.session.said if r.number == item.reply), None)
        return reply.audio_s * 1000 if reply is not None else float("inf")
