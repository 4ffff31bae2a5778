"""Room tone in place of digital silence. Pure.

Gates, muted microphones and cancelled noise leave stretches of nothing but zeros. Their logarithmic energy lies far below that
of any room, and a recogniser that subtracts the mean of an utterance's cepstra takes them for most of what it heard.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 80
"""Samples that are looked at together: 5 ms at 16 kHz."""
_ZEROS = bytes(2 * _BLOCK)
_TONE = np.random.default_rng(20).normal(0.0, 8.0, 64 * _BLOCK).astype(np.int16)
"""As loud as a quiet room: an RMS of 8, 72 dB below full scale."""


def with_room_tone(pcm16: bytes) -> bytes:
    """``pcm16`` (mono, whole samples) with noise in those blocks of it that hold nothing but zeros.

    What is left over at the end counts as a block.
    """
    if _ZEROS not in pcm16:
        return pcm16
    samples = np.frombuffer(pcm16, np.int16).copy()
    for number, start in enumerate(range(0, len(samples), _BLOCK)):
        block = samples[start : start + _BLOCK]
        if not block.any():
            place = number % 64 * _BLOCK
            block[:] = _TONE[place : place + len(block)]
    return samples.tobytes()
