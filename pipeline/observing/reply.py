"""One reply of the tutor while it is made, spoken and perhaps cut. Pure: positions in its audio are passed in, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.analysis.words import tokens
from agent.record import Turn, Word
from pipeline.turns.barge import Speech
from pipeline.turns.heard import heard_text, words_heard

UNKEPT_S = 0.2
"""So much of an answer that was made beforehand may be spoken before the turn that it answers is durable: it would wait for
nothing else than the disk."""
SAID_LATELY_S = 3.0
"""How far back the tutor's words are compared with the learner's, to know an echo by them."""
LAST_PACKETS_S = 0.1
"""Packets that are on their way have left within this time."""
CLAUSE_ENDS = (".", "!", "?", ":", ";", "…")
"""Marks behind which any voice speaks what it has."""


@dataclass(slots=True)
class Reply:
    """What is known of one reply. ``context_start``: how many messages the conversation had before it."""

    context_start: int
    started_at: float
    text: str = ""
    complete: bool = False
    utterance: str | None = None
    audio_s: float = 0.0
    words: list[Word] = field(default_factory=list)
    words_shown: int = 0
    backchannels: list[Word] = field(default_factory=list)
    cut_to: str | None = None
    """What was heard of it, once it was interrupted."""
    unkept_s: float = 0.0
    """How much of it may be spoken before what it answers is durable ..."""
    kept: bool = False
    """... and whether that was waited for."""
    house: bool = False
    """A line of the house (an apology, a farewell) and no answer."""
    aside: bool = False
    """It is said, and no part of the conversation."""
    passed: bool = False
    """Its end has passed the whole chain."""
    acted: bool = False
    """Functions were asked for with it."""
    number: int = -1
    """Its place among the session's replies that are over ..."""
    turn: Turn | None = None
    """... its turn in the record, if any word of it was heard ..."""
    message: dict[str, Any] | None = None
    """... and what of it stands in the conversation."""

    @property
    def lasting_text(self) -> str:
        """What the conversation keeps of it: all of it, or what was heard before it was cut."""
        return self.text.strip() if self.cut_to is None else self.cut_to

    def began(self, utterance: str, *, early: bool) -> None:
        """Its first audio came, as ``utterance``; ``early``: it was made before the turn that it answers was over."""
        self.utterance = utterance
        self.unkept_s = UNKEPT_S if early else 0.0

    def must_be_kept(self, seconds: float) -> bool:
        """Whether what it answers has to be durable before ``seconds`` more of it are spoken. True once."""
        if self.kept or self.audio_s + seconds < self.unkept_s:
            return False
        self.kept = True
        return True

    def is_spoken_as(self, utterance: str) -> bool:
        """Whether ``utterance`` is its voice, as far as is known."""
        return self.utterance in (None, utterance)

    def next_shown(self, heard_s: float | None) -> int | None:
        """The index of the next word to be shown, which is shown by that, to who has heard ``heard_s`` (``None``: all) of it.

        ``None``: there is none yet.
        """
        index = self.words_shown
        if index == len(self.words) or (heard_s is not None and self.words[index].start_s > heard_s):
            return None
        self.words_shown = index + 1
        return index

    def words_until(self, heard_s: float) -> list[Word]:
        """The words that were heard in its first ``heard_s``."""
        return self.words[: words_heard(self.words, heard_s)]

    def cut(self, heard_s: float) -> str:
        """Only its first ``heard_s`` were heard: the text of that, which is what lasts of it."""
        self.cut_to = heard_text(self.text, self.words, heard_s, self.audio_s or None)
        return self.cut_to

    def speech(self, heard_s: float, *, voice_open: bool) -> Speech:
        """What it says at ``heard_s``, and how much is left where all of it is known: not while its voice is open."""
        said = (w.text for w in self.words if heard_s - SAID_LATELY_S <= w.start_s <= heard_s + LAST_PACKETS_S)
        left_s = self.audio_s - heard_s if self.complete and not voice_open else None
        return Speech(tuple(token for text in said for token in tokens(text)), left_s)


def ends_clause(text: str) -> bool:
    """Whether a voice speaks what it has once it was given ``text``."""
    return text.rstrip()[-1:] in CLAUSE_ENDS


def backchannel(words: Sequence[str], at_s: float) -> Word:
    """What the learner said, and wanted no turn for, when ``at_s`` of the tutor's utterance had been heard."""
    return Word(" ".join(words), at_s, at_s)
