"""The learner's mistakes that can be shown: each quotes words that were typed or heard well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from agent.analysis.words import Said, find, learner_turns, said, tokens
from agent.record import CallRecord, Correction, Turn


@dataclass(frozen=True, slots=True)
class FoundMistake:
    """A correction at its place. ``time_s`` counts from the start of the call; ``edits`` are the words that it changes."""

    correction: Correction
    turn: int
    time_s: float | None
    edits: int

    def to_dict(self) -> dict[str, Any]:
        """``{"original", "correction", "explanation", "turn", "time_s"}``."""
        c = self.correction
        return {
            "original": c.original,
            "correction": c.correction,
            "explanation": c.explanation,
            "turn": self.turn,
            "time_s": self.time_s,
        }


def mistakes(record: CallRecord, more: Callable[[Turn], Sequence[Correction]] | None = None) -> tuple[list[FoundMistake], int]:
    """The mistakes that stand on sure words, and how many corrections were left out because their words are not sure.

    ``more`` gives all corrections of a turn, in place of those that the record holds.
    """
    found: list[FoundMistake] = []
    unsure = 0
    for turn in learner_turns(record):
        words = said(turn)
        for correction in turn.corrections if more is None else more(turn):
            place = _place(correction, turn, words)
            if place is None:
                unsure += 1
                continue
            time_s = turn.started_at - record.started_at + (words[place].start_s or 0.0)
            at = round(max(time_s, 0.0), 1) if math.isfinite(time_s) else None
            edits = edit_count(tokens(correction.original), tokens(correction.correction))
            found.append(FoundMistake(correction, turn.index, at, max(1, edits)))
    return found, unsure


def stands(correction: Correction, turn: Turn) -> bool:
    """Whether the correction rests on words that were typed or heard well."""
    return _place(correction, turn, said(turn)) is not None


def placed(correction: Correction, turn: Turn) -> range | None:
    """The words of the turn that the correction quotes, or ``None`` where they are not sure or not there."""
    place = _place(correction, turn, said(turn))
    return None if place is None else range(place, place + len(tokens(correction.original)))


def together(turn: Turn, found: Sequence[Correction]) -> list[Correction]:
    """The turn's corrections, which its lesson gave, and those of ``found`` that touch none of their words."""
    taken = [place for c in turn.corrections if (place := placed(c, turn)) is not None]
    new = []
    for correction in found:
        place = placed(correction, turn)
        if place is not None and not any(place.start < other.stop and other.start < place.stop for other in taken):
            taken.append(place)
            new.append(correction)
    return [*turn.corrections, *new]


def edit_count(original: Sequence[str], correction: Sequence[str]) -> int:
    """Words inserted, deleted or replaced to make ``correction`` of ``original``."""
    ops = SequenceMatcher(None, original, correction, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in ops if tag != "equal")


def _place(correction: Correction, turn: Turn, words: Sequence[Said]) -> int | None:
    """The index in ``words`` at which the quotation stands, if all its words are sure and the turn's text holds it too."""
    needle = tokens(correction.original)
    if find(needle, tokens(turn.text)) is None:
        return None
    heard = [word.text.lower().replace("’", "'") for word in words]
    at = find(needle, heard)
    if at is None or not all(word.sure for word in words[at : at + len(needle)]):
        return None
    return at
