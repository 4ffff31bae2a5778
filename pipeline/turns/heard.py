"""Which words of the tutor's reply were heard. Pure: word times and a playout position in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from agent.record import Word


def words_heard(words: Sequence[Word], heard_s: float) -> int:
    """How many of ``words`` were heard when the reply was cut ``heard_s`` seconds in.

    A word counts once half of it was played: people recognise a word before its end, but not from its onset.
    """
    return sum((word.start_s + word.end_s) / 2 <= heard_s for word in words)


def heard_text(text: str, words: Sequence[Word], heard_s: float, total_s: float | None = None) -> str:
    """The part of ``text`` that was heard in the first ``heard_s`` seconds of its audio.

    Where the engine gave word times they decide. Where it gave none, words are taken to be spread evenly over
    ``total_s`` seconds of audio, or, without that, nothing is known and nothing is claimed to have been heard.
    """
    tokens = text.split()
    if not tokens or heard_s <= 0:
        return ""
    if words:
        count = words_heard(words, heard_s)
        # The voice may say more words than are written ("3.5"): then the count is carried over in proportion.
        if count == len(words) and _ends_text(words, tokens):
            count = len(tokens)
        elif len(words) > len(tokens):
            count = count * len(tokens) // len(words)
    elif total_s:
        count = int(len(tokens) * min(1.0, heard_s / total_s) + 1e-9)
    else:
        count = 0
    return " ".join(tokens[:count])


def _ends_text(words: Sequence[Word], tokens: Sequence[str]) -> bool:
    """Whether the last spoken word is the last written one, that is, whether word times cover the whole text."""
    return words[-1].text.strip(".,!?;:\"'").lower() == tokens[-1].strip(".,!?;:\"'").lower()
