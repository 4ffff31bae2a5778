import pytest

from pipeline.stt.pronounce import pronounce, tokens

KNOWN = {
    "go": "G OW", "make": "M EY K", "stop": "S T AA P", "try": "T R AY", "want": "W AA N T", "child": "CH AY L D",
    "bus": "B AH S", "ice": "AY S", "cream": "K R IY M", "sing": "S IH NG",
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("go", "G OW"),
        ("goed", "G OW D"),
        ("maked", "M EY K T"),
        ("stopped", "S T AA P T"),
        ("tried", "T R AY D"),
        ("wanted", "W AA N T IH D"),
        ("childs", "CH AY L D Z"),
        ("buses", "B AH S IH Z"),
        ("makeing", "M EY K IH NG"),
        ("singer", "S IH NG ER"),
        ("icecream", "AY S K R IY M"),
        ("parley", "P AA R L IY"),
    ],
)
def test_a_word_sounds_like_its_parts(word: str, phones: str) -> None:
    assert pronounce(word, KNOWN.get) == phones


@pytest.mark.parametrize("word", ["", "25", "b2b", "naïve", "日本", "a" * 25])
def test_a_spelling_that_says_nothing_has_no_sound(word: str) -> None:
    assert pronounce(word, KNOWN.get) is None


def test_a_reply_becomes_the_words_that_the_dictionary_spells() -> None:
    assert tokens("I don’t know – it's 'well-known', isn't it?") == [
        "i",
        "don't",
        "know",
        "it's",
        "well",
        "known",
        "isn't",
        "it",
    ]
    assert tokens(" ... ") == []
