"""What a terminal's loudspeaker plays."""

from __future__ import annotations

import numpy as np
import pytest

from web.parley_client import Audio
from web.talk.playback import MAX_BUFFERED_S, Playback


def ramp(first: int, samples: int) -> Audio:
    """Samples whose values are their indexes."""
    return Audio(np.arange(first, first + samples, dtype="<i2").tobytes(), first)


def values(pcm16: bytes) -> list[int]:
    return np.frombuffer(pcm16, "<i2").tolist()


@pytest.fixture
def playback() -> Playback:
    return Playback(24_000)


def test_pieces_of_any_size_are_one_stream(playback):
    for piece in (ramp(1, 5), ramp(6, 1), ramp(7, 4)):
        playback.add(piece)
    assert [values(playback.read(n)) for n in (3, 4, 5)] == [[1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0, 0]]
    assert not playback.sounding


def test_a_hold_keeps_what_is_left_and_a_flush_does_not(playback):
    playback.add(ramp(1, 10))
    assert values(playback.read(2)) == [1, 2]
    playback.hold()
    assert (values(playback.read(2)), playback.sounding) == ([0, 0], False)
    playback.go_on()
    assert values(playback.read(2)) == [3, 4]
    playback.hold()
    playback.flush()
    playback.add(ramp(20, 2))
    assert values(playback.read(2)) == [20, 21]


def test_the_position_is_that_of_the_ear(playback):
    assert playback.position(0.0) is None
    playback.add(ramp(0, 9_600))
    playback.read(4_800)
    assert [playback.position(s) for s in (0.0, 0.1, 1.0)] == [4_800, 2_400, 0]
    playback.read(4_800)
    playback.read(1_200)  # what was read before goes on to the ear while there is silence
    assert [playback.position(s) for s in (0.0, 0.1)] == [9_600, 9_600 - 1_200]
    playback.read(24_000)
    assert playback.position(0.1) == 9_600


def test_the_position_knows_what_was_dropped(playback):
    playback.add(ramp(0, 100))
    playback.flush()
    playback.add(ramp(500, 100))
    playback.read(10)
    assert playback.position(0.0) == 510


def test_another_connection_begins_anew(playback):
    playback.add(ramp(0, 100))
    playback.read(10)
    playback.restart()
    assert (playback.position(0.0), playback.sounding) == (None, False)


def test_what_is_never_played_is_bounded(playback):
    second = bytes(48_000)
    for n in range(100):
        playback.add(Audio(second, n * 24_000))
    playback.read(1)
    assert playback.position(0.0) == (100 - MAX_BUFFERED_S) * 24_000 + 1
