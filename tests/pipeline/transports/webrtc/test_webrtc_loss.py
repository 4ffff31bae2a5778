"""The learner's voice over a real connection that loses, delays and swaps packets."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from aiortc.mediastreams import MediaStreamTrack

from pipeline.transports.webrtc_connection import ask_for_fec
from tests.impaired_link import ImpairedLink


class FecMicrophone(MediaStreamTrack):
    """Speech (int16 at 16 kHz) again and again in real time, encoded as a browser does for a peer that wants in-band FEC."""

    kind = "audio"

    def __init__(self, samples: np.ndarray) -> None:
        super().__init__()
        codec = av.CodecContext.create("libopus", "w")
        codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 16_000, "mono", "s16", 24_000
        codec.time_base = Fraction(1, 16_000)
        codec.options = {"application": "voip", "fec": "1", "packet_loss": "20"}
        self._packets = []
        for i in range(0, len(samples) - 319, 320):
            frame = av.AudioFrame.from_ndarray(samples[i : i + 320].reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, i
            self._packets += [bytes(p) for p in codec.encode(frame)]
        self._sent = 0
        self._start: float | None = None

    async def recv(self) -> av.Packet:
        now = asyncio.get_running_loop().time()
        self._start = self._start or now
        await asyncio.sleep(max(0.0, self._start + self._sent * 0.02 - now))
        packet = av.Packet(self._packets[self._sent % len(self._packets)])
        packet.pts, packet.time_base = self._sent * 960, Fraction(1, 48_000)
        self._sent += 1
        return packet


def ends(call):
    return [f.metadata["capture_end_s"] for f in call.probe.audio()]


def watch_backlog(capture):
    """From now on, how much audio that has arrived is still held whenever a frame is handed on, in seconds."""
    backlog = []
    take = capture._on_frame

    def on_frame(pcm, end_s):
        backlog.append(capture._buffer._rtp._position_s + 0.02 - end_s)
        take(pcm, end_s)

    capture._on_frame = on_frame
    return backlog


async def test_after_a_loss_no_gap_and_no_delay_is_left(room, kit):
    client = kit.client()
    link = ImpairedLink(client.pc, drop=lambda count: count % 30 in (10, 20, 21))
    _, call = await room.connect(client)
    capture = call.transport._audio
    await kit.eventually(lambda: len(link.dropped) >= 9 and link.count % 30 == 28)
    got = capture.reception()
    # The first packets can be lost before there is a stream.
    assert len(link.dropped) - 2 <= got.lost <= len(link.dropped)
    assert got.concealed_s == pytest.approx(0.02 * got.lost)
    assert np.allclose(np.diff(ends(call)), 0.02)
    backlog = watch_backlog(capture)
    await kit.eventually(lambda: link.count % 30 == 8)
    # Nothing that arrived is held: with aiortc's own buffer it would be 80 ms, and 280 after a loss.
    assert np.median(backlog) == pytest.approx(0, abs=1e-6)


async def test_loss_and_jitter_leave_no_gap_and_a_bounded_delay(room, kit):
    client = kit.client()
    link = ImpairedLink(client.pc, loss=0.05, jitter_s=0.03)
    _, call = await room.connect(client)
    capture = call.transport._audio
    backlog = watch_backlog(capture)
    await kit.eventually(lambda: link.count >= 300)
    got = capture.reception()
    assert got.lost >= 0.5 * len(link.dropped) > 3
    assert np.allclose(np.diff(ends(call)), 0.02)
    assert got.depth_s <= 0.2
    assert max(backlog) < 0.2
    samples = np.concatenate([np.frombuffer(f.audio, np.int16) for f in call.probe.audio()[50:250]])
    assert abs(kit.level_db(samples, 1_000, 16_000) - 20 * np.log10(8_000)) < 3
    # When the network is well again, nothing stays of it.
    link.mend()
    await link.settle()
    backlog.clear()
    await kit.eventually(lambda: len(backlog) >= 50)
    assert np.median(backlog[-40:]) == pytest.approx(0, abs=1e-6)


async def test_lost_packets_are_restored_from_the_next_ones(room, kit, flite_wav):
    speech, _ = soundfile.read(flite_wav("We will all remain where we are, and nobody will run away."), dtype="int16")
    client = kit.client(FecMicrophone(speech))
    link = ImpairedLink(client.pc, drop=lambda count: count % 10 == 5)
    _, call = await room.connect(client)
    await kit.eventually(lambda: len(link.dropped) >= 12 and link.count % 10 == 9)
    got = call.transport.reception()
    assert got.restored_s > 0.5 * 0.02 * got.lost > 0.1
    assert np.allclose(np.diff(ends(call)), 0.02)


async def test_sender_that_stops_is_followed_by_silence_and_goes_on_in_its_time(room, kit):
    client, call = await room.connect()
    await kit.eventually(lambda: len(ends(call)) > 20)
    client.microphone.paused.clear()
    # Nothing comes any more, and yet the pipeline gets audio on which to judge that the learner is silent.
    seen = len(ends(call))
    await kit.eventually(lambda: len(ends(call)) > seen + 40)
    assert not np.frombuffer(call.probe.audio()[-1].audio, np.int16).any()
    client.microphone.paused.set()
    await kit.eventually(lambda: np.frombuffer(call.probe.audio()[-1].audio, np.int16).any())
    assert np.allclose(np.diff(ends(call)), 0.02)


async def test_process_that_stood_still_reads_what_has_come_before_it_gives_anything_up(room, kit):
    client, call = await room.connect()
    transport = call.transport
    await kit.eventually(lambda: len(ends(call)) > 20)
    client.microphone.paused.clear()
    await asyncio.sleep(0.1)  # what was under way has come
    concealed_s = []
    tick = transport._audio.tick
    transport._audio.tick = lambda now: (tick(now), concealed_s.append(transport.reception().concealed_s))
    read = []
    time.sleep(0.4)  # noqa: ASYNC251 - the process stands still; meanwhile the line would have been given up
    asyncio.get_running_loop().call_later(0, lambda: asyncio.get_running_loop().call_soon(read.append, len(concealed_s)))
    await kit.eventually(lambda: concealed_s)
    assert read == [0]
    assert concealed_s[0] > 0.1


async def test_losses_are_left_as_gaps_where_that_is_wanted(kit):
    room = kit.room(conceal_losses=False)
    try:
        client = kit.client()
        link = ImpairedLink(client.pc, drop=lambda count: count % 20 == 10)
        _, call = await room.connect(client)
        await kit.eventually(lambda: len(link.dropped) >= 4 and link.count % 20 == 18)
        assert set(np.round(np.diff(ends(call)) / 0.02)) >= {1, 2}
        assert call.transport.reception().concealed_s == 0
    finally:
        await room.close()


async def test_answer_asks_for_fec_once(room, kit):
    client = kit.client()
    room.clients.append(client)
    answer, _ = await room.signalling.offer(await client.offer(), "offer", room.build)
    (kind,) = [line.split()[0].split(":")[1] for line in answer["sdp"].split("\r\n") if "opus/48000/2" in line]
    assert [line for line in answer["sdp"].split("\r\n") if "fmtp" in line] == [f"a=fmtp:{kind} minptime=10;useinbandfec=1"]
    await client.accept(answer)
    assert ask_for_fec(answer["sdp"]) == answer["sdp"]


def test_nothing_but_opus_is_asked():
    sdp = "v=0\r\nm=audio 9 RTP 0 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1\r\n"
    assert ask_for_fec(sdp) == sdp
    assert ask_for_fec("a=rtpmap:9 G722/8000\r\n") == "a=rtpmap:9 G722/8000\r\n"
