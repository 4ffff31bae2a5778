"""What was said, out of a pipecat context."""

from __future__ import annotations

from typing import Any

from agent.tutor import Message

_ROLES = ("user", "assistant")


def conversation(messages: list[Any]) -> list[Message]:
    """The plain-text messages of an LLM context; what is neither text nor said by someone is left out."""
    return [
        {"role": message["role"], "content": message["content"]}
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), str) and message.get("role") in _ROLES
    ]
