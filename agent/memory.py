"""What of a long conversation a language model is given, so that it fits into what the model can look back on. Pure.

Old turns are replaced by notes. The notes are asked for when the conversation has filled a good part of the room, long before
it is full, and whoever asks for them need not wait: until they are there, the conversation is sent as it is, and only if it
no longer fits are its oldest turns left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.tutor import Message

BEGIN_SHARE = 0.7
"""Share of the room whose filling asks for notes ..."""
KEEP_SHARE = 0.35
"""... and the share that the newest turns may keep of it, word for word."""
KEEP_MESSAGES = 4
MESSAGE_TOKENS = 12
"""What a message costs besides its text: the marks of the chat template and of the prompts."""
CHARS_PER_TOKEN = 3.0
"""Characters of a token of English, at the careful end; measured once the model has told (``Memory.measured``)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and what to ask for.

    ``send`` are the newest messages, word for word, after ``notes``. ``summarise`` are the messages that new notes are wanted
    of, ``until`` the place in the conversation up to which these notes will then reach; empty where none are wanted.
    """

    send: tuple[Message, ...]
    notes: str
    summarise: tuple[Message, ...] = ()
    until: int = 0


class Memory:
    """The notes of one conversation."""

    def __init__(self) -> None:
        self._notes = ""
        self._covered: tuple[tuple[str, str], ...] = ()
        self._chars_per_token = CHARS_PER_TOKEN

    def measured(self, chars: int, tokens: int) -> None:
        """A prompt of ``chars`` characters had ``tokens`` tokens."""
        if chars > 500 and tokens > 0:
            self._chars_per_token = min(CHARS_PER_TOKEN * 2, max(1.0, 0.95 * chars / tokens))

    def tokens(self, text: str) -> int:
        """About how many tokens ``text`` has, rather too many."""
        return int(len(text) / self._chars_per_token) + 1

    def plan(self, conversation: Sequence[Message], room_tokens: int) -> Plan:
        """What to send of ``conversation``, of which ``room_tokens`` may be used."""
        if self._covered and _keys(conversation[: len(self._covered)]) != self._covered:
            # Another conversation: the lesson was begun again.
            self._notes, self._covered = "", ()
        done = len(self._covered)
        costs = [self._cost(m) for m in conversation]
        room = max(0, room_tokens - self._cost({"role": "user", "content": self._notes}) * bool(self._notes))
        until = self._until(conversation, costs, room) if sum(costs[done:]) > BEGIN_SHARE * room else done
        return Plan(self._fitting(conversation, costs, done, room), self._notes, tuple(conversation[done:until]), until)

    def summarised(self, conversation: Sequence[Message], plan: Plan, notes: str) -> None:
        """``notes`` now stand for ``conversation`` up to ``plan.until``, those of before included."""
        self._notes, self._covered = notes.strip(), _keys(conversation[: plan.until])

    def _cost(self, message: Message) -> int:
        return self.tokens(message["content"]) + MESSAGE_TOKENS

    def _until(self, conversation: Sequence[Message], costs: Sequence[int], room: int) -> int:
        """Up to where notes are wanted: all but the newest messages, and no more than can be read at once."""
        done, until = len(self._covered), len(conversation)
        while until > done and (sum(costs[until - 1 :]) <= KEEP_SHARE * room or len(conversation) - until < KEEP_MESSAGES):
            until -= 1
        while until > done and sum(costs[done:until]) > room:
            until -= 1
        # What stays begins with the learner, so that no answer stands without what it answers.
        while until > done and conversation[until]["role"] != "user":
            until -= 1
        return until

    def _fitting(self, conversation: Sequence[Message], costs: Sequence[int], done: int, room: int) -> tuple[Message, ...]:
        first = done
        while first < len(conversation) - 1 and sum(costs[first:]) > room:
            first += 1
        kept = list(conversation[first:])
        if len(kept) == 1 and costs[-1] > room:
            kept[0] = {"role": kept[0]["role"], "content": kept[0]["content"][: int(room * self._chars_per_token)]}
        return tuple(kept)


def _keys(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((m["role"], m["content"]) for m in messages)
