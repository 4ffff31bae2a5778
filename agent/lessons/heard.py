"""A learner's words, brought into one form for matching, with the way back to the words as they were said.

Matching works on lower-case words with contractions written out ("I'm" is "i am") and fillers left out; a correction must
quote the learner's own words, so every normal word remembers where it came from.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*['’]?|\d+")
_FILLERS = frozenset({"um", "uh", "er", "erm", "hmm", "hm", "mm", "mhm", "ah", "eh", "uhm"})
_WHOLE = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "let's": "let us",
    "im": "i am",
    "ok": "okay",
    "wanna": "want to",
    "gonna": "going to",
}
_SUFFIXES = (("n't", "not"), ("'m", "am"), ("'re", "are"), ("'ve", "have"), ("'ll", "will"), ("'d", "would"))
# After these words "'s" is "is"; after any other it is the possessive and stays.
_IS_AFTER = frozenset({"it", "that", "he", "she", "what", "where", "who", "how", "there", "here", "name", "this", "everything"})
_NUMBER_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
"""
_NUMBERS = _NUMBER_WORDS.split()


def normal_word(token: str) -> str:
    """One written word in normal form: ``""`` for a filler, two words for a contraction."""
    word = unicodedata.normalize("NFC", token).lower().replace("’", "'").rstrip("'")
    if word in _FILLERS:
        return ""
    if word in _WHOLE:
        return _WHOLE[word]
    if word.isdecimal():
        return _NUMBERS[int(word)] if len(word) <= 2 and int(word) < len(_NUMBERS) else word
    for suffix, full in _SUFFIXES:
        if word.endswith(suffix) and len(word) > len(suffix):
            return f"{word[: -len(suffix)]} {full}"
    if word.endswith("'s") and word[:-2] in _IS_AFTER:
        return f"{word[:-2]} is"
    return word


def normal(text: str) -> str:
    """``text`` in normal form, words joined by one space."""
    return " ".join(word for token in _TOKEN.findall(text) if (word := normal_word(token)))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a learner said.

    ``line`` is the normal form in which every word is followed by one space; ``capitals`` are the normal words that were
    written with a capital.
    """

    text: str
    line: str
    capitals: frozenset[str]
    _starts: tuple[int, ...]
    _spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str) -> Heard:
        """Read ``text`` as recognised or typed."""
        line, starts, spans, capitals = "", [], [], set()
        for match in _TOKEN.finditer(text):
            word = normal_word(match.group())
            if word:
                starts.append(len(line))
                spans.append(match.span())
                if match.group()[0].isupper():
                    capitals.add(word)
                line += word + " "
        return cls(text, line, frozenset(capitals), tuple(starts), tuple(spans))

    @property
    def words(self) -> list[str]:
        """The normal words."""
        return self.line.split()

    def quote(self, start: int, end: int) -> str:
        """The learner's own words behind ``line[start:end]``, whole words, as they stand in ``text``."""
        inside = [i for i, at in enumerate(self._starts) if at < end and self._end(i) > start]
        if not inside:
            return ""
        return self.text[self._spans[inside[0]][0] : self._spans[inside[-1]][1]]

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else len(self.line)
