"""The grammar checker: what it finds, what it leaves alone, and where it says that something stands."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import harper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.analysis.grammar import HARPER_RULES, MAX_CHARACTERS, apply, check
from bench.grammar_score import on_correct, score, total

DEV = Path(__file__).parents[3] / "bench" / "data" / "grammar" / "dev.jsonl"


def mended(text: str) -> str:
    return apply(text, check(text))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        # determiners
        ("My uncle is engineer.", "My uncle is an engineer."),
        ("I waited for a hour.", "I waited for an hour."),
        ("How many money did you spend?", "How much money did you spend?"),
        ("We are back in few days.", "We are back in a few days."),
        ("She gave me a useful advice.", "She gave me useful advice."),
        ("We have same teacher.", "We have the same teacher."),
        # nouns
        ("I have three sister.", "I have three sisters."),
        ("The childs are asleep.", "The children are asleep."),
        ("He is one of my best friend.", "He is one of my best friends."),
        # verbs
        ("She live in Rome.", "She lives in Rome."),
        ("They was at home.", "They were at home."),
        ("He don't know.", "He doesn't know."),
        ("There is many people here.", "There are many people here."),
        ("Yesterday I go to the cinema.", "Yesterday I went to the cinema."),
        ("I have met her two days ago.", "I met her two days ago."),
        ("She works here since 2019.", "She has worked here since 2019."),
        ("I goed to school.", "I went to school."),
        ("She has goed home.", "She has gone home."),
        ("He can swims.", "He can swim."),
        ("You must to wait.", "You must wait."),
        ("We didn't saw it.", "We didn't see it."),
        ("I enjoy to read.", "I enjoy reading."),
        ("She want to going home.", "She wants to go home."),
        ("I am agree with you.", "I agree with you."),
        # prepositions
        ("I listen radio every day.", "I listen to radio every day."),
        ("We met in Sunday.", "We met on Sunday."),
        ("It depends of you.", "It depends on you."),
        ("She is married with my brother.", "She is married to my brother."),
        # adjectives and adverbs
        ("My bag is more heavy than yours.", "My bag is heavier than yours."),
        ("He is more older than me.", "He is older than me."),
        ("She speaks English very good.", "She speaks English very well."),
        # pronouns, order, missing verbs
        ("Him is my neighbour.", "He is my neighbour."),
        ("Where you work?", "Where do you work?"),
        ("Can you tell me where is he?", "Can you tell me where he is?"),
        ("I like very much music.", "I like music very much."),
        ("They tired after work.", "They are tired after work."),
        ("I working in a bank.", "I am working in a bank."),
        # turns of phrase
        ("I have 25 years old.", "I am 25 years old."),
        ("How do you call this in English?", "What do you call this in English?"),
        ("Can you borrow me your pen?", "Can you lend me your pen?"),
        ("I came here for study English.", "I came here to study English."),
        ("Thank you for invite me.", "Thank you for inviting me."),
        ("I want that you help me.", "I want you to help me."),
        ("I am interested to learn English.", "I am interested in learning English."),
        ("Most of people like music.", "Most people like music."),
        ("Nobody don't know the answer.", "Nobody knows the answer."),
        ("He works hardly every day.", "He works hard every day."),
        ("The news are bad.", "The news is bad."),
        ("We spent two weeks at Italy.", "We spent two weeks in Italy."),
        ("He always is late.", "He is always late."),
        # inverted, relative and two subjects
        ("Where do your brother live?", "Where does your brother live?"),
        ("Is your parents at home?", "Are your parents at home?"),
        ("Are there a bank near here?", "Is there a bank near here?"),
        ("The students who studies hard pass.", "The students who study hard pass."),
        ("My sister and I goes to the same school.", "My sister and I go to the same school."),
        # fixed articles and pairs
        ("It was first time I saw snow.", "It was the first time I saw snow."),
        ("She has cold.", "She has a cold."),
        ("I have dog and cat.", "I have a dog and a cat."),
        ("I like apple and banana.", "I like apples and bananas."),
        ("I brush my tooth twice a day.", "I brush my teeth twice a day."),
        # classes of words
        ("He is a success person.", "He is a successful person."),
        ("It was a very happily day.", "It was a very happy day."),
        ("The develop of the city took years.", "The development of the city took years."),
        ("The peoples works in the office.", "The people work in the office."),
    ],
)
def test_mistakes_are_mended(wrong: str, right: str) -> None:
    assert mended(wrong) == right
    assert mended(right) == right


@pytest.mark.parametrize(
    "text",
    [
        "She made me go home early.",
        "I suggest that he go alone.",
        "If I were you, I would wait.",
        "What you need is a holiday.",
        "I know where he lives.",
        "The news is good.",
        "My family are all doctors.",
        "He has been here for three years.",
        "I used to live in a small town.",
        "Does she like it?",
        "She and I go to work by bus.",
        "It took us a two hour drive.",
        "I went by train and came back on foot.",
        "I look forward to seeing you.",
        "He did not go, but she went.",
        "The police are here.",
        "I'd like a coffee, please.",
        "We've got time.",
        "How long have you been learning English?",
        "My English isn't very good.",
        "Let him try.",
        "You like it?",
        "No idea.",
        "Thank you very much for your help.",
        "I have lunch at noon and go to bed at ten.",
        "What a beautiful day!",
        "There's a lot of traffic in town.",
    ],
)
def test_right_sentences_are_left_alone(text: str) -> None:
    assert check(text) == []


def test_a_finding_says_what_where_and_why() -> None:
    text = "I think he is right. She go to school by bus."
    (found,) = check(text)
    assert (found.original, found.correction, found.type) == ("go", "goes", "R:VERB:SVA")
    assert text[found.start : found.end] == "go"
    assert found.explanation


def test_a_missing_word_is_shown_on_the_word_after_the_gap() -> None:
    (found,) = check("He is doctor.")
    assert (found.original, found.correction, found.type) == ("doctor", "a doctor", "M:DET")


def test_a_needless_word_is_shown_with_the_word_after_it() -> None:
    (found,) = check("We must to leave now.")
    assert (found.original, found.correction) == ("to leave", "leave")


def test_the_beginning_of_a_sentence_keeps_its_capital() -> None:
    assert mended("Him likes tea.") == "He likes tea."
    assert mended("Is very cold today.") == "It is very cold today."


def test_speech_without_marks_and_capitals_is_checked_too() -> None:
    assert mended("yesterday i go to the park with my friend") == "yesterday i went to the park with my friend"


def test_the_development_set_is_mended_with_hardly_a_false_alarm() -> None:
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    on_wrong = total(score(row["text"], mended(row["text"]), row["corrections"]) for row in rows)
    on_right = total(on_correct(t, mended(t)) for row in rows for t in (row["lookalike"], *row["corrections"]))
    assert on_right.wrong <= 2
    assert (on_wrong + on_right).precision >= 0.95
    assert on_wrong.recall >= 0.85


def test_harpers_rules_exist() -> None:
    assert set(HARPER_RULES) <= set(harper.Linter(harper.Dialect.AMERICAN).get_lint_descriptions())


@pytest.mark.parametrize(
    "text", ["", " ", "...", "?!", "'", "n't", "a", "I", "\n\n", "🙂 hello", "don’t", "x" * 500, "to " * 300]
)
def test_odd_texts_are_no_trouble(text: str) -> None:
    for one in check(text):
        assert text[one.start : one.end] == one.original


def test_a_giant_text_is_looked_at_up_to_a_limit() -> None:
    text = "She go home. " * 4000
    found = check(text)
    assert found
    assert max(one.end for one in found) <= MAX_CHARACTERS


VOCABULARY = """
    i he she they the a an my go goes went going to in on at since for years yesterday not don't is are was have has many much
    more taller friend book informations what where you like very much do did can should enjoy wait one of best . , ? and but
