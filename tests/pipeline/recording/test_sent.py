"""The tutor's voice as the WebRTC track sends it: each piece with the time at which it is played."""

from __future__ import annotations

import asyncio

import numpy as np

from pipeline.messages import OUTPUT_RATE_HZ
from pipeline.recording.timeline import Timeline
from pipeline.transports.timing import PlayoutLedger
from pipeline.transports.webrtc_track import OutputTrack


async def test_the_recording_is_given_what_leaves_when_it_is_played():
    now = 100.0
    sent: list[tuple[bytes, float]] = []
    voiced_at: list[float] = []
    ledger = PlayoutLedger(OUTPUT_RATE_HZ)
    ledger.on_audio = lambda pcm16, at: sent.append((pcm16, at))
    ledger.on_first_voiced = lambda _, at: voiced_at.append(at)
    track = OutputTrack(ledger, bitrate_bps=96_000, complexity=5, clock=lambda: now)
    tone = (8_000 * np.sin(2 * np.pi * 1_000 * np.arange(4_800) / OUTPUT_RATE_HZ)).astype(np.int16)
    writer: asyncio.Task[bool] | None = None
    for n in range(100):
        now += 0.02 if n != 60 else 0.5  # once the loop stands still
        now += 0.003 if n % 2 else -0.003  # and it is never quite on time
        if n == 30:
            writer = asyncio.create_task(write(track, tone))
            await asyncio.sleep(0)
        await track.recv()
        for _ in range(8):  # the writer's turn, through its timeout
            await asyncio.sleep(0)
    assert writer is not None
    assert await writer
    track.stop()

    line = Timeline(OUTPUT_RATE_HZ, sent[0][1])
    recorded = np.zeros(int(4 * OUTPUT_RATE_HZ), np.int16)
    for pcm16, at in sent:
        place = line.place(len(pcm16) // 2, at)
        assert place is not None
        piece = np.frombuffer(pcm16, np.int16)[place.skip :]
        recorded[place.start : place.start + len(piece)] = piece
        assert abs(place.start / OUTPUT_RATE_HZ - (at - sent[0][1])) < 0.04
    loud = np.flatnonzero(np.abs(recorded.astype(int)) > 800)
    assert abs(loud[0] / OUTPUT_RATE_HZ - (voiced_at[0] - sent[0][1])) < 0.04
    assert loud[-1] - loud[0] < 4_800, "nothing was torn apart"
    assert abs(np.abs(recorded.astype(int)).max() - 8_000) < 400
    # After the stall what was sent stands where it was heard: half a second later.
    assert line.end / OUTPUT_RATE_HZ > 2.4


async def write(track: OutputTrack, tone: np.ndarray) -> bool:
    return all([await track.write(tone[start : start + 480].tobytes(), "u") for start in range(0, len(tone), 480)])
