"""Each measure against values computed by hand."""

from __future__ import annotations

import pytest

from agent.analysis.latency import latency
from agent.analysis.mistakes import edit_count, mistakes
from agent.analysis.rate import words_per_minute
from agent.analysis.response import response_time_s, response_times_s
from agent.analysis.scores import NOT_ENOUGH, NOT_HEARD, Speech, final_score, grammar_score, speech
from agent.analysis.talk import interruptions, learner_words, speech_s, talk_ratio, turn_count
from agent.analysis.vocabulary import vocabulary_size
from agent.analysis.words import CONFIDENT, percentile, said, tokens
from agent.record import CallRecord, Correction, Turn, TurnMetrics, Word


def spoken(
    index: int, text: str, at: float, *, s_per_word: float = 0.5, confidence: float | None = 0.9, **more: object
) -> Turn:
    """A learner's turn that starts at ``at``; its words are ``s_per_word`` long and follow each other."""
    words = [Word(w, i * s_per_word, (i + 1) * s_per_word, confidence) for i, w in enumerate(text.split())]
    return Turn(index, "learner", text, at, at + 10.0, words=words, **more)  # type: ignore[arg-type]


def tutor(index: int, text: str, at: float, until: float, *, interrupted: bool = False) -> Turn:
    words = [Word(w, i * 0.25, (i + 1) * 0.25) for i, w in enumerate(text.split())]
    return Turn(index, "tutor", text, at, until, words=words, interrupted=interrupted)


def record(*turns: Turn, metrics: list[TurnMetrics] | None = None) -> CallRecord:
    return CallRecord("s", 1000.0, "websocket", "beginner", "introductions", list(turns), metrics or [])


CALL = record(
    tutor(0, "what is your name please my friend", 1000.0, 1004.0),  # 7 words, 1.75 s
    spoken(1, "my name is lena", 1005.5, s_per_word=1.0),  # 4 s
    tutor(2, "where are you from", 1016.0, 1018.0, interrupted=True),  # 1 s
    spoken(3, "i am from spain", 1017.0, s_per_word=1.0),  # 4 s, over the tutor
    tutor(4, "nice", 1030.0, 1031.0),  # 0.25 s
    Turn(5, "learner", "I live in Madrid!", 1040.0, 1040.0, typed=True),
    tutor(6, "good", 1041.0, 1042.0),  # 0.25 s
    spoken(7, "i am a teacher", 1042.5, confidence=0.2),  # 2 s
)


def test_talk() -> None:
    assert [speech_s(t) for t in CALL.turns] == [1.75, 4.0, 1.0, 4.0, 0.25, None, 0.25, 2.0]
    # 10 s of 13.25 s.
    assert talk_ratio(CALL).value == 0.75
    assert learner_words(CALL).value == 16
    assert (turn_count(CALL, "learner").value, turn_count(CALL, "tutor").value) == (4, 4)
    assert interruptions(CALL).value == 1


def test_the_end_of_a_call_is_no_interruption() -> None:
    assert interruptions(record(tutor(0, "hello what is", 1000.0, 1001.0, interrupted=True))).value == 0


def test_speech_without_word_times_is_the_turn() -> None:
    assert speech_s(Turn(0, "learner", "hello there", 10.0, 12.5)) == 2.5
    assert speech_s(Turn(0, "learner", "hello there", 10.0, 9.0)) is None


def test_no_talk_has_no_ratio() -> None:
    assert talk_ratio(record()).value is None
    assert talk_ratio(record(tutor(0, "hello", 0.0, 1.0))).value is None


def test_the_share_of_one_who_mostly_typed_is_not_judged() -> None:
    typed = [Turn(i, "learner", "I live in Madrid!", 1040.0, 1040.0, typed=True) for i in (2, 3)]
    one_spoken = [tutor(0, "where do you live", 1000.0, 1002.0), spoken(1, "in madrid", 1003.0)]
    assert talk_ratio(record(*one_spoken, typed[0])).value is not None
    assert talk_ratio(record(*one_spoken, *typed)).value is None


def test_rate() -> None:
    # 12 words in 10 s.
    assert words_per_minute(CALL).value == 72.0
    short = words_per_minute(record(spoken(0, "yes i do", 1.0)))
    assert short.value is None
    assert "Less than 5 s" in short.source


def test_response_time() -> None:
    # 1005.5 - 1004.0; the interruption and the typed turn have none; 1042.5 - 1042.0.
    assert response_times_s(CALL) == [1.5, 0.5]
    assert response_time_s(CALL).value == 1.0
    assert response_time_s(record()).value is None


def test_vocabulary_counts_sure_words_once() -> None:
    # my name is lena i am from spain live in madrid: 11; "a teacher" was not heard well.
    assert vocabulary_size(CALL).value == 11
    assert vocabulary_size(record(spoken(0, "hm hm", 0.0, confidence=None))).value is None


