"""Audio through a real peer connection with real Opus, in both directions."""

from __future__ import annotations

import asyncio
import time

import av
import numpy as np
from pipecat.frames.frames import InterruptionFrame


def decode(packets, rate=24_000):
    """The client's packets as int16 of shape (n,), put at their RTP timestamps: skipped time is silence."""
    codec = av.CodecContext.create("libopus", "r")
    codec.format, codec.layout, codec.sample_rate = "s16", "mono", 48_000
    first = packets[0].timestamp
    parts = []
    for packet in packets:
        at = (packet.timestamp - first) & 0xFFFFFFFF
        parts += [(at, frame.to_ndarray().reshape(-1)) for frame in codec.decode(av.Packet(packet.payload))]
    out = np.zeros(parts[-1][0] + 960, np.int16)
    for at, samples in parts:
        out[at : at + len(samples)] = samples
    return out


def loud(packets, threshold=500):
    """For each packet, whether speech is in it."""
    samples = decode(packets)
    first = packets[0].timestamp
    return [
        bool(np.abs(samples[(at := (p.timestamp - first) & 0xFFFFFFFF) : at + 960].astype(int)).max() > threshold)
        for p in packets
    ]


async def test_learner_tone_arrives_at_its_level_with_media_time(room, kit):
    _, call = await room.connect()
    frames = await kit.eventually(lambda: call.probe.audio() if len(call.probe.audio()) > 75 else None)
    assert {(f.sample_rate, f.num_channels, len(f.audio)) for f in frames} == {(16_000, 1, 640)}
    samples = np.concatenate([np.frombuffer(f.audio, np.int16) for f in frames[20:70]])
    assert abs(kit.level_db(samples, 1_000, 16_000) - 20 * np.log10(8_000)) < 1
    ends = [f.metadata["capture_end_s"] for f in frames]
    assert np.allclose(np.diff(ends), 0.02)
    # The capture clock is fed by arrivals: the end of the newest frame lies in the past, and not long ago.
    assert call.transport.capture.time_of(ends[-1]) <= time.monotonic()


async def test_capture_clock_dates_a_click_back_to_when_it_was_made(room, kit):
    microphone = kit.microphone(amplitude=0)
    made = []
    take = microphone.recv

    async def recv():
        frame = await take()
        if microphone._sent == 100 * 960:
            made.append(time.monotonic())
            frame.planes[0].update(np.repeat(kit.tone(1_000, 0.02, 48_000), 2).tobytes())
        return frame

    microphone.recv = recv
    _, call = await room.connect(kit.client(microphone))

    def click():
        for frame in call.probe.audio():
            samples = np.abs(np.frombuffer(frame.audio, np.int16).astype(int))
            if samples.max() > 2_000:
                return frame.metadata["capture_end_s"] - (320 - int(np.argmax(samples > 2_000))) / 16_000
        return None

    at = call.transport.capture.time_of(await kit.eventually(click))
    # The frame was complete when it was handed out; its first sample is 20 ms older. Both clocks are this process's.
    assert -0.03 < at - (made[0] - 0.02) < 0.2


async def test_tutor_tone_leaves_at_its_level_and_the_ledger_counts_it(room, kit):
    client, call = await room.connect()
    await call.say(kit.tone(1_000, 1.5), "a")
    ledger = call.transport.playout
    await kit.eventually(lambda: ledger.sent_s("a") >= 1.5)
    await asyncio.sleep(0.2)
    assert abs(ledger.sent_s("a") - 1.5) < 1e-9
    samples = decode(client.packets)
    voiced = np.flatnonzero(np.abs(samples.astype(int)) > 2_000)
    assert abs((voiced[-1] - voiced[0]) / 48_000 - 1.5) < 0.01
    middle = samples[voiced[0] + 4_800 : voiced[0] + 4_800 + 48_000]
    assert abs(kit.level_db(middle, 1_000, 48_000) - 20 * np.log10(8_000)) < 1


