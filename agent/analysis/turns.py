"""The call as a series, one entry a turn of the learner: what the plots are drawn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from agent.analysis.mistakes import FoundMistake
from agent.analysis.pauses import timing
from agent.analysis.response import gap_s
from agent.analysis.talk import speech_s
from agent.analysis.words import finite, in_order, learner_turns, said
from agent.record import CallRecord

MIN_TURN_SPEECH_S = 1.0
"""Less speech than this gives a turn no rate of its own."""


def turn_series(record: CallRecord, found: Sequence[FoundMistake]) -> list[dict[str, Any]]:
    """``{"turn", "time_s", "words", "words_per_minute", "response_time_s", "pauses", "mistakes", "v2v_ms"}`` a turn, in order.

    ``turn`` is the turn's index in the record, ``time_s`` counts from the start of the call, ``pauses`` and ``mistakes`` are
    counts, ``v2v_ms`` is how long the tutor took to answer this turn. What was not measured is ``None``.
    """
    responses = {
        answer.index: gap for question, answer in pairwise(in_order(record)) if (gap := gap_s(question, answer)) is not None
    }
    mistaken = Counter(mistake.turn for mistake in found)
    latencies = {row.turn: row.v2v_ms for row in record.metrics}
    series = []
    for turn in learner_turns(record):
        words = len(said(turn))
        length, timed = speech_s(turn), timing(turn)
        rate = 60 * words / length if length is not None and length >= MIN_TURN_SPEECH_S else None
        series.append(
            {
                "turn": turn.index,
                "time_s": _rounded(max(turn.started_at - record.started_at, 0.0), 1),
                "words": words,
                "words_per_minute": _rounded(rate, 1),
                "response_time_s": _rounded(responses.get(turn.index), 2),
                "pauses": len(timed.pauses_s) if timed is not None else None,
                "mistakes": mistaken[turn.index],
                "v2v_ms": _rounded(latencies.get(turn.index), 1),
            }
        )
    return series


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else finite(value, digits)
