"""A token bucket: how often somebody may do something. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Holds at most ``capacity`` tokens and gains ``per_s`` of them a second."""

    capacity: float
    per_s: float
    tokens: float = -1.0
    at: float | None = None

    def __post_init__(self) -> None:
        if self.tokens < 0:
            self.tokens = self.capacity

    def _refill(self, now: float) -> None:
        if self.at is not None:
            self.tokens = min(self.capacity, self.tokens + max(0.0, now - self.at) * self.per_s)
        self.at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` tokens. False, and nothing taken, where there are too few."""
        self._refill(now)
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def retry_after_s(self, now: float, cost: float = 1.0) -> float:
        """Seconds until ``take`` succeeds; 0.0 where it does now."""
        self._refill(now)
        return max(0.0, (cost - self.tokens) / self.per_s)
