"""How quickly the tutor answered: a summary of the call's ``TurnMetrics`` rows. Nothing is computed here but percentiles."""

from __future__ import annotations

import math
from typing import Any

from agent.analysis.words import finite, percentile
from agent.record import CallRecord


def latency(record: CallRecord) -> dict[str, Any]:
    """``{"v2v_p50_ms", "v2v_p90_ms", "n"}``: voice-to-voice at the wire (``sent - user_stop``) over ``n`` turns."""
    values = [v for row in record.metrics if (v := row.v2v_ms) is not None and math.isfinite(v)]
    p50, p90 = percentile(values, 0.5), percentile(values, 0.9)
    return {
        "v2v_p50_ms": None if p50 is None else finite(p50, 1),
        "v2v_p90_ms": None if p90 is None else finite(p90, 1),
        "n": len(values),
    }
