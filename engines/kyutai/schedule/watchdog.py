"""Whether a slot has gone deaf: it hears a voice and writes nothing. Pure.

Speech-to-text of this kind sometimes stops writing and does not come back by itself; a new state does help. Only loud frames
count: silence is nothing to write about. Only a word proves that the slot lives.
"""

from __future__ import annotations

from engines.kyutai.schedule.backlog import FRAME_S


class Watchdog:
    """``silent_s``: seconds of loud audio without a word after which the slot counts as deaf."""

    def __init__(self, silent_s: float) -> None:
        self._limit = max(1, round(silent_s / FRAME_S))
        self._loud = 0

    def stepped(self, *, loud: bool, wrote: bool) -> bool:
        """One live step was made with a frame that is ``loud`` or not, and ``wrote`` a word or not. Returns whether the
        slot's state is to be reset now; the count begins anew then."""
        self._loud = 0 if wrote else self._loud + loud
        if self._loud < self._limit:
            return False
        self._loud = 0
        return True
