"""When a voice begins and whether it goes on, by the probabilities of a voice detector. Pure.

A voice begins with a few likely windows of which the newest is a sure one, and goes on as long as windows are likely. One sure
window says more than six likely ones: of coughs, doors and keyboards hardly one makes it, while most words do within 0.1 s
(``bench/barge_onset.py``). Loudness is not asked, so that quiet speakers are heard.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Onset:
    """``windows`` of at least ``likely`` in a row, the last of at least ``sure`` (probabilities, 0 to 1), begin a voice."""

    windows: int
    likely: float
    sure: float
    _run: int = 0

    def voiced(self, probability: float, *, speaking: bool) -> bool:
        """Whether the next window, of ``probability``, begins a voice, or keeps one that is there (``speaking``)."""
        self._run = self._run + 1 if probability >= self.likely else 0
        return self._run > 0 and (speaking or (self._run >= self.windows and probability >= self.sure))
