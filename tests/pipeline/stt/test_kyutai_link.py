"""The pure parts of the link: addresses, waits, the server's time, and the audio that is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt.audio_ring import AudioRing
from pipeline.stt.kyutai_link import BACKOFF_FULL_S, BACKOFF_S, RATE_HZ, ServerClock, backoff_s, stream_url


@pytest.mark.parametrize(
    ("given_url", "wanted"),
    [
        ("http://127.0.0.1:8090", "ws://127.0.0.1:8090/api/asr-streaming?extensions=flush,pcm16"),
        ("wss://stt.example.org/", "wss://stt.example.org/api/asr-streaming?extensions=flush,pcm16"),
        ("localhost:8090", "ws://localhost:8090/api/asr-streaming?extensions=flush,pcm16"),
        ("https://a.b/speech/in?room=1", "wss://a.b/speech/in?room=1&extensions=flush,pcm16"),
    ],
)
def test_addresses(given_url: str, wanted: str) -> None:
    assert stream_url(given_url) == wanted


@pytest.mark.parametrize("url", ["ftp://a.b", "ws://", "http:///x"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        stream_url(url)


def test_waits_grow_and_differ() -> None:
    waits = [backoff_s(n, full=False, spread=0.5) for n in range(1, 9)]
    assert waits[: len(BACKOFF_S)] == pytest.approx(BACKOFF_S)
    assert set(waits[len(BACKOFF_S) :]) == {waits[len(BACKOFF_S) - 1]}
    assert backoff_s(1, full=False, spread=0.0) < backoff_s(1, full=False, spread=1.0)
    assert backoff_s(1, full=True, spread=0.5) == pytest.approx(BACKOFF_FULL_S)


def test_the_servers_time_leaves_silence_out_that_was_put_in() -> None:
    clock = ServerClock(base=2 * RATE_HZ)
    clock.sent = RATE_HZ
    clock.fill(RATE_HZ // 2)
    clock.sent += RATE_HZ
    assert clock.call_s(0.0) == 2.0
    assert clock.call_s(0.75) == 2.75
    assert clock.call_s(1.25) == 3.0  # within the silence
    assert clock.call_s(1.5) == 3.0
    assert clock.call_s(2.0) == 3.5


@given(pieces=st.lists(st.integers(0, 700), max_size=30), since=st.integers(0, 4000), length=st.integers(0, 900))
def test_the_ring_gives_what_was_put_in(pieces: list[int], since: int, length: int) -> None:
    ring, whole = AudioRing(1000, 0.5), b""
    for piece in pieces:
        samples = range(len(whole) // 2, len(whole) // 2 + piece)
        audio = b"".join((n % 30_000).to_bytes(2, "little") for n in samples)
        ring.add(audio)
        whole += audio
    assert ring.end == len(whole) // 2
    assert ring.end_s == ring.end / 1000
    assert ring.end - ring.start == min(500, ring.end)
    first = max(since, ring.start)
    assert ring.since(since, since + length) == whole[first * 2 : max(first, since + length) * 2]
    assert ring.since(since) == whole[first * 2 :]
    ring.clear()
    assert (ring.start, ring.end) == (len(whole) // 2, len(whole) // 2)
