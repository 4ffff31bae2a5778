"""What of a reply was heard when it was cut."""

from hypothesis import given
from hypothesis import strategies as st

from agent.record import Word
from pipeline.turns.heard import heard_text, words_heard

TEXT = "Nice to meet you, Ana. Where do you live?"


def spread(text: str, word_s: float = 0.4, gap_s: float = 0.1) -> list[Word]:
    return [Word(t, i * (word_s + gap_s), i * (word_s + gap_s) + word_s) for i, t in enumerate(text.split())]


def test_a_word_counts_from_its_middle_on():
    words = spread(TEXT)
    assert words_heard(words, 0.19) == 0
    assert words_heard(words, 0.2) == 1
    assert words_heard(words, 0.69) == 1
    assert words_heard(words, 0.7) == 2


def test_text_is_cut_after_the_last_heard_word_with_its_punctuation():
    assert heard_text(TEXT, spread(TEXT), 1.75) == "Nice to meet you,"


def test_nothing_heard_is_nothing_said():
    assert heard_text(TEXT, spread(TEXT), 0.0) == ""
    assert heard_text("", [], 3.0) == ""


def test_all_heard_is_all_said_even_if_the_voice_said_more_words_than_written():
    spoken = spread("it costs three point five dollars")
    assert heard_text("It costs 3.5 dollars", spoken, 10.0) == "It costs 3.5 dollars"
    assert heard_text("It costs 3.5 dollars", spoken, spoken[1].end_s) == "It"


def test_words_of_the_first_sentence_do_not_claim_the_second():
    known = spread("Nice to meet you, Ana.")
    assert heard_text(TEXT, known, 100.0) == "Nice to meet you, Ana."


def test_without_word_times_the_share_of_the_audio_decides():
    assert heard_text("one two three four", [], 1.0, total_s=2.0) == "one two"
    assert heard_text("one two three four", [], 1.0) == ""


@given(
    st.lists(st.text(alphabet="abcdefg", min_size=1, max_size=8), min_size=1, max_size=30),
    st.floats(0, 30),
    st.floats(0, 30),
)
def test_more_audio_never_means_fewer_words_and_it_is_always_a_beginning_of_the_text(tokens, a, b):
    text = " ".join(tokens)
    first, second = sorted((a, b))
    less, more = heard_text(text, spread(text), first), heard_text(text, spread(text), second)
    assert more.startswith(less)
    assert text.startswith(more)
