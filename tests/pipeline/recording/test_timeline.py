"""Where pieces of sound are placed."""

from __future__ import annotations

from pipeline.recording.timeline import Place, Timeline


def test_pieces_that_follow_each_other_are_joined_although_their_times_wander():
    line = Timeline(16_000, origin=100.0)
    places = [line.place(320, 100.0 + 0.02 * n + (0.004 if n % 2 else -0.003)) for n in range(100)]
    assert places == [Place(320 * n, 0) for n in range(100)]


def test_a_later_piece_leaves_silence_and_an_earlier_one_loses_what_is_written_already():
    line = Timeline(16_000, origin=0.0)
    assert line.place(320, 0.0) == Place(0, 0)
    assert line.place(320, 1.0) == Place(16_000, 0)
    assert line.place(1600, 0.97) == Place(16_320, 800)
    assert line.end == 17_120
    assert line.place(320, 0.5) is None
    assert line.place(320, -3.0) is None
    assert line.end == 17_120


def test_slow_drift_is_followed_within_the_tolerance():
    line = Timeline(16_000, origin=0.0)
    for n in range(60_000):  # 20 minutes from a clock that is 200 ppm slow: 240 ms in all
        at = n * 0.02 * 1.0002
        place = line.place(320, at)
        assert place is not None
        assert abs(place.start / 16_000 - at) <= 0.0201
