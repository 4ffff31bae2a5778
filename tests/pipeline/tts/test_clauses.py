"""Where a streamed reply is cut for the voice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat.utils.text.simple_text_aggregator import SimpleTextAggregator

from pipeline.tts.clauses import ClauseAggregator, ClauseSplitter, ends_clause, ends_sentence


def by_words(text: str) -> list[str]:
    """As a model writes: a word with the space before it, punctuation as a token of its own."""
    return re.findall(r"\s?\w+|\s?[^\w\s]+|\s", text)


def split(deltas: list[str], **options: int) -> list[str]:
    splitter = ClauseSplitter(**options)
    pieces = [piece for delta in deltas for piece in splitter.feed(delta)]
    rest = splitter.flush()
    return pieces + ([rest] if rest else [])


CASES = [
    ("Hello. How are you?", ["Hello.", "How are you?"]),
    ("It costs 3.5 dollars today.", ["It costs 3.5 dollars today."]),
    ("Ask Mr. Smith or Dr. Jones. They know.", ["Ask Mr. Smith or Dr. Jones.", "They know."]),
    ("Fruit, e.g. apples. Good.", ["Fruit, e.g. apples.", "Good."]),
    ("He came at 5 p.m. He left at six.", ["He came at 5 p.m.", "He left at six."]),
    ("At 5 p.m. he came.", ["At 5 p.m. he came."]),
    ("J. K. Rowling wrote it.", ["J. K. Rowling wrote it."]),
    ("So do I. What about you?", ["So do I.", "What about you?"]),
    ("No. I do not.", ["No.", "I do not."]),
    ("Bus no. 5 is late.", ["Bus no. 5 is late."]),
    ("1. Open it. 2. Read it.", ["1. Open it.", "2. Read it."]),
    ('She said, "Go." He went.', ['She said, "Go."', "He went."]),
    ("That was it (really!). Next one.", ["That was it (really!).", "Next one."]),
    ("First line\nSecond line", ["First line", "Second line"]),
    ("We met in 2024. Then we moved.", ["We met in 2024.", "Then we moved."]),
    (
        "I was happy to meet you, my friend, and now, well, we go.",
        ["I was happy to meet you,", "my friend, and now, well, we go."],
    ),
    ("Well, I think so.", ["Well, I think so."]),
    ("In about 1,000 days, at 10:30, we go.", ["In about 1,000 days,", "at 10:30, we go."]),
    ("Is it?Yes! At a.b we stay.", ["Is it?", "Yes!", "At a.b we stay."]),
    ("今日は。元気？", ["今日は。", "元気？"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_pieces_of_a_reply(text: str, expected: list[str]) -> None:
    assert split(by_words(text)) == expected
    assert split([text]) == expected


def test_a_sentence_goes_with_its_closing_mark() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("Good") == []
    assert splitter.feed(" morning") == []
    assert splitter.feed(".") == ["Good morning."]


@pytest.mark.parametrize("start", ["It costs 3.", "Ask Mr.", "It was, e.g.", "Come at 5 p.m.", 'She said "No.', "Plan B."])
def test_a_mark_that_may_mean_something_else_waits(start: str) -> None:
    assert ClauseSplitter().feed(start) == []


def test_the_first_clause_goes_early_and_only_the_first() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("Thank you very much,") == ["Thank you very much,"]
    assert splitter.feed(" that was a good answer,") == []
    assert splitter.feed(" really.") == ["that was a good answer, really."]
    assert splitter.flush() == ""
    assert splitter.feed("Now let us talk,") == ["Now let us talk,"]


def test_what_trails_an_early_cut_is_not_spoken() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("Really?") == ["Really?"]
    assert splitter.feed("!") == []
    assert splitter.feed(" Yes.") == ["Yes."]


def test_a_text_without_marks_is_cut_at_a_space() -> None:
    pieces = split(["word " * 200], max_chars=100)
    assert all(len(p) <= 100 for p in pieces)
    assert " ".join(pieces) == " ".join(["word"] * 200)
    assert all(set(p.split()) == {"word"} for p in pieces)


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="min_first_words"):
        ClauseSplitter(min_first_words=0)


def test_words_that_end_a_sentence() -> None:
    assert ends_sentence("friend.", None) is True
    assert ends_sentence('"Go!"', None) is True
    assert ends_sentence("Mr.", "S") is False
    assert ends_sentence("etc.", None) is None
    assert ends_sentence("etc.", "T") is True
    assert ends_sentence("etc.", "t") is False
    assert ends_sentence("friend", "T") is False
    assert ends_clause("then,")
    assert not ends_clause("then.")
    assert not ends_clause("")


@given(
    st.lists(
        st.sampled_from(
            ["Mr.", "I", "am", "fine", "3.5", "etc.", "well,", "so:", "Yes!", "(no)", '"Go."', "\n", "😀", "—", "a.b"]
        )
    ),
    st.integers(1, 7),
)
def test_no_character_is_lost_or_moved(words: list[str], step: int) -> None:
    text = " ".join(words)
    deltas = [text[i : i + step] for i in range(0, len(text), step)]
    pieces = split(deltas)
    assert all(p == p.strip() and p for p in pieces)
    # Only punctuation that trails an early cut may go.
    assert re.sub(r"\W", "", "".join(pieces)) == re.sub(r"\W", "", text)


@given(st.text(max_size=400), st.integers(1, 50))
def test_any_text_is_cut_in_bounded_pieces(text: str, step: int) -> None:
    splitter = ClauseSplitter(max_chars=40)
    for i in range(0, len(text), step):
        assert all(len(p) <= 40 + 1 for p in splitter.feed(text[i : i + step]))
    splitter.flush()
    assert splitter.pending == ""


async def test_it_releases_text_before_pipecat_would() -> None:
    ours, stock = ClauseAggregator(), SimpleTextAggregator()
    sent = {"ours": 0, "stock": 0}
    for n, delta in enumerate(by_words("It is good to see you again, my friend. How was your day?"), start=1):
        for name, aggregator in (("ours", ours), ("stock", stock)):
            async for _ in aggregator.aggregate(delta):
                sent[name] = sent[name] or n
    assert 0 < sent["ours"] < sent["stock"]


async def test_the_aggregator_forgets_an_interrupted_reply() -> None:
    aggregator = ClauseAggregator()
    assert [a.text async for a in aggregator.aggregate("I was about to")] == []
    assert aggregator.text.text == "I was about to"
    await aggregator.handle_interruption()
    assert [a.text async for a in aggregator.aggregate("Yes.")] == ["Yes."]
    assert await aggregator.flush() is None
