"""The report of a call: what was measured, what was wrong in the learner's own words, and nothing else."""

from __future__ import annotations

from typing import Any

from agent.analysis import articulation
from agent.analysis.advice import strengths, suggestions
from agent.analysis.latency import latency
from agent.analysis.levels import level_of, levels
from agent.analysis.measure import Measure
from agent.analysis.mistakes import mistakes, together
from agent.analysis.pauses import pause_measures
from agent.analysis.rate import words_per_minute
from agent.analysis.response import response_time_s
from agent.analysis.scores import NOT_ENOUGH, Speech, final_score, grammar_score, speech
from agent.analysis.syllables import syllables
from agent.analysis.talk import interruptions, learner_words, talk_ratio, turn_count
from agent.analysis.turns import turn_series
from agent.analysis.vocabulary import vocabulary_size
from agent.analysis.words import learner_turns
from agent.record import CallRecord, Correction, Turn

NOT_READY = "The report was made before the word lists were loaded."
WITHOUT_LISTS = (
    "The levels of the words, the articulation rate and the grammar checker's findings are missing: the word lists were not "
    "ready when the call ended."
)


def load() -> None:
    """Load the word lists and the grammar checker, which the first report would otherwise do: some 1.2 s and 240 MB."""
    from agent.analysis.grammar import warm

    syllables("a")
    warm()
    level_of("a")


def first_report(record: CallRecord, *, with_lists: bool = True) -> dict[str, Any]:
    """The report of ``record``, JSON-ready. Never raises for a record, however odd.

    ``grammar_score`` and ``final_score`` are 0 to 100, or ``None`` with the reason among ``notes``. ``mistakes`` are
    ``{original, correction, explanation, turn, time_s}``; ``measures`` are ``{value, unit, source}`` by name; ``latency`` is
    ``{v2v_p50_ms, v2v_p90_ms, n}``; ``levels`` is ``{profile, words, note}`` (``levels.py``); ``turns`` has an entry for each
    turn of the learner (``turns.py``).

    The first call in a process loads two word lists (``load``). Without ``with_lists`` there is no need of them: what they give
    is ``None`` (``levels`` as a whole), and a note says so.
    """
    of = speech(record)
    found, left_out = mistakes(record, _all_corrections if with_lists else None)
    measures: dict[str, Measure] = {
        "talk_ratio": talk_ratio(record),
        "learner_words": learner_words(record),
        "learner_turns": turn_count(record, "learner"),
        "tutor_turns": turn_count(record, "tutor"),
        "words_per_minute": words_per_minute(record),
        "response_time_s": response_time_s(record),
        "vocabulary_size": vocabulary_size(record),
        "interruptions": interruptions(record),
        **pause_measures(record),
        **(articulation.articulation_measures(record) if with_lists else articulation.without(NOT_READY)),
    }
    grammar = grammar_score(of, found)
    return {
        "grammar_score": grammar,
        "final_score": final_score(grammar, record.level, measures["words_per_minute"].value, measures["talk_ratio"].value),
        "mistakes": [m.to_dict() for m in found],
        "strengths": strengths(record, of, found, measures),
        "suggestions": suggestions(record, of, found, measures),
        "measures": {name: measure.to_dict() for name, measure in measures.items()},
        "latency": latency(record),
        "levels": levels(record) if with_lists else None,
        "turns": turn_series(record, found),
        "notes": [*_notes(record, of, grammar, left_out), *([] if with_lists else [WITHOUT_LISTS])],
    }


def _all_corrections(turn: Turn) -> list[Correction]:
    # Here, so that a process which never makes a whole report does not load the checker's libraries.
    from agent.analysis.spoken import corrections

    return together(turn, corrections(turn))


def _notes(record: CallRecord, of: Speech, grammar: int | None, left_out: int) -> list[str]:
    notes = [of.verdict] if of.verdict is not None else []
    notes.append(of.basis)
    spoken = [word for turn in learner_turns(record) if not turn.typed for word in turn.words]
    if spoken and all(word.confidence is None for word in spoken):
        notes.append("The recogniser does not say how sure it is of a word, so spoken words cannot be judged.")
    if grammar is not None:
        notes.append(
            "The grammar score counts the mistakes that the lesson and the grammar checker know; others may be there. The "
            "final score is the mean of grammar, pace and share of the talk in this call. Neither is a language level."
        )
    if left_out and of.verdict != NOT_ENOUGH:
        corrections = "1 correction was" if left_out == 1 else f"{left_out} corrections were"
        notes.append(f"{corrections} left out, because the words were not heard well enough.")
    return notes
