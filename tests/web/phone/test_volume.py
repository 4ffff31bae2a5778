"""The volume of a telephone: louder by steps, and never clipped."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tones import level_db, tone
from web.doors.phone.volume import Volume


def test_louder_is_louder_by_steps_to_a_limit_and_never_clips():
    volume, quiet = Volume(8_000), tone(440, 8_000, 1.0, 2_000.0)

    def loudness() -> float:
        out = b"".join(volume.apply(quiet[i : i + 160].tobytes()) for i in range(0, len(quiet), 160))
        assert len(out) == 2 * len(quiet)
        return level_db(np.frombuffer(out, np.int16), 440, 8_000)

    levels = [loudness()]
    while volume.louder():
        levels.append(loudness())
    assert np.diff(levels) == pytest.approx([4.0] * 3, abs=0.1)
    loud = tone(440, 8_000, 1.0, 30_000.0)
    out = np.frombuffer(b"".join(volume.apply(loud[i : i + 160].tobytes()) for i in range(0, len(loud), 160)), np.int16)
    assert np.max(np.abs(out)) <= 30_001
    # What is limited stays a sine: its third harmonic would tell of clipping.
    assert level_db(out[1_600:], 1_320, 8_000) < level_db(out[1_600:], 440, 8_000) - 40


def test_after_a_loud_sound_the_volume_comes_back():
    volume, quiet = Volume(8_000), tone(440, 8_000, 0.02, 2_000.0).tobytes()
    for _ in range(3):
        volume.louder()
    before = np.max(np.abs(np.frombuffer(volume.apply(quiet), np.int16)))
    volume.apply(tone(440, 8_000, 0.02, 32_000.0).tobytes())
    for _ in range(50):
        after = np.max(np.abs(np.frombuffer(volume.apply(quiet), np.int16)))
    assert after == pytest.approx(before, rel=0.01)
