"""How soon the learner answered."""

from __future__ import annotations

import math
from itertools import pairwise

from agent.analysis.measure import Measure
from agent.analysis.words import finite, in_order, percentile
from agent.record import CallRecord


def response_times_s(record: CallRecord) -> list[float]:
    """Seconds from the end of each tutor's turn to the start of the spoken answer. Interruptions and typed turns have none."""
    turns = in_order(record)
    gaps = (
        answer.started_at - question.ended_at
        for question, answer in pairwise(turns)
        if question.role == "tutor" and answer.role == "learner" and not question.interrupted and not answer.typed
    )
    return [gap for gap in gaps if math.isfinite(gap) and gap >= 0]


def response_time_s(record: CallRecord) -> Measure:
    """The median response time in seconds."""
    times = response_times_s(record)
    middle = percentile(times, 0.5)
    if middle is None:
        return Measure(None, "s, median", "No spoken answer to a finished turn of the tutor.")
    return Measure(finite(middle, 2), "s, median", f"{len(times)} spoken answers, from the end of the tutor's turn.")
