"""Which bucket holds a batch, which rows make it, and what its step is taken to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.kyutai.schedule.buckets import Buckets, StepCosts


@given(st.sets(st.integers(1, 40), min_size=1), st.data())
def test_a_batch_is_the_smallest_that_holds_everybody_and_each_row_stands_once(sizes, data):
    buckets = Buckets(sizes)
    slots = data.draw(st.lists(st.integers(0, buckets.slots - 1), min_size=1, unique=True))
    batch = buckets.batch(slots)
    assert batch.bucket == min(size for size in sizes if size >= len(slots))
    assert batch.slots == tuple(slots)
    assert len(set(batch.rows)) == batch.bucket
    assert set(batch.rows) <= set(range(buckets.slots))
    assert {row for row, steps in zip(batch.rows, batch.mask, strict=True) if steps} == set(slots)
    assert max(slots) >= batch.bucket or batch.rows == tuple(range(batch.bucket))


@given(st.sets(st.integers(1, 40), min_size=1), st.integers(1, 40), st.floats(0, 50))
def test_as_many_step_as_the_time_allows(sizes, count, within_s):
    buckets = Buckets(sizes)
    count = min(count, buckets.slots)
    most = buckets.most(count, within_s, lambda size: 1.0 + size)
    assert 0 <= most <= count
    assert most == 0 or 1.0 + buckets.holds(most) <= within_s
    assert most == count or 1.0 + buckets.holds(most + 1) > within_s


def test_sizes_are_checked():
    for sizes in ((), (0, 4)):
        with pytest.raises(ValueError):
            Buckets(sizes)
    for count in (0, 9):
        with pytest.raises(ValueError):
            Buckets((1, 8)).holds(count)


def test_costs_are_the_longest_of_late_and_never_fall_with_size():
    costs = StepCosts()
    with pytest.raises(ValueError):
        costs(1)
    costs.measured(4, 0.010)
    costs.measured(4, 0.030)
    assert costs(4) == 0.030
    assert costs(2) == 0.030  # no more than the next larger
    assert costs(8) == pytest.approx(0.060)  # no more per slot than the next smaller
    costs.measured(16, 0.020)
    assert costs(16) == 0.030
    assert costs(8) == 0.030
    for _ in range(64):
        costs.measured(4, 0.012)
    assert costs(4) == 0.012
    assert costs(8) == 0.020


def test_a_tenth_of_the_steps_may_be_longer():
    costs = StepCosts()
    for number in range(20):
        costs.measured(1, 0.5 if number < 2 else 0.01)
    assert costs(1) == 0.01
    costs.measured(1, 0.4)
    assert costs(1) == 0.4


def test_what_was_slow_once_is_forgotten_where_it_is_doubted():
    costs = StepCosts()
    for took_s in (0.02, 0.09, 0.02):
        costs.measured(4, took_s)
    costs.measured(1, 0.08)
    costs.measured(1, 0.01)
    costs.measured(8, 0.1)
    costs.doubt(4)
    assert (costs(1), costs(4), costs(8)) == (0.01, 0.02, 0.1)
    costs.doubt(4)
    costs.measured(4, 0.03)
    assert costs(4) == 0.03
    for _ in range(9):
        costs.doubt(8)
    assert costs(8) == 0.1  # it was never otherwise
