"""What a client tells a call to be, in place of the tutor: instructions, and functions that the client runs. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Followed = Literal["instructions", "tools"]
"""What an engine may be able to follow (``briefs`` of an LLM's engine; one that has none follows nothing)."""

BEGIN = "[The call begins.]"
UNHEARD = "[The user spoke, but it could not be made out.]"
SILENT = "[The user is silent.]"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model asks for a function to be run; ``arguments`` are JSON as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """What a model says of an answer that is whole: its tokens where it counts them, ``None`` where not.

    ``cached_tokens`` are those of the prompt that it did not have to read again. ``cut``: it had more to say than it was
    allowed to.
    """

    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    cached_tokens: int | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Brief:
    """``instructions`` take the place of the tutor's own (``None``: those stay).

    ``tools`` and ``tool_choice`` have the form of OpenAI's chat completions, and so has ``said``: what is to be answered in
    place of the conversation. ``aside``: the answer is said, and recorded, but no part of the conversation.
    """

    instructions: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] = "auto"
    said: tuple[dict[str, Any], ...] | None = None
    aside: bool = False


def calls_message(calls: Sequence[FunctionCall]) -> dict[str, Any]:
    """What the conversation keeps of ``calls``: an assistant's message of OpenAI's chat completions."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": c.call_id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls
        ],
    }


def briefed_messages(system: str, said: Sequence[Any], room_chars: int) -> list[dict[str, Any]]:
    """The messages of a request: ``system``, and as many of the newest of ``said`` as have room.

    A function's output never stands without its call, nor an assistant's calls apart from the words before them.

    Args:
        system: Instructions.
        said: The messages of the conversation, functions' outputs and system messages included.
        room_chars: Characters that ``said`` may take.
    """
    messages: list[dict[str, Any]] = []
    for message in said:
        role, content = message.get("role"), message.get("content") or ""
        if role == "user" and not content:
            content = UNHEARD
        calls = message.get("tool_calls")
        if role == "assistant" and messages and messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
            joined = " ".join(filter(None, (messages[-1]["content"], content)))
            messages[-1] = {**messages[-1], "content": joined, **({"tool_calls": calls} if calls else {})}
        elif role in ("user", "assistant", "system", "tool") and (content or calls or role == "tool"):
            kept = {k: message[k] for k in ("tool_calls", "tool_call_id") if message.get(k)}
            messages.append({"role": role, "content": content, **kept})
    messages = _with_answers(messages)
    first = 0
    while first < len(messages) - 1 and sum(map(_chars, messages[first:])) > room_chars:
        first += 1
        while first < len(messages) - 1 and messages[first]["role"] == "tool":
            first += 1
    kept_messages = messages[first:]
    if not any(m["role"] != "system" for m in kept_messages):
        kept_messages.append({"role": "user", "content": BEGIN})
    return [{"role": "system", "content": system}, *kept_messages]


def _with_answers(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each call with its output right behind it, as chat templates want it; a call without one is left out."""
    outputs = {m["tool_call_id"]: m for m in messages if m["role"] == "tool"}
    ordered: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            continue
        calls = message.get("tool_calls")
        if not calls:
            ordered.append(message)
            continue
        answered = [c for c in calls if c["id"] in outputs]
        if answered:
            ordered += [{**message, "tool_calls": answered}, *(outputs[c["id"]] for c in answered)]
        elif message["content"]:
            ordered.append({"role": "assistant", "content": message["content"]})
    return ordered


def _chars(message: dict[str, Any]) -> int:
    return len(message["content"]) + len(json.dumps(message["tool_calls"]) if "tool_calls" in message else "")
