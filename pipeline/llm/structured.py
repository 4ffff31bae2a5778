"""Answers that are data: a model is asked for JSON of a schema, and what it gives is checked before anybody uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agent.tutor import Message
from pipeline.llm.chat import ChatFailed, ChatRequest, ChatSource, whole
from pipeline.llm.visible_text import VisibleText

MAX_TOKENS = 600
UNKNOWN_FIELD = (400, 422)
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.S)
Answer = TypeVar("Answer", bound=BaseModel)


class BadAnswer(ValueError):
    """The model gave no JSON of the schema, twice; the text says what was wrong with the second."""


async def complete_json(
    source: ChatSource, messages: Sequence[Message], schema: type[Answer], *, max_tokens: int = MAX_TOKENS
) -> Answer:
    """The model's answer to ``messages`` as a ``schema``.

    The schema is sent as ``response_format`` and stands in the prompt too, for servers that pass over the one. An answer that
    does not fit is sent back once with what is wrong.

    Raises:
        BadAnswer: neither answer fits.
        ChatFailed: there was none.
    """
    wanted = schema.model_json_schema()
    asked = _with_schema(messages, json.dumps(wanted, ensure_ascii=False))
    text = await _ask(source, ChatRequest(asked, max_tokens, temperature=0.0, schema=wanted))
    try:
        return _read(text, schema)
    except ValueError as e:
        problem = f"That was not right: {_problem(e)}. Answer again, with nothing but JSON that fits the schema."
        again: list[Message] = [*asked, {"role": "assistant", "content": text[:2000]}, {"role": "user", "content": problem}]
    text = await _ask(source, ChatRequest(again, max_tokens, temperature=0.0, schema=wanted))
    try:
        return _read(text, schema)
    except ValueError as e:
        raise BadAnswer(f"the language model gave no {schema.__name__}: {_problem(e)}") from e


async def _ask(source: ChatSource, request: ChatRequest) -> str:
    try:
        text = await whole(source, request)
    except ChatFailed as e:
        if e.status not in UNKNOWN_FIELD:
            raise
        # A server that does not know schemas refuses the field.
        text = await whole(source, ChatRequest(request.messages, request.max_tokens, request.temperature))
    visible = VisibleText()
    return (visible.take(text) + visible.finish()).strip()


def _with_schema(messages: Sequence[Message], schema: str) -> list[Message]:
    task = f"Answer with nothing but JSON that fits this schema: {schema}"
    head, *rest = messages
    if head["role"] != "system":
        return [{"role": "system", "content": task}, *messages]
    return [{"role": "system", "content": f"{head['content']}\n{task}"}, *rest]


def _read(text: str, schema: type[Answer]) -> Answer:
    """Raises ``ValueError``; pydantic's own is one."""
    fenced = _FENCE.match(text)
    return schema.model_validate_json(fenced[1] if fenced else text)


def _problem(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)
