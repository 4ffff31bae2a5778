"""How the learners' packets arrive, for ``/metrics``: the totals of every call, and the wait that a missing packet is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.metrics import prometheus

if TYPE_CHECKING:
    from pipeline.transports.webrtc_capture import Reception

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
            prometheus.RECEIVED.labels(fate).inc(self._new(field, reception))
        for by, field in _BY.items():
            prometheus.MADE_UP.labels(by).inc(self._new(field, reception))
        prometheus.JITTER_WAIT.observe(reception.depth_s)

    def _new(self, field: str, reception: Reception) -> float:
        total = float(getattr(reception, field))
        before, self._exported[field] = self._exported.get(field, 0.0), total
        return total - before
