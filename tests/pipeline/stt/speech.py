"""Audio to speak into the recogniser: mono pcm16 at 16 kHz."""

from __future__ import annotations

import random
import struct
import wave
from pathlib import Path

RATE_HZ = 16_000

MARKET = "yesterday i went to the market with my mother"
COFFEE = "i would like a cup of coffee please"
YEARS = "he has been working here for three years"


def room_tone(seconds: float) -> bytes:
    """Faint noise, the same every time: mono pcm16 at 16 kHz."""
    noise = random.Random(7)
    return b"".join(struct.pack("<h", noise.randint(-8, 8)) for _ in range(int(seconds * RATE_HZ)))


def read_pcm(path: Path) -> bytes:
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (RATE_HZ, 1, 2)
        return wav.readframes(wav.getnframes())
