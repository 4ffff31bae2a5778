"""What of a long conversation is kept word for word, and when notes are asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.memory import KEEP_MESSAGES, MESSAGE_TOKENS, Memory
from agent.tutor import Message

ROOM = 600


def talk(turns: int, chars: int = 60) -> list[Message]:
    """A greeting, then ``turns`` of the learner with their answers but for the last, all different."""
    messages: list[Message] = [{"role": "assistant", "content": f"greeting {'g' * chars}"}]
    for i in range(turns):
        messages.append({"role": "user", "content": f"{i} said {'u' * chars}"})
        messages.append({"role": "assistant", "content": f"{i} answered {'a' * chars}"})
    return messages[:-1]


def cost(memory: Memory, messages: object) -> int:
    return sum(memory.tokens(m["content"]) + MESSAGE_TOKENS for m in messages)  # type: ignore[attr-defined]


def test_short_conversation_is_sent_as_it_is() -> None:
    said = talk(3)
    plan = Memory().plan(said, ROOM)
    assert list(plan.send) == said
    assert not plan.summarise
    assert plan.notes == ""


def test_notes_are_asked_for_before_anything_is_left_out() -> None:
    memory = Memory()
    asked = next(n for n in range(1, 50) if memory.plan(talk(n), ROOM).summarise)
    plan = memory.plan(talk(asked), ROOM)
    assert list(plan.send) == talk(asked)
    assert plan.summarise[0] == talk(asked)[0]
    kept = talk(asked)[plan.until :]
    assert kept[0]["role"] == "user"
    assert len(kept) >= KEEP_MESSAGES


def test_notes_take_the_place_of_what_they_are_of() -> None:
    memory, said = Memory(), talk(8)
    plan = memory.plan(said, ROOM)
    memory.summarised(said, plan, " Notes. ")
    after = memory.plan(talk(9), ROOM)
    assert after.notes == "Notes."
    assert list(after.send) == talk(9)[plan.until :]
    assert not after.summarise


def test_later_notes_begin_where_the_first_ended() -> None:
    memory, first = Memory(), talk(8)
    memory.summarised(first, until := memory.plan(first, ROOM), "One.")
    turns = next(n for n in range(9, 60) if memory.plan(talk(n), ROOM).summarise)
    plan = memory.plan(talk(turns), ROOM)
    assert plan.summarise[0] == talk(turns)[until.until]
    assert plan.notes == "One."


def test_oldest_turns_go_where_no_notes_have_come() -> None:
    memory, said = Memory(), talk(40)
    plan = memory.plan(said, ROOM)
    assert 1 < len(plan.send) < len(said)
    assert list(plan.send) == said[-len(plan.send) :]
    assert cost(memory, plan.send) <= ROOM
    assert cost(memory, said[-len(plan.send) - 1 :]) > ROOM, "no more than must"
    assert cost(memory, plan.summarise) <= ROOM, "notes are asked for of what can be read at once"


def test_another_conversation_has_no_notes() -> None:
    memory, said = Memory(), talk(8)
    memory.summarised(said, memory.plan(said, ROOM), "Notes.")
    plan = memory.plan([{"role": "assistant", "content": "Hello anew"}], ROOM)
    assert plan.notes == ""
    assert len(plan.send) == 1


def test_one_endless_turn_is_cut() -> None:
    memory = Memory()
    plan = memory.plan([{"role": "user", "content": "x" * 100_000}], ROOM)
    assert len(plan.send) == 1
    assert 0 < len(plan.send[0]["content"]) <= ROOM * 3


def test_measure_of_tokens_follows_what_the_model_says() -> None:
    memory = Memory()
    before = memory.tokens("a" * 900)
    memory.measured(4000, 1000)
    assert memory.tokens("a" * 900) < before
    memory.measured(4000, 4000)
    assert memory.tokens("a" * 900) > before


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3000)), max_size=60), st.integers(200, 4000))
def test_what_is_sent_fits_and_is_the_newest(lengths: list[tuple[bool, int]], room: int) -> None:
    said: list[Message] = [{"role": "user" if u else "assistant", "content": "x" * n} for u, n in lengths]
    memory = Memory()
    plan = memory.plan(said, room)
    assert cost(memory, plan.send) <= room + MESSAGE_TOKENS + 1
    assert len(plan.send) >= min(1, len(said))
    if len(plan.send) > 1:
        assert list(plan.send) == said[len(said) - len(plan.send) :]
    assert list(plan.summarise) == said[: plan.until]
    assert plan.until < max(1, len(said))
