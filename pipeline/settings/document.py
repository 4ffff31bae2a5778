"""The settings tree as text: ``configs/embedded.yaml`` (every key at its default) and ``docs/configuration.md``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr

from pipeline.settings.describe import allowed, keys, named_section, section_of
from pipeline.settings.tree import Settings

YAML_HEADER = """\
# Parley without a GPU, a key or a download: the engines inside the Python packages, and a scripted tutor.
#
# This file holds every setting at its default, so that a line can be changed in place. Any of them can also be set by
# an environment variable: server.port is PARLEY_SERVER__PORT. docs/configuration.md explains the rest.
# Written by scripts/make-config-docs from the settings tree.
"""

MARKDOWN_HEADER = """\
# Configuration

One tree of settings, read when the program starts from these places, the later one winning:

1. the defaults below;
2. one YAML file: `--config FILE`, or `configs/embedded.yaml`;
3. the file `.env` in the working directory, where there is one (see `.env.example`);
4. environment variables: `PARLEY_` and the key's path in capitals, with two underscores between its parts. Lists and
   sections are written as JSON: `PARLEY_SERVER__ALLOWED_HOSTS='["tutor.example"]'`. An empty variable counts as not set;
5. the command line: `--host`, `--port`, `--https`, `--lesson`.

An unknown key or a wrong value stops the program with exit code 2 and one line that says where it was written, which key,
and what is allowed there. `python run_agent.py check` looks at a configuration without serving.

All state lies under `data_dir`; nothing is written elsewhere. `/config` shows the settings in force with secrets masked.

This page is written from the settings tree by `make docs`.
"""


def _default(value: Any) -> Any:
    """A default as plain types that JSON can show."""
    match value:
        case BaseModel():
            return {name: _default(getattr(value, name)) for name in type(value).model_fields}
        case list() | tuple():
            return [_default(v) for v in value]
        case dict():
            return {k: _default(v) for k, v in value.items()}
        case Path():
            return str(value)
        case SecretStr():
            return value.get_secret_value()
        case _:
            return value


def _yaml_scalar(value: Any) -> str:
    # JSON is YAML; plain words read better without its quotes.
    plain = isinstance(value, str) and value.replace("_", "a").replace("-", "a").isalnum() and value[0].isalpha()
    if plain and value.lower() not in {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}:
        return str(value)
    return json.dumps(value)


def _yaml_section(section: BaseModel, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        inner = section_of(field.annotation)
        if inner is not None and isinstance(value, BaseModel):
            about = field.description or (inner.__doc__ or "").strip().splitlines()[0]
            lines += ["", *_comment(about, indent), f"{indent}{name}:", *_yaml_section(value, indent + "  ")]
        else:
            words = f"{(field.description or '').rstrip('.')} ({allowed(field)})"
            lines += [*_comment(words, indent), f"{indent}{name}: {_yaml_scalar(_default(value))}"]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ", break_long_words=False)


def render_yaml() -> str:
    """The text of ``configs/embedded.yaml``."""
    lines = _yaml_section(Settings(), "")
    return YAML_HEADER + "\n" + "\n".join(lines).lstrip("\n") + "\n"


def render_markdown() -> str:
    """The text of ``docs/configuration.md``."""
    parts = [MARKDOWN_HEADER]
    defaults = _default(Settings())
    sections: list[tuple[tuple[str, ...], str]] = [((), "Everywhere")]
    sections += [(k.path, (k.section.__doc__ or "").strip().splitlines()[0]) for k in keys() if k.section and _is_tree(k.path)]
    for path, about in sections:
        rows = [k for k in keys() if k.path[:-1] == path and not (k.section and _is_tree(k.path))]
        if not rows:
            continue
        parts.append(f"{'#' * (len(path) + 1) if len(path) > 1 else '##'} {'.'.join(path) or 'The top level'}\n")
        if path:
            parts.append(f"{about}\n")
        parts.append("| key | default | allowed | meaning |\n|---|---|---|---|")
        for key in rows:
            value: Any = defaults
            for part in key.path:
                value = value[part]
            cells = (f"`{key.path[-1]}`", f"`{json.dumps(value)}`", allowed(key.field), key.field.description or "")
            parts.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        parts.append("")
        if not path:
            parts += _named_sections()
    return "\n".join(parts)


def _named_sections() -> list[str]:
    """The sections that stand under names of the operator's choice, each as a table."""
    parts: list[str] = []
    found = [(f"{key.dotted}.NAME", section) for key in keys() if (section := named_section(key.field.annotation))]
    for dotted, section in found:
        inner = [(name, section_of(_item(field.annotation))) for name, field in section.model_fields.items()]
        found += [(f"{dotted}.{name}", of) for name, of in inner if of is not None]
        parts.append(f"## {dotted}\n\n{(section.__doc__ or '').strip().splitlines()[0]}\n")
        parts.append("| key | default | allowed | meaning |\n|---|---|---|---|")
        for name, field in section.model_fields.items():
            default = (
                "must be set"
                if field.is_required()
                else f"`{json.dumps(_default(field.get_default(call_default_factory=True)))}`"
            )
            cells = (f"`{name}`", default, allowed(field), field.description or "")
            parts.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        parts.append("")
    return parts


def _item(annotation: Any) -> Any:
    """What a list of this type holds; any other type itself."""
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _is_tree(path: tuple[str, ...]) -> bool:
    """Whether the key at ``path`` is a section of the tree, not a list of sections."""
    value: Any = Settings()
    for part in path:
        value = getattr(value, part, None)
    return isinstance(value, BaseModel)
