"""Whether speech came through a telephone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.guided import held_out, learners
from bench.narrowband import phoned
from pipeline.stt.narrowband import is_narrowband
from pipeline.stt.room_tone import with_room_tone
from pipeline.tts.resample import StreamResampler
from tests.pipeline.stt.speech import COFFEE, MARKET, room_tone

Say = Callable[..., bytes]


def quieter(pcm16: bytes, times: int) -> bytes:
    return (np.frombuffer(pcm16, np.int16) // times).astype(np.int16).tobytes()


@pytest.mark.parametrize("times", [1, 30])
@pytest.mark.parametrize("text", [MARKET, COFFEE])
def test_a_telephone_is_known_at_any_level_and_nothing_else_is_one(say: Say, text: str, times: int) -> None:
    said = quieter(say(text), times)
    assert is_narrowband(phoned(said))
    assert not is_narrowband(said)


def test_it_is_known_by_another_way_to_16_khz(say: Say) -> None:
    down, up = StreamResampler(16_000, 8_000), StreamResampler(8_000, 16_000)
    assert is_narrowband(up.process(down.process(say(MARKET)) + down.flush()) + up.flush())


def test_room_tone_in_its_pauses_hides_no_telephone(say: Say) -> None:
    words = say(MARKET)[16_000:]
    paused = bytes(32_000) + words + bytes(32_000) + words
    assert is_narrowband(with_room_tone(phoned(paused)))
    assert not is_narrowband(with_room_tone(paused))


@pytest.mark.parametrize("pcm", [b"", bytes(1_022), room_tone(0.5), room_tone(0.5)[:-1]])
def test_what_tells_nothing_is_no_telephone(pcm: bytes) -> None:
    assert not is_narrowband(pcm)


def test_learners_are_told_apart(speech_dir: Path) -> None:
    for clip in [*learners(speech_dir), *held_out(speech_dir)]:
        pcm = clip.pcm16()
        # What the recogniser has first of an utterance, and all of it.
        for heard in (pcm[:38_400], pcm):
            assert not is_narrowband(heard), clip.path
            assert is_narrowband(phoned(heard)), clip.path
