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


def ratio(ours: float | None, peer: float | None) -> float | None:
    """``ours / peer`` to 0.001; ``None`` where one of them is missing or the peer's is zero."""
    return round(ours / peer, 3) if ours is not None and peer else None
