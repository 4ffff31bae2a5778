"""The learner's packets become frames: durations, loss, jitter, reordering, and rubbish."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.transports import opus_library
from pipeline.transports.jitter import FILL_S
from pipeline.transports.opus import RESAMPLER_DELAY_S, BadPacket, Decoder, Encoder, packet_duration_s
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


@pytest.fixture(params=["libopus", "FFmpeg"])
def decoder_delay_s(request, monkeypatch):
    """Each decoder that there is; its delay in seconds."""
    if request.param == "libopus":
        assert opus_library.load() is not None
        return 0.0
    monkeypatch.setattr(opus_library, "load", lambda: None)
    return RESAMPLER_DELAY_S


class Listener:
    """Takes packets at their time, and the timer when it is due."""

    def __init__(self, **kwargs):
        self.clock = CaptureClock()
        self.frames = []
        self.capture = AudioCapture(self.clock, lambda pcm, end_s: self.frames.append((pcm, end_s)), **kwargs)

    def take(self, source, sequence, timestamp, payload, at):
        while (due := self.capture.due_at) is not None and due <= at:
            self.capture.tick(due)
        self.capture.on_packet(source, sequence, timestamp, payload, at)

    def hear(self, packets, skip=(), frame_ms=20, start=4_294_967_000, delay=lambda i: 0.0):
        for i, payload in enumerate(packets):
            if i not in skip:
                at = 100.0 + (i + 1) * frame_ms / 1000 + delay(i)
                timestamp = (start + i * frame_ms * 48) % (1 << 32)
                self.take(1, (65_500 + i) % 65_536, timestamp, payload, at)
        return self

    @property
    def ends(self):
        return [end for _, end in self.frames]

    @property
    def samples(self):
        return np.concatenate([np.frombuffer(pcm, np.int16) for pcm, _ in self.frames])


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_any_packet_length_becomes_frames_of_20_ms_at_their_media_time(kit, decoder_delay_s, frame_ms, layout):
    listener = Listener().hear(opus(kit.tone(1_000, 2, 48_000), frame_ms, layout=layout), frame_ms=frame_ms)
    assert {len(pcm) for pcm, _ in listener.frames} == {640}
    assert listener.ends[0] == pytest.approx(0.02 - decoder_delay_s, abs=1e-6)
    assert np.allclose(np.diff(listener.ends), 0.02)
    assert abs(kit.level_db(listener.samples[8_000:24_000], 1_000, 16_000) - 20 * np.log10(8_000)) < 1


def test_samples_lie_where_their_media_time_says(kit, decoder_delay_s):
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


GONE = {30, 70, 71, 72, 120}


def test_what_was_lost_is_made_up_and_the_delay_is_what_it_was(kit, decoder_delay_s):
    packets = opus(kit.tone(1_000, 4, 48_000))
    listener = Listener().hear(packets, skip=GONE)
    assert len(listener.frames) == len(packets)
    assert np.allclose(np.diff(listener.ends), 0.02)
    assert listener.ends[-1] == pytest.approx(0.02 * len(packets) - decoder_delay_s)
    got = listener.capture.reception()
    assert (got.packets, got.lost, got.late, got.duplicates) == (len(packets) - 5, 5, 0, 0)
    assert got.concealed_s == pytest.approx(0.1)
    # The tone goes on where packets were lost, whichever decoder makes it up; silence would have a level of 0.
    gone = [i for i, end in enumerate(listener.ends) if round(end / 0.02) - 1 in GONE]
    assert len(gone) == 5
    assert all(np.abs(listener.samples[320 * i : 320 * (i + 1)].astype(int)).max() > 3_000 for i in gone)
    assert (got.restored_s, got.depth_s) == (0.0, pytest.approx(0.025))


def test_losses_can_be_left_as_gaps(kit, decoder_delay_s):
    listener = Listener(conceal=False).hear(opus(kit.tone(1_000, 4, 48_000)), skip=GONE)
    gaps = np.round(np.diff(listener.ends) / 0.02).astype(int)
    assert sorted(gaps[gaps > 1]) == [2, 2, 4]


def test_samples_lie_where_their_media_time_says_after_a_loss_too():
    wave = np.zeros(96_000, np.int16)
    wave[48_000:48_480] = 20_000
    listener = Listener().hear(opus(wave), skip={3, 20, 21, 40})
    at = np.flatnonzero(np.abs(listener.samples.astype(int)) > 8_000)[0]
    assert at / 16_000 == pytest.approx(1.0 + 0.0065, abs=0.001)


def test_long_loss_fades_out_within_two_tenths_of_a_second(kit):
    packets = opus(kit.tone(1_000, 3, 48_000))
    samples = Listener().hear(packets, skip=set(range(50, 100))).samples
    levels = [float(np.abs(samples[i : i + 320].astype(int)).max()) for i in range(16_000, 32_000, 320)]
    assert levels[0] > 4_000
    assert not any(levels[9:])


def test_line_that_falls_silent_is_filled_with_silence(kit):
    packets = opus(kit.tone(1_000, 1, 48_000))
    listener = Listener().hear(packets)
    now = 100.0 + 0.02 * len(packets)
    while (due := listener.capture.due_at) is not None:
        assert due <= now + 10
        listener.capture.tick(due)
    assert listener.ends[-1] == pytest.approx(0.02 * len(packets) + FILL_S)
    assert np.allclose(np.diff(listener.ends), 0.02)
    assert not listener.samples[-16_000:].any()
    # Where the packets go on in time, so do the words' positions.
    late = 500
    for i, payload in enumerate(packets):
        sequence, timestamp = (65_500 + len(packets) + i) % 65_536, (4_294_967_000 + (late + i) * 960) % (1 << 32)
        listener.take(1, sequence, timestamp, payload, 100.0 + 0.02 * (late + i + 1))
    assert listener.ends[-1] == pytest.approx(0.02 * (late + len(packets)))


def test_words_keep_their_time_whatever_the_network_does(kit):
    """A beep every half second, 5 % of packets lost and up to 30 ms of jitter: each beep is where it was made."""
    wave = np.zeros(48_000 * 20, np.int16)
    for at in range(24_000, len(wave) - 4_800, 24_000):
        wave[at : at + 4_800] = kit.tone(1_000, 0.1, 48_000)
    packets = opus(wave)
    network = np.random.default_rng(5)
    gone = set(np.flatnonzero(network.random(len(packets)) < 0.05))
    late = network.uniform(0, 0.03, len(packets))
    listener = Listener()
    for i in sorted(range(len(packets)), key=lambda i: 0.02 * i + late[i]):
        if i not in gone:
            listener.take(1, i, i * 960, packets[i], 0.02 * (i + 1) + late[i])
    assert np.allclose(np.diff(listener.ends), 0.02)
    loud = np.abs(listener.samples.astype(int)).reshape(-1, 160).max(axis=1) > 2_000
    begun = np.flatnonzero(np.diff(loud.astype(int)) == 1) * 0.01 + 0.01
    for beep in np.arange(0.5, 19.5, 0.5):
        assert np.abs(begun - beep).min() < 0.045  # a lost packet may hold its beginning
    assert listener.capture.reception().lost == pytest.approx(len(gone), abs=3)
    assert listener.capture.reception().depth_s < 0.06


def test_reordered_packets_are_heard_in_order(kit):
    packets = opus(kit.tone(1_000, 1, 48_000))
    listener = Listener()
    late = [0.024 if i % 7 == 5 else 0.0 for i in range(len(packets))]  # behind the one that follows it
    for i in sorted(range(len(packets)), key=lambda i: 0.02 * i + late[i]):
        listener.take(1, i, i * 960, packets[i], 0.02 * i + late[i])
    assert listener.capture.reception().lost == 0
    assert np.allclose(np.diff(listener.ends), 0.02)


def test_new_source_goes_on_in_media_time(kit):
    packets = opus(kit.tone(1_000, 0.4, 48_000))
    listener = Listener().hear(packets)
    for i, payload in enumerate(packets):
        listener.take(2, 7 + i, 960 * i, payload, 105.0 + 0.02 * i)
    assert listener.ends == sorted(listener.ends)
    assert listener.clock.time_of(listener.ends[-1]) == pytest.approx(105.0 + 0.02 * (len(packets) - 1))


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff\xff", bytes(50), b"\xfb\x3f" + bytes(20)])
def test_rubbish_is_counted_and_what_follows_is_heard(kit, decoder_delay_s, payload):
    packets = opus(kit.tone(1_000, 1, 48_000))
    listener = Listener()
    for i, good in enumerate(packets):
        listener.take(1, i, i * 960, payload if i == 10 else good, 0.02 * i)
    assert len(listener.frames) >= len(packets) - 4
    assert listener.ends[-1] == pytest.approx(0.02 * len(packets) - decoder_delay_s)


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
