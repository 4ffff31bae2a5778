"""The sentences whose words an oracle knows."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.sentences import Sentence, held_out, in_turn, synthetic
from bench.speech import RATE_HZ, utterances
from web.talk.listening import peak


def words_lie_in_order_to_the_end(sentence: Sentence) -> None:
    assert all(w.start_s < w.end_s for w in sentence.words)
    assert all(a.end_s <= b.start_s for a, b in pairwise(sentence.words))
    assert sentence.words[0].start_s < 0.3
    assert sentence.words[-1].end_s == pytest.approx(sentence.duration_s, abs=0.06)


def test_the_held_out_sentences(speech_dir: Path) -> None:
    sentences = held_out(speech_dir)
    assert len(sentences) >= 24
    assert len({s.name for s in sentences}) == len(sentences)
    manifest = [json.loads(line) for line in (speech_dir / "manifest.jsonl").read_text().splitlines()]
    fitted = {entry["speaker"] for entry in manifest if entry["file"].startswith("learners/")}
    assert not fitted & {s.speaker for s in sentences}
    for sentence in sentences:
        words_lie_in_order_to_the_end(sentence)
        last_word = sentence.pcm[round(sentence.words[-1].start_s * RATE_HZ) :]
        assert peak(last_word) > 1_000
        assert peak(sentence.pcm[-48:]) < 2_000  # faded, so that it does not end in a click


def test_the_synthetic_ones(tmp_path: Path) -> None:
    sentences = synthetic(utterances(tmp_path, None))
    assert len(sentences) == 12
    assert [w.text for w in sentences[0].words] == ["we", "went", "to", "the", "market", "on", "saturday"]
    for sentence in sentences:
        words_lie_in_order_to_the_end(sentence)


def test_a_part_has_as_many_voices_as_it_can() -> None:
    sentences = [Sentence(f"{s}{i}", s, np.zeros(1, np.int16), ()) for s in "ab" for i in range(3)]
    assert [s.name for s in in_turn(sentences)] == ["a0", "b0", "a1", "b1", "a2", "b2"]
