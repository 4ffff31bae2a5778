"""How fast the learner spoke between the pauses, and how much at a stretch.

Both count the syllables of the recognised words (``syllables.py``) and leave silent pauses out (``pauses.py``): articulation
rate is syllables per second of phonation time, mean length of run is syllables per stretch between pauses. These are the
definitions of Kormos and Dénes ("Exploring measures and perceptions of fluency in the speech of second language learners",
System 32 (2004), 145-164), but for the rate's unit, which is syllables a minute there.
"""

from __future__ import annotations

from agent.analysis.measure import Measure
from agent.analysis.pauses import timings
from agent.analysis.syllables import syllables
from agent.analysis.words import finite, plural
from agent.record import CallRecord

UNITS = {"articulation_rate": "syllables a second", "mean_length_of_run": "syllables, mean"}


def articulation_measures(record: CallRecord) -> dict[str, Measure]:
    """``articulation_rate`` in syllables a second and ``mean_length_of_run`` in syllables; without word times, ``None``."""
    known, missing = timings(record)
    if missing is not None:
        return without(missing)
    count = sum(syllables(word) for t in known for word in t.words)
    seconds, runs = sum(t.phonation_s for t in known), sum(t.runs for t in known)
    said = f"{plural(count, 'syllable')} of the recognised words"
    return {
        "articulation_rate": Measure(
            finite(count / seconds, 1), UNITS["articulation_rate"], f"{said} in {finite(seconds, 1)} s, silent pauses left out."
        ),
        "mean_length_of_run": Measure(
            finite(count / runs, 1),
            UNITS["mean_length_of_run"],
            f"{said} in {plural(runs, 'stretch', 'stretches')} between pauses.",
        ),
    }


def without(reason: str) -> dict[str, Measure]:
    """Both measures without a value, for ``reason``."""
    return {name: Measure(None, unit, reason) for name, unit in UNITS.items()}
