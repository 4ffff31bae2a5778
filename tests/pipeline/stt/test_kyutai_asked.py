"""What is asked of the server: at most one flush and one marker are open, and an answer to any other is none."""

from __future__ import annotations

import pytest

from pipeline.stt.kyutai_asked import AT_THE_END_S, Asked


def test_a_flush_is_answered_once() -> None:
    asked = Asked()
    flush = asked.new_flush(1, 2.0, eager=True)
    assert asked.answered(flush.number, overtaken=True) is flush
    assert flush.answered
    assert flush.overtaken
    assert asked.answered(flush.number, overtaken=False) is None
    assert flush.overtaken


def test_the_answer_to_an_earlier_flush_is_none() -> None:
    asked = Asked()
    first = asked.new_flush(1, 2.0, eager=True)
    second = asked.new_flush(1, 3.0, eager=False)
    assert asked.answered(first.number, overtaken=False) is None
    assert not second.answered
    assert asked.drop_flush() is second
    assert asked.answered(second.number, overtaken=False) is None
    assert asked.drop_flush() is None


@pytest.mark.parametrize(
    ("asked_s", "connection", "covers"),
    [(5.0, 1, True), (5.0 - AT_THE_END_S / 2, 1, True), (5.0 - 2 * AT_THE_END_S, 1, False), (6.0, 1, True), (6.0, 2, False)],
)
def test_a_flush_covers_a_voice_whose_end_it_has_heard_on_the_same_connection(
    asked_s: float, connection: int, covers: bool
) -> None:
    assert Asked().new_flush(1, asked_s, eager=False).covers(5.0, connection) is covers


def test_a_marker_counts_while_it_is_open() -> None:
    asked = Asked()
    first = asked.new_marker()
    asked.unmark()
    assert not asked.marker_came(first)
    second = asked.new_marker()
    assert not asked.marker_came(first)
    assert not asked.marked
    assert asked.marker_came(second)
    assert asked.marked


def test_flushes_and_markers_never_share_a_number() -> None:
    asked = Asked()
    numbers = [asked.new_flush(1, 0.0, eager=True).number, asked.new_marker(), asked.new_flush(1, 1.0, eager=True).number]
    asked.forget()
    assert asked.flush is None
    assert asked.marker is None
    numbers.append(asked.new_marker())
    assert len(set(numbers)) == 4
