"""How soon the learner answered."""

from __future__ import annotations

import math
from itertools import pairwise

from agent.analysis.measure import Measure
from agent.analysis.words import finite, in_order, percentile, plural
from agent.record import CallRecord, Turn


def gap_s(question: Turn, answer: Turn) -> float | None:
    """Seconds from the end of the tutor's ``question`` to the start of the spoken ``answer`` to it.

    ``None`` where the question was interrupted, the answer was typed, or they are no such pair.
    """
    if question.role != "tutor" or answer.role != "learner" or question.interrupted or answer.typed:
        return None
    gap = answer.started_at - question.ended_at
    return gap if math.isfinite(gap) and gap >= 0 else None


def response_times_s(record: CallRecord) -> list[float]:
    """The response times of the call in s, in order."""
    gaps = (gap_s(question, answer) for question, answer in pairwise(in_order(record)))
    return [gap for gap in gaps if gap is not None]


def response_time_s(record: CallRecord) -> Measure:
    """The median response time in seconds."""
    times = response_times_s(record)
    middle = percentile(times, 0.5)
    if middle is None:
        return Measure(None, "s, median", "No spoken answer to a finished turn of the tutor.")
    return Measure(finite(middle, 2), "s, median", f"{plural(len(times), 'spoken answer')}, from the end of the tutor's turn.")
