"""The normal form of a learner's words, and the patterns that lessons are written in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.lessons.heard import Heard, normal
from agent.lessons.patterns import Pattern, PatternError, SlotValues, expand_all, with_article

SLOTS = {
    "place": SlotValues(("China", "the United States", "New York"), free_words=2, proper=True),
    "job": SlotValues(("teacher", "engineer", "shop assistant"), free_words=2),
    "number": SlotValues(("two", "three")),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm from China.", "i am from china"),
        ("I’m fine, don't worry!", "i am fine do not worry"),
        ("um I can't, uh, cannot", "i can not can not"),
        ("my name's Li; my brother's name", "my name is li my brother's name"),
        ("I have 2 brothers and 100 friends", "i have two brothers and 100 friends"),
        ("Um... uh?", ""),
        ("José 我 ok", "josé 我 okay"),
        ("", ""),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal(text) == expected


@given(st.text(max_size=200), st.integers(0, 250), st.integers(0, 250))
def test_a_quotation_is_the_learners_own_text(text: str, a: int, b: int) -> None:
    heard = Heard.of(text)
    assert heard.line == "".join(word + " " for word in heard.words)
    assert heard.quote(a, b) in text


def test_a_quotation_covers_whole_words_as_they_were_said() -> None:
    heard = Heard.of("Well, I'm  coming from China!")
    start = heard.line.index("am")
    assert heard.quote(start, start + len("am coming ")) == "I'm  coming"
    assert heard.quote(start, len(heard.line)) == "I'm  coming from China"


@pytest.mark.parametrize(
    ("pattern", "text", "slots"),
    [
        ("i am from {place}", "um well I'm from China and I like it", {"place": "china"}),
        ("i'm from {place}", "I am from the United States", {"place": "the united states"}),
        ("i am from {place}", "I am from lower saxony in the north", {"place": "lower saxony"}),
        ("i am from {place}", "I am from", None),
        ("i am from {known place}", "I am from Saxony", None),
        ("i am {a job}", "I am an engineer", {"job": "engineer"}),
        ("i am {a job}", "I am engineer", None),
        ("i have {number} (brothers|sisters)", "I have 3 sisters", {"number": "three"}),
        ("i have {number} brother", "I have two brothers", None),
        ("i have [only] {number} brothers", "I have only two brothers", {"number": "two"}),
        ("i * like it", "I really do like it", {}),
        ("{place}", "Well, China please", {"place": "china"}),
        ("{place}", "I do not like China", None),
        ("{job}", "some other words", None),
        ("{place}", "some other", {"place": "some other"}),
        ("live", "alive", None),
        ("^ i go to {place}", "Yes, and I go to China", {"place": "china"}),
        ("^ i go to {place}", "Did I go to China?", None),
        ("i am {job} $", "I am teacher, please", {"job": "teacher"}),
        ("i am {known job} $", "I am teacher training assistant", None),
        ("^ {number} brother $", "two brother", {"number": "two"}),
        ("i'm {written place}", "I'm china", {"place": "china"}),
        ("i'm {written place}", "I'm Ahmed Said, hello", {"place": "ahmed said"}),
        ("i'm {written place}", "I'm agree", None),
        ("since {number} years !(ago|of)", "since three years", {"number": "three"}),
        ("since {number} years !(ago|of)", "since three years ago", None),
        ("since {number} years !(ago|of)", "since three years agony", {"number": "three"}),
    ],
)
def test_matching(pattern: str, text: str, slots: dict[str, str] | None) -> None:
    found = Pattern(pattern, SLOTS).match(Heard.of(text))
    assert (dict(found.slots) if found else None) == slots


def test_a_whole_pattern_must_be_everything_but_courtesies() -> None:
    pattern = Pattern("(say|repeat) it", {}, whole=True)
    assert pattern.match(Heard.of("okay please say it please"))
    assert not pattern.match(Heard.of("they say it is good"))


def test_expansion_is_every_sentence_in_the_order_of_the_values() -> None:
    pattern = Pattern("i'm [only] {a job}", SLOTS)
    assert pattern.expand(100) == [
        "i'm a teacher",
        "i'm an engineer",
        "i'm a shop assistant",
        "i'm only a teacher",
        "i'm only an engineer",
        "i'm only a shop assistant",
    ]
    assert pattern.expand(2) == ["i'm a teacher", "i'm an engineer"]
    assert Pattern("(yes|no [not] now) *", {}).expand(9) == ["yes", "no now", "no not now"]


def test_what_must_not_follow_is_neither_said_nor_quoted() -> None:
    pattern = Pattern("i work since {number} years !(ago|of)", SLOTS)
    assert pattern.expand(2) == ["i work since two years", "i work since three years"]
    heard = Heard.of("Well, I work since 2 years here")
    found = pattern.match(heard)
    assert found is not None
    assert heard.quote(found.start, found.end) == "I work since 2 years"


def test_bounded_expansion_takes_from_each_pattern() -> None:
    patterns = [Pattern("a {number}", SLOTS), Pattern("b {job}", SLOTS), Pattern("c", SLOTS)]
    assert expand_all(patterns, 4) == ["a two", "b teacher", "c", "a three"]


def test_every_expansion_matches_its_pattern() -> None:
    for source in ("i am from {place}", "i'm [only] {a job}", "(yes|no) i (don't|do) [like it]", "{known place}"):
        pattern = Pattern(source, SLOTS)
        for sentence in pattern.expand(100):
            assert pattern.match(Heard.of(sentence)), sentence


def test_a_quotation_leaves_out_what_stands_before_the_pattern() -> None:
    heard = Heard.of("Well, yes, I am teacher, please!")
    found = Pattern("^ i am {known job} $", SLOTS).match(heard)
    assert found is not None
    assert heard.quote(found.start, found.end) == "I am teacher"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from {town}", "unknown slot 'town', allowed: job, number, place"),
        ("{place} and {place}", "only once"),
        ("(a|b", r"'\)' is missing"),
        ("a ^ b", "'\\^' stands first and '\\$' stands last"),
        ("$ a", "'\\^' stands first and '\\$' stands last"),
        ("a ] b", "']' out of place"),
        ("a | b", r"'\|' out of place"),
        ("from {Place", "cannot read ' {Place'"),
        ("  ", "must say something"),
        ("!(a)", "must say something"),
        ("a !(b", r"'\)' is missing"),
        ("a !({place})", r"no slot may stand in !\(…\)"),
    ],
)
def test_a_broken_pattern_says_what_is_wrong(source: str, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        Pattern(source, SLOTS)


@pytest.mark.parametrize(
    ("noun", "expected"), [("teacher", "a"), ("engineer", "an"), ("university teacher", "a"), ("honest man", "an")]
)
def test_articles(noun: str, expected: str) -> None:
    assert with_article(noun) == f"{expected} {noun}"
