"""Silent pauses within the learner's turns.

A silent pause is a gap of ``PAUSE_S`` or more between the end of one word and the start of the next word of the same turn. The
threshold follows de Jong and Bosker ("Choosing a threshold for silent pauses to measure second language fluency", Proceedings
of DiSS 2013, 17-20). Silence before a turn is no pause but a response time (``response.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agent.analysis.measure import Measure
from agent.analysis.rate import MIN_SPEECH_S
from agent.analysis.words import finite, learner_turns, plural, tokens
from agent.record import CallRecord, Turn

PAUSE_S = 0.25
_TOLERANCE_S = 1e-6  # the difference of two times of 1 ms precision is not exact


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing of a turn, in s: ``speaking_s`` from its first word to its last, and the silent ``pauses_s`` in it.

    ``words`` are those that have times, lower case, in order.
    """

    speaking_s: float
    pauses_s: tuple[float, ...]
    words: tuple[str, ...]

    @property
    def phonation_s(self) -> float:
        """Speaking time without the pauses, in s; more than 0."""
        return self.speaking_s - _total(self.pauses_s)

    @property
    def runs(self) -> int:
        """How many stretches of speech the pauses leave."""
        return len(self.pauses_s) + 1


def timing(turn: Turn) -> Timing | None:
    """The timing of a spoken turn, or ``None`` where it was typed or its words have no times."""
    if turn.typed:
        return None
    timed = sorted(
        (word.start_s, word.end_s, word.text)
        for word in turn.words
        if math.isfinite(word.start_s) and math.isfinite(word.end_s) and word.end_s >= word.start_s and tokens(word.text)
    )
    if not timed:
        return None
    pauses = []
    first, until, _ = timed[0]
    for start, end, _ in timed[1:]:
        if start - until >= PAUSE_S - _TOLERANCE_S:
            pauses.append(start - until)
        until = max(until, end)
    found = Timing(until - first, tuple(pauses), tuple(token for *_, text in timed for token in tokens(text)))
    return found if math.isfinite(found.speaking_s) and found.phonation_s > 0 else None


def timings(record: CallRecord) -> tuple[list[Timing], str | None]:
    """The timings of the learner's turns, and why they are not enough for a measure, or ``None`` where they are."""
    turns = learner_turns(record)
    known = [found for turn in turns if (found := timing(turn)) is not None]
    if all(turn.typed for turn in turns):
        return known, "No spoken turn of the learner."
    if not known:
        return known, "The recogniser gave no word times."
    seconds = _total(t.speaking_s for t in known)
    if not math.isfinite(seconds) or seconds < MIN_SPEECH_S:
        return known, f"Less than {MIN_SPEECH_S:.0f} s of speech with word times."
    return known, None


def pause_measures(record: CallRecord) -> dict[str, Measure]:
    """``pauses_per_minute``, ``pause_length_s`` and ``pause_share`` by name.

    Pauses a minute of speaking time, their mean length in s, and their share of speaking time, 0 to 1; speaking time is the
    sum of the turns' times from first to last word. Each is ``None`` without word times, or with less than ``MIN_SPEECH_S``.
    """
    known, missing = timings(record)
    pauses = [pause for t in known for pause in t.pauses_s]
    speaking, silent = _total(t.speaking_s for t in known), _total(pauses)
    threshold = f"{1000 * PAUSE_S:.0f} ms or more"
    basis = f"{plural(len(pauses), 'silent pause')} of {threshold} in {finite(speaking, 1)} s of speaking."

    def measure(value: float, digits: int, unit: str) -> Measure:
        return Measure(None, unit, missing) if missing is not None else Measure(finite(value, digits), unit, basis)

    length = measure(silent / len(pauses) if pauses else math.nan, 2, "s, mean")
    if missing is None and not pauses:
        length = Measure(None, "s, mean", f"No silent pause of {threshold}.")
    return {
        "pauses_per_minute": measure(60 * len(pauses) / speaking if speaking else 0.0, 1, "pauses a minute of speaking"),
        "pause_length_s": length,
        "pause_share": measure(silent / speaking if speaking else 0.0, 2, "share of speaking time"),
    }


def _total(seconds: Iterable[float]) -> float:
    # math.fsum raises where the sum of finite values is too great for a float; a record may hold anything.
    return sum(seconds, 0.0)
