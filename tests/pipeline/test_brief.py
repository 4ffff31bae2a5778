"""What a model is given that is no tutor."""

from __future__ import annotations

from typing import Any

from pipeline.brief import BEGIN, UNHEARD, FunctionCall, briefed_messages, calls_message

CALL = FunctionCall("call_1", "get_weather", '{"city": "Lisbon"}')
OUTPUT = {"role": "tool", "tool_call_id": "call_1", "content": "clear"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_an_empty_conversation_begins() -> None:
    assert briefed_messages("Be kind", [], 1_000) == [{"role": "system", "content": "Be kind"}, user(BEGIN)]


def test_speech_that_was_not_understood_is_said_to_be_that() -> None:
    assert briefed_messages("", [user("")], 1_000)[1:] == [user(UNHEARD)]


def test_words_and_the_calls_behind_them_are_one_message() -> None:
    said = [user("weather?"), assistant("Let me see."), calls_message([CALL]), OUTPUT, assistant("It is clear.")]
    messages = briefed_messages("", said, 1_000)[1:]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] == "Let me see."
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == CALL.arguments


def test_an_output_stands_behind_its_call_and_a_call_without_one_is_left_out() -> None:
    said = [calls_message([CALL]), user("hello?"), OUTPUT]
    assert [m["role"] for m in briefed_messages("", said, 1_000)[1:]] == ["assistant", "tool", "user"]
    unanswered = [assistant("Wait."), calls_message([CALL]), user("hello?")]
    assert briefed_messages("", unanswered, 1_000)[1:] == [assistant("Wait."), user("hello?")]


def test_the_oldest_are_left_out_and_never_an_output_without_its_call() -> None:
    said = [user("x" * 100), calls_message([CALL]), OUTPUT, user("now")]
    kept = briefed_messages("", said, 20)[1:]
    assert kept == [user("now")]
    assert len(briefed_messages("", said, 10_000)[1:]) == 4


def test_the_conversation_itself_is_not_changed() -> None:
    said = [assistant("One."), assistant("Two.")]
    assert briefed_messages("", said, 1_000)[1] == assistant("One. Two.")
    assert said == [assistant("One."), assistant("Two.")]
