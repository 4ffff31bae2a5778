"""How the grammar bench counts: edits against the reference that fits best."""

from __future__ import annotations

from bench.grammar_score import Score, edits, on_correct, score, total


def test_edits_ignore_case_and_marks() -> None:
    assert edits("She go home.", "she goes home") == {(1, 2, ("goes",))}
    assert edits("Hello, there!", "hello there") == set()


def test_the_reference_that_fits_best_counts() -> None:
    found = score("I has car", "I have a car", ["I have the car", "I have a car"])
    assert found == Score(right=1)


def test_wrong_and_missing_edits() -> None:
    found = score("He go to the home yesterday", "He goes to the home yesterday", ["He went home yesterday"])
    assert (found.right, found.wrong, found.missing) == (0, 1, 1)
    assert (found.precision, found.recall, found.f05) == (0.0, 0.0, 0.0)


def test_every_change_of_a_correct_sentence_is_wrong() -> None:
    assert on_correct("I am here", "I was there") == Score(wrong=1)
    assert on_correct("I am here", "I am here") == Score()


def test_f05_weighs_precision_more() -> None:
    careful, eager = Score(right=5, wrong=0, missing=5), Score(right=10, wrong=10, missing=0)
    assert careful.f05 > eager.f05
    assert total([careful, eager]) == Score(15, 10, 5)
    assert Score().precision == Score().recall == 1.0
