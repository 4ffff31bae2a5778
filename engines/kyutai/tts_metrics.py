"""What the text-to-speech engine tells of itself to Prometheus: ``kyutai_tts_…``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STEP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)
FIRST_AUDIO_BUCKETS_S = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class TtsMetrics:
    """``registry``: where they are registered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._used = Gauge("kyutai_tts_slots_used", "Slots that a session has", registry=registry)
        self._slots = Gauge("kyutai_tts_slots", "Slots that there are", registry=registry)
        self._queue = Gauge("kyutai_tts_queue", "Sessions with text that wait for a slot", registry=registry)
        self._headroom = Gauge(
            "kyutai_tts_headroom",
            "Share of real time that a step of all who have a slot leaves; below 0 they cannot be served",
            registry=registry,
        )
        self._steps = Histogram(
            "kyutai_tts_step_seconds",
            "How long a step took, by the size of its batch; text: no session was beyond its steps without audio",
            ("bucket", "kind"),
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self._rows = Counter("kyutai_tts_rows", "Sessions that were stepped, summed over steps", registry=registry)
        self._first = Histogram(
            "kyutai_tts_first_audio_seconds",
            "From the first word of a session to its first audio",
            buckets=FIRST_AUDIO_BUCKETS_S,
            registry=registry,
        )
        self._gaps = Counter(
            "kyutai_tts_gaps",
            "Frames that came when a player had nothing left to play, for want of text or of time",
            ("cause",),
            registry=registry,
        )
        self._gap_s = Counter("kyutai_tts_gap_seconds", "How long players had nothing to play", ("cause",), registry=registry)
        self._ended = Counter("kyutai_tts_sessions", "Sessions that ended, by how", ("end",), registry=registry)

    def shows(self, *, used: int, total: int, queue: int, headroom: float) -> None:
        """How it stands now."""
        self._used.set(used)
        self._slots.set(total)
        self._queue.set(queue)
        self._headroom.set(headroom)

    def stepped(self, bucket: int, rows: int, took_s: float, *, full: bool) -> None:
        """A step of ``rows`` sessions was made in a batch of this size. ``full``: with audio."""
        self._steps.labels(str(bucket), "full" if full else "text").observe(took_s)
        self._rows.inc(rows)

    def first_audio(self, took_s: float) -> None:
        """A session's first frame goes out, so long after its first word came."""
        self._first.observe(took_s)

    def gap(self, gap_s: float, *, for_text: bool) -> None:
        """A player had nothing to play for so long; ``for_text``: because there was nothing to say."""
        cause = "text" if for_text else "engine"
        self._gaps.labels(cause).inc()
        self._gap_s.labels(cause).inc(gap_s)

    def ended(self, how: str) -> None:
        """A session ended: ``done``, ``cancelled``, ``refused`` or ``failed``."""
        self._ended.labels(how).inc()
