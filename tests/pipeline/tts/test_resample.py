"""The voice's resampler: level, pitch, length and chunk borders."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.tts.resample import StreamResampler

IN_HZ = 22_050
CHUNK = 1323  # 60 ms, as espeak-ng delivers
LEVEL = 10_000


def sine(hz: float, start: int, samples: int, rate_hz: int) -> np.ndarray:
    """float64 (samples,)."""
    return LEVEL * np.sin(2 * np.pi * hz * (np.arange(samples) + start) / rate_hz)


def pcm(x: np.ndarray) -> bytes:
    return np.round(x).astype(np.int16).tobytes()


def samples_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.int16).astype(np.float64)


@pytest.mark.parametrize("out_hz", [24_000, 48_000, 16_000])
def test_ten_minutes_of_1_khz_keep_level_pitch_and_time(out_hz: int) -> None:
    resampler = StreamResampler(IN_HZ, out_hz)
    total_in = 600 * IN_HZ + 17
    out = bytearray()
    for start in range(0, total_in, CHUNK):
        out += resampler.process(pcm(sine(1000, start, min(CHUNK, total_in - start), IN_HZ)))
    out += resampler.flush()
    y = samples_of(bytes(out))

    assert abs(len(y) - total_in * out_hz / IN_HZ) <= 1
    # Against the ideal tone at the same sample index: the last second shows any drift, delay or loss.
    for at in (out_hz, len(y) - 2 * out_hz):
        ideal = sine(1000, at, out_hz, out_hz)
        got = y[at : at + out_hz]
        assert abs(20 * math.log10(np.std(got) / np.std(ideal))) < 0.1
        assert np.max(np.abs(got - ideal)) < LEVEL / 1000


def test_chunk_borders_make_no_click() -> None:
    whole, cut = StreamResampler(IN_HZ, 24_000), StreamResampler(IN_HZ, 24_000)
    x = np.random.default_rng(1).normal(0, 3000, IN_HZ)
    data = pcm(x)
    expected = whole.process(data) + whole.flush()
    got, at = b"", 0
    for size in np.random.default_rng(2).integers(1, 2000, 100):
        got += cut.process(data[at : at + 2 * int(size)])
        at += 2 * int(size)
    got += cut.process(data[at:]) + cut.flush()
    assert len(got) == len(expected)
    assert np.max(np.abs(samples_of(got) - samples_of(expected))) <= 2  # rounding and dither


def test_the_first_chunk_gives_the_first_frame() -> None:
    for out_hz in (24_000, 48_000):
        resampler = StreamResampler(IN_HZ, out_hz)
        assert len(resampler.process(pcm(sine(1000, 0, CHUNK, IN_HZ)))) // 2 >= 0.02 * out_hz


def test_it_can_be_used_again_after_flush() -> None:
    resampler = StreamResampler(IN_HZ, 24_000)
    data = pcm(sine(440, 0, IN_HZ, IN_HZ))
    first = resampler.process(data) + resampler.flush()
    second = resampler.process(data) + resampler.flush()
    assert abs(len(first) // 2 - 24_000) <= 1
    assert len(second) == len(first)
    assert np.max(np.abs(samples_of(first) - samples_of(second))) <= 2


def test_equal_rates_pass_through() -> None:
    resampler = StreamResampler(24_000, 24_000)
    assert resampler.process(b"\x01\x02\x03\x04") == b"\x01\x02\x03\x04"
    assert resampler.flush() == b""


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="even number of bytes, not 3"):
        StreamResampler(IN_HZ, 24_000).process(b"abc")
    with pytest.raises(ValueError, match="positive"):
        StreamResampler(0, 24_000)
