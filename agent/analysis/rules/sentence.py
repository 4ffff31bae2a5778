"""The sentence as the rules see it, and the changes that they propose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.analysis.english.tagging import Tagged
from agent.analysis.english.usage import difference
from agent.analysis.english.wordset import wordset

VERBS = frozenset(("VB", "VBP", "VBZ", "VBD", "VBN", "VBG"))
FINITE = frozenset(("VBP", "VBZ", "VBD", "MD"))
NOUNS = frozenset(("NN", "NNS"))
ADVERBS = frozenset(("RB", "RBR", "RBS"))

SURE = -99.0
"""A ``need`` for rules that rest on the words alone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Replace the tokens ``start:end`` by ``words``.

    ``type`` is an ERRANT type (Bryant et al. 2017). ``need`` is by how many powers of ten the n-gram model must find
    the changed sentence likelier before it is believed.
    """

    start: int
    end: int
    words: tuple[str, ...]
    type: str
    why: str
    need: float = 0.0

    @property
    def is_sure(self) -> bool:
        """Whether it rests on the words alone, and the model is not asked."""
        return self.need < SURE / 2


class Sentence:
    """One tagged sentence. Indices outside of it give empty strings, so that rules need no bounds."""

    def __init__(self, tagged: list[Tagged]) -> None:
        self.tagged = tagged
        self.words = [t.lower for t in tagged]
        self.tags = [t.tag for t in tagged]

    def __len__(self) -> int:
        return len(self.tagged)

    def w(self, i: int) -> str:
        """The word at ``i``, lower case."""
        return self.words[i] if 0 <= i < len(self.words) else ""

    def t(self, i: int) -> str:
        """The tag at ``i``."""
        return self.tags[i] if 0 <= i < len(self.tags) else ""

    def lemma(self, i: int) -> str:
        """The lemma at ``i``."""
        return self.tagged[i].lemma if 0 <= i < len(self.tagged) else ""

    def text(self, i: int) -> str:
        """The word at ``i`` as it was written."""
        return self.tagged[i].token.text if 0 <= i < len(self.tagged) else ""

    def seq(self, i: int, words: str) -> bool:
        """Whether the words from ``i`` on are these."""
        wanted = words.split()
        return self.words[i : i + len(wanted)] == wanted if i >= 0 else False

    def skip(self, i: int, tags: Iterable[str] = ADVERBS, step: int = 1) -> int:
        """The first index from ``i`` on (or backwards) whose tag is not one of ``tags``."""
        while 0 <= i < len(self) and self.tags[i] in tags:
            i += step
        return i

    def has(self, words: frozenset[str], start: int = 0, end: int | None = None) -> bool:
        """Whether one of ``words`` stands between ``start`` and ``end``."""
        return any(w in words for w in self.words[start:end])

    def clause_start(self, i: int) -> int:
        """The index at which the clause of ``i`` begins: after a mark, a conjunction or a relative."""
        while i > 0 and not self.opens(i):
            i -= 1
        return i

    def opens(self, i: int) -> bool:
        """Whether a clause may begin at ``i``."""
        if i == 0:
            return True
        before = self.w(i - 1)
        return (
            self.t(i - 1) in ("PUNCT", "UH")
            or before in CLAUSE_OPENERS
            or (
                self.t(i - 1) == "CC"
                and not (
                    self.t(i - 2) in ("NN", "NNS", "PRP", "NNP") and self.t(i) in ("NN", "NNS", "PRP", "DT", "PRPS", "NNP")
                )
            )
        )

    def phrase_end(self, i: int) -> int | None:
        """The index of the head of the noun phrase whose first word stands at ``i``, or ``None`` where none begins there."""
        k = i
        if self.t(k) in ("DT", "PRPS"):
            k += 1
        while self.t(k) in ("JJ", "JJR", "JJS", "CD", "RB", "VBN", "RBS", "RBR") and self.t(k + 1) in (
            "JJ",
            "JJR",
            "JJS",
            "CD",
            "NN",
            "NNS",
            "VBN",
            "RB",
            "NNP",
            "VBG",
        ):
            k += 1
        if self.t(k) == "VBG" and self.t(k + 1) in NOUNS and k > i:
            k += 1
        if self.t(k) not in ("NN", "NNS", "NNP"):
            return None
        while self.t(k + 1) in ("NN", "NNS", "NNP"):
            k += 1
        return k

    def gain(self, candidate: Candidate) -> float:
        """How much likelier the n-gram model finds the sentence with the change (powers of ten)."""
        after = [*self.words[: candidate.start], *(w.lower() for w in candidate.words), *self.words[candidate.end :]]
        return difference(model_words(self.words), model_words(after))


def model_words(words: Iterable[str]) -> list[str]:
    """Words as the n-gram model writes them: no marks, contractions in one piece."""
    out: list[str] = []
    for word in words:
        if word in ("n't", "'s", "'m", "'re", "'ve", "'ll", "'d", "'") and out:
            out[-1] = {"ca": "can", "wo": "won"}.get(out[-1], out[-1]) + (word if word != "n't" or out[-1] != "can" else "n't")
        elif word[:1].isalnum():
            out.append(word)
    return out


CLAUSE_OPENERS = wordset(
    """
    that because if when while although though where who which since until before after but so and or then unless as
    whereas whether
    """
)
