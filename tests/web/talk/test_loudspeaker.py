"""What a headless client would have played, on arrivals that are made up."""

from __future__ import annotations

import pytest

from web.talk.loudspeaker import RtpSpeaker, SampleSpeaker

RATE = 24_000


def test_a_burst_is_played_in_real_time():
    speaker = SampleSpeaker(RATE)
    assert speaker.played(0.0) is None
    for _ in range(10):
        speaker.take(480, 1.0)
    assert speaker.played(1.1) == pytest.approx(2_400, abs=2)
    assert speaker.played(5.0) == 4_800


def test_what_is_flushed_is_passed_over():
    speaker = SampleSpeaker(RATE)
    speaker.take(4_800, 1.0)
    speaker.flush()
    assert speaker.played(1.1) is None
    speaker.take(4_800, 1.15)
    assert speaker.played(1.25) == pytest.approx(7_200, abs=2)


def test_a_held_speaker_goes_on_where_it_was():
    speaker = SampleSpeaker(RATE)
    speaker.take(4_800, 1.0)
    speaker.hold(1.1)
    assert speaker.played(2.0) == pytest.approx(2_400, abs=2)
    speaker.go_on(2.0)
    assert speaker.played(2.05) == pytest.approx(3_600, abs=2)


def test_a_packet_is_played_from_its_arrival_and_no_longer_than_it_is():
    speaker = RtpSpeaker()
    assert speaker.played(0.0) is None
    speaker.take(2**32 - 480, 1.0)
    assert speaker.played(1.005) == 2**32 - 240
    assert speaker.played(9.0) == 480
