"""A voice that dies away, by its level."""

from __future__ import annotations

from pipeline.turns.fading import QUIET_DB, Fading


def test_what_follows_a_voice_is_quiet_and_what_is_in_it_is_not() -> None:
    fading = Fading()
    assert not any(fading.quiet(level) for level in (-30.0, -25.0, -38.0, -26.0))
    assert fading.quiet(-25.0 - QUIET_DB - 3)
    assert not fading.quiet(-30.0)


def test_a_voice_may_grow_softer() -> None:
    fading = Fading()
    assert not fading.quiet(-20.0)
    assert fading.quiet(-42.0)
    for _ in range(60):
        fading.quiet(-38.0)
    assert not fading.quiet(-42.0)
