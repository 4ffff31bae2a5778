"""The lines for when the tutor's own voice fails."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.faults.lines import SPOKEN
from pipeline.faults.spare_voice import SpareVoice


@pytest.fixture(scope="module")
def voice():
    return SpareVoice.render()


@pytest.mark.parametrize("text", SPOKEN)
@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
def test_every_line_is_spoken_at_any_rate(voice, text, rate_hz):
    pcm = np.frombuffer(voice.pcm(text, rate_hz), "<i2")
    seconds = len(pcm) / rate_hz
    assert 0.25 < seconds / len(text.split()) < 0.8, "some 140 words a minute"
    assert np.abs(pcm).max() > 5_000


def test_an_unknown_line_is_two_tones():
    pcm = np.frombuffer(SpareVoice({}, 24_000).pcm("anything", 24_000), "<i2").astype(float)
    halves = np.split(pcm, 2)
    peaks = [np.fft.rfftfreq(len(h), 1 / 24_000)[np.abs(np.fft.rfft(h)).argmax()] for h in halves]
    assert peaks == pytest.approx([660, 440], abs=4)
