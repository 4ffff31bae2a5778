"""What marks say of what was heard, and audio that comes out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from web.doors.phone.marks import Marks
from web.doors.phone.order import MAX_FILL, MAX_HELD, Order

PIECE = 160


def test_a_line_is_marked_soon_after_its_start_then_five_times_a_second_and_at_its_end():
    marks = Marks(8_000)
    marks.begin()
    assert [piece for piece in range(1, 28) if marks.sent(PIECE)] == [1, 11, 21]
    assert marks.end() is not None
    assert marks.end() is None


def test_marks_say_up_to_where_was_heard():
    marks = Marks(8_000)
    marks.begin()
    names = [name for _ in range(30) if (name := marks.sent(PIECE))]
    assert [marks.returned(n) for n in names] == [PIECE, 11 * PIECE, 21 * PIECE]
    assert marks.returned(names[0]) is None, "twice"
    assert marks.returned("of somebody else") is None


def test_a_mark_speaks_for_those_before_it():
    marks = Marks(8_000)
    marks.begin()
    names = [name for _ in range(30) if (name := marks.sent(PIECE))]
    assert marks.returned(names[1]) == 11 * PIECE
    assert marks.returned(names[0]) is None


def test_marks_that_a_clear_took_away_are_not_taken_for_heard():
    marks = Marks(8_000)
    marks.begin()
    names = [name for _ in range(30) if (name := marks.sent(PIECE))]
    assert marks.returned(names[0]) == PIECE
    marks.cleared()
    # Some carriers send them back at once.
    assert [marks.returned(n) for n in names] == [None] * len(names)
    marks.begin()
    name = marks.sent(PIECE)
    assert name is not None
    assert name not in names
    assert marks.returned(name) == 31 * PIECE, "positions go on counting"


@given(st.lists(st.sampled_from(["begin", "sent", "end", "back", "clear", "late"]), max_size=200))
def test_what_marks_say_never_goes_back_and_never_ahead_of_what_was_sent(acts):
    marks, out, gone, sent, heard = Marks(8_000), [], [], 0, 0
    for act in acts:
        match act:
            case "begin":
                marks.begin()
            case "sent":
                sent += PIECE
                out += [n] if (n := marks.sent(PIECE)) else []
            case "end":
                out += [n] if (n := marks.end()) else []
            case "back" if out:
                position = marks.returned(out.pop(0))
                assert position is not None
                assert heard < position <= sent
                heard = position
            case "clear":
                marks.cleared()
                gone, out = gone + out, []
            case "late" if gone:
                assert marks.returned(gone.pop()) is None


def test_in_order_everything_passes_at_once():
    order = Order()
    assert [order.put(n, b"%d" % n) for n in range(5, 9)] == [[b"5"], [b"6"], [b"7"], [b"8"]]
    assert order.put(None, b"x") == [b"x"]


def test_a_mix_up_is_put_right_and_a_repeat_is_dropped():
    order = Order()
    assert order.put(1, b"1") == [b"1"]
    assert order.put(3, b"3") == []
    assert order.put(2, b"2") == [b"2", b"3"]
    assert order.put(2, b"2") == []
    assert order.put(4, b"4") == [b"4"]


def test_what_is_lost_leaves_a_hole_of_its_length():
    order = Order()
    order.put(1, b"1")
    waiting = [order.put(n, b"%d" % n) for n in range(4, 4 + MAX_HELD + 1)]
    assert waiting[:-1] == [[]] * MAX_HELD
    assert waiting[-1] == [None, None, b"4", b"5", b"6", b"7"]


def test_a_stream_that_begins_anew_is_followed():
    order = Order()
    order.put(1, b"1")
    assert order.put(2 + MAX_FILL + 1, b"far") == [b"far"]
    assert order.put(1, b"1") == [b"1"]
    assert order.put(2, b"2") == [b"2"]


@given(st.permutations(range(1, 12)), st.sets(st.integers(1, 11), max_size=4))
def test_nothing_passes_twice_or_out_of_order(numbers, lost):
    order, passed = Order(), []
    order.put(0, b"0")
    for n in [x for x in numbers if x not in lost] + list(range(12, 24)):
        passed += order.put(n, str(n).encode())
    assert len(passed) == 23, "every number once, be it as a hole"
    assert all(piece is None or int(piece) == i for i, piece in enumerate(passed, 1))
