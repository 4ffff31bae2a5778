"""How likely a turn is over, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.turns.endpoint import DEFAULT_CURVE, MAX_WAIT_S, Cues, Curve, Pace, Weights, end_probability

W = Weights()
probabilities = st.floats(0.0, 1.0)


def p(**cues: object) -> float:
    return end_probability(Cues(**cues), W)  # type: ignore[arg-type]


def test_each_cue_pulls_its_way() -> None:
    assert p(voice=0.9) > p() > p(voice=0.1)
    assert p(sentence=-0.3) > p() > p(sentence=-3.0)
    assert p(last_word=-0.3) > p() > p(last_word=-3.0)


def test_an_expected_reply_ends_and_its_beginning_does_not() -> None:
    expected = (("i", "am", "from", "spain"), ("i", "am"))
    none, whole, begun = (
        p(words=("i", "am", "from", "spain"), expected=()),
        p(words=("i", "am", "from", "spain"), expected=expected),
        p(words=("i", "am", "from"), expected=expected),
    )
    assert whole > none > begun
    # A whole reply that another one begins with may be all.
    assert p(words=("i", "am"), expected=expected) > none


def test_fillers_and_dictated_numbers_wait() -> None:
    assert p(words=("i", "like", "um")) < p(words=("i", "like", "it"))
    assert p(words=("seven", "five")) < p(words=("at", "five"))


@given(probabilities, probabilities, st.floats(0.5, 3.0))
def test_the_surer_the_shorter(a: float, b: float, factor: float) -> None:
    low, high = min(a, b), max(a, b)
    assert DEFAULT_CURVE.wait_s(high, factor) <= DEFAULT_CURVE.wait_s(low, factor) + 1e-9
    assert DEFAULT_CURVE.points[0][1] <= DEFAULT_CURVE.wait_s(a, factor) <= MAX_WAIT_S or factor < 1


def test_the_curve_goes_through_its_points() -> None:
    curve = Curve(((0.8, 0.3), (0.4, 0.7), (0.0, 2.0)))
    assert [curve.wait_s(x) for x in (1.0, 0.8, 0.4, 0.0)] == [0.3, 0.3, 0.7, 2.0]
    assert curve.wait_s(0.6) == pytest.approx(0.5)
    assert curve.wait_s(0.4, 2.0) == pytest.approx(1.1)
    assert curve.wait_s(0.0, 9.0) == MAX_WAIT_S


@pytest.mark.parametrize(
    "points", [(), ((0.2, 0.3), (0.8, 0.5)), ((0.8, 0.5), (0.2, 0.3)), ((1.2, 0.3),), ((0.5, 2.5),), ((0.5, -0.1),)]
)
def test_a_curve_that_makes_no_sense_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="waiting curve"):
        Curve(points)


def test_who_pauses_long_is_waited_for_longer() -> None:
    slow, quick = Pace(), Pace()
    assert slow.factor == pytest.approx(1.0)
    for _ in range(20):
        slow.paused(1.5)
        quick.paused(0.25)
    assert quick.factor < 1.0 < slow.factor
    for _ in range(50):
        slow.paused(30.0)
    assert slow.factor <= 1.5


def test_breaths_between_words_are_no_pauses() -> None:
    pace = Pace()
    for _ in range(50):
        pace.paused(0.05)
    assert pace.factor == pytest.approx(1.0)


def test_a_pause_that_the_recogniser_expects_counts_and_none_changes_nothing() -> None:
    neutral = p(voice=0.6, sentence=-1.0, last_word=-1.0)
    assert p(voice=0.6, sentence=-1.0, last_word=-1.0, pause=0.6) == pytest.approx(neutral)
    sure = p(voice=0.6, sentence=-1.0, last_word=-1.0, pause=0.98)
    unsure = p(voice=0.6, sentence=-1.0, last_word=-1.0, pause=0.02)
    assert unsure < neutral < sure
