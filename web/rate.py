"""Token buckets: how often somebody may do something. Pure: the time is passed in."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.transports.bucket import Bucket


class RateLimiter:
    """One bucket for each key, of the ``max_keys`` keys that were seen last (so that many addresses cannot fill the memory)."""

    def __init__(self, capacity: float, per_s: float, *, max_keys: int = 10_000) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Count one act of ``key``. False: it has acted too often."""
        return self._bucket(key).take(now)

    def retry_after_s(self, key: str, now: float) -> float:
        """Seconds until ``key`` may act again; 0.0 where it may now."""
        return self._bucket(key).retry_after_s(now)

    def left(self, key: str, now: float) -> tuple[float, float]:
        """How many acts ``key`` has left, and in how many seconds it has all of them again."""
        bucket = self._bucket(key)
        missing_s = bucket.retry_after_s(now, bucket.capacity)
        return bucket.tokens, missing_s

    def _bucket(self, key: str) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._capacity, self._per_s)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket
