"""Cutting a streamed reply into pieces to speak: the first clause as early as it sounds right, then whole sentences.

pipecat's own ``SimpleTextAggregator`` waits for a full sentence and for the first character after it. Here a sentence goes at
its closing mark where that mark cannot mean anything else, and the first piece of a reply may end at a comma, since what
follows is written while that piece is being heard. A piece never ends inside a clause, because a synthesiser lets its voice
fall there.

``ClauseSplitter`` is pure; ``ClauseAggregator`` at the end is the thin adapter for pipecat.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from pipecat.utils.text.base_text_aggregator import Aggregation, BaseTextAggregator, TextType

SENTENCE_MARKS = ".!?…"
CLAUSE_MARKS = ",;:—–"
_WIDE_MARKS = "。！？"
_CLOSERS = "\"'”’)]}»*_"
_OPENERS = "\"'“‘([{«*_"

# Before a name or an example: never the end of a sentence.
_TITLES = frozenset(
    ["Mr", "Mrs", "Ms", "Mx", "Dr", "Prof", "St", "Mt", "Rev", "Gen", "Col", "Capt", "Lt", "Sgt", "Sen", "Rep", "Gov", "Hon"]
)
_LEAD_INS = frozenset(["e.g", "i.e", "eg", "ie", "vs", "cf", "viz", "approx"])
# May close a sentence or stand within one: what follows decides.
_AMBIGUOUS = frozenset(["etc", "inc", "ltd", "co", "corp", "jr", "sr", "dept", "est", "ave", "blvd"])

_MARK = re.compile(rf"\n|[{_WIDE_MARKS}]+|[{re.escape(SENTENCE_MARKS)}]+|[{re.escape(CLAUSE_MARKS)}]")
_CLOSING = re.compile(rf"[{re.escape(_CLOSERS)}]*")
_LEFTOVER = re.compile(rf"[{re.escape(SENTENCE_MARKS + _CLOSERS)}]+")


def ends_sentence(word: str, following: str | None) -> bool | None:
    """Whether ``word``, a run without spaces that carries its punctuation, closes a sentence.

    ``following`` is the first visible character after the space behind it; ``None`` where it is not known. Returns ``None``
    where only ``following`` could tell.
    """
    bare = word.strip(_OPENERS).rstrip(_CLOSERS)
    body = bare.rstrip(SENTENCE_MARKS)
    marks = bare[len(body) :]
    if not marks:
        return False
    if marks != ".":
        return True
    if not body or body in _TITLES or body.lower() in _LEAD_INS:
        return False
    if len(body) == 1 and body.isalpha() and body != "I":
        return False  # an initial
    if body.lower() == "no":  # "No. 5" or the answer
        return None if following is None else not following.isdigit()
    if body[-1].isdigit() or "." in body or body == "I" or body.lower() in _AMBIGUOUS:
        return None if following is None else not (following.islower() or following.isdigit())
    return True


def ends_clause(word: str) -> bool:
    """Whether ``word`` ends with a comma, semicolon, colon or dash, a closing quote or bracket aside."""
    return word.rstrip(_CLOSERS)[-1:] in tuple(CLAUSE_MARKS)


class ClauseSplitter:
    """Takes a reply as it is written and returns the pieces that can be spoken.

    Args:
        min_first_words: Words before which a comma does not end the first piece. At 150 words a minute three last 1.2 s, in
            which even a slow model writes the rest of the sentence, so that the voice does not run dry behind the comma.
        max_chars: Longest piece; a longer sentence is cut at a comma, or at a space where it has none.
    """

    def __init__(self, *, min_first_words: int = 3, max_chars: int = 240) -> None:
        if min_first_words < 1 or max_chars < 20:
            raise ValueError("min_first_words must be at least 1 and max_chars at least 20")
        self._min_first_words = min_first_words
        self._max_chars = max_chars
        self.reset()

    @property
    def pending(self) -> str:
        """Text that no piece has taken yet."""
        return self._buffer

    def reset(self) -> None:
        """Forget the reply; the next piece is a first piece again."""
        self._buffer = ""
        self._first = True
        self._blind = False  # the last cut was made without seeing the next character

    def feed(self, text: str) -> list[str]:
        """Add ``text`` and return the pieces that are complete now, stripped, none of them empty."""
        self._buffer += text
        pieces: list[str] = []
        while self._buffer:
            if self._blind:
                # "Really?" has gone; the "!" or the quote that comes after it is no speech.
                leftover = _LEFTOVER.match(self._buffer)
                if leftover:
                    self._buffer = self._buffer[leftover.end() :]
                    if not self._buffer:
                        break
                self._blind = False
            cut = self._cut()
            if not cut:
                break
            self._take(cut, pieces)
        return pieces

    def flush(self) -> str:
        """End the reply: what is left of it, possibly empty."""
        rest = self._buffer.strip()
        self.reset()
        return rest

    def _take(self, cut: int, pieces: list[str]) -> None:
        piece = self._buffer[:cut].strip()
        self._blind = cut == len(self._buffer)
        self._buffer = self._buffer[cut:]
        if piece:
            pieces.append(piece)
            self._first = False

    def _cut(self) -> int:
        """Where the first complete piece of the buffer ends; 0 where there is none yet."""
        text = self._buffer
        for mark in _MARK.finditer(text):
            if mark.end() > self._max_chars:
                break
            if mark.group() == "\n":
                if text[: mark.start()].strip():
                    return mark.end()
                continue
            end = _closing_end(text, mark.end())
            verdict = self._verdict(text, mark, end)
            if verdict is None:
                return 0
            if verdict:
                return end
        if len(text) > self._max_chars:
            return self._forced_cut(text)
        return 0

    def _verdict(self, text: str, mark: re.Match[str], end: int) -> bool | None:
        """Whether the piece ends with this mark; ``None``: wait for more text."""
        char = mark.group()[0]
        if char in _WIDE_MARKS:
            return True
        seen_next = end < len(text)
        if seen_next and not text[end].isspace():
            return char in "!?" and text[end].isupper()  # "Really?Yes"
        if char in CLAUSE_MARKS:
            return self._clause_verdict(text, mark.start(), end, seen_next)
        word = text[text.rfind(" ", 0, mark.start()) + 1 : end]
        if seen_next:
            following = text[end:].lstrip()[:1] or None
            if word.rstrip(".").isdigit() and text[:end].strip() == word:
                return False  # the number of a list's item
            return ends_sentence(word, following)
        return True if _balanced(text) and _plain_end(mark.group(), word) else None

    def _clause_verdict(self, text: str, start: int, end: int, seen_next: bool) -> bool | None:
        if not self._first or len(text[:start].split()) < self._min_first_words:
            return False
        before = text[start - 1]
        if not seen_next:
            # "one," can only be a clause; "1,000" and "10:30" show with the next character.
            return True if text[start] in ",;" and before.isalpha() else None
        return not before.isdigit()

    def _forced_cut(self, text: str) -> int:
        window = text[: self._max_chars]
        third = self._max_chars // 3
        for match in reversed(list(re.finditer(rf"[{re.escape(CLAUSE_MARKS)}]\s", window))):
            if match.end() > third:
                return match.end()
        space = max(window.rfind(" "), window.rfind("\t"))
        return space + 1 if space > 0 else self._max_chars


def _closing_end(text: str, at: int) -> int:
    closing = _CLOSING.match(text, at)
    return closing.end() if closing else at


def _plain_end(marks: str, word: str) -> bool:
    """Whether a sentence's mark that ends all text so far can be nothing else: not "3." of "3.5", not "Mr."."""
    if marks != ".":
        return marks[-1] in "!?…" or len(marks) >= 3
    body = word.strip(_OPENERS).rstrip(_CLOSERS + ".")
    return len(body) >= 2 and body[-1].islower() and ends_sentence(word, None) is True


