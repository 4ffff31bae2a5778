"""Percentiles, intervals and quotients."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.stats import bootstrap_ci, bootstrap_ratio_ci, percentile, ratio, wilson


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(x) for x in range(101)], 90) == 90.0
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([], 50) is None


def test_the_interval_holds_the_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(60):
        low, high = bootstrap_ci(list(rng.normal(500, 50, 40)), seed=seed) or (0.0, 0.0)
        hits += low <= 500 <= high
    assert hits >= 50  # 57 expected; a wrong tail or a swapped level gives far fewer


def test_the_interval_narrows_and_is_reproducible() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(500, 50, 12), rng.normal(500, 50, 400)
    narrow, wide = bootstrap_ci(list(many)), bootstrap_ci(list(few))
    assert narrow is not None
    assert wide is not None
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert bootstrap_ci(list(few)) == wide


@pytest.mark.parametrize("values", [[], [1.0]])
def test_no_interval_of_nothing(values: list[float]) -> None:
    assert bootstrap_ci(values) is None


def test_ratios_are_numbers_or_none() -> None:
    assert ratio(550.0, 500.0) == 1.1
    assert ratio(None, 500.0) is None
    assert ratio(550.0, None) is None
    assert ratio(0.0, 0.0) is None
    assert json.dumps(ratio(1.0, 0.0)) == "null"


def test_the_interval_of_a_quotient_holds_it_and_is_wider_than_nothing() -> None:
    rng = np.random.default_rng(3)
    ours, peer = list(rng.normal(250, 20, 40)), list(rng.normal(500, 40, 40))
    low, high = bootstrap_ratio_ci(ours, peer) or (0.0, 0.0)
    assert low < 0.5 < high
    assert high - low < 0.1
    assert bootstrap_ratio_ci(ours, [1.0]) is None


def test_wilsons_interval_holds_the_share_and_stays_within_0_and_1():
    assert wilson(0, 100) == [0.0, 0.037]
    assert wilson(50, 100) == [0.404, 0.596]
    assert wilson(100, 100) == [0.963, 1.0]
