"""RTP arithmetic on made-up packets: wraps, late packets, pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.rtp import RtpClock, SentPositions, difference_16, difference_32

M32 = 1 << 32


@given(st.integers(0, M32 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_difference_32_is_right_over_the_wrap(a, step):
    assert difference_32((a + step) % M32, a) == step


@given(st.integers(0, 65_535), st.integers(-(2**15) + 1, 2**15 - 1))
def test_difference_16_is_right_over_the_wrap(a, step):
    assert difference_16((a + step) % 65_536, a) == step


@given(st.integers(0, M32 - 1))
def test_media_time_goes_on_over_the_wrap(start):
    clock = RtpClock()
    for i in range(200):
        position, new = clock.position_s(7, (start + 960 * i) % M32, 50.0 + 0.02 * i)
        assert position == pytest.approx(0.02 * i)
        assert new is (i == 0)


def test_late_packet_has_its_own_place():
    clock = RtpClock()
    for i in (0, 1, 3, 2, 4):
        position, _ = clock.position_s(7, 1_000 + 960 * i, 0.02 * i)
        assert position == pytest.approx(0.02 * i)


def test_pause_of_the_sender_is_media_time_too():
    clock = RtpClock()
    clock.position_s(7, 0, 0.0)
    assert clock.position_s(7, 48_000 * 60, 60.3) == (60.0, False)


@pytest.mark.parametrize(("source", "timestamp"), [(8, 960), (7, 3_000_000_000), (7, 48_000 * 100)])
def test_new_source_or_a_jump_goes_on_by_the_time_that_passed(source, timestamp):
    clock = RtpClock()
    clock.position_s(7, 0, 10.0)
    clock.position_s(7, 960, 10.02)
    position, new = clock.position_s(source, timestamp, 11.02)
    assert new
    assert position == pytest.approx(1.02)
    assert clock.position_s(source, (timestamp + 960) % M32, 11.04) == (pytest.approx(1.04), False)


@given(st.integers(0, M32 - 1), st.integers(0, 10_000))
def test_timestamp_maps_to_its_sample_over_the_wrap(origin, start):
    positions = SentPositions(24_000)
    positions.origin = origin
    for i in range(100):
        positions.sent(960 * i, start + 480 * i, 480)
    for i in range(100):
        assert positions.position_of((origin + 960 * i) % M32) == start + 480 * i
    assert positions.position_of((origin + 960 * 50 + 100) % M32) == start + 480 * 50 + 50
    assert positions.position_of((origin - 1) % M32) is None
    assert positions.position_of((origin + 960 * 101) % M32) is None


def test_skipped_media_time_has_no_samples():
    positions = SentPositions(24_000)
    positions.origin = 0
    positions.sent(0, 0, 480)
    positions.sent(960 * 10, 480, 480)  # nine packets were never sent
    assert positions.position_of(960) == 480
    assert positions.position_of(960 * 5) == 480
    assert positions.position_of(960 * 10) == 480
    assert positions.position_of(960 * 11) == 960


def test_hours_later_the_mapping_still_holds():
    positions = SentPositions(24_000)
    positions.origin = M32 - 960
    media = 5 * M32 + 960 * 7
    positions.sent(media - media % 960, 1_000_000, 480)
    assert positions.position_of((M32 - 960 + media - media % 960) % M32) == 1_000_000


def test_without_an_origin_nothing_is_known():
    positions = SentPositions(24_000)
    positions.sent(0, 0, 480)
    assert positions.position_of(0) is None