"""
WORDS = st.sampled_from(sorted(set(VOCABULARY.split())))


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=14))
def test_any_words_give_findings_in_order_that_can_all_be_applied(words: list[str]) -> None:
    text = " ".join(words)
    found = check(text)
    assert all(text[one.start : one.end] == one.original != one.correction for one in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(one.explanation and one.type for one in found)
    apply(text, found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_survived(text: str) -> None:
    assert all(text[one.start : one.end] == one.original for one in check(text))


def test_misspelt_words_are_mended_where_it_was_typed_and_grammar_sees_what_was_meant() -> None:
    text = "Yesterday I go to the restorant becouse she have a beatiful garden."
    found = check(text, spelling=True)
    assert apply(text, found) == "Yesterday I went to the restaurant because she has a beautiful garden."
    assert {one.type for one in found} >= {"R:SPELL", "R:VERB:TENSE"}
    assert all(text[one.start : one.end] == one.original for one in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert "R:SPELL" not in {one.type for one in check(text)}


def test_a_mistake_in_a_misspelt_word_is_one_finding() -> None:
    text = "She studys a lot and he buyed two brothr a present."
    assert all(text[one.start : one.end] == one.original for one in check(text, spelling=True))


@pytest.mark.parametrize(
    "text",
    [
        "My name is Xiaoming and I live in Guangzhou.",
        "my name is yuki and i come from osaka",
        "Look at www.example.com or write to me@example.org.",
        "My favourite colour is grey, and I organise my holidays online.",
        "We met at the NATO building.",
    ],
)
def test_names_addresses_and_british_spelling_are_left_alone(text: str) -> None:
    assert [one for one in check(text, spelling=True) if one.type == "R:SPELL"] == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(WORDS, st.sampled_from(["becouse", "freind", "univercity", "informations", "wich"])), max_size=10))
def test_any_misspelt_words_give_findings_at_their_places(words: list[str]) -> None:
    text = " ".join(words)
    found = check(text, spelling=True)
    assert all(text[one.start : one.end] == one.original for one in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    apply(text, found)
