"""Whether a voice is dying away, by its level: sooner to tell than by a voice detector, which lags behind. Pure."""

from __future__ import annotations

QUIET_DB = 20.0
"""So far below the loudest of the voice a window is hardly part of it: the quietest consonants lie there, and the room."""
DECAY_DB = 0.3
"""What the loudest is forgotten by with each window of 32 ms: about 10 dB a second, so that a voice may grow softer."""


class Fading:
    """Follows one voice; ``quiet`` is given each window of it in order."""

    def __init__(self) -> None:
        self._loudest_db = float("-inf")

    def quiet(self, level_db: float) -> bool:
        """Whether a window of ``level_db`` (dBFS) is no more than the end of the voice."""
        self._loudest_db = max(level_db, self._loudest_db - DECAY_DB)
        return level_db < self._loudest_db - QUIET_DB
