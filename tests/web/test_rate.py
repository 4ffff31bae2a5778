"""Token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.bucket import Bucket
from web.rate import RateLimiter


@given(gaps=st.lists(st.floats(0, 3), max_size=200), capacity=st.integers(1, 20), per_s=st.floats(0.1, 10))
def test_no_more_than_the_capacity_and_the_rate(gaps: list[float], capacity: int, per_s: float) -> None:
    bucket, now, taken = Bucket(capacity, per_s), 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= capacity + now * per_s + 1e-6


@given(capacity=st.integers(1, 5), per_s=st.floats(0.1, 10), acts=st.integers(0, 10))
def test_retry_after_is_when_it_works_again(capacity: int, per_s: float, acts: int) -> None:
    bucket = Bucket(capacity, per_s)
    for _ in range(acts):
        bucket.take(0.0)
    wait = bucket.retry_after_s(0.0)
    assert (wait == 0.0) is (acts < capacity)
    assert bucket.take(wait + 1e-6)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = Bucket(1, 1.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)


def test_keys_do_not_share_and_do_not_fill_the_memory() -> None:
    limiter = RateLimiter(1, 0.01, max_keys=10)
    assert all(limiter.take(str(i), 0.0) for i in range(10))
    assert not limiter.take("9", 0.0)
    for i in range(1000):
        limiter.take(f"new {i}", 0.0)
    assert len(limiter._buckets) == 10
