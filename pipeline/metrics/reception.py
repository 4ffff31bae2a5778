"""How the learners' packets arrive, for ``/metrics``: the totals of every call, and the wait that a missing packet is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from pipeline.metrics.prometheus import REGISTRY

if TYPE_CHECKING:
    from pipeline.transports.webrtc_capture import Reception

PACKETS = Counter(
    "parley_received_packets",
    "WebRTC learners' audio packets: received (all that came), lost (given up), late (came after that), duplicate, undecodable",
    ["fate"],
    registry=REGISTRY,
)
MADE_UP = Counter(
    "parley_received_made_up_seconds",
    "Learners' audio that did not arrive: concealed (continued from before, or silence) or fec (restored from a later packet)",
    ["by"],
    registry=REGISTRY,
)
DEPTH = Histogram(
    "parley_jitter_buffer_seconds",
    "How long a missing packet is waited for; sampled four times a second in each call",
    buckets=(0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.5, 1.0),
    registry=REGISTRY,
)
_FATES = {"received": "packets", "lost": "lost", "late": "late", "duplicate": "duplicates", "undecodable": "undecodable"}
_BY = {"concealed": "concealed_s", "fec": "restored_s"}


class ReceptionExporter:
    """Feeds one call's totals to the process's counters, each packet once."""

    def __init__(self) -> None:
        self._exported: dict[str, float] = {}

    def export(self, reception: Reception) -> None:
        """Add what is new since the last call; nothing for a call that has no packets yet."""
        if reception.packets == 0:
            return
        for fate, field in _FATES.items():
            PACKETS.labels(fate).inc(self._new(field, reception))
        for by, field in _BY.items():
            MADE_UP.labels(by).inc(self._new(field, reception))
        DEPTH.observe(reception.depth_s)

    def _new(self, field: str, reception: Reception) -> float:
        total = float(getattr(reception, field))
        before, self._exported[field] = self._exported.get(field, 0.0), total
        return total - before
