"""Speech for the recogniser: flite's voices with room tone around, as a microphone would give it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pipeline.stt.sphinx_pool import SphinxPool
from tests.pipeline.stt.speech import read_pcm, room_tone


@pytest.fixture(scope="session")
def say(flite_wav: Callable[..., Path]) -> Callable[..., bytes]:
    """``say(text, voice="slt")``: the text as mono pcm16 at 16 kHz, with 0.5 s of room tone before and 0.3 s after."""
    before, after = room_tone(0.5), room_tone(0.3)

    def speak(text: str, voice: str = "slt") -> bytes:
        return before + read_pcm(flite_wav(text, voice)) + after

    return speak


@pytest.fixture
async def pool() -> AsyncIterator[SphinxPool]:
    """Two workers with generous limits."""
    async with SphinxPool(2, queue_deadline_s=60.0, utterance_timeout_s=60.0) as running:
        yield running