async def test_ledger_positions_are_the_samples_received(room, kit):
    client, call = await room.connect()
    first = client.packets[0]
    track = call.transport._peer.track
    await call.say(kit.tone(500, 0.5), "a")
    await kit.eventually(lambda: call.transport.playout.sent_s("a") >= 0.5)
    await kit.eventually(lambda: loud(client.packets).count(True) >= 25)
    loud_ones = [p for p, is_loud in zip(client.packets, loud(client.packets), strict=True) if is_loud]
    # Each packet is 480 samples of 24 kHz, whatever a busy machine made its timestamp skip.
    for packet in client.packets:
        assert track.position_of(packet.timestamp) == ((packet.sequence - first.sequence) & 0xFFFF) * 480
    start = track.position_of(loud_ones[0].timestamp)
    at = time.monotonic()
    call.transport.playout.reported(start + 4_800, at)
    assert abs(call.transport.playout.heard_s("a", at) - 0.2) < 0.021
    assert track.position_of((client.packets[-1].timestamp + 48_000 * 60) & 0xFFFFFFFF) is None
    assert track.position_of((first.timestamp - 960) & 0xFFFFFFFF) is None


async def test_playout_report_over_the_data_channel_dates_what_was_heard(room, kit):
    client, call = await room.connect()
    await call.say(kit.tone(500, 0.6), "a")
    await kit.eventually(lambda: loud(client.packets).count(True) >= 30)
    flags = loud(client.packets)
    start = flags.index(True)
    await client.send({"type": "playout", "rtp_timestamp": client.packets[start + 10].timestamp})
    heard = await kit.eventually(lambda: call.transport.playout.heard_at("a"))
    assert heard <= time.monotonic() - 0.19
    assert call.transport.playout.heard_s("a", 0.0) < 0.25


async def test_two_utterances_in_a_row_keep_their_own_samples(room, kit):
    _, call = await room.connect()
    await call.say(kit.tone(500, 0.31), "a")
    await call.say(kit.tone(700, 0.43), "b")
    ledger = call.transport.playout
    await kit.eventually(lambda: ledger.sent_s("a") + ledger.sent_s("b") >= 0.74)
    # No TTSStoppedFrame between them: the last part of a 20 ms chunk may be counted with its neighbour.
    assert abs(ledger.sent_s("a") - 0.31) < 0.021
    assert abs(ledger.sent_s("b") - 0.43) < 0.021
    assert ledger.first_voiced_sent_at("a") < ledger.last_voiced_sent_at("a") <= ledger.first_voiced_sent_at("b")


async def test_interruption_stops_the_audio_at_once(room, kit):
    client, call = await room.connect()
    await call.say(kit.tone(500, 20), "a")
    await kit.eventually(lambda: loud(client.packets).count(True) > 20)
    await call.worker.queue_frame(InterruptionFrame())
    await kit.eventually(lambda: any(isinstance(f, InterruptionFrame) for f in call.probe.frames))
    sent = call.transport.playout.sent_s("a")
    seen = len(client.packets)
    await kit.eventually(lambda: len(client.packets) > seen + 25)
    flags = loud(client.packets)
    assert flags[seen:].count(True) <= 3
    assert not any(flags[seen + 4 :])
    assert call.transport.playout.sent_s("a") - sent <= 0.06
    # And the next utterance is heard as if nothing had been.
    await call.say(kit.tone(500, 0.4), "b")
    await kit.eventually(lambda: call.transport.playout.sent_s("b") >= 0.4)
    assert abs(call.transport.playout.sent_s("b") - 0.4) < 1e-9


async def test_stall_of_the_loop_leaves_a_gap_and_no_burst(room, kit):
    client, call = await room.connect()
    await call.say(kit.tone(500, 2.0), "a")
    await kit.eventually(lambda: loud(client.packets).count(True) > 10)
    before = len(client.packets)
    time.sleep(0.3)  # noqa: ASYNC251 - the stall
    await kit.eventually(lambda: call.transport.playout.sent_s("a") >= 2.0)
    await kit.eventually(lambda: not any(loud(client.packets)[-5:]))
    packets = client.packets[before - 1 :]
    sequence_steps = np.diff([p.sequence for p in packets]) & 0xFFFF
    time_steps = (np.diff([p.timestamp for p in packets]) & 0xFFFFFFFF) // 960
    assert set(sequence_steps) == {1}
    # 300 ms are 15 packets: all but the two that may be made up for are skipped, in media time, in one step.
    assert time_steps.max() >= 12
    # Nothing of the utterance is lost by it, and the positions skip nothing.
    assert abs(call.transport.playout.sent_s("a") - 2.0) < 1e-9
    track = call.transport._peer.track
    positions = [track.position_of(p.timestamp) for p in packets]
    assert set(np.diff(positions)) == {480}
