"""What of a model's text is for the learner: without thoughts, and without the marks that the prompts use. Pure."""

from __future__ import annotations

import re

THINK, THOUGHT, END = "<think>", "</think>", "<end>"
_MARKS = (THINK, THOUGHT, END, "</end>", "<learner>", "</learner>")
_THOUGHT = re.compile(THOUGHT, re.I)


class VisibleText:
    """Takes a stream of text in pieces of any size. ``ended`` says whether the model ended the conversation."""

    def __init__(self) -> None:
        self.ended = False
        self._held = ""
        self._thinking = False
        self._begun = False

    def take(self, piece: str) -> str:
        """What of the text up to and with ``piece`` can be shown now; a mark that may still become whole is held back."""
        self._held += piece
        shown = []
        while self._held:
            if self._thinking:
                thought = _THOUGHT.search(self._held)
                if thought is None:
                    self._held = self._held[-(len(THOUGHT) - 1) :]
                    break
                self._thinking, self._held = False, self._held[thought.end() :]
                continue
            before, found, after = self._held.partition("<")
            shown.append(before)
            self._held = found + after
            mark = next((m for m in _MARKS if self._held.lower().startswith(m)), None)
            if mark is not None:
                self.ended = self.ended or mark == END
                self._thinking = mark == THINK
                self._held = self._held[len(mark) :]
            elif any(m.startswith(self._held.lower()) for m in _MARKS):
                break
            else:
                shown.append("<")
                self._held = self._held[1:]
        return self._without_lead("".join(shown))

    def finish(self) -> str:
        """What is left when the stream has ended."""
        held, self._held = ("" if self._thinking else self._held), ""
        return self._without_lead(held)

    def _without_lead(self, text: str) -> str:
        """Answers begin with a word: what stood between a thought and the answer goes."""
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text