def test_latency_is_over_complete_rows_only() -> None:
    rows = [TurnMetrics(i, user_stop=100.0, sent=100.0 + v) for i, v in enumerate((200, 400, 600, 800, 1000))]
    rows += [TurnMetrics(9, sent=5.0), TurnMetrics(10, user_stop=5.0, heard=9.0)]
    # Between the 4th and 5th value: 800 + 0.6 × 200.
    assert latency(record(metrics=rows)) == {"v2v_p50_ms": 600.0, "v2v_p90_ms": 920.0, "n": 5}
    assert latency(record()) == {"v2v_p50_ms": None, "v2v_p90_ms": None, "n": 0}


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.9, 3.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0], 0.25, 1.75),
        ([1.0, float("nan")], 1.0, 1.0),
    ],
)
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_words_of_a_turn() -> None:
    assert tokens("I'm here, isn’t it? – 3!") == ["i'm", "here", "isn't", "it", "3"]
    assert [w.sure for w in said(CALL.turns[5])] == [True] * 4
    at_threshold = spoken(0, "a b c d", 0.0)
    at_threshold.words = [
        Word(w, 0.0, 1.0, c) for w, c in zip("abcd", (CONFIDENT, CONFIDENT - 0.01, None, float("nan")), strict=True)
    ]
    assert [w.sure for w in said(at_threshold)] == [True, False, False, False]
    # A spoken turn without words was not heard with any confidence.
    assert [w.sure for w in said(Turn(0, "learner", "well then", 0.0, 1.0))] == [False, False]


def corrected(turn: Turn, original: str, correction: str) -> Turn:
    turn.corrections = [*turn.corrections, Correction(original, correction, "because")]
    return turn


def test_a_mistake_has_its_turn_and_time() -> None:
    turn = corrected(spoken(3, "well i am come from china", 1010.0), "I am come from China", "I come from China")
    (found,), left_out = mistakes(record(turn))
    assert left_out == 0
    assert found.to_dict() == {
        "original": "I am come from China",
        "correction": "I come from China",
        "explanation": "because",
        "turn": 3,
        "time_s": 10.5,
    }
    assert found.edits == 1


def test_a_mistake_on_words_that_were_not_heard_well_is_left_out() -> None:
    turn = corrected(spoken(1, "i am come from china", 1010.0), "I am come from China", "I come from China")
    turn.words[1] = Word("am", 0.5, 1.0, 0.3)
    assert mistakes(record(turn)) == ([], 1)
    other_words = corrected(spoken(1, "hello there", 1010.0), "goodbye", "bye")
    assert mistakes(record(other_words)) == ([], 1)
    no_confidence = corrected(spoken(1, "i am agree", 1010.0, confidence=None), "i am agree", "I agree")
    assert mistakes(record(no_confidence)) == ([], 1)


def test_a_typed_mistake_counts() -> None:
    turn = corrected(Turn(2, "learner", "I'm agree.", 1003.0, 1003.0, typed=True), "I'm agree", "I agree")
    (found,), _ = mistakes(record(turn))
    assert (found.turn, found.to_dict()["time_s"]) == (2, 3.0)


@pytest.mark.parametrize(
    ("original", "correction", "edits"),
    [("i am come", "i come", 1), ("two brother", "two brothers", 1), ("i teacher", "i am a teacher", 2), ("same", "same", 0)],
)
def test_edits(original: str, correction: str, edits: int) -> None:
    assert edit_count(original.split(), correction.split()) == edits


def test_scores() -> None:
    turns = [spoken(i, "one two three four five six seven eight nine ten", 1000.0 + 20 * i) for i in range(4)]
    corrected(turns[1], "two three", "two of three")
    corrected(turns[2], "nine ten", "ten nine")
    call = record(*turns)
    of = speech(call)
    assert of == Speech(turns=4, words=40, sure=40, typed=0)
    assert of.verdict is None
    # 1 + 2 edits in 40 words: 92.5, to even.
    assert grammar_score(of, mistakes(call)[0]) == 92
    assert grammar_score(of, []) == 100
    # 92, 45 of 60 words a minute, a quarter of the talk.
    assert final_score(92, "beginner", 45.0, 0.25) == round((92 + 75 + 50) / 3)
    assert final_score(92, "advanced", None, 0.9) == 96
    assert final_score(92, "native", 10.0, None) == 92
    assert final_score(None, "beginner", 45.0, 0.25) is None


@pytest.mark.parametrize(
    ("of", "verdict"),
    [
        (Speech(3, 25, 25, 25), None),
        (Speech(3, 24, 24, 24), NOT_ENOUGH),
        (Speech(2, 90, 90, 0), NOT_ENOUGH),
        (Speech(0, 0, 0, 0), NOT_ENOUGH),
        (Speech(9, 60, 30, 0), None),
        (Speech(9, 60, 29, 0), NOT_HEARD),
        (Speech(9, 40, 24, 0), NOT_HEARD),
    ],
)
def test_when_nothing_is_scored(of: Speech, verdict: str | None) -> None:
    assert of.verdict == verdict
    assert (grammar_score(of, []) is None) is (verdict is not None)
