"""The embedded recogniser's result for one utterance, as a call would record it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.record import Word
from pipeline.stt.recognition import Recognition
from pipeline.stt.sphinx_decoder import SphinxDecoder, shared

STEP_BYTES = 640
"""20 ms of mono pcm16 at 16 kHz, as a call's audio comes in."""


def hear(pcm16: bytes, expected: Sequence[str], careful: Sequence[str] = ()) -> list[Word]:
    """The words recognised in mono pcm16 at 16 kHz where ``expected`` and ``careful`` replies may be said.

    No words where nothing was understood, or so unsurely that the tutor asks to hear it again. Loads the models at the first
    call, for about 0.5 s.
    """
    return list(recognise(shared(), pcm16, expected, careful).words)


def recognise(decoder: SphinxDecoder, pcm16: bytes, expected: Sequence[str], careful: Sequence[str] = ()) -> Recognition:
    """The whole result, decoded as a worker does: while the audio comes in, then the final."""
    decoder.begin(expected, careful)
    for at in range(0, len(pcm16), STEP_BYTES):
        decoder.feed(pcm16[at : at + STEP_BYTES])
        while decoder.step():
            pass
    return decoder.finish()
