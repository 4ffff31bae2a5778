"""Logistic regression, and what a threshold on its result lets through. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1e-2
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Logistic:
    """``log(p / (1 - p)) = weights · x + bias``."""

    weights: tuple[float, ...]
    bias: float

    def logit(self, x: Array) -> Array:
        """Log odds of each row of ``x``, shape ``(rows, weights)``."""
        return np.asarray(x @ np.asarray(self.weights) + self.bias)


def fit(x: Array, y: Array, ridge: float = RIDGE) -> Logistic:
    """Fit ``y`` (0 or 1) to the rows of ``x`` by Newton's method, both classes weighing the same.

    ``ridge`` is the penalty on the squared weights of the standardised features.

    Raises:
        ValueError: a class has no row.
    """
    if not 0 < y.sum() < len(y):
        raise ValueError("both classes need a row")
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    terms = np.concatenate([(x - mean) / spread, np.ones((len(x), 1))], axis=1)
    share = np.where(y > 0, 0.5 / y.sum(), 0.5 / (len(y) - y.sum()))
    penalty = ridge * np.append(np.ones(x.shape[1]), 0.0)
    found = np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        p = 1.0 / (1.0 + np.exp(-np.clip(terms @ found, -30.0, 30.0)))
        slope = terms.T @ (share * (p - y)) + penalty * found
        curvature = (terms * (share * p * (1.0 - p))[:, None]).T @ terms + np.diag(penalty + 1e-9)
        found -= np.linalg.solve(curvature, slope)
    weights = found[:-1] / spread
    return Logistic(tuple(float(w) for w in weights), float(found[-1] - weights @ mean))


def threshold(values: Array, share: float) -> float:
    """The value that ``share`` of ``values`` are over."""
    return float(np.quantile(values, 1.0 - share))