def _balanced(text: str) -> bool:
    """Whether no quote or bracket is open, whose closing mark would belong to the piece."""
    return (
        text.count('"') % 2 == 0
        and text.count("“") <= text.count("”")
        and text.count("(") <= text.count(")")
        and text.count("**") % 2 == 0
    )


class ClauseAggregator(BaseTextAggregator):
    """``ClauseSplitter`` as a pipecat text aggregator, for a TTS service or an ``LLMTextProcessor``."""

    def __init__(self, splitter: ClauseSplitter | None = None) -> None:
        super().__init__()
        self._splitter = splitter or ClauseSplitter()

    @property
    def text(self) -> Aggregation:
        """What has not been released yet."""
        return Aggregation(self._splitter.pending.strip(), TextType.SENTENCE)

    async def aggregate(self, text: str) -> AsyncIterator[Aggregation]:
        """Add ``text``; yields the pieces that it completes."""
        for piece in self._splitter.feed(text):
            yield Aggregation(piece, TextType.SENTENCE)

    async def flush(self) -> Aggregation | None:
        """End the reply; its last piece, or ``None``."""
        rest = self._splitter.flush()
        return Aggregation(rest, TextType.SENTENCE) if rest else None

    async def handle_interruption(self) -> None:
        """Drop what has not been released."""
        self._splitter.reset()

    async def reset(self) -> None:
        """Start anew."""
        self._splitter.reset()
