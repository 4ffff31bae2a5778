"""Of what was heard badly, nothing is said."""

from __future__ import annotations

from agent.analysis.spoken import corrections, findings
from agent.record import Turn, Word


def turn(text: str, unsure: str = "", *, typed: bool = False, timed: bool = True) -> Turn:
    words = [Word(word, i * 0.3, i * 0.3 + 0.2, 0.3 if word in unsure.split() else 0.95) for i, word in enumerate(text.split())]
    return Turn(0, "learner", text, 0.0, 3.0, words if timed and not typed else [], typed=typed)


SAID = "yesterday i go to the market with my sister"


def test_sure_words_are_judged() -> None:
    (found,) = corrections(turn(SAID))
    assert (found.original, found.correction) == ("i go to", "i went to")


def test_an_unsure_word_is_not_judged() -> None:
    assert findings(turn(SAID, unsure="go")) == []


def test_nor_is_its_neighbour() -> None:
    assert findings(turn(SAID, unsure="to")) == []
    assert len(findings(turn(SAID, unsure="sister"))) == 1


def test_words_without_a_confidence_are_not_judged() -> None:
    assert findings(turn(SAID, timed=False)) == []


def test_typed_text_is_judged_as_it_stands() -> None:
    (found,) = findings(turn("Yesterday I go to the market.", typed=True))
    assert found.correction == "went"


def test_a_turn_that_was_mostly_heard_badly_is_left_alone() -> None:
    assert findings(turn(SAID, unsure="the market with my sister")) == []


def test_a_turn_full_of_mistakes_was_misheard() -> None:
    assert findings(turn("he go she have they was")) == []
    assert findings(turn("he go she have they was", typed=True))


def test_a_correction_quotes_a_word_on_either_side_but_no_other_mistake() -> None:
    found = corrections(turn("He is doctor. Yesterday she go to Rome.", typed=True))
    assert [(c.original, c.correction) for c in found] == [("is doctor", "is a doctor"), ("she go to", "she went to")]
    for one in corrections(turn("I have two brother and she don't likes informations.", typed=True)):
        assert one.original in "I have two brother and she don't likes informations."
