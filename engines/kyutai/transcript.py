"""What of a session's words is told, by live steps and by flushes. Pure.

The words themselves come from ``engines/kyutai/text.py``. Beyond them: what the model writes before the delay of its first
frame has passed is about nothing, as moshi-server has it (``rust/moshi-core/src/asr.rs``); and what a flush told is not told
again.
"""

from __future__ import annotations

from collections.abc import Callable

from engines.kyutai.text import PADDING, WORD_END, WordEnded, WordHeard, WordReader

Decode = Callable[[list[int]], str]
"""The text of a word's tokens."""


class Transcript:
    """Of one session. ``delay``: frames by which the model writes later than it hears."""

    def __init__(self, decode: Decode, delay: int) -> None:
        self._decode = decode
        self._delay = delay
        self._reader = WordReader(decode)
        self._steps = 0
        self._mute = False  # the word that is being written was told by a flush
        self._last_told = False  # the last complete word was told from here, so that its end is to be told too

    def stepped(self, token: int, heard: int, *, new: bool = True) -> list[WordHeard | WordEnded]:
        """One step wrote ``token`` of the frame ``heard``. Returns what is to be told. ``new``: whether no flush has told the
        words of this step."""
        self._steps += 1
        if self._steps < self._delay:
            return []
        if token > PADDING:
            self._mute = self._mute or not new
        told: list[WordHeard | WordEnded] = []
        for one in self._reader.token(token, heard):
            if isinstance(one, WordHeard):
                self._last_told = new and not self._mute
            if self._last_told and new:
                told.append(one)
        if token in (WORD_END, PADDING):
            self._mute = False
        return told

    def rest(self) -> list[WordHeard]:
        """The word that is being written, as far as it was; to be called once, at the end of a branch."""
        return self._reader.rest()

    def branch(self) -> Transcript:
        """A copy that goes its own way; nothing of it was told."""
        other = Transcript(self._decode, self._delay)
        other._reader = self._reader.branch()
        other._steps = self._steps
        return other

    def renewed(self) -> None:
        """The model's state was reset: what was being written stays unwritten."""
        self._reader = WordReader(self._decode)
        self._steps = 0
        self._mute = self._last_told = False
