"""The telephone's audio: codecs, and the doubling of its rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.codecs import Codec, Doubler, to_recogniser
from tests.tones import level_db, tone

ALL = [Codec("mulaw"), Codec("alaw"), Codec("pcm16"), Codec("pcm16be"), Codec("pcm16", 16_000), Codec("pcm16", 24_000)]


def through(codec: Codec, pcm: np.ndarray) -> np.ndarray:
    """What comes back of ``pcm``, encoded, decoded and brought to 16 kHz in pieces of 20 ms."""
    piece, up = codec.rate_hz // 50, to_recogniser(codec.rate_hz)
    out = b"".join(up.process(codec.decode(codec.encode(pcm[i : i + piece].tobytes()))) for i in range(0, len(pcm), piece))
    return np.frombuffer(out, np.int16)


@pytest.mark.parametrize("codec", ALL, ids=str)
def test_1_khz_comes_through_within_1_db(codec):
    out = through(codec, tone(1_000, codec.rate_hz, 2.0))
    assert level_db(out[8_000:24_000], 1_000, 16_000) == pytest.approx(20 * np.log10(8_000 / 32_768), abs=1.0)


@pytest.mark.parametrize("hz", [300, 1_000, 2_000, 3_000, 3_400])
def test_doubling_leaves_the_telephone_band_and_no_images(hz):
    out = through(Codec("pcm16"), tone(hz, 8_000, 2.0))[8_000:24_000]
    assert level_db(out, hz, 16_000) == pytest.approx(20 * np.log10(8_000 / 32_768), abs=0.3)
    assert level_db(out, 8_000 - hz, 16_000) < level_db(out, hz, 16_000) - 55


def test_doubling_does_not_drift_and_is_2_ms_late():
    # A second of noise, again and again for a while: the last second comes where it belongs.
    doubler, rng = Doubler(), np.random.default_rng(1)
    noise = rng.normal(0, 3_000, 8_000).astype(np.int16)
    total = 0
    for _ in range(600):
        out = np.frombuffer(doubler.process(noise.tobytes()), np.int16)
        total += len(out)
    assert total == 600 * 16_000
    late = np.argmax(np.correlate(out[0::2].astype(float), noise[:-200].astype(float), "valid"))
    assert late == 16


@given(st.lists(st.integers(0, 400), min_size=1, max_size=20))
def test_how_it_is_cut_changes_nothing(cuts):
    noise = np.random.default_rng(2).normal(0, 3_000, sum(cuts)).astype(np.int16)
    whole, pieces, at = Doubler().process(noise.tobytes()), b"", 0
    doubler = Doubler()
    for cut in cuts:
        pieces += doubler.process(noise[at : at + cut].tobytes())
        at += cut
    assert np.max(np.abs(np.frombuffer(whole, np.int16).astype(int) - np.frombuffer(pieces, np.int16)), initial=0) <= 1


@pytest.mark.parametrize("codec", ALL, ids=str)
def test_silence_is_silent_in_every_codec(codec):
    silence = codec.silence(160)
    assert len(codec.decode(silence)) == 320
    assert np.max(np.abs(np.frombuffer(codec.decode(silence), np.int16))) <= 8


def test_half_a_sample_is_refused():
    with pytest.raises(ValueError, match="whole samples"):
        Codec("pcm16").decode(b"\0" * 3)
