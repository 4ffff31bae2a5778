"""The utterances are what they claim to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.speech import RATE_HZ, SYNTHETIC, real_clips, utterances
from web.talk.listening import peak, window_rms


def test_twelve_utterances_trimmed_and_normalised(tmp_path: Path) -> None:
    spoken = utterances(tmp_path, None)
    assert len(spoken) == len(SYNTHETIC) == 12
    assert {program for program, _, _ in SYNTHETIC} == {"flite", "espeak-ng"}
    assert len({s.name for s in spoken}) == 12
    for utterance in spoken:
        assert 1.0 < len(utterance.pcm) / RATE_HZ < 4.0
        assert abs(peak(utterance.pcm) - 12_000) <= 2
        rms = window_rms(utterance.pcm, RATE_HZ)
        assert rms[0] > 50  # no silence at either end
        assert rms[-1] > 50
        assert not utterance.real
    again = utterances(tmp_path, None)
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(spoken, again, strict=True))


def test_one_clip_a_learner(tmp_path: Path) -> None:
    lines = [
        {"file": "learners/a1.wav", "speaker": "a"},
        {"file": "learners/a2.wav", "speaker": "a"},
        {"file": "read/r1.wav", "speaker": "r"},
        {"file": "learners/b1.wav", "speaker": "b"},
        {"file": "learners/c1.wav", "speaker": "c"},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert [p.name for p in real_clips(tmp_path, 2)] == ["a1.wav", "b1.wav"]
