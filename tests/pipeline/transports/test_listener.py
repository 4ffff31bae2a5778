"""Where a client is in the tutor's audio, on streams and reports that are made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.listener import FRESH_S, Listener

RATE = 24_000
CHUNK = 480


def stream(listener: Listener, chunks: int, due_at: float = 0.0, position: int = 0) -> int:
    """An unbroken run of 20 ms chunks; returns where it ends."""
    for i in range(chunks):
        listener.sent(position + i * CHUNK, CHUNK, due_at + i * 0.02)
    return position + chunks * CHUNK


def test_nothing_is_played_before_anything_is_sent():
    assert Listener(RATE).position_at(5.0) == 0


def test_without_reports_the_known_buffers_are_subtracted():
    listener = Listener(RATE, behind_s=0.06)
    end = stream(listener, 50)
    assert listener.position_at(0.5) == round(0.44 * RATE)
    assert listener.position_at(99.0) == end


def test_what_was_sent_ahead_of_time_has_not_been_played():
    listener = Listener(RATE)
    stream(listener, 15)  # 0.3 s have left by 0.1 s
    assert listener.position_at(0.1) == round(0.1 * RATE)


def test_a_report_says_how_far_behind_the_client_is_until_the_next_one():
    listener = Listener(RATE)
    stream(listener, 200)
    listener.reported(round(0.8 * RATE), 1.0)
    assert listener.position_at(1.25) == pytest.approx(1.05 * RATE, abs=2)
    listener.reported(round(0.9 * RATE), 1.25)
    assert listener.position_at(1.25) == pytest.approx(0.9 * RATE, abs=2)


def test_a_client_that_stands_still_is_followed():
    listener = Listener(RATE)
    stream(listener, 200)
    for at in (1.0, 1.25, 1.5):
        listener.reported(RATE // 2, at)
        assert listener.position_at(at) == RATE // 2


def test_a_pause_in_the_audio_is_no_delay_of_the_client():
    listener = Listener(RATE)
    end = stream(listener, 50)
    listener.reported(RATE // 2, 0.6)
    for at in (1.2, 2.0, 5.0):  # everything is played, and said again and again
        listener.reported(end, at)
    stream(listener, 50, 6.0, end)
    assert listener.position_at(6.0) == end, "nothing is played while there is nothing to play"
    assert listener.position_at(6.5) == pytest.approx(end + 0.4 * RATE, abs=2)


def test_the_last_report_of_a_run_may_arrive_after_the_next_began():
    listener = Listener(RATE)
    end = stream(listener, 50)
    listener.reported(RATE // 2, 0.6)
    stream(listener, 50, 3.0, end)
    listener.reported(end, 3.05)
    assert listener.behind_s(3.05) == pytest.approx(0.1)


def test_old_reports_do_not_put_a_client_ahead_of_one_that_never_reported():
    listener = Listener(RATE, behind_s=0.06)
    stream(listener, 500)
    listener.reported(round(0.99 * RATE), 1.0)
    assert listener.behind_s(1.0 + FRESH_S) == pytest.approx(0.01)
    assert listener.behind_s(1.1 + FRESH_S) == pytest.approx(0.06)
    listener.reported(round(2.8 * RATE), 3.0)
    assert listener.behind_s(9.0) == pytest.approx(0.2), "a longer delay goes on to hold"


def test_a_client_that_is_held_stands_still_and_goes_on_where_it_was():
    listener = Listener(RATE)
    end = stream(listener, 35)  # 0.7 s have left by 0.5 s
    listener.reported(round(0.35 * RATE), 0.45)
    listener.hold(0.5)
    assert listener.position_at(1.2) == pytest.approx(0.4 * RATE, abs=2)
    listener.reported(round(0.38 * RATE), 0.6)  # where it really stopped
    assert listener.position_at(1.2) == pytest.approx(0.38 * RATE, abs=2)
    listener.go_on(1.3)
    stream(listener, 20, 1.3, end)
    assert listener.position_at(1.4) == pytest.approx(0.48 * RATE, abs=2)
    assert listener.position_at(1.3 + 0.5) == pytest.approx(0.88 * RATE, abs=2), "what was kept is played before what follows"
    assert listener.heard_at(RATE // 2, 1.5) == pytest.approx(1.3 + 0.12)


def test_a_sample_is_never_played_before_the_one_in_front_of_it():
    listener = Listener(RATE)
    end = stream(listener, 10, 1.0)
    listener.sent(end, CHUNK, 1.1)  # another connection, while 0.1 s of the old one was still to be played
    assert listener.position_at(1.19) == pytest.approx(0.19 * RATE, abs=2)
    assert listener.position_at(1.22) == end + CHUNK


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 3)), min_size=1, max_size=20),
    st.floats(0, 0.6),
    st.lists(st.floats(0.1, 0.4), max_size=40),
)
def test_a_client_that_plays_with_a_fixed_delay_and_reports_it_is_known_exactly(runs, behind_s, waits):
    truth, told = Listener(RATE, behind_s), Listener(RATE, 0.06)
    position, due_at = 0, 0.0
    for chunks, pause_s in runs:
        for listener in (truth, told):
            end = stream(listener, chunks, due_at, position)
        position, due_at = end, due_at + chunks * 0.02 + pause_s
    at = 0.0
    for wait_s in waits:
        at += wait_s
        played = truth.position_at(at)
        told.reported(played, at)
        assert abs(told.position_at(at) - played) <= 2


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 1)), max_size=30))
def test_what_is_claimed_to_be_played_was_sent_whatever_is_reported(reports):
    listener = Listener(RATE, 0.06)
    end = stream(listener, 100)
    at = 0.0
    for wait_s, share in reports:
        at += wait_s
        listener.reported(int(share * end), at)
        assert 0 <= listener.position_at(at) <= end
