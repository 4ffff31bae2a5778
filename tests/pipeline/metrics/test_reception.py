"""A call's totals become the process's, each packet once."""

from __future__ import annotations

from pipeline.metrics.prometheus import REGISTRY
from pipeline.metrics.reception import ReceptionExporter
from pipeline.transports.webrtc_capture import Reception


def reception(packets, lost=0, restored_s=0.0):
    return Reception(
        packets=packets,
        lost=lost,
        late=0,
        duplicates=0,
        undecodable=0,
        concealed_s=0.5,
        restored_s=restored_s,
        depth_s=0.04,
        jitter_s=0.001,
    )


def values():
    names = [("parley_received_packets_total", {"fate": fate}) for fate in ("received", "lost", "late")]
    names += [("parley_received_made_up_seconds_total", {"by": by}) for by in ("concealed", "fec")]
    names += [("parley_jitter_wait_seconds_count", {}), ("parley_jitter_wait_seconds_sum", {})]
    return [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in names]


def test_what_is_new_is_added_call_by_call():
    before = values()
    one, two = ReceptionExporter(), ReceptionExporter()
    one.export(reception(0))
    assert values() == before
    one.export(reception(100, lost=2))
    one.export(reception(150, lost=5, restored_s=0.04))
    two.export(reception(30))
    got = [round(now - then, 9) for now, then in zip(values(), before, strict=True)]
    assert got == [180, 5, 0, 1.0, 0.04, 3, 0.12]
