"""What the callers of ``python -m bench load`` say: one cycle of speech and room tone, as Opus packets made beforehand.

A cycle is 15 s: a long sentence (about 40 %), then room tone for as long as the tutor answers (40 %) and is silent (20 %).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av import AudioFrame, CodecContext
from av.audio.codeccontext import AudioCodecContext

from bench.speech import RATE_HZ, synthesise
from web.talk.listening import Pcm16
from web.talk.microphone import ROOM_TONE_RMS

CYCLE_S = 15.0
FRAME_S = 0.02
FRAME_SAMPLES = int(RATE_HZ * FRAME_S)
BITRATE_BPS = 32_000
"""What browsers send of one voice."""
_TICKET = "Could you please tell me where I can buy a ticket for the museum and what time it closes on Saturday?"
_MARKET = "We went to the market on Saturday and bought some apples and a cake for the birthday of my little sister."
_WINTER = "My favourite season is the winter because I can stay at home all day and read my books in front of the fire."
SENTENCES = [
    ("flite", "rms", _TICKET),
    ("espeak-ng", "en-us", _MARKET),
    ("flite", "awb", _WINTER),
    ("flite", "rms", _MARKET),
]
"""Program, voice, words: each about 6 s, in one breath, and with an end of which smart-turn is sure (p > 0.8)."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle. ``packets[speech_packets - 1]`` holds the speech's last samples, which end with it."""

    packets: list[bytes]
    speech_packets: int

    @property
    def speech_share(self) -> float:
        """How much of the cycle is speech."""
        return self.speech_packets / len(self.packets)


def cycles() -> list[Cycle]:
    """One cycle for each of ``SENTENCES``.

    Raises:
        RuntimeError: where the synthesiser is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="parley-speech-") as folder:
        spoken = [synthesise(one, Path(folder) / f"{index}.wav", RATE_HZ) for index, one in enumerate(SENTENCES)]
    return [make_cycle(pcm) for pcm in spoken]


def make_cycle(pcm: Pcm16) -> Cycle:
    """``pcm`` (int16 of shape (samples,) at 48 kHz) and room tone to the end of the cycle, encoded."""
    speech_packets = -(-len(pcm) // FRAME_SAMPLES)
    whole = np.random.default_rng(0).normal(0.0, ROOM_TONE_RMS, int(CYCLE_S * RATE_HZ)).astype(np.int16)
    # Where the speech ends, a packet ends: so that its end is heard when that packet has left.
    whole[speech_packets * FRAME_SAMPLES - len(pcm) : speech_packets * FRAME_SAMPLES] = pcm
    return Cycle(encode(whole), speech_packets)


def encode(pcm: Pcm16) -> list[bytes]:
    """Opus packets of 20 ms from int16 of shape (samples,) at 48 kHz."""
    codec = CodecContext.create("libopus", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.bit_rate, codec.format, codec.layout, codec.sample_rate = BITRATE_BPS, "s16", "mono", RATE_HZ
    codec.time_base = Fraction(1, RATE_HZ)
    codec.options = {"application": "voip", "frame_duration": str(int(FRAME_S * 1000))}
    packets = []
    for start in range(0, len(pcm), FRAME_SAMPLES):
        frame = AudioFrame.from_ndarray(pcm[start : start + FRAME_SAMPLES].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, start
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets
