"""What OpenAI's published types say of events: which there are, which fields they have, and whether an event is one of them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel

FOREIGN = "mcp"
"""What types begin with that belong to MCP servers: their fields are not looked into."""


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type: of unions, lists and optional things."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [model for inner in get_args(annotation) for model in models(inner)]


def kind(model: type[BaseModel]) -> str:
    """The value of a model's ``type``; empty where it has none, or several."""
    field = model.model_fields.get("type")
    values = literals(field.annotation) if field is not None else []
    return values[0] if len(values) == 1 else ""


def literals(annotation: Any) -> list[str]:
    """The texts that a type allows by name."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return [value for inner in get_args(annotation) for value in literals(inner)]
    return []


CLIENT = {kind(m): m for m in models(RealtimeClientEvent)}
SERVER = {kind(m): m for m in models(RealtimeServerEvent)}


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The names of all fields, with dots between them; of a model of MCP servers only that it is there, as ``[mcp]``."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inner = models(field.annotation)
        if not inner or kind(model).startswith(FOREIGN):
            yield path
        for one in inner:
            foreign = any(value.startswith(FOREIGN) for value in _kinds(one))
            yield from [f"{path}[{FOREIGN}]"] if foreign else paths(one, f"{path}.")


def _kinds(model: type[BaseModel]) -> list[str]:
    field = model.model_fields.get("type")
    return literals(field.annotation) if field is not None else []


def extras(value: Any, path: str = "") -> list[str]:
    """The fields in a validated event that its type does not have."""
    if isinstance(value, BaseModel):
        found = [f"{path}{name}" for name in value.model_extra or {}]
        for name in type(value).model_fields:
            found += extras(getattr(value, name), f"{path}{name}.")
        return found
    if isinstance(value, list):
        return [name for inner in value for name in extras(inner, path)]
    return []


def check(event: dict[str, Any]) -> BaseModel:
    """The event as OpenAI's type of it; raises ``ValidationError`` or ``AssertionError`` where it is none."""
    checked = SERVER[event["type"]].model_validate(event)
    # The session's own names are those of the type that the HTTP answers have; its event's type has only a session's wishes.
    allowed = {"session.object", "session.id", "session.expires_at"}
    unknown = set(extras(checked)) - allowed
    assert not unknown, (event["type"], unknown)
    return checked
