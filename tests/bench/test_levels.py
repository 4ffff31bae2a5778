"""When the tutor's level fell."""

from __future__ import annotations

import pytest

from bench.levels import fell_after_s


def packets(*spans: tuple[float, float]) -> list[tuple[float, float]]:
    """Packets of 20 ms: for each span its seconds and the RMS."""
    levels = [rms for seconds, rms in spans for _ in range(round(seconds / 0.02))]
    return [(0.02 * i, rms) for i, rms in enumerate(levels)]


def test_a_stop_and_a_duck_are_dated_alike() -> None:
    stopped = packets((1.4, 5_000.0), (1.0, 0.0))
    ducked = packets((1.4, 5_000.0), (1.0, 400.0))
    assert fell_after_s(stopped, 1.0) == pytest.approx(0.38)
    assert fell_after_s(ducked, 1.0) == fell_after_s(stopped, 1.0)


def test_twenty_decibels_it_must_be() -> None:
    levels = packets((1.4, 5_000.0), (1.0, 520.0))
    assert fell_after_s(levels, 1.0) is None
    assert fell_after_s(levels, 1.0, fall_db=19) == pytest.approx(0.38)


def test_it_may_rise_again_but_not_at_once() -> None:
    gap = packets((1.2, 5_000.0), (0.04, 0.0), (0.2, 5_000.0), (0.3, 300.0), (1.0, 5_000.0))
    assert fell_after_s(gap, 1.0) == pytest.approx(0.42)


def test_a_tutor_that_is_silent_cannot_fall_silent() -> None:
    assert fell_after_s(packets((1.0, 0.0), (1.0, 0.0)), 1.0) is None
    assert fell_after_s([], 1.0) is None


def test_down_from_the_first_packet_on() -> None:
    assert fell_after_s(packets((1.0, 5_000.0), (1.0, 0.0)), 0.99) == 0.0
