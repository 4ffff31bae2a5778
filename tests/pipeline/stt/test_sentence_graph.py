"""Sentences laid over speech: which fits best, and where its words lie."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from pipeline.stt.acoustic_model import AcousticModel
from pipeline.stt.cepstra import cepstra
from pipeline.stt.sentence_graph import Sentence, SentenceGraph
from tests.pipeline.stt.speech import room_tone

Say = Callable[..., bytes]

SOUNDS = {
    "i": ["AY"], "like": ["L", "AY", "K"], "tea": ["T", "IY"], "coffee": ["K", "AA", "F", "IY"], "you": ["Y", "UW"],
    "see": ["S", "IY"], "money": ["M", "AH", "N", "IY"],
}  # fmt: skip


def sentence(text: str) -> Sentence:
    return [[SOUNDS[word]] for word in text.split()]


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return AcousticModel()


def scores(model: AcousticModel, graph: SentenceGraph, pcm: bytes) -> np.ndarray:
    return model.scores(cepstra(pcm), graph.senones)


@pytest.mark.parametrize("said", ["i like tea", "i like coffee", "you see money"])
def test_the_sentence_that_was_said_scores_best(model: AcousticModel, say: Say, said: str) -> None:
    texts = ["i like tea", "i like coffee", "you see money", "tea", "money money money"]
    graph = SentenceGraph(model, [sentence(text) for text in texts])
    found = graph.score(scores(model, graph, say(said)))
    assert texts[int(found.sentences.argmax())] == said
    assert found.loop < 0
    assert 30 < found.speech_frames < len(cepstra(say(said))) - 30  # there is most of a second of room tone


def test_a_score_does_not_depend_on_the_other_sentences(model: AcousticModel, say: Say) -> None:
    alone = SentenceGraph(model, [sentence("i like tea")], loop=False)
    among = SentenceGraph(model, [sentence("you see money"), sentence("i like tea")])
    pcm = say("i like coffee")
    first = alone.score(scores(model, alone, pcm)).sentences[0]
    assert among.score(scores(model, among, pcm)).sentences[1] == pytest.approx(first, rel=1e-5)


def test_a_second_pronunciation_counts_where_it_fits_better(model: AcousticModel, say: Say) -> None:
    wrong = SentenceGraph(model, [[[["AY"]], [["L", "AY", "K"]], [["M", "UW"]]]], loop=False)
    both = SentenceGraph(model, [[[["AY"]], [["L", "AY", "K"]], [["M", "UW"], ["T", "IY"]]]], loop=False)
    pcm = say("i like tea")
    assert both.score(scores(model, both, pcm)).sentences[0] > wrong.score(scores(model, wrong, pcm)).sentences[0] + 20


@pytest.mark.parametrize("loop", [True, False])
def test_the_words_lie_in_order_within_the_speech(model: AcousticModel, say: Say, loop: bool) -> None:
    pcm = say("i like coffee")
    graph = SentenceGraph(model, [sentence("i like coffee")], loop=loop)
    words = graph.align(scores(model, graph, pcm))
    assert [w.word for w in words] == [0, 1, 2]
    assert all(w.start < w.end for w in words)
    assert all(a.end <= b.start for a, b in pairwise(words))
    assert 40 <= words[0].start <= 70  # half a second of room tone before
    assert words[-1].end <= len(cepstra(pcm))
    assert all((w.best != 0) == loop for w in words)


def test_audio_that_is_too_short_for_the_sentence(model: AcousticModel) -> None:
    graph = SentenceGraph(model, [sentence("i like coffee")])
    short = scores(model, graph, room_tone(0.1))
    assert graph.score(short).sentences[0] < -1e29
    assert graph.align(short) == []


@pytest.mark.parametrize("empty", [[], [[]], [[[]]]])
def test_a_sentence_without_words_or_sounds(model: AcousticModel, empty: Sentence) -> None:
    with pytest.raises(ValueError, match="needs"):
        SentenceGraph(model, [empty])
