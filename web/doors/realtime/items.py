"""The items of a conversation in their order, as the client sees them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from web.doors.realtime.events import ApiError, Status, new_id

Kind = Literal["message", "function_call", "function_call_output"]
Role = Literal["user", "assistant", "system"]
MAX_ITEMS = 2_000


@dataclass(slots=True, eq=False)
class Item:
    """One item. ``message`` is what stands for it in the call's conversation, as soon as something does."""

    id: str = field(default_factory=lambda: new_id("item"))
    kind: Kind = "message"
    role: Role = "user"
    content: list[dict[str, Any]] = field(default_factory=list)
    status: Status = "completed"
    fields: dict[str, str] = field(default_factory=dict)
    """Of function calls and their outputs: ``call_id``, ``name``, ``arguments``, ``output``."""
    message: dict[str, Any] | None = None
    reply: int | None = None
    """The session's number of the reply that the item is, once that is over."""
    audio_ms: float = 0.0
    """Of an answer: how much audio of it was sent."""

    def to_wire(self) -> dict[str, Any]:
        """The item in the API's form."""
        wire: dict[str, Any] = {"id": self.id, "object": "realtime.item", "type": self.kind, "status": self.status}
        if self.kind == "message":
            return {**wire, "role": self.role, "content": [dict(part) for part in self.content]}
        return {**wire, **self.fields}


class Items:
    """A conversation's items; ids are unique."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Any:
        return iter(self._items)

    def get(self, item_id: str, param: str = "item_id") -> Item:
        """The item of that id; raises ``ApiError``."""
        item = next((i for i in self._items if i.id == item_id), None)
        if item is None:
            raise ApiError(f"Item with item_id {item_id[:64]!r} does not exist.", code="item_not_found", param=param)
        return item

    def before(self, item: Item) -> str | None:
        """The id of the item before ``item``; ``None`` for the first."""
        index = self._items.index(item)
        return self._items[index - 1].id if index else None

    def check_new(self, item_id: str | None) -> None:
        """Raise ``ApiError`` where ``item_id`` is taken, or there are too many items."""
        if item_id is not None and any(i.id == item_id for i in self._items):
            raise ApiError(f"Item with id {item_id!r} exists already.", code="item_exists", param="item.id")
        if len(self._items) >= MAX_ITEMS:
            raise ApiError(f"A conversation may have at most {MAX_ITEMS} items.", code="too_many_items")

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Add at the end, behind the item ``after``, or before all (``root``). Returns the id of the item before it.

        Raises:
            ApiError: there is no item ``after``.
        """
        if after is None:
            self._items.append(item)
        elif after == "root":
            self._items.insert(0, item)
        else:
            self._items.insert(self._items.index(self.get(after, "previous_item_id")) + 1, item)
        return self.before(item)

    def remove(self, item: Item) -> None:
        """Take an item out."""
        self._items.remove(item)

    def ahead_of(self, item: Item) -> list[Item]:
        """The items before ``item``, the nearest first."""
        return self._items[: self._items.index(item)][::-1]

    def is_last(self, item: Item) -> bool:
        """Whether nothing stands behind it."""
        return bool(self._items) and self._items[-1] is item
