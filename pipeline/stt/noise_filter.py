"""Whether a transcript is worth a turn, or a recogniser's reading of noise. Pure.

Recognisers that were trained on speech write something for a cough, a chair or a breath, too: a filler, an article, a lone
letter. A transcript is dropped only where three things come together: the sound was weak, it was short, and the words say next
to nothing. A quiet "yes" is an answer, a loud "um" keeps the turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FULL_SCALE = 32768.0
MAX_WORDS = 2
"""A longer transcript says something."""
SAY_NOTHING = frozenset(
    (
        *("a", "an", "the", "and", "but", "so", "of", "to", "in", "it", "is", "s", "t", "you", "i"),
        *("ah", "eh", "er", "erm", "ha", "hm", "hmm", "huh", "mm", "mhm", "mmm", "oh", "uh", "uhm", "um", "umm", "ugh"),
    )
)
"""Words that alone answer nothing. "Yes", "no", "okay", numbers and names are not among them."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``rms`` and ``peak`` are of full scale, 0 to 1: a sound below both is weak. One of ``max_s`` or less is short."""

    rms: float
    peak: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Level:
    """Of a stretch of audio, as shares of full scale, 0 to 1."""

    rms: float
    peak: float


def level(pcm16: bytes) -> Level:
    """Of mono pcm16; zero of nothing."""
    samples = np.frombuffer(pcm16, np.int16).astype(np.float32) / FULL_SCALE
    if not len(samples):
        return Level(0.0, 0.0)
    return Level(float(np.sqrt(np.mean(samples * samples))), float(np.abs(samples).max()))


def says_nothing(words: Sequence[str]) -> bool:
    """Whether the words are few and hold no information; also where there are none."""
    bare = [word for word in (re.sub(r"[^\w']", "", w).lower() for w in words) if word]
    return len(bare) <= MAX_WORDS and all(word in SAY_NOTHING for word in bare)


def is_noise(words: Sequence[str], loudness: Level, voiced_s: float, thresholds: Thresholds) -> bool:
    """Whether the words were read into a noise that lasted ``voiced_s`` seconds."""
    weak = loudness.rms < thresholds.rms and loudness.peak < thresholds.peak
    return weak and voiced_s <= thresholds.max_s and says_nothing(words)
