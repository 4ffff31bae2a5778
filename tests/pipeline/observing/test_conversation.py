"""The messages of a conversation, with pipecat's own context: what is said, inserted, removed, settled and shortened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.processors.aggregators.llm_context import LLMContext

from pipeline.observing.conversation import Conversation
from pipeline.observing.reply import Reply


@dataclass
class Holder:
    context: LLMContext = field(default_factory=LLMContext)
    messages_recorded: int = 0

    def has(self, *messages: tuple[str, str]) -> bool:
        return [(m["role"], m["content"]) for m in self.context.messages] == list(messages)  # type: ignore[index]

    def add(self, role: str, content: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": role, "content": content}
        self.context.add_message(message)  # type: ignore[arg-type]
        return message


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def talk(holder: Holder) -> Conversation:
    return Conversation(holder)


def reply(talk: Conversation, text: str) -> Reply:
    return Reply(context_start=len(talk), started_at=0.0, text=text, complete=True)


def test_the_learners_messages_are_new_once(holder: Holder, talk: Conversation) -> None:
    holder.add("system", "be kind")
    said = holder.add("user", "hello")
    assert talk.take_new() == [said]
    assert talk.take_new() == []
    holder.add("assistant", "hello")
    more = holder.add("user", "i like tea")
    assert talk.take_new() == [more]
    assert talk.last_of_learner() is more


def test_what_the_record_has_already_is_not_new(holder: Holder, talk: Conversation) -> None:
    assert talk.last_of_learner() is None
    talk.add_recorded("hello")
    assert talk.take_new() == []
    assert talk.last_of_learner() == {"role": "user", "content": "hello"}


def test_what_was_written_stands_in_place_of_what_the_aggregator_gathered(holder: Holder, talk: Conversation) -> None:
    holder.add("user", "hello")
    talk.take_new()
    answer = reply(talk, "Hello, Ana! ")
    holder.add("assistant", "hello")
    holder.add("assistant", "ana")
    talk.settle(answer)
    assert holder.has(("user", "hello"), ("assistant", "Hello, Ana!"))
    talk.settle(answer)
    assert holder.has(("user", "hello"), ("assistant", "Hello, Ana!"))


def test_what_the_aggregator_adds_late_is_settled_when_it_has_passed(holder: Holder, talk: Conversation) -> None:
    answer = reply(talk, "Hello, Ana!")
    talk.settle(answer)
    talk.settle_later(answer)
    assert talk.has_unsettled
    holder.add("assistant", "hello ana")
    holder.add("user", "hi")
    talk.settle_passed()
    assert not talk.has_unsettled
    assert holder.has(("assistant", "Hello, Ana!"), ("user", "hi"))
    assert [m["content"] for m in talk.take_new()] == ["hi"]
    talk.settle_passed()
    assert len(talk) == 2


def test_a_reply_of_which_nothing_was_heard_leaves_nothing(holder: Holder, talk: Conversation) -> None:
    answer = reply(talk, "Hello, Ana!")
    holder.add("assistant", "hello")
    answer.cut(0.0)
    talk.settle(answer)
    assert holder.has()


def test_what_is_said_aside_is_no_part_of_it(holder: Holder, talk: Conversation) -> None:
    holder.add("user", "hello")
    talk.take_new()
    answer = reply(talk, "By the way.")
    answer.aside = True
    holder.add("assistant", "by the way")
    talk.settle(answer)
    assert holder.has(("user", "hello"))
    assert answer.message is None
    assert talk.take_new() == []


def test_what_was_taken_in_behind_a_reply_is_not_new_after_it(holder: Holder, talk: Conversation) -> None:
    answer = reply(talk, "Hello, Ana!")
    said = holder.add("user", "hi")
    assert talk.take_new() == [said]
    talk.settle(answer)
    assert holder.has(("assistant", "Hello, Ana!"), ("user", "hi"))
    assert talk.take_new() == []
    holder.add("user", "and you")
    assert [m["content"] for m in talk.take_new()] == ["and you"]


def test_calls_of_functions_and_their_results_outlive_a_reply(holder: Holder, talk: Conversation) -> None:
    answer = reply(talk, "Let me see.")
    calls: Any = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    holder.context.add_message(calls)
    holder.add("tool", "sunny")
    holder.add("assistant", "let me see")
    talk.settle(answer)
    assert holder.has(("assistant", "Let me see."), ("assistant", ""), ("tool", "sunny"))


def test_what_a_client_inserts_is_neither_new_nor_taken_for_the_aggregators(holder: Holder, talk: Conversation) -> None:
    holder.add("user", "hello")
    talk.take_new()
    answer = reply(talk, "Hello, Ana!")
    ours = {"role": "assistant", "content": "We have met."}
    talk.insert(1, ours, answer)
    talk.insert(0, {"role": "user", "content": "years ago"}, answer)
    assert answer.context_start == 3
    assert talk.take_new() == []
    behind = {"role": "assistant", "content": "A note."}
    talk.insert(3, behind, None)
    talk.settle(answer)
    assert holder.has(
        ("user", "years ago"),
        ("user", "hello"),
        ("assistant", "We have met."),
        ("assistant", "Hello, Ana!"),
        ("assistant", "A note."),
    )


def test_what_a_client_inserts_behind_the_tutors_first_words_is_not_new_either(holder: Holder, talk: Conversation) -> None:
    talk.settle(reply(talk, "Hello."))
    talk.insert(1, {"role": "user", "content": "[silence]"}, None)
    said = holder.add("user", "sorry")
    assert talk.take_new() == [said]


def test_a_reply_keeps_its_place_when_messages_before_it_go(holder: Holder, talk: Conversation) -> None:
    first = holder.add("user", "hello")
    holder.add("user", "are you there")
    talk.take_new()
    answer, unsettled = reply(talk, "Yes."), reply(talk, "Well.")
    talk.settle_later(unsettled)
    talk.remove(first, answer)
    assert answer.context_start == unsettled.context_start == holder.messages_recorded == 1
    assert talk.take_new() == []
    talk.remove(first, answer)
    assert answer.context_start == 1
    talk.settle(answer)
    assert holder.has(("user", "are you there"), ("assistant", "Yes."))


def test_an_equal_message_is_not_the_one_that_is_removed(holder: Holder, talk: Conversation) -> None:
    holder.add("user", "yes")
    second = holder.add("user", "yes")
    third = holder.add("user", "no")
    talk.remove(second, None)
    assert holder.context.messages[1] is third
    talk.remove({"role": "user", "content": "no"}, None)
    assert holder.has(("user", "yes"), ("user", "no"))


def test_a_reply_that_is_over_can_be_shortened_to_what_was_heard(holder: Holder, talk: Conversation) -> None:
    answer = reply(talk, "Hello, Ana! How are you?")
    talk.settle(answer)
    holder.add("user", "fine")
    talk.take_new()
    current = reply(talk, "Good.")
    talk.shorten(answer, "Hello, Ana!", current)
    assert holder.has(("assistant", "Hello, Ana!"), ("user", "fine"))
    talk.shorten(answer, "", current)
    assert holder.has(("user", "fine"))
    assert current.context_start == 1
    talk.shorten(answer, "Hello", current)
    assert holder.has(("user", "fine"))


def test_after_it_was_emptied_all_is_new(holder: Holder, talk: Conversation) -> None:
    holder.add("user", "hello")
    talk.take_new()
    talk.settle_later(reply(talk, "Hello."))
    holder.context.set_messages([])
    talk.forget()
    assert not talk.has_unsettled
    again = holder.add("user", "hello again")
    assert talk.take_new() == [again]
