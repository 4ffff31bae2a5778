"""Digital silence around a voice must not change what is heard in it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engine import CallState
from pipeline.settings.tree import PocketsphinxSettings
from pipeline.stt.once import recognise_once
from pipeline.stt.pocketsphinx import PocketsphinxEngine
from pipeline.stt.room_tone import with_room_tone
from pipeline.tts.espeak_engine import EspeakSynthesizer
from pipeline.tts.resample import StreamResampler


def test_only_blocks_of_zeros_are_filled_and_quietly():
    voice = np.tile(np.array([300, -300], np.int16), 400)
    assert with_room_tone(voice.tobytes()) == voice.tobytes()
    mixed = np.concatenate([np.zeros(1_000, np.int16), voice, np.zeros(33, np.int16)])
    filled = np.frombuffer(with_room_tone(mixed.tobytes()), np.int16)
    assert len(filled) == len(mixed)
    assert np.array_equal(filled[1_000:1_760], voice[:760])
    assert 4 < np.std(filled[:960]) < 16
    assert np.abs(filled[:960]).max() < 60


def test_blocks_differ_so_that_there_is_no_hum():
    filled = np.frombuffer(with_room_tone(bytes(32_000)), np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(filled[: 64 * 80])) ** 2
    assert spectrum.max() < 0.02 * spectrum.sum()


@pytest.mark.parametrize("rms", [0.0, 8.0])
async def test_words_are_heard_in_digital_silence_as_in_a_room(rms):
    synthesizer = EspeakSynthesizer()
    await synthesizer.load()
    resampler, pcm = StreamResampler(synthesizer.rate_hz, 16_000), b""
    async for chunk in synthesizer.synthesize("My name is Anna.", voice="en-us+f3", rate_wpm=120, pitch=50):
        pcm += resampler.process(chunk.pcm)
    await synthesizer.close()
    rest = np.random.default_rng(1).normal(0, rms, 24_000).astype(np.int16).tobytes()
    engine = PocketsphinxEngine(PocketsphinxSettings(workers=1))
    await engine.load()
    try:
        call = CallState("x", "beginner", "introductions", expected=["my name is anna", "i am anna"])
        heard = await recognise_once(engine.create(call), rest + pcm + resampler.flush() + rest)
        assert heard.text == "my name is anna"
    finally:
        await engine.close()
