"""How fast the learner spoke."""

from __future__ import annotations

from agent.analysis.measure import Measure
from agent.analysis.talk import speech_s
from agent.analysis.words import finite, learner_turns, said
from agent.record import CallRecord

MIN_SPEECH_S = 5.0
"""Less speech than this gives no rate: one word more or less would change it by a tenth."""


def words_per_minute(record: CallRecord) -> Measure:
    """Speech rate with its pauses inside a turn (the "speech rate" of fluency research, not the articulation rate)."""
    words, seconds = 0, 0.0
    for turn in learner_turns(record):
        length = speech_s(turn)
        if length is not None:
            words += len(said(turn))
            seconds += length
    if not seconds >= MIN_SPEECH_S:
        return Measure(None, "words a minute", f"Less than {MIN_SPEECH_S:.0f} s of the learner's speech.")
    source = f"{words} recognised words in {finite(seconds, 1)} s of speech, pauses inside a turn included."
    return Measure(finite(60 * words / seconds, 1), "words a minute", source)
