"""Who talked, and how much."""

from __future__ import annotations

import math

from agent.analysis.measure import Measure
from agent.analysis.words import finite, learner_turns, said
from agent.record import CallRecord, Turn


def speech_s(turn: Turn) -> float | None:
    """Seconds of speech in a spoken turn: first to last word where word times are known, otherwise start to end of the turn."""
    if turn.typed:
        return None
    times = [(w.start_s, w.end_s) for w in turn.words if math.isfinite(w.start_s) and math.isfinite(w.end_s)]
    length = max(e for _, e in times) - min(s for s, _ in times) if times else turn.ended_at - turn.started_at
    return length if math.isfinite(length) and length > 0 else None


def total_speech_s(turns: list[Turn]) -> float:
    """Seconds of speech in ``turns`` together."""
    return sum(s for turn in turns if (s := speech_s(turn)) is not None)


def talk_ratio(record: CallRecord) -> Measure:
    """The learner's share of all talking time, 0 to 1."""
    learner = total_speech_s([t for t in record.turns if t.role == "learner"])
    tutor = total_speech_s([t for t in record.turns if t.role == "tutor"])
    both = learner + tutor
    if not both > 0 or not math.isfinite(both) or learner == 0:
        return Measure(None, "share of talking time", "No spoken turn of the learner.")
    turns = learner_turns(record)
    if 2 * sum(turn.typed for turn in turns) > len(turns):
        # What was typed took no talking time, so the share would say nothing about this learner.
        return Measure(None, "share of talking time", "Most of the learner's turns were typed.")
    source = f"{finite(learner, 1)} s of the learner's speech and {finite(tutor, 1)} s of the tutor's, from word times."
    return Measure(finite(learner / both, 2), "share of talking time", source)


def learner_words(record: CallRecord) -> Measure:
    """Words that the learner said or typed."""
    turns = learner_turns(record)
    count = sum(len(said(turn)) for turn in turns)
    return Measure(count, "words", "All words recognised or typed, heard well or not.")


def turn_count(record: CallRecord, role: str) -> Measure:
    """Turns of the learner or the tutor in which something was said."""
    return Measure(sum(t.role == role and bool(t.text.strip()) for t in record.turns), "turns", "Finished turns of the record.")


def interruptions(record: CallRecord) -> Measure:
    """How often the learner spoke over the tutor and stopped it. What is cut off last, the end of the call has cut off."""
    count = sum(t.role == "tutor" and t.interrupted for t in record.turns[:-1])
    return Measure(count, "turns", "Turns of the tutor that the learner stopped.")
