"""What ``check`` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "problem", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, how it is, and what to do where it is not well."""

    name: str
    outcome: Outcome
    detail: str
    hint: str = ""
