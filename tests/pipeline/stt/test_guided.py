"""Which reply is chosen, and whether it is taken: the rules alone, then with speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.stt.acoustic_model import AcousticModel
from pipeline.stt.cepstra import cepstra
from pipeline.stt.guided import (
    CLOSE,
    RIVALS,
    TAKE,
    TAKE_CAREFUL,
    Candidate,
    Evidence,
    Guide,
    agreement,
    confidence,
    is_taken,
    likeliest,
)
from pipeline.stt.sphinx_decoder import SphinxDecoder
from tests.pipeline.stt.speech import room_tone

Say = Callable[..., bytes]

SURE = Evidence(loop=-0.5, free=0.0, agreement=1.0, lead=300.0)
UNSURE = Evidence(loop=-3.0, free=-3.0, agreement=0.0, lead=0.0)


def test_the_likeliest_reply() -> None:
    replies = [Candidate(0, -900.0), Candidate(1, -800.0), Candidate(2, -850.0)]
    assert likeliest(replies).number == 1
    with pytest.raises(ValueError):
        likeliest([])


@pytest.mark.parametrize(("lead", "number"), [(CLOSE - 1, 0), (CLOSE + 1, 1), (-1.0, 0)])
def test_a_careful_reply_needs_a_lead(lead: float, number: int) -> None:
    assert likeliest([Candidate(0, -900.0), Candidate(1, -900.0 + lead, careful=True)]).number == number


def test_two_careful_replies_compete_as_any() -> None:
    replies = [Candidate(0, -990.0), Candidate(1, -900.0, careful=True), Candidate(2, -899.0, careful=True)]
    assert likeliest(replies).number == 2


def test_careful_replies_alone() -> None:
    assert likeliest([Candidate(0, -900.0, careful=True)]).number == 0


def test_confidence_rises_with_each_piece_of_evidence() -> None:
    assert 0 < confidence(UNSURE) < TAKE < TAKE_CAREFUL < confidence(SURE) < 1
    middle = Evidence(-1.5, -1.5, 0.5, 100.0)
    for more in ({"loop": -1.0}, {"free": -1.0}, {"agreement": 0.8}, {"lead": 200.0}):
        assert confidence(replace(middle, **more)) > confidence(middle)


def test_a_careful_reply_needs_more_confidence() -> None:
    between = (TAKE + TAKE_CAREFUL) / 2
    assert is_taken(Candidate(0, 0.0), between)
    assert not is_taken(Candidate(0, 0.0, careful=True), between)
    assert is_taken(Candidate(0, 0.0, careful=True), TAKE_CAREFUL)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("", "", 0.0),
        ("a b", "a b", 1.0),
        ("a b", "", 0.0),
        ("a b c d", "a x c d", 0.75),
        ("a b c", "a b c d", 0.75),
        ("a b", "b a", 0.0),
    ],
)
def test_agreement(one: str, other: str, share: float) -> None:
    assert agreement(one.split(), other.split()) == share
    assert agreement(other.split(), one.split()) == share


@pytest.fixture(scope="module")
def decoder() -> SphinxDecoder:
    return SphinxDecoder()


@pytest.fixture
def guide(decoder: SphinxDecoder) -> Guide:
    return Guide(AcousticModel(), decoder._pronunciations)


def test_a_single_reply_is_told_from_other_speech(guide: Guide, say: Say) -> None:
    guide.expect([("i", "live", "in", "rome")])
    right = guide.choose(cepstra(say("i live in rome")), ["i", "live", "in", "rome"])
    wrong = guide.choose(cepstra(say("where is my umbrella")), ["where", "is", "my", "umbrella"])
    assert right is not None
    assert right.taken
    assert [word.text for word in right.words] == ["i", "live", "in", "rome"]
    assert wrong is not None
    assert not wrong.taken
    assert wrong.words == ()
    assert right.confidence > wrong.confidence
    assert right.evidence.lead > wrong.evidence.lead


def test_without_words_of_free_speech(guide: Guide, say: Say) -> None:
    guide.expect([("yes",), ("no",)])
    found = guide.choose(cepstra(say("yes")), ())
    assert found is not None
    assert found.number == 0
    assert found.evidence.agreement == 0
    assert found.evidence.free == found.evidence.loop


def test_nothing_expected_and_nothing_said(guide: Guide) -> None:
    guide.expect([])
    assert guide.choose(cepstra(room_tone(1.0)), ()) is None
    guide.expect([("yes",)])
    assert guide.choose(cepstra(b""), ()) is None
    assert guide.choose(cepstra(room_tone(0.03)), ()) is None


def test_a_word_that_cannot_be_said(guide: Guide) -> None:
    with pytest.raises(ValueError):
        guide.expect([("日本語",)])


def test_the_rivals_are_words_of_the_dictionary(decoder: SphinxDecoder) -> None:
    assert {word for rival in RIVALS for word in rival.split() if decoder._lookup(word) is None} == set()
