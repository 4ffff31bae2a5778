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


async def sent_while_held(kit, held_packets, before=3):
    """A track whose samples are told to ``on_played``: some packets, a hold, more packets, and the rest."""
    wire = Wire()
    sent: list[bytes] = []
    wire.ledger.on_played = lambda pcm16, at: sent.append(pcm16)
    said = (8000 * np.sin(np.arange(24_000 // 5) / 7) + 9000).astype(np.int16)

    async def write():
        for i in range(0, len(said), 480):
            assert await wire.track.write(said[i : i + 480].tobytes(), "a")

    async def fetch(packets):
        for _ in range(packets):
            # Packets that are late do not wait, but a writer has its turn before each on any machine.
            for _ in range(5):
                await asyncio.sleep(0)
            await wire.fetch(1)

    writing = asyncio.create_task(write())
    await fetch(before)
    wire.track.hold()
    await fetch(held_packets)
    held_at = wire.ledger.sent_s("a")
    await fetch(1)
    held_at_end = wire.ledger.sent_s("a")
    wire.track.resume()
    while not writing.done():
        await fetch(1)
    await fetch(3)
    return said, np.frombuffer(b"".join(sent), np.int16), held_at, held_at_end, wire


@pytest.mark.parametrize("held_packets", [1, 2, 25])
async def test_a_hold_is_silent_and_what_follows_goes_on_at_the_very_sample(kit, held_packets):
    said, sent, held_at, held_at_end, wire = await sent_while_held(kit, held_packets)
    assert held_at == held_at_end == pytest.approx(3 * 0.02 + 0.005)
    cut = 3 * 480 + 120
    assert (sent[: 3 * 480] == said[: 3 * 480]).all()
    assert (np.abs(sent[3 * 480 : cut]) <= np.abs(said[3 * 480 : cut])).all()
    silence = (held_packets + 1) * 480 - 120
    assert not sent[cut : cut + silence].any()
    after = sent[cut + silence :]
    assert (np.abs(after[:120]) <= np.abs(said[cut : cut + 120])).all()
    assert (after[120 : len(said) - cut] == said[cut + 120 :]).all()
    assert not after[len(said) - cut :].any()
    assert wire.ledger.sent_s("a") == pytest.approx(0.2)


async def test_a_hold_that_ends_before_it_was_heard_changes_nothing(kit):
    wire = Wire()
    sent: list[bytes] = []
    wire.ledger.on_played = lambda pcm16, at: sent.append(pcm16)
    tone = pcm(kit, 0.04)
    await wire.track.write(tone, "a")
    wire.track.hold()
    wire.track.hold()
    wire.track.resume()
    wire.track.resume()
    await wire.fetch(2)
    assert b"".join(sent) == tone


async def test_what_was_held_is_dropped_by_an_interruption_and_was_not_sent(kit, monkeypatch):
    monkeypatch.setattr("pipeline.transports.webrtc_track.WRITE_TIMEOUT_S", 0.02)
    wire = Wire()
    await wire.track.write(pcm(kit, 0.04), "a")
    blocked = asyncio.create_task(wire.track.write(pcm(kit, 0.02), "a"))
    wire.track.hold()
    await wire.fetch(4)
    await asyncio.sleep(0.1)
    assert not blocked.done(), "a hold is no reason to give a writer up"
    wire.track.clear()
    assert await blocked is False
    await wire.fetch(2)
    assert wire.ledger.sent_s("a") == pytest.approx(0.005)
    assert await wire.track.write(pcm(kit, 0.02), "b")
    await wire.fetch(1)
    assert wire.ledger.sent_s("b") == pytest.approx(0.02)


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
