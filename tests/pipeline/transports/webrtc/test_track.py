"""The outgoing track without a network: pacing on made-up times, what is counted, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.opus import Decoder
from pipeline.transports.timing import PlayoutLedger
from pipeline.transports.webrtc_track import MAX_LATE_S, OutputTrack, Pacer


def run(pacer, late):
    """Packets of a loop that is ``late[i]`` seconds late for the i-th: (when, media time in ticks)."""
    now, out = 1000.0, []
    for extra in late:
        now += pacer.wait_s(now) + extra
        out.append((now, pacer.take(now)))
    return out


def test_on_time_media_time_is_time():
    sent = run(Pacer(), [0.0] * 500)
    assert [m for _, m in sent] == [960 * i for i in range(500)]
    assert sent[-1][0] - sent[0][0] == pytest.approx(499 * 0.02)


def test_small_lateness_is_made_up_for():
    sent = run(Pacer(), [0.0, 0.03, 0.0, 0.0, 0.0])
    assert [m for _, m in sent] == [0, 960, 1920, 2880, 3840]
    assert sent[-1][0] - sent[0][0] == pytest.approx(0.08)


@pytest.mark.parametrize("stall_s", [0.05, 0.3, 0.5, 7.0])
def test_stall_skips_media_time_instead_of_a_burst(stall_s):
    sent = run(Pacer(), [0.0] * 10 + [stall_s] + [0.0] * 10)
    gaps = np.diff([t for t, _ in sent])
    assert (gaps[10:] < 0.0199).sum() <= 1
    assert sent[10][1] - sent[9][1] >= (stall_s - 0.02) * 48_000
    # After it, media time and time agree again to a frame.
    assert abs((sent[-1][1] - sent[0][1]) / 48_000 - (sent[-1][0] - sent[0][0])) < 0.0201


@given(st.lists(st.floats(0, 1.0), min_size=1, max_size=100))
def test_media_time_never_runs_ahead_nor_falls_behind(late):
    sent = run(Pacer(), late)
    media = [m for _, m in sent]
    assert all(b - a >= 960 for a, b in itertools.pairwise(media))
    for at, m in sent:
        behind = at - sent[0][0] - m / 48_000
        assert -1e-6 <= behind <= MAX_LATE_S + 1e-6


class Wire:
    """Fetches packets as a sender would, without a network, and decodes them."""

    def __init__(self, **kwargs):
        self.ledger = PlayoutLedger(24_000)
        self.track = OutputTrack(self.ledger, bitrate_bps=96_000, complexity=5, **kwargs)
        self._decoder = Decoder()

    async def fetch(self, packets):
        """int16 at 16 kHz of shape (packets * 320,)."""
        return np.concatenate([self._decoder.decode(bytes(await self.track.recv())) for _ in range(packets)])


def pcm(kit, seconds, hz=500):
    return kit.tone(hz, seconds).tobytes()


async def test_silence_where_there_is_nothing_to_say():
    wire = Wire()
    assert np.abs(await wire.fetch(5)).max() == 0
    assert wire.ledger.position == 5 * 480


async def test_writer_is_never_more_than_40_ms_ahead(kit):
    wire = Wire()
    written = []

    async def write():
        for i in range(10):
            assert await wire.track.write(pcm(kit, 0.02), "a")
            written.append(i)

    task = asyncio.create_task(write())
    await asyncio.sleep(0.05)
    assert written == [0, 1]
    for fetched in range(1, 9):
        await wire.fetch(1)
        await kit.eventually(lambda n=fetched: len(written) >= min(10, n + 2))
        assert len(written) == min(10, fetched + 2)
    await task
    await wire.fetch(2)
    assert wire.ledger.sent_s("a") == pytest.approx(0.2)


async def test_chunk_longer_than_the_limit_is_taken_when_nothing_waits(kit):
    wire = Wire()
    assert await wire.track.write(pcm(kit, 0.2), "a")
    await wire.fetch(12)
    assert wire.ledger.sent_s("a") == pytest.approx(0.2)


async def test_clear_fades_out_and_frees_the_writer(kit):
    wire = Wire()
    await wire.track.write(kit.tone(50, 0.04, amplitude=20_000).tobytes(), "a")
    blocked = asyncio.create_task(wire.track.write(pcm(kit, 0.02), "a"))
    await asyncio.sleep(0)
    wire.track.clear()
    assert await blocked is False
    await wire.fetch(3)
    assert wire.ledger.sent_s("a") == pytest.approx(0.005)
    assert wire.ledger.position == 3 * 480
    assert await wire.track.write(pcm(kit, 0.02), "b")
    wire.track.clear()
    wire.track.clear()
    await wire.fetch(1)
    assert wire.ledger.sent_s("b") == pytest.approx(0.005)


async def test_clear_of_nothing_is_nothing():
    wire = Wire()
    wire.track.clear()
    assert np.abs(await wire.fetch(2)).max() == 0


async def test_utterances_share_a_packet_and_keep_their_samples(kit):
    wire = Wire()
    await wire.track.write(pcm(kit, 0.01), "a")
    await wire.track.write(pcm(kit, 0.015), "b")
    await wire.track.write(pcm(kit, 0.01), None)
    await wire.fetch(2)
    assert wire.ledger.sent_s("a") == pytest.approx(0.01)
    assert wire.ledger.sent_s("b") == pytest.approx(0.015)
    assert wire.ledger.position == 960


async def test_nobody_fetching_does_not_block_a_writer_for_good(kit, monkeypatch):
    monkeypatch.setattr("pipeline.transports.webrtc_track.WRITE_TIMEOUT_S", 0.05)
    wire = Wire()
    assert await wire.track.write(pcm(kit, 0.04), "a")
    assert await wire.track.write(pcm(kit, 0.02), "a") is False


async def test_ended_track_takes_and_gives_nothing(kit):
    wire = Wire()
    await wire.track.write(pcm(kit, 0.04), "a")
    blocked = asyncio.create_task(wire.track.write(pcm(kit, 0.02), "a"))
    await asyncio.sleep(0)
    wire.track.stop()
    assert await blocked is False
    assert await wire.track.write(pcm(kit, 0.02), "a") is False
    with pytest.raises(MediaStreamError):
        await wire.track.recv()
    await wire.track.drain(5.0)


async def test_drain_ends_with_the_last_sample_or_in_time(kit):
    wire = Wire()
    await wire.track.write(pcm(kit, 0.04), "a")
    await wire.track.drain(0.05)  # nobody fetches
    draining = asyncio.create_task(wire.track.drain(60.0))
    await wire.fetch(2)
    await asyncio.wait_for(draining, 20)


async def test_origin_is_learned_from_the_first_packet_that_was_sent():
    sent = []
    wire = Wire(sent_timestamp=lambda: sent[-1] if sent else None)
    origin = (1 << 32) - 960
    packet = await wire.track.recv()
    assert wire.track.position_of(origin) is None
    sent.append((origin + packet.pts) % (1 << 32))
    for _ in range(5):
        packet = await wire.track.recv()
        sent.append((origin + packet.pts) % (1 << 32))
    assert [wire.track.position_of(t) for t in sent] == [480 * i for i in range(6)]


def test_ledger_must_count_at_the_track_rate():
    with pytest.raises(ValueError, match="16000"):
        OutputTrack(PlayoutLedger(16_000), bitrate_bps=96_000, complexity=5)
