"""One measure of a call: its value, its unit, and what it was measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measure:
    """``value`` is ``None`` where the record does not hold enough; ``source`` then says what is missing."""

    value: float | int | None
    unit: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """``{"value", "unit", "source"}``."""
        return {"value": self.value, "unit": self.unit, "source": self.source}
