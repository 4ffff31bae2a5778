"""The voice detector of a call, on real speech: quiet speakers are heard, and soon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pipecat.audio.vad.vad_analyzer import VADState

from bench.barge_sounds import Floats, at_level, begins_s
from bench.speech import real_clips
from bench.turn_trials import room_tone
from pipeline.models import SharedModels
from pipeline.settings.tree import VADSettings
from web.talk.wavs import read_wav

RATE_HZ = 16_000
LEAD_S = 1.0


@pytest.fixture(scope="module")
def models() -> Iterator[SharedModels]:
    shared = SharedModels(1)
    asyncio.run(shared.load())
    yield shared
    asyncio.run(shared.close())


async def started_after_s(models: SharedModels, settings: VADSettings, pcm: Floats, level_db: float) -> float | None:
    """From the first voiced sample of ``pcm`` at ``level_db`` in a quiet room to the start of a voice."""
    loud = at_level(pcm, level_db)
    lead = round(LEAD_S * RATE_HZ)
    audio = room_tone(lead + len(loud), 3, 10.0)
    audio[lead:] += loud
    data = audio.clip(-32_768, 32_767).astype(np.int16).tobytes()
    vad = models.vad(settings)
    vad.set_sample_rate(RATE_HZ)
    try:
        for at in range(0, len(data), 640):
            if await vad.analyze_audio(data[at : at + 640]) == VADState.SPEAKING:
                return (at + 640) / 2 / RATE_HZ - LEAD_S - begins_s(loud)
    finally:
        await vad.cleanup()
    return None


@pytest.fixture(scope="module")
def clips(speech_dir: Path) -> list[Floats]:
    return [read_wav(path, RATE_HZ).astype(np.float64) for path in real_clips(speech_dir, 12)]


async def test_quiet_speakers_are_heard(models, clips):
    found = [await started_after_s(models, VADSettings(), pcm, -45.0) for pcm in clips]
    assert all(delay_s is not None for delay_s in found)
    muted = [await started_after_s(models, VADSettings(min_volume=0.6), pcm, -55.0) for pcm in clips]
    heard = [await started_after_s(models, VADSettings(), pcm, -55.0) for pcm in clips]
    assert muted == [None] * len(clips)
    assert sum(delay_s is not None for delay_s in heard) >= 9


async def test_a_voice_is_found_sooner_than_by_the_stock_detector(models, clips):
    as_stock = VADSettings(sure=0.7, start_s=0.2, min_volume=0.6)
    stock = [await started_after_s(models, as_stock, pcm, -35.0) for pcm in clips]
    ours = [await started_after_s(models, VADSettings(), pcm, -35.0) for pcm in clips]
    assert None not in ours
    medians = [np.median([delay_s for delay_s in delays if delay_s is not None]) for delays in (ours, stock)]
    assert medians[0] <= medians[1] - 0.1


async def test_a_start_needs_as_much_voice_as_the_settings_say(models, clips):
    soon = await started_after_s(models, VADSettings(), clips[0], -35.0)
    late = await started_after_s(models, VADSettings(start_s=0.32), clips[0], -35.0)
    assert soon is not None
    assert late is not None
    assert late - soon >= 0.15
