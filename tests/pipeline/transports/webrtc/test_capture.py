"""The learner's packets become frames: durations, loss, reordering, and rubbish."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.transports.opus import BadPacket, Decoder, Encoder, packet_duration_s
from pipeline.transports.timing import CaptureClock
from pipeline.transports.webrtc_capture import AudioCapture


def opus(samples, frame_ms=20, rate=48_000, layout="mono"):
    """The packets of a plain libopus encoder."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = rate, layout, "s16", 96_000
    codec.time_base = Fraction(1, rate)
    codec.options = {"frame_duration": str(frame_ms), "application": "audio"}
    size = rate * frame_ms // 1000
    packets = []
    for i in range(0, len(samples) - size + 1, size):
        chunk = samples[i : i + size]
        data = np.repeat(chunk, 2) if layout == "stereo" else chunk
        frame = av.AudioFrame.from_ndarray(data.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, i
        packets += [bytes(p) for p in codec.encode(frame)]
    return packets


class Listener:
    def __init__(self, prefetch=0):
        self.clock = CaptureClock()
        self.frames = []
        self.capture = AudioCapture(self.clock, lambda pcm, end_s: self.frames.append((pcm, end_s)), prefetch)

    def hear(self, packets, skip=(), frame_ms=20, start=4_294_967_000, delay=lambda i: 0.0):
        for i, payload in enumerate(packets):
            if i not in skip:
                at = 100.0 + (i + 1) * frame_ms / 1000 + delay(i)
                timestamp = (start + i * frame_ms * 48) % (1 << 32)
                self.capture.on_packet(1, (65_500 + i) % 65_536, timestamp, payload, at)
        return self

    @property
    def ends(self):
        return [end for _, end in self.frames]

    @property
    def samples(self):
        return np.concatenate([np.frombuffer(pcm, np.int16) for pcm, _ in self.frames])


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_any_packet_length_becomes_frames_of_20_ms_at_their_media_time(kit, frame_ms, layout):
    listener = Listener().hear(opus(kit.tone(1_000, 2, 48_000), frame_ms, layout=layout), frame_ms=frame_ms)
    assert {len(pcm) for pcm, _ in listener.frames} == {640}
    assert listener.ends[0] == pytest.approx(0.019, abs=1e-6)
    assert np.allclose(np.diff(listener.ends), 0.02)
    assert abs(kit.level_db(listener.samples[8_000:24_000], 1_000, 16_000) - 20 * np.log10(8_000)) < 1


def test_samples_lie_where_their_media_time_says(kit):
    # A click at 1 s of media time; libopus' own look-ahead (6.5 ms) is the sender's.
    wave = np.zeros(96_000, np.int16)
    wave[48_000:48_480] = 20_000
    listener = Listener().hear(opus(wave))
    at = np.flatnonzero(np.abs(listener.samples.astype(int)) > 8_000)[0]
    frame, offset = divmod(int(at), 320)
    position = listener.ends[frame] - (320 - offset) / 16_000
    assert position == pytest.approx(1.0 + 0.0065, abs=0.001)


def test_clock_is_fed_by_arrival_and_ignores_jitter():
    packets = opus(np.zeros(96_000, np.int16))
    listener = Listener().hear(packets, delay=lambda i: 0.03 * (i % 4))
    assert listener.clock.time_of(1.0) == pytest.approx(101.0)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_after_a_loss_the_delay_is_what_it_was(kit, prefetch):
    packets = opus(kit.tone(1_000, 4, 48_000))
    listener = Listener(prefetch).hear(packets, skip={30, 70, 71, 72, 120})
    assert listener.capture.lost == 5
    gaps = np.round(np.diff(listener.ends) / 0.02).astype(int)
    assert sorted(gaps[gaps > 1]) == [2, 2, 4]
    # The frame of the packet ``prefetch`` before the last one was handed on with it.
    assert listener.ends[-1] == pytest.approx(0.02 * (len(packets) - prefetch) - 0.001)


def test_reordered_packets_are_heard_in_order(kit):
    packets = opus(kit.tone(1_000, 1, 48_000))
    listener = Listener()
    order = list(range(len(packets)))
    for i in range(5, len(order) - 2, 7):
        order[i], order[i + 1] = order[i + 1], order[i]
    for at, i in enumerate(order):
        listener.capture.on_packet(1, i, i * 960, packets[i], 0.02 * at)
    assert listener.capture.lost == 0
    assert np.allclose(np.diff(listener.ends), 0.02)


def test_new_source_goes_on_in_media_time(kit):
    packets = opus(kit.tone(1_000, 0.4, 48_000))
    listener = Listener().hear(packets)
    for i, payload in enumerate(packets):
        listener.capture.on_packet(2, 7 + i, 960 * i, payload, 105.0 + 0.02 * i)
    assert listener.ends == sorted(listener.ends)
    assert listener.clock.time_of(listener.ends[-1]) == pytest.approx(105.0 + 0.02 * (len(packets) - 1) - 0.001)


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff\xff", bytes(50), b"\xfb\x3f" + bytes(20)])
def test_rubbish_is_counted_and_what_follows_is_heard(kit, payload):
    packets = opus(kit.tone(1_000, 1, 48_000))
    listener = Listener()
    for i, good in enumerate(packets):
        listener.capture.on_packet(1, i, i * 960, payload if i == 10 else good, 0.02 * i)
    assert len(listener.frames) >= len(packets) - 4
    assert listener.ends[-1] == pytest.approx(0.02 * len(packets) - 0.001)


def test_packet_duration_is_that_of_its_first_bytes():
    for frame_ms in (10, 20, 40, 60):
        assert {packet_duration_s(p) for p in opus(np.zeros(48_000, np.int16), frame_ms)} == {frame_ms / 1000}
    assert packet_duration_s(bytes([(31 << 3) | 3, 6])) == 0.12
    for bad in (b"", bytes([(31 << 3) | 3]), bytes([(31 << 3) | 3, 0]), bytes([(31 << 3) | 3, 7])):
        with pytest.raises(BadPacket):
            packet_duration_s(bad)


@pytest.mark.parametrize(("bitrate", "complexity"), [(96_000, 5), (16_000, 0), (256_000, 10)])
def test_encoder_makes_one_mono_packet_a_frame(kit, bitrate, complexity):
    encoder, decoder = Encoder(bitrate, complexity), Decoder()
    wave = kit.tone(1_000, 1)
    packets = [encoder.encode(wave[i : i + 480]) for i in range(0, len(wave), 480)]
    assert {packet_duration_s(p) for p in packets} == {0.02}
    assert not any(p[0] & 4 for p in packets)  # the stereo bit, RFC 6716 section 3.1
    assert sum(map(len, packets)) * 8 < 1.4 * bitrate + 4_000
    heard = np.concatenate([decoder.decode(p) for p in packets])
    assert len(heard) == 16_000
    assert abs(kit.level_db(heard[4_000:12_000], 1_000, 16_000) - 20 * np.log10(8_000)) < 1


def test_decoder_refuses_rubbish():
    with pytest.raises(BadPacket):
        Decoder().decode(b"\xff\xff\xff")
