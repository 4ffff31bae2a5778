from __future__ import annotations

from engines.kyutai.text import WordEnded, WordHeard, WordReader

PIECES = {4: "▁good", 5: "▁mor", 6: "ning", 7: "▁"}


def decode(tokens: list[int]) -> str:
    return "".join(PIECES[token] for token in tokens).replace("▁", " ")


def read(reader: WordReader, tokens: list[int], first: int = 0) -> list[WordHeard | WordEnded]:
    return [told for at, token in enumerate(tokens, first) for told in reader.token(token, at)]


def test_words_begin_and_end_where_the_model_says() -> None:
    told = read(WordReader(decode), [3, 0, 4, 3, 0, 5, 6, 0, 3, 0])
    assert told == [
        WordHeard("good", 0.16),
        WordEnded(0.4),
        WordHeard("morning", 0.4),
        WordEnded(0.64),
    ]


def test_a_word_is_told_once_padding_follows_and_ended_later() -> None:
    reader = WordReader(decode)
    assert read(reader, [0, 5, 6]) == []
    assert reader.token(3, 3) == [WordHeard("morning", 0.08)]
    assert reader.token(3, 4) == []
    assert reader.token(0, 5) == [WordEnded(0.48)]


def test_what_stands_for_no_text_is_no_word() -> None:
    assert read(WordReader(decode), [0, 1, 2, 3, 0, 7, 3, 0]) == []


def test_a_branch_reads_on_without_its_root() -> None:
    reader = WordReader(decode)
    read(reader, [0, 5])
    branch = reader.branch()
    assert read(branch, [6, 0], 2) == [WordHeard("morning", 0.08), WordEnded(0.32)]
    assert read(reader, [3], 2) == [WordHeard("mor", 0.08)], "the branch took tokens of its root"


def test_the_rest_is_told_where_nothing_follows() -> None:
    reader = WordReader(decode)
    read(reader, [0, 4])
    assert reader.rest() == [WordHeard("good", 0.08)]
    assert reader.rest() == []
