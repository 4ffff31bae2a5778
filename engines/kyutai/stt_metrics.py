"""What the speech-to-text engine tells of itself to Prometheus.

With those of every batched engine: ``kyutai_stt_slots_used``, ``kyutai_stt_slots``, ``kyutai_stt_queue``,
``kyutai_stt_headroom``, ``kyutai_stt_step_seconds`` and ``kyutai_stt_rows``.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from engines.kyutai.metrics import BatchMetrics

FLUSH_BUCKETS_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)


class SttMetrics(BatchMetrics):
    """In a registry of its own, so that two engines can live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        super().__init__("stt", registry, kinds="live: with audio, flush: ahead of it")
        self._flush = Histogram(
            "kyutai_stt_flush_seconds",
            "From the request of a flush to its words",
            buckets=FLUSH_BUCKETS_S,
            registry=registry,
        )
        self._dropped = Counter("kyutai_stt_dropped_frames", "Frames that came faster than they were heard", registry=registry)
        self._deaf = Counter("kyutai_stt_deaf_restarts", "Slots that heard a voice and wrote nothing", registry=registry)
        self._refused = Counter("kyutai_stt_refused", "Sessions for which no slot was free", registry=registry)

    def stepped(self, bucket: int, rows: int, took_s: float, *, flush: bool) -> None:
        """A step was made."""
        self.stepped_as("flush" if flush else "live", bucket, rows, took_s)

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
