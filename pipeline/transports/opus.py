"""Opus at the WebRTC door through FFmpeg's libopus: 24 kHz mono pcm16 to packets, and packets to 16 kHz mono pcm16.

libopus takes 24 kHz as it is, so the tutor's voice is never resampled, and its decoder mixes a stereo client down to mono.
One 20 ms frame costs about 60 µs to encode and at most 50 µs to decode, less than a hop to another thread, so both run where
they are called. Packets are decoded by ``pipeline.transports.opus_library`` where that can be loaded; the decoder here stands
in for it. FFmpeg decodes at 48 kHz only; its own resampler brings that to 16 kHz with 1 ms of delay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av import AudioFrame, CodecContext
from av.audio.codeccontext import AudioCodecContext
from av.error import BlockingIOError as NothingYet
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from pipeline.transports.rtp import OPUS_CLOCK_HZ

FRAME_S = 0.02
ENCODER_FRAME_SAMPLES = int(OUTPUT_RATE_HZ * FRAME_S)
RESAMPLER_DELAY_S = 0.001
LOW_DELAY_FROM_BPS = 48_000
_SAME_SILENCES = 10
Pcm16 = npt.NDArray[np.int16]


class BadPacket(ValueError):
    """The payload is not Opus."""


def packet_duration_s(payload: bytes) -> float:
    """Seconds of audio in an Opus packet, from its first bytes (RFC 6716, section 3.1).

    Raises:
        BadPacket: when the packet is empty, cut off, or longer than the 120 ms that Opus allows.
    """
    if not payload:
        raise BadPacket("empty packet")
    config, count_code = payload[0] >> 3, payload[0] & 3
    if config < 12:  # SILK
        frame_ms = (10.0, 20.0, 40.0, 60.0)[config & 3]
    elif config < 16:  # hybrid
        frame_ms = (10.0, 20.0)[config & 1]
    else:  # CELT
        frame_ms = (2.5, 5.0, 10.0, 20.0)[config & 3]
    if count_code == 3:
        if len(payload) < 2:
            raise BadPacket("packet without its frame count")
        frames = payload[1] & 0x3F
    else:
        frames = 1 if count_code == 0 else 2
    duration_ms = frame_ms * frames
    if not 0 < duration_ms <= 120:
        raise BadPacket(f"packet of {duration_ms:g} ms")
    return duration_ms / 1000


class PacketEncoder(ABC):
    """24 kHz mono pcm16 to Opus packets of 20 ms. Lasting silence is encoded once."""

    def __init__(self) -> None:
        self._silence = b""  # the last packet of silence
        self._same = 0  # how many packets of silence in a row were the same

    def encode(self, samples: Pcm16) -> bytes:
        """One packet from ``samples``, int16 of shape (480,)."""
        self._same = 0
        return self._encode(samples)

    def encode_silence(self) -> bytes:
        """One packet of silence.

        In its low-delay mode libopus soon makes the same packet of it each time. From then on that one is given without asking:
        a tutor is silent for more than half of a call, and encoder and decoder have both come to rest.
        """
        if self._same >= _SAME_SILENCES:
            return self._silence
        packet = self._encode(np.zeros(ENCODER_FRAME_SAMPLES, np.int16))
        self._same = self._same + 1 if packet == self._silence else 0
        self._silence = packet
        return packet

    @abstractmethod
    def _encode(self, samples: Pcm16) -> bytes: ...


class Encoder(PacketEncoder):
    """24 kHz mono to Opus, 20 ms a packet.

    From 48 kb/s on, where libopus codes speech with CELT in any mode, the low-delay mode saves 4 ms of look-ahead; below that
    the speech mode (SILK) sounds better.
    """

    def __init__(self, bitrate_bps: int, complexity: int) -> None:
        super().__init__()
        codec = CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.bit_rate = bitrate_bps
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = OUTPUT_RATE_HZ
        codec.time_base = Fraction(1, OUTPUT_RATE_HZ)
        codec.options = {
            "application": "lowdelay" if bitrate_bps >= LOW_DELAY_FROM_BPS else "voip",
            "compression_level": str(complexity),
            "frame_duration": str(int(FRAME_S * 1000)),
        }
        codec.thread_count = 1  # FFmpeg would keep one per core, idle
        self._codec = codec
        self._pts = 0

    def _encode(self, samples: Pcm16) -> bytes:
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = OUTPUT_RATE_HZ
        frame.time_base = Fraction(1, OUTPUT_RATE_HZ)
        frame.pts = self._pts
        self._pts += len(samples)
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


class Decoder:
    """Opus to 16 kHz mono; what was lost is a repetition of what came before."""

    delay_s = RESAMPLER_DELAY_S
    """By how much the samples lie behind their packet's time."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = OPUS_CLOCK_HZ
        codec.thread_count = 1
        self._codec = codec
        self._last: Pcm16 = np.zeros(1, np.int16)
        self._resampler = _resampler()
        # The resampler keeps its first millisecond back: with silence for it, 20 ms in are 20 ms out from the first packet on.
        self._resample(np.zeros(int(OPUS_CLOCK_HZ * RESAMPLER_DELAY_S), np.int16))

    def decode(self, payload: bytes) -> Pcm16:
        """The packet's samples, int16 of shape (n,); they end ``RESAMPLER_DELAY_S`` before the packet's end.

        Raises:
            BadPacket: when libopus refuses the payload.
        """
        try:
            frames = self._codec.decode(Packet(payload))
        except FFmpegError as e:
            raise BadPacket(str(e)) from None
        parts = [self._resample(np.asarray(frame.to_ndarray(), np.int16).reshape(-1)) for frame in frames]
        samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        if len(samples):
            self._last = samples
        return samples

    def conceal(self, samples: int, following: bytes | None = None) -> Pcm16:
        """``samples`` of the last packet, over and over, int16: FFmpeg has no way to ask libopus for better.

        With silence in its place the embedded recogniser was measured to make a quarter more errors.
        """
        return np.resize(self._last, samples)

    def can_restore(self, following: bytes) -> bool:
        """Never."""
        return False

    def _resample(self, samples: Pcm16) -> Pcm16:
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = OPUS_CLOCK_HZ
        frame.pts = None
        self._resampler.push(frame)
        parts = []
        try:
            while True:
                parts.append(self._resampler.pull().to_ndarray().reshape(-1))
        except NothingYet:
            return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _resampler() -> Graph:
    # What av.AudioResampler builds, but for its idle thread per core: those of 100 calls would be hundreds.
    graph = Graph()
    graph.threads = 1
    source = graph.add_abuffer(sample_rate=OPUS_CLOCK_HZ, format="s16", layout="mono", time_base=Fraction(1, OPUS_CLOCK_HZ))
    target = graph.add("aformat", sample_rates=str(INPUT_RATE_HZ), sample_fmts="s16", channel_layouts="mono")
    graph.link_nodes(source, target, graph.add("abuffersink")).configure()
    return graph
