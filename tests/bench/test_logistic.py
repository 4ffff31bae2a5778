"""The fit, on data whose odds are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.logistic import Logistic, fit, threshold


def test_known_weights_are_found_again() -> None:
    chance = np.random.default_rng(3)
    x = chance.normal(size=(20_000, 2)) * [1.0, 5.0]
    y = (chance.random(20_000) < 1 / (1 + np.exp(-(x @ [1.5, -0.2])))).astype(float)
    found = fit(x, y, ridge=1e-6)
    assert found.weights == pytest.approx((1.5, -0.2), abs=0.05)
    assert found.bias == pytest.approx(0.0, abs=0.1)


def test_a_rare_class_weighs_as_much() -> None:
    x = np.asarray([[-1.0]] * 90 + [[1.0]] * 10 + [[1.0]] * 1 + [[-1.0]] * 9)
    y = np.asarray([0.0] * 100 + [0.0] + [1.0] * 9)
    assert fit(x, y, ridge=1e-3).logit(np.asarray([[-1.0]]))[0] > 0  # 9 of 9 right ones lie there, 90 of 101 wrong ones


def test_one_class() -> None:
    with pytest.raises(ValueError):
        fit(np.zeros((3, 1)), np.ones(3))


def test_the_ridge_keeps_separable_data_finite() -> None:
    found = fit(np.asarray([[-1.0], [1.0]]), np.asarray([0.0, 1.0]))
    assert 0 < found.weights[0] < 50


def test_log_odds() -> None:
    assert Logistic((2.0, -1.0), 0.5).logit(np.asarray([[1.0, 1.0], [0.0, 3.0]])).tolist() == [1.5, -2.5]


def test_a_threshold_lets_its_share_through() -> None:
    values = np.arange(1000.0)
    assert (values > threshold(values, 0.1)).mean() == pytest.approx(0.1, abs=0.002)
