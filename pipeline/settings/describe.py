"""What the settings tree says of itself: every key, what it allows, and the key that a misspelt one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from pipeline.settings.tree import Settings

ENV_PREFIX = "PARLEY_"
ENV_DELIMITER = "__"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the tree: its path, its field, and the section it begins where it is one."""

    path: tuple[str, ...]
    field: FieldInfo
    section: type[BaseModel] | None

    @property
    def dotted(self) -> str:
        """``stt.pocketsphinx.workers``."""
        return ".".join(self.path)

    @property
    def env(self) -> str:
        """``PARLEY_STT__POCKETSPHINX__WORKERS``."""
        return ENV_PREFIX + ENV_DELIMITER.join(self.path).upper()


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this type holds, or ``None`` where it holds a value."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def keys(model: type[BaseModel] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key of the tree in its order, a section before its own keys."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        yield Key((*prefix, name), field, section)
        if section is not None:
            yield from keys(section, (*prefix, name))


def named_section(annotation: Any) -> type[BaseModel] | None:
    """The section of each item, where a field of this type holds sections by names of the operator's choice."""
    return section_of(get_args(annotation)[1]) if get_origin(annotation) is dict else None


def find(path: tuple[Any, ...]) -> Key | None:
    """The key at ``path``. A list's index leads to the list's own key, or to a key of its items' section; a name of the
    operator's choice leads to the section that stands under it."""
    model: type[BaseModel] | None = Settings
    found: Key | None = None
    for i, part in enumerate(path):
        if isinstance(part, int):
            if found is not None:
                arguments = get_args(found.field.annotation)
                model = section_of(arguments[0]) if arguments else None
            continue
        if model is None and found is not None and (items := named_section(found.field.annotation)) and len(found.path) == i:
            found, model = Key((*found.path, str(part)), found.field, items), items
            continue
        if model is None or part not in model.model_fields:
            return found if found is not None and get_origin(found.field.annotation) is dict else None
        field = model.model_fields[part]
        model = section_of(field.annotation)
        found = Key(tuple(str(p) for p in path[: i + 1]), field, model)
    return found


def is_secret(annotation: Any) -> bool:
    """Whether a value of this type must not be shown."""
    return annotation is SecretStr or any(is_secret(a) for a in get_args(annotation))


def allowed(field: FieldInfo) -> str:
    """What the field takes, in words: ``a whole number from 0 to 65535``."""
    return _kind(field.annotation, _range(field.metadata))


def allowed_item(field: FieldInfo) -> str:
    """What one item of the list ``field`` takes."""
    return _kind(get_args(field.annotation)[0])


_SIMPLE = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    SecretStr: "text",
    Path: "a path",
    NoneType: "null",
}


def _kind(annotation: Any, limits: str = "") -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of: " + ", ".join(str(a) for a in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(a, "" if a is NoneType else limits) for a in arguments)
    if origin is list:
        section = section_of(arguments[0])
        return f"a list of sections with {', '.join(section.model_fields)}" if section else f"a list of {_kind(arguments[0])}"
    if origin is dict:
        section = section_of(arguments[1])
        return f"names, each with a section of {', '.join(section.model_fields)}" if section else "a mapping"
    if section := section_of(annotation):
        return f"a section with {', '.join(section.model_fields)}"
    return _SIMPLE.get(annotation, getattr(annotation, "__name__", str(annotation))) + limits


def _range(metadata: list[Any]) -> str:
    low = high = ""
    closed_low = closed_high = False
    length = ""
    for limit in metadata:
        match limit:
            case Ge(ge=value):
                low, closed_low = str(value), True
            case Gt(gt=value):
                low = str(value)
            case Le(le=value):
                high, closed_high = str(value), True
            case Lt(lt=value):
                high = str(value)
            case MinLen(min_length=value):
                length = f" of at least {value} character{'s' if value > 1 else ''}"
    if closed_low and closed_high:
        return f" from {low} to {high}" + length
    words = []
    if low:
        words.append(f"{'at least' if closed_low else 'above'} {low}")
    if high:
        words.append(f"{'at most' if closed_high else 'below'} {high}")
    return (" " + " and ".join(words) if words else "") + length


def suggest_key(path: tuple[Any, ...]) -> str:
    """What to say of the unknown key at ``path``: the key that was probably meant, else what its section takes."""
    parent, name = path[:-1], str(path[-1])
    section: type[BaseModel] | None = Settings
    if parent:
        key = find(parent)
        section = None if key is None else key.section
        if key is not None and isinstance(parent[-1], int):
            section = section_of(get_args(key.field.annotation)[0])
    siblings = list(section.model_fields) if section is not None else []
    if close := difflib.get_close_matches(name.lower(), siblings, n=1):
        return f"did you mean '{close[0]}'?"
    elsewhere = [k.dotted for k in keys() if k.path[-1] == name.lower()]
    if elsewhere:
        return f"did you mean '{elsewhere[0]}'?"
    return f"allowed here: {', '.join(siblings)}"


def suggest_env(name: str) -> str:
    """What to say of the unknown environment variable ``name``."""
    names = {k.env: k for k in keys() if k.section is None}
    leaf = name.removeprefix(ENV_PREFIX).rsplit(ENV_DELIMITER, 1)[-1].lower()
    close = difflib.get_close_matches(name.upper(), list(names), n=1, cutoff=0.85)
    close = close or [env for env, key in names.items() if key.path[-1] == leaf]
    close = close or difflib.get_close_matches(name.upper(), list(names), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "docs/configuration.md lists what there is"
