"""Whether what the microphone hears is the tutor's own voice, come back from the loudspeaker. Pure: levels in, a verdict out.

An echo follows what was played: the same envelope, some time later, by a constant amount quieter. So the two envelopes are
compared at every delay up to ``MAX_DELAY_S``; where they agree, the delay and the loss in level are remembered, and what is no
louder than they foretell is echo. A voice that speaks at the same time is louder than that, and belongs to somebody.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

STEP_S = 0.02
"""Both envelopes are compared on a grid of this width."""
MAX_DELAY_S = 0.5
"""Longest way through client buffer, loudspeaker, room and network that is looked for."""
MEMORY_S = 2.5
FLOOR_DB = -75.0
"""Levels below this (dBFS) say nothing."""
ENOUGH_S = 0.6
"""Least common stretch of both envelopes that is compared."""
AGREES = 0.75
"""Least Pearson correlation of the levels in dB that counts as an echo."""
SPREAD_DB = 6.0
"""Least standard deviation of what was played: a steady tone resembles every steady noise."""
MARGIN_DB = 8.0
"""How far above the foretold level echo may still lie: speech changes by more than this only where somebody speaks."""
MIN_LOSS_DB = 3.0
"""An echo is quieter than this below what was played; where it is not, something else is heard."""
TAIL_S = 0.16
"""A room's echo lasts for this much longer than the sound."""
TRUST_S = 30.0
"""How long a delay and loss that were found hold."""


def level_db(pcm16: bytes) -> float:
    """Level of pcm16 audio in dB below full scale, at least ``FLOOR_DB``."""
    samples = np.frombuffer(pcm16, np.int16).astype(np.float32)
    if not len(samples):
        return FLOOR_DB
    rms = math.sqrt(float(np.dot(samples, samples)) / len(samples)) / 32768.0
    return max(FLOOR_DB, 20.0 * math.log10(max(rms, 1e-9)))


class EchoPath:
    """What is known of the way from the tutor's voice back to the learner's microphone.

    Times are seconds on one monotonic clock, levels are dBFS. Levels of one side come in the order of their times.
    """

    def __init__(self) -> None:
        self._played: deque[tuple[float, float]] = deque()  # (end, level)
        self._heard: deque[tuple[float, float]] = deque()
        self._delay_s = 0.0
        self._loss_db = 0.0
        self._found_s: float | None = None
        self._looked_s = float("-inf")

    @property
    def delay_s(self) -> float | None:
        """The delay of the echo that was found, ``None`` without one."""
        return None if self._found_s is None else self._delay_s

    @property
    def loss_db(self) -> float | None:
        """By how much the echo is quieter than what was played, ``None`` without one."""
        return None if self._found_s is None else self._loss_db

    def played(self, end_s: float, level: float) -> None:
        """A piece of at most ``STEP_S`` that is played until ``end_s`` has this level."""
        self._played.append((end_s, max(FLOOR_DB, level)))
        while self._played and self._played[0][0] < end_s - MEMORY_S - MAX_DELAY_S:
            self._played.popleft()

    def heard(self, end_s: float, level: float) -> None:
        """A window of the microphone that ends at ``end_s`` has this level."""
        self._heard.append((end_s, max(FLOOR_DB, level)))
        while self._heard and self._heard[0][0] < end_s - MEMORY_S:
            self._heard.popleft()

    def explains(self, end_s: float, level: float) -> bool:
        """Whether a window that ends at ``end_s`` is no louder than the echo that was found makes it."""
        if self._found_s is None or end_s - self._found_s > TRUST_S:
            return False
        latest = end_s - self._delay_s
        near = [db for at, db in self._played if latest - TAIL_S - 2 * STEP_S <= at <= latest + 2 * STEP_S]
        return bool(near) and max(near) > FLOOR_DB + SPREAD_DB and level <= max(near) - self._loss_db + MARGIN_DB

    def look(self, now_s: float, *, every_s: float = 0.12) -> float:
        """Compare the envelopes now, where they were not lately. Returns the best correlation, 0.0 where none was computed."""
        if now_s - self._looked_s < every_s or not self._heard or not self._played:
            return 0.0
        self._looked_s = now_s
        times = np.array([at for at, _ in self._heard])
        heard = np.array([db for _, db in self._heard])
        played_at = np.array([at for at, _ in self._played])
        played = np.array([db for _, db in self._played])
        best, best_delay, best_loss = 0.0, 0.0, 0.0
        for step in range(round(MAX_DELAY_S / STEP_S) + 1):
            delay_s = step * STEP_S
            score, loss = _agreement(times - delay_s, heard, played_at, played)
            if score > best:
                best, best_delay, best_loss = score, delay_s, loss
        if best >= AGREES and best_loss >= MIN_LOSS_DB:
            self._delay_s, self._loss_db, self._found_s = best_delay, best_loss, now_s
        return best


def _agreement(
    times: npt.NDArray[np.float64],
    heard: npt.NDArray[np.float64],
    played_at: npt.NDArray[np.float64],
    played: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Pearson correlation of the levels where both are known, and the median loss where something was played."""
    known = (times >= played_at[0]) & (times <= played_at[-1])
    if known.sum() * STEP_S < ENOUGH_S:
        return 0.0, 0.0
    source = np.interp(times[known], played_at, played)
    here = heard[known]
    sounding = source > FLOOR_DB + SPREAD_DB
    if source.std() < SPREAD_DB or here.std() < 1.0 or sounding.sum() * STEP_S < ENOUGH_S / 2:
        return 0.0, 0.0
    score = float(np.corrcoef(source, here)[0, 1])
    return score, float(np.median(source[sounding] - here[sounding]))
