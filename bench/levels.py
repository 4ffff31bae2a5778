"""When the tutor's level fell, read off the packets at the client's wire. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

FALL_DB = 20.0
BEFORE_S = 0.3
"""The level that it falls from is the median of this long before the onset."""
HELD_PACKETS = 3
"""So many packets in a row are down: a gap between two words of a voice is none of 60 ms at the level of silence."""
SILENCE_RMS = 20.0
"""A tutor below this does not sound."""


def fell_after_s(levels: Sequence[tuple[float, float]], onset: float, *, fall_db: float = FALL_DB) -> float | None:
    """From ``onset`` to the arrival of the last packet before the level fell by ``fall_db`` and stayed there.

    ``levels`` are arrival in seconds and RMS of each packet, in order. 0.0 where the first packet after the onset is down;
    ``None`` where the tutor did not sound at the onset, or its level never fell.
    """
    times = [at for at, _ in levels]
    first = bisect_right(times, onset)
    before = [rms for at, rms in levels[bisect_right(times, onset - BEFORE_S) : first]]
    reference = float(np.median(before)) if before else 0.0
    if reference < SILENCE_RMS:
        return None
    limit = reference / 10 ** (fall_db / 20)
    for index in range(first, len(levels) - HELD_PACKETS + 1):
        if all(rms <= limit for _, rms in levels[index : index + HELD_PACKETS]):
            return 0.0 if index == first else times[index - 1] - onset
    return None
