"""The pauses of the report, from sound: silence put between two halves of a sentence, through the real recogniser."""

from __future__ import annotations

import numpy as np
import pytest

from agent.analysis.pauses import timing
from agent.record import Turn
from pipeline.stt.sphinx_decoder import SphinxDecoder
from web.talk.wavs import read_wav

RATE = 16_000
FLOOR = 300  # of 32768: where flite's own silence before and after a sentence ends


def spoken(wav) -> np.ndarray:
    audio = np.asarray(read_wav(wav, RATE), dtype=np.float64)
    loud = np.flatnonzero(np.abs(audio) > FLOOR)
    return audio[loud[0] : loud[-1]]


@pytest.fixture(scope="module")
def decoder() -> SphinxDecoder:
    return SphinxDecoder()


@pytest.mark.parametrize("silence_s", [0.1, 0.4, 1.0])
def test_a_silence_is_heard_as_a_pause_of_its_length(decoder, flite_wav, silence_s):
    halves = [spoken(flite_wav(text)) for text in ("my brother lives in london", "because he works there")]
    quiet = np.zeros(int(0.3 * RATE))
    audio = np.concatenate([quiet, halves[0], np.zeros(int(silence_s * RATE)), halves[1], quiet])
    audio += np.random.default_rng(0).normal(0, 8, len(audio))
    decoder.begin()
    decoder.feed(audio.clip(-32768, 32767).astype("<i2").tobytes())
    heard = decoder.finish()
    found = timing(Turn(0, "learner", heard.text, 0.0, 10.0, words=list(heard.words)))
    assert found is not None
    assert list(found.pauses_s) == pytest.approx([silence_s] if silence_s >= 0.25 else [], abs=0.1)
