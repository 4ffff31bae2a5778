"""From messages to exchanges."""

from __future__ import annotations

from typing import Any

from web.talk.conversation import SILENT_END_S, Conversation


def follow(*messages: dict[str, Any], spoke: bool = True) -> Conversation:
    talk = Conversation(lambda begun_at: begun_at * 10)
    talk.learner_spoke = spoke
    for at, message in enumerate(messages, start=1):
        talk.take(message, float(at))
    return talk


def final(text: str) -> dict[str, Any]:
    return {"type": "transcript", "text": text, "is_final": True}


def says(text: str, *, complete: bool = True) -> dict[str, Any]:
    return {"type": "ai_text", "text": text, "is_complete": complete}


DONE = {"type": "turn_complete"}


def test_a_plain_exchange() -> None:
    talk = follow(
        {"type": "connected", "session_id": "s1"},
        {"type": "transcript", "text": "hel", "is_final": False},
        final("hello"),
        says("Good ", complete=False),
        {"type": "ai_audio_start", "sample_rate": 24000},
        says("day.", complete=False),
        says("Good day."),
        DONE,
    )
    assert talk.session_id == "s1"
    assert [e.to_dict() for e in talk.exchanges] == [
        {"user": "hello", "tutor": "Good day.", "v2v_ms": 40.0, "interrupted": False}
    ]


def test_deltas_stand_where_the_full_text_never_came() -> None:
    talk = follow(final("hello"), says("Good ", complete=False), says("day.", complete=False), DONE)
    assert talk.exchanges[0].tutor == "Good day."


def test_the_opening_is_no_exchange() -> None:
    talk = follow(says("Welcome."), DONE, spoke=False)
    assert talk.exchanges == []
    assert talk.finished_at == 2.0


def test_two_finals_of_one_turn_are_joined() -> None:
    talk = follow(final("I go"), final("to school"), says("Nice."), DONE)
    assert talk.exchanges[0].user == "I go to school"


def test_an_interrupted_answer_is_what_was_heard() -> None:
    talk = follow(
        final("hello"),
        says("Let me tell you a long story."),
        {"type": "interrupted", "text": "Let me tell"},
        says("Let me tell you a long story."),
        DONE,
        final("stop"),
        says("All right."),
        DONE,
    )
    assert [(e.user, e.tutor, e.interrupted) for e in talk.exchanges] == [
        ("hello", "Let me tell", True),
        ("stop", "All right.", False),
    ]


def test_an_interruption_without_a_turn_complete_ends_with_the_next_words() -> None:
    talk = follow(final("hello"), says("A story."), {"type": "interrupted", "text": "A"}, final("stop"), says("Yes."), DONE)
    assert [(e.user, e.tutor) for e in talk.exchanges] == [("hello", "A"), ("stop", "Yes.")]


def test_a_late_final_belongs_to_the_answer_that_it_caused() -> None:
    talk = follow(says("Nice."), final("hello"), DONE)
    assert talk.exchanges[0].user == "hello"
    assert not talk.owed


def test_an_answer_that_is_owed() -> None:
    assert follow(final("hello")).owed
    assert not follow(final("  ")).owed
    assert not follow(final("hello"), says("x", complete=False)).owed


def test_a_server_that_never_says_that_a_turn_is_over() -> None:
    talk = follow(final("hello"), says("Good day."))
    talk.tick(2.0 + SILENT_END_S, last_voiced=4.0)
    assert talk.answering
    talk.tick(4.1 + SILENT_END_S, last_voiced=4.0)
    assert [e.tutor for e in talk.exchanges] == ["Good day."]


def test_the_report_ends_everything() -> None:
    talk = follow(final("hello"), says("Bye."), {"type": "analysis", "data": {"final_score": 7}})
    assert talk.report == {"final_score": 7}
    assert not talk.answering


def test_odd_messages_do_no_harm() -> None:
    talk = follow({}, {"type": 5}, {"type": "word"}, {"type": "ai_text"}, {"type": "transcript"}, {"type": "error"}, DONE)
    assert talk.errors == ["unknown error"]
