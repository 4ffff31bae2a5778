"""What both speech engines tell of their batch to Prometheus: slots, queue, headroom and steps."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)


class BatchMetrics:
    """Series ``kyutai_NAME_…`` in ``registry``. ``kinds`` says, for the help text, which kinds of steps there are."""

    def __init__(self, name: str, registry: CollectorRegistry, *, kinds: str) -> None:
        self._used = Gauge(f"kyutai_{name}_slots_used", "Slots that a session has", registry=registry)
        self._slots = Gauge(f"kyutai_{name}_slots", "Slots that there are", registry=registry)
        self._queue = Gauge(f"kyutai_{name}_queue", "Sessions that wait for a slot", registry=registry)
        self._headroom = Gauge(
            f"kyutai_{name}_headroom",
            "Share of real time that a step of all who have a slot leaves; below 0 they cannot be served",
            registry=registry,
        )
        self._steps = Histogram(
            f"kyutai_{name}_step_seconds",
            f"How long a step took, by the size of its batch; {kinds}",
            ("bucket", "kind"),
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self._rows = Counter(f"kyutai_{name}_rows", "Sessions that were stepped, summed over steps", registry=registry)

    def shows(self, *, used: int, total: int, queue: int, headroom: float) -> None:
        """How it stands now."""
        self._used.set(used)
        self._slots.set(total)
        self._queue.set(queue)
        self._headroom.set(headroom)

    def stepped_as(self, kind: str, bucket: int, rows: int, took_s: float) -> None:
        """A step of ``rows`` sessions was made in a batch of size ``bucket``."""
        self._steps.labels(str(bucket), kind).observe(took_s)
        self._rows.inc(rows)
