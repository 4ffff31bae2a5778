"""What is said for what is written, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.tts.normalise import MAX_WORD_CHARS, Normaliser, Unit, spoken


def units(*pieces: str) -> list[Unit]:
    normaliser = Normaliser()
    return [unit for piece in pieces for unit in normaliser.feed(piece)] + normaliser.flush()


def written(text: str) -> list[str]:
    return [word for unit in units(text) for word in unit.written]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Markdown
        ("**Great** job, you *really* did `well`.", "Great job, you really did well."),
        ("# Title\n- apples\n- pears\n\nThat is all.", "Title, apples, pears, That is all."),
        ("> quoted\n\n---\n\n***", "quoted,"),
        ("1. Open it.\n2) Read it.", "one. Open it. two Read it."),
        ("See [the BBC](https://www.bbc.co.uk/news) now.", "See the BBC now."),
        ("![a cat](cat.png) and <b>bold</b>, ~~gone~~.", "a cat and bold, gone."),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b one two"),
        ("```python\nhello\n```", "hello,"),
        (r"\*not bold\*", "not bold"),
        ("<em>Hello</em>, <br/>you <i>there</i>", "Hello, you there"),
        ("I ___ to school. Fill in: ____.", "I blank to school. Fill in: blank."),
        # Emoji
        ("Well done! 😀 Good😀. 👍🏽 Go on 👩‍🏫", "Well done! Good. Go on"),
        ("3️⃣ cats 🇬🇧", "three cats"),
        # Addresses
        ("Write to jo.smith@example.co.uk!", "Write to jo dot smith at example dot co dot uk!"),
        ("See https://www.example.com/a-b/c?x=1.", "See example dot com slash a dash b slash c."),
        ("Go to example.com, please.", "Go to example dot com, please."),
        # Numbers
        ("I have 3.5, 1,000 and 21.", "I have three point five, one thousand and twenty-one."),
        ("In 1999, 2005 and 2024.", "In nineteen ninety-nine, two thousand and five and twenty twenty-four."),
        ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
        ("My 1st, 22nd and 3rd", "My first, twenty-second and third"),
        ("$3.50, £1 and €0.99", "three dollars and fifty cents, one pound and ninety-nine cents"),
        ("20€ or ¥500", "twenty euros or five hundred yen"),
        ("$5 million or $2.5bn", "five million dollars or two point five billion dollars"),
        ("$5 millionaires", "five dollars millionaires"),
        ("50% or 12.5 % off", "fifty percent or twelve point five percent off"),
        ("At 10:30, 10:05 or 7:00.", "At ten thirty, ten oh five or seven o'clock."),
        ("At 10:00 a.m. or 5pm.", "At ten a.m. or five p.m."),
        ("14:00 and 3:1", "fourteen hundred and three to one"),
        ("On 5 May or May 5, 2024", "On the fifth of May or May fifth, twenty twenty-four"),
        ("2024-05-12", "May twelfth twenty twenty-four"),
        ("5 kg, 1 km and 20 °C", "five kilograms, one kilometer and twenty degrees Celsius"),
        ("70mph on 3 m²", "seventy miles per hour on three square meters"),
        ("1/2, 3/4 and 2½", "one half, three quarters and two and one half"),
        ("-5°C and −3", "minus five degrees Celsius and minus three"),
        ("2 + 2 = 4; 5 - 3 = 2", "two plus two equals four; five minus three equals two"),
        ("Your level is B2, on page 10-12.", "Your level is B two, on page ten to twelve."),
        ("Call 555-1234 or 007.", "Call five five five one two three four or zero zero seven."),
        # Short forms
        ("Dr. Smith vs. Mr Jones, e.g. today, i.e. now.", "Doctor Smith versus Mister Jones, for example today, that is now."),
        ("Apples, pears, etc. are fruit. And so on, etc.", "Apples, pears, et cetera are fruit. And so on, et cetera."),
        ("No. 5 is fine. No. I mean it.", "number five is fine. No. I mean it."),
        ("St. Paul lives in Main St. now.", "Saint Paul lives in Main Street now."),
        ("he/she and R&B", "he or she and R and B"),
        ("a 20-year-old, a 3rd-grade pupil and COVID\u201119", "a twenty year old, a third grade pupil and COVID nineteen"),
        ("70 km/h, 5 kg/l and 20/20 <3", "seventy kilometers per hour, five kg per l and twenty twenty"),
        # What needs nothing
        ("Привет! 你好。 مرحبا", "Привет! 你好。 مرحبا"),
        ("Well-known, isn't it? “Yes,” he said (loudly)…", "Well-known, isn't it? “Yes,” he said (loudly)…"),
        ("", ""),
        (" \n ", ""),
        ("😀 ... ---", ""),
    ],
)  # fmt: skip
def test_what_is_said(text: str, said: str) -> None:
    assert spoken(text) == said
    assert written(text) == text.split()


def test_the_map_from_written_to_spoken() -> None:
    assert units("It costs $5 million 😀 now.") == [
        Unit(("It",), ("It",)),
        Unit(("costs",), ("costs",)),
        Unit(("$5", "million"), ("five", "million", "dollars")),
        Unit(("😀",), ()),
        Unit(("now.",), ("now.",)),
    ]


@pytest.mark.parametrize(
    ("pieces", "ready"),
    [
        # A word is ready at the space behind it ...
        (["Hello"], []),
        (["Hello", " "], ["Hello"]),
        (["Hello", " w"], ["Hello"]),
        # ... also a number, which a point could still have changed before.
        (["3"], []),
        (["3", ".5"], []),
        (["3", ".5", " "], ["three", "point", "five"]),
        # What the next word may change waits for as long as it may.
        (["$5 "], []),
        (["$5 ", "mil"], []),
        (["$5 ", "mile"], ["five", "dollars"]),
        (["No. "], []),
        (["No. ", "I"], ["No."]),
        (["10:00 "], []),
        (["10:00 ", "s"], ["ten", "o'clock"]),
        # At the end of a line nothing can.
        (["$5\n"], ["five", "dollars,"]),
    ],
)
def test_nothing_is_held_back_for_longer_than_it_may_change(pieces: list[str], ready: list[str]) -> None:
    normaliser = Normaliser()
    out = [unit for piece in pieces for unit in normaliser.feed(piece)]
    assert [word for unit in out for word in unit.spoken] == ready


def test_a_run_without_spaces_does_not_wait_for_its_end() -> None:
    normaliser = Normaliser()
    assert sum(len(u.written[0]) for u in normaliser.feed("字" * 200)) == 2 * MAX_WORD_CHARS
    assert [u.spoken for u in Normaliser().feed("你好，世界。")] == [("你好，",), ("世界。",)]


def test_a_new_reply_begins_anew() -> None:
    normaliser = Normaliser()
    assert normaliser.feed("5") == []
    assert normaliser.flush() == [Unit(("5",), ("five",))]
    # "km" behind the number of another reply is no unit, and a list may begin.
    assert normaliser.feed("km ") == [Unit(("km",), ("km",))]
    assert normaliser.flush() == []
    assert normaliser.feed("- a ") == [Unit(("-",), ()), Unit(("a",), ("a",))]


SNIPPETS = [
    *["Hello", "word", "3", "3.5", "$5", "million", "$3.50", "No.", "etc.", "e.g.", "Dr.", "St.", "Paul", "10:00", "a.m."],
    *["pm", "5", "km", "kg", "%", "May", "Jan.", "1999", "-", "–", "—", "**bold**", "*a", "b*", "`code`", "```", "#", "1."],
    *["2)", "[link](http://a.de)", "https://b.co/x", "a@b.com", "😀", "👍🏽", "___", "(so)", '"quoted"', "“q”", "it's", "1/2"],
    *["+", "=", "&", "|", "<b>", "'90s", "B2", "...", "?!", "你好。", "مرحبا", "\u200b", "\\*", "~5", "x²", "R&B", "€", "50%"],
    *["1st", "!", ",", "_x_", "U.S.A.", "±3", "§5"],
]
GAPS = [" ", "  ", "\n", "\n\n", "\t", "", "\r\n", "\u00a0"]
TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(SNIPPETS), st.sampled_from(GAPS)), max_size=12).map(
        lambda parts: "".join(a + b for a, b in parts)
    ),
    st.text(max_size=60),
)


@given(text=TEXTS, data=st.data())
def test_any_chunking_gives_the_same(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert units(*pieces) == units(text) == units(*text)


@given(text=TEXTS)
@example("±0")
def test_every_written_word_is_in_the_map_and_every_spoken_one_is_a_word(text: str) -> None:
    assert "".join(written(text)) == "".join(text.split())
    for unit in units(text):
        assert unit.written
        for word in unit.spoken:
            assert word
            assert word.split() == [word]


WORDS = st.text(alphabet=st.characters(categories=["Lu", "Ll"]), min_size=1, max_size=12)


@given(
    words=st.lists(WORDS, min_size=1, max_size=15),
    marks=st.lists(st.sampled_from(["", ",", ".", "?", "!", ";", "…"]), min_size=15),
)
def test_no_word_of_letters_is_lost(words: list[str], marks: list[str]) -> None:
    """Whatever stands around them: each is said, as it is or as what it is short for."""
    for unit in units(" ".join(w + m for w, m in zip(words, marks, strict=False))):
        assert unit.spoken


PLAIN = st.from_regex(r"[A-Za-z][a-z']{2,9}[a-z](-[a-z]{3,8})?[,;?!]?", fullmatch=True)


@given(words=st.lists(PLAIN, min_size=1, max_size=20))
def test_plain_prose_is_left_alone(words: list[str]) -> None:
    text = " ".join(words)
    assert spoken(text) == text


@given(parts=st.lists(st.sampled_from(SNIPPETS), max_size=10))
def test_what_was_made_ready_once_stays_as_it_is(parts: list[str]) -> None:
    once = spoken(" ".join(parts))
    assert spoken(once) == once
