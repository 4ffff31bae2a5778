"""Percentiles and bootstrap intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000


def percentile(values: Sequence[float], q: float) -> float | None:
    """The ``q``-th percentile (0 to 100, linear between ranks) to 0.1, or ``None`` of nothing."""
    return round(float(np.percentile(np.asarray(values, dtype=np.float64), q)), 1) if values else None


def bootstrap_ci(values: Sequence[float], q: float = 50.0, level: float = 0.95, seed: int = 0) -> tuple[float, float] | None:
    """Percentile-bootstrap interval of the ``q``-th percentile (Efron 1979), to 0.1; ``None`` of fewer than two values."""
    if len(values) < 2:
        return None
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).choice(data, size=(RESAMPLES, len(data)), replace=True)
    found = np.percentile(draws, q, axis=1)
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    return round(float(low), 1), round(float(high), 1)


def bootstrap_ratio_ci(
    ours: Sequence[float], peer: Sequence[float], q: float = 50.0, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile-bootstrap interval of the quotient of two ``q``-th percentiles, each sample drawn anew by itself, to 0.001.

    ``None`` where one of them has fewer than two values.
    """
    if len(ours) < 2 or len(peer) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = []
    for values in (ours, peer):
        data = np.asarray(values, dtype=np.float64)
        drawn.append(np.percentile(rng.choice(data, size=(RESAMPLES, len(data)), replace=True), q, axis=1))
    low, high = np.percentile(drawn[0] / drawn[1], [50 * (1 - level), 50 * (1 + level)])
    return round(float(low), 3), round(float(high), 3)


def ratio(ours: float | None, peer: float | None) -> float | None:
    """``ours / peer`` to 0.001; ``None`` where one of them is missing or the peer's is zero."""
    return round(ours / peer, 3) if ours is not None and peer else None


def wilson(hits: int, n: int) -> list[float]:
    """The 95 % interval of a share of ``n`` cases, one or more (Wilson 1927), to 0.001."""
    z = 1.96
    p = hits / n
    middle, spread = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    return [round((middle - spread) / (1 + z * z / n), 3), round((middle + spread) / (1 + z * z / n), 3)]
