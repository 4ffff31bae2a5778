"""How a read-aloud lesson goes on: each sentence is asked for, compared with what was heard, perhaps tried once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from zlib import crc32

from agent.lessons.common import Common
from agent.lessons.heard import Heard, normal
from agent.lessons.schema import Lines, ReadAloud
from agent.record import Level
from agent.tutor import TutorReply

TRY_AGAIN_BELOW = 0.5
"""Share of a sentence's words below which it is asked for once more."""
MAX_NAMED = 3
"""Most missed words that the tutor names in one reply."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where the reading stands. ``words``, ``heard`` and ``missed`` concern the sentence read last."""

    turn: int = 0
    sentence: int = 0
    tries: int = 0
    words: int = 0
    heard: int = 0
    missed: tuple[str, ...] = ()
    done: bool = False
    said: tuple[Lines, ...] = ()
    seed: int = 0


def words_heard(sentence: str, text: str) -> tuple[int, int, tuple[str, ...]]:
    """How much of ``sentence`` is in ``text``, in order: (words of the sentence, words heard, words missed)."""
    wanted, got = normal(sentence).split(), normal(text).split()
    blocks = SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    found = {i for block in blocks for i in range(block.a, block.a + block.size)}
    return len(wanted), len(found), tuple(word for i, word in enumerate(wanted) if i not in found)


class ReadingCourse:
    """The course of one ``ReadAloud``; the interface is that of ``ConversationCourse``."""

    def __init__(self, lesson: ReadAloud, common: Common) -> None:
        self._lesson = lesson
        self._common = common
        self._lines = common.read_aloud

    def start(self) -> Page:
        """The greeting and the first sentence."""
        return Page(said=(self._lines.greeting, self._lines.please_read))

    def after(self, page: Page, text: str) -> Page:
        """The page after the learner read ``text``."""
        seed = page.seed if page.turn else crc32(text.encode(errors="replace"))
        page = replace(page, turn=page.turn + 1, seed=seed)
        if page.done:
            return replace(page, said=(self._common.after_end,))
        words, heard, missed = words_heard(self._lesson.sentences[page.sentence], text)
        page = replace(page, words=words, heard=heard, missed=missed)
        share = heard / words
        intent = self._common.intent(Heard.of(text)) if share < 1 else None
        if intent == "goodbye":
            return replace(page, said=(self._lines.closing,), done=True)
        if intent in ("repeat", "slower") and page.tries < 2:
            return replace(page, tries=page.tries + 1, said=(self._common.repeat_lines, self._lines.please_read))
        if heard == 0 and page.tries == 0:
            return replace(page, tries=1, said=(self._common.unclear, self._lines.please_read))
        if share < TRY_AGAIN_BELOW and page.tries == 0:
            return replace(page, tries=1, said=(self._lines.some_heard, self._lines.try_again))
        if share == 1:
            return self._next(page, self._lines.all_heard)
        return self._next(page, self._lines.some_heard if heard else self._lines.move_on)

    def nudge(self, page: Page) -> Page:
        """The learner said nothing: the sentence is asked for again."""
        page = replace(page, turn=page.turn + 1)
        return replace(page, said=(self._common.after_end,) if page.done else (self._common.nudge, self._lines.please_read))

    def say(self, page: Page, level: Level, salt: int) -> TutorReply:
        """Put ``page`` into words; another ``salt`` chooses other variants."""
        text = " ".join(self._fill(_pick(lines[level], page.seed + page.turn + salt), page) for lines in page.said)
        if page.done:
            return TutorReply(text, done=True)
        sentence = self._lesson.sentences[page.sentence]
        return TutorReply(text, expected=(sentence,), suggestions=(sentence,))

    def _next(self, page: Page, said: Lines) -> Page:
        if page.sentence + 1 >= len(self._lesson.sentences):
            return replace(page, said=(said, self._lines.closing), done=True)
        return replace(page, said=(said, self._lines.please_read), sentence=page.sentence + 1, tries=0)

    def _fill(self, line: str, page: Page) -> str:
        missed = ", ".join(page.missed[:MAX_NAMED]) + (" and more" if len(page.missed) > MAX_NAMED else "")
        # The sentence comes last: it may hold braces of its own.
        filled = line.replace("{heard}", str(page.heard)).replace("{words}", str(page.words)).replace("{missed}", missed)
        return filled.replace("{sentence}", self._lesson.sentences[page.sentence])


def _pick(variants: Sequence[str], seed: int) -> str:
    return variants[seed % len(variants)]
