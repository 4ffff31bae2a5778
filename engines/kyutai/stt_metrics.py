"""What the speech-to-text engine tells of itself to Prometheus: ``kyutai_stt_…``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

STEP_BUCKETS_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)
FLUSH_BUCKETS_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)


class SttMetrics:
    """In a registry of its own, so that two engines can live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._used = Gauge("kyutai_stt_slots_used", "Slots that a session has", registry=registry)
        self._slots = Gauge("kyutai_stt_slots", "Slots that there are", registry=registry)
        self._queue = Gauge("kyutai_stt_queue", "Sessions that wait for a slot", registry=registry)
        self._headroom = Gauge(
            "kyutai_stt_headroom",
            "Share of a tick of 80 ms that a step of all who have a slot leaves; below 0 they cannot be served",
            registry=registry,
        )
        self._steps = Histogram(
            "kyutai_stt_step_seconds",
            "How long a step took, by the size of its batch; live: with audio, flush: ahead of it",
            ("bucket", "kind"),
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self._rows = Counter("kyutai_stt_rows", "Sessions that were stepped, summed over steps", registry=registry)
        self._flush = Histogram(
            "kyutai_stt_flush_seconds",
            "From the request of a flush to its words",
            buckets=FLUSH_BUCKETS_S,
            registry=registry,
        )
        self._dropped = Counter("kyutai_stt_dropped_frames", "Frames that came faster than they were heard", registry=registry)
        self._deaf = Counter("kyutai_stt_deaf_restarts", "Slots that heard a voice and wrote nothing", registry=registry)
        self._refused = Counter("kyutai_stt_refused", "Sessions for which no slot was free", registry=registry)

    def shows(self, *, used: int, total: int, queue: int, headroom: float) -> None:
        """How it stands after a tick."""
        self._used.set(used)
        self._slots.set(total)
        self._queue.set(queue)
        self._headroom.set(headroom)

    def stepped(self, bucket: int, rows: int, took_s: float, *, flush: bool) -> None:
        """A step was made."""
        self._steps.labels(str(bucket), "flush" if flush else "live").observe(took_s)
        self._rows.inc(rows)

    def flushed(self, took_s: float) -> None:
        """A flush is complete."""
        self._flush.observe(took_s)

    def dropped(self, frames: int) -> None:
        """So many frames were."""
        self._dropped.inc(frames)

    def deaf(self) -> None:
        """A slot was made new since it was deaf."""
        self._deaf.inc()

    def refused(self) -> None:
        """A session was."""
        self._refused.inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
