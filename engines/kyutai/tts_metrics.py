"""What the text-to-speech engine tells of itself to Prometheus.

With those of every batched engine: ``kyutai_tts_slots_used``, ``kyutai_tts_slots``, ``kyutai_tts_queue``,
``kyutai_tts_headroom``, ``kyutai_tts_step_seconds`` and ``kyutai_tts_rows``.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from engines.kyutai.metrics import BatchMetrics

FIRST_AUDIO_BUCKETS_S = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class TtsMetrics(BatchMetrics):
    """``registry``: where they are registered. Only sessions with text wait for a slot."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("tts", registry, kinds="text: no session was beyond its steps without audio")
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

    def stepped(self, bucket: int, rows: int, took_s: float, *, full: bool) -> None:
        """A step of ``rows`` sessions was made in a batch of this size. ``full``: with audio."""
        self.stepped_as("full" if full else "text", bucket, rows, took_s)

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
