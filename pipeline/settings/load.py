"""Reads the settings: defaults, then one YAML file, then ``.env``, then the environment, then the command line.

Whatever is wrong with them becomes a ``SettingsError``: one line that names where it was written, the key, and what is
allowed there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from agent.tutor import FREE_TALK
from pipeline.settings.aliases import meant
from pipeline.settings.aliases import notes as alias_notes
from pipeline.settings.describe import (
    ENV_DELIMITER,
    ENV_PREFIX,
    allowed,
    allowed_item,
    find,
    is_secret,
    section_of,
    suggest_env,
    suggest_key,
)
from pipeline.settings.engines import STAGES, engine_names
from pipeline.settings.tree import Settings

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG = ROOT / "configs" / "embedded.yaml"
MASK = "********"
_SECRET_NAME = re.compile("key|token|secret|password", re.I)

# Names with the prefix that are no settings: where the tests find their recordings.
OTHER_VARIABLES = frozenset({"PARLEY_NOISE_DIR", "PARLEY_SPEECH_DIR"})

Location = tuple[Any, ...]


class SettingsError(ValueError):
    """The settings cannot be used; its text is one line, fit to show to the operator.

    ``problems`` has a line for each thing that is wrong, where the text is only of the first.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self.problems = [" ".join(problem.split()) for problem in problems] or [str(self)]


@dataclass(slots=True)
class _Layer:
    """One place that settings come from: its values, and what to call the place of each."""

    values: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)

    def place(self, location: Location) -> str | None:
        """What the user wrote there: ``configs/x.yaml:12: server.port`` or a variable's name. ``None``: nothing."""
        value: Any = self.values
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        for length in range(len(location), 0, -1):
            if location[:length] in self.places:
                return self.places[location[:length]]
        return None


class _Tree(Settings, BaseSettings):
    """The tree as pydantic-settings reads it from variables."""

    model_config = SettingsConfigDict(extra="forbid")


class _OneVariable(EnvSettingsSource):
    """Reads a single variable, so that whatever is wrong with it is known to be its fault."""

    def __init__(self, name: str, value: str) -> None:
        self._variable = {name.lower(): value}
        super().__init__(_Tree, env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variable


def load_settings(
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
    dotenv: Path | None = Path(".env"),
) -> Settings:
    """The settings of this run.

    ``config`` is the YAML file (``None``: ``configs/embedded.yaml``), ``env`` the environment (``None``: the process's),
    ``overrides`` nested values from the command line, each called by its option ``--<last key>``, and ``dotenv`` a file of
    variables that is read where it exists.

    Raises:
        SettingsError: naming the file or variable, the key, and what is allowed.
    """
    layers = [_yaml_layer(config if config is not None else DEFAULT_CONFIG)]
    written = _dotenv(dotenv)
    variables = dict(os.environ if env is None else env)
    file = layers[0].values
    layers.append(_alias_layer(written, file, f"{dotenv}: "))
    layers.append(_alias_layer(variables, file))
    layers.append(_env_layer(written, f"{dotenv}: "))
    layers.append(_env_layer(variables))
    layers.append(_override_layer(overrides or {}))

    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as e:
        # A misspelt key may be the one that another line calls missing.
        errors = sorted(e.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
        problems = [_explain(error, layers) for error in errors]
        more = f" (and {len(errors) - 1} more; check lists them)" if len(errors) > 1 else ""
        raise SettingsError(problems[0] + more, problems) from None
    _check_lesson(settings, layers)
    _check_engines(settings, layers)
    return settings


def old_names(config: Path | None = None, dotenv: Path | None = Path(".env")) -> list[str]:
    """A line for each variable of an earlier system that is set: what it was taken for. The settings can be loaded."""
    file = _yaml_layer(config if config is not None else DEFAULT_CONFIG).values
    return alias_notes({**_dotenv(dotenv), **os.environ}, file)


def _dotenv(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    try:
        written = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{path}: cannot be read: {_reason(e)}") from None
    return {k: v for k, v in written.items() if v is not None}


def _check_lesson(settings: Settings, layers: list[_Layer]) -> None:
    """The first lesson must exist. Only names are looked at: reading lessons is not the settings' business."""
    lessons = lesson_names()
    if settings.tutor.lesson_file is not None:
        lessons.add(settings.tutor.lesson_file.stem)
    if settings.llm.engine != "scripted":
        lessons.add(FREE_TALK)
    if lessons:
        _check_name(("tutor", "lesson"), settings.tutor.lesson, sorted(lessons), layers)


def lesson_names() -> set[str]:
    """The names of the package's lessons."""
    return {file.stem for file in (ROOT / "agent" / "lessons").glob("*.yaml")} - {"common"}


def _check_engines(settings: Settings, layers: list[_Layer]) -> None:
    for stage in STAGES:
        _check_name((stage, "engine"), getattr(settings, stage).engine, engine_names(stage), layers)


def _check_name(location: Location, value: str, names: list[str], layers: list[_Layer]) -> None:
    if value not in names:
        place = next((p for layer in reversed(layers) if (p := layer.place(location))), _dotted(location))
        raise SettingsError(f"{place}: must be one of: {', '.join(names)}, not {_shown(value)}")


def masked(settings: BaseModel) -> dict[str, Any]:
    """The settings as JSON-ready plain types with every secret that is set shown as ``********``."""

    def plain(value: Any) -> Any:
        match value:
            case SecretStr():
                return MASK
            case dict():
                # The options of an engine are of no type that would tell.
                return {k: MASK if isinstance(v, str) and v and _SECRET_NAME.search(k) else plain(v) for k, v in value.items()}
            case list() | tuple():
                return [plain(v) for v in value]
            case Path():
                return str(value)
            case _:
                return value

    result: dict[str, Any] = plain(settings.model_dump())
    return result


def prepare_data_dir(settings: Settings) -> Path:
    """Make ``data_dir`` (readable by its owner only) and see that it can be written.

    Raises:
        SettingsError: naming the folder and the reason.
    """
    path = settings.data_dir.expanduser()
    probe = path / f".write-test-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as e:
        raise SettingsError(
            f"data_dir: cannot write in '{path}': {_reason(e)}; allowed: a folder of your own (data_dir or PARLEY_DATA_DIR)"
        ) from None
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``, section by section; a list is replaced as a whole."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


# The YAML file.


def _yaml_layer(path: Path) -> _Layer:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such configuration file; --config takes a YAML file such as {_shown_default()}"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{path}: cannot be read: {_reason(e)}") from None
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        places: dict[Location, str] = {}
        if root is None:
            return _Layer({})
        if not isinstance(root, yaml.MappingNode):
            raise SettingsError(
                f"{path}:{root.start_mark.line + 1}: must hold 'key: value' sections, as {_shown_default()} does"
            )
        _note_places(root, (), path, places)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}{where}: not valid YAML: {e.problem or e.context}") from None
    except yaml.YAMLError as e:
        raise SettingsError(f"{path}: not valid YAML: {e}") from None
    except RecursionError:
        raise SettingsError(f"{path}: not valid YAML: nested too deeply") from None
    except ValueError as e:  # A scalar that looks like a date or a number and is none.
        raise e if isinstance(e, SettingsError) else SettingsError(f"{path}: not valid YAML: {e}") from None
    return _Layer(_without_empty_sections(values, Settings), places)


def _shown_default() -> str:
    return DEFAULT_CONFIG.relative_to(ROOT).as_posix()


def _note_places(node: yaml.Node, location: Location, path: Path, places: dict[Location, str]) -> None:
    """Note the line of every key; refuse a key that is no text or is written twice."""
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            places[(*location, i)] = f"{path}:{item.start_mark.line + 1}: {_dotted((*location, i))}"
            _note_places(item, (*location, i), path, places)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        where = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise SettingsError(f"{where}: a key must be plain text")
        child = (*location, key.value)
        if child in places:
            raise SettingsError(f"{where}: {_dotted(child)}: written twice; allowed: once")
        places[child] = f"{where}: {_dotted(child)}"
        _note_places(value, child, path, places)


def _without_empty_sections(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A section whose keys are all commented out reads as null: it means the defaults."""
    result = {}
    for key, value in values.items():
        section = section_of(model.model_fields[key].annotation) if key in model.model_fields else None
        if section is not None and value is None:
            continue
        result[key] = _without_empty_sections(value, section) if section is not None and isinstance(value, dict) else value
    return result


# The environment and the command line.


def _env_layer(env: Mapping[str, str], origin: str = "") -> _Layer:
    layer = _Layer({})
    for name, value in sorted(env.items()):
        if not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES or value == "":
            continue
        location = tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER))
        key = find(location)
        if key is None:
            raise SettingsError(f"{origin}{name}: unknown setting; {suggest_env(name)}")
        try:
            values = _OneVariable(name, value)()
        except SourceError:
            shown = "" if is_secret(key.field.annotation) else f", not {_shown(value)}"
            raise SettingsError(f"{origin}{name}: must be {allowed(key.field)}, as JSON{shown}") from None
        layer.values = _merge(layer.values, values)
        layer.places[location] = f"{origin}{name}"
    return layer


def _alias_layer(env: Mapping[str, str], file: Mapping[str, Any], origin: str = "") -> _Layer:
    """What variables with names of an earlier system say. ``file``: what stands in the YAML file."""
    layer = _Layer({})
    for name, dotted, value in meant(env, file):
        variable = ENV_PREFIX + ENV_DELIMITER.join(dotted.split(".")).upper()
        try:
            one = _env_layer({variable: value})
        except SettingsError as e:
            raise SettingsError(str(e).replace(variable, f"{origin}{name}")) from None
        layer.values = _merge(layer.values, one.values)
        layer.places.update(dict.fromkeys(one.places, f"{origin}{name}"))
    return layer


def _override_layer(overrides: dict[str, Any]) -> _Layer:
    layer = _Layer(overrides)

    def note(values: dict[str, Any], location: Location) -> None:
        for key, value in values.items():
            layer.places[(*location, key)] = f"--{key.replace('_', '-')}"
            if isinstance(value, dict):
                note(value, (*location, key))

    note(overrides, ())
    return layer


# What is wrong, in one line.


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _explain(error: ErrorDetails, layers: list[_Layer]) -> str:
    location = error["loc"]
    places = [place for layer in reversed(layers) if (place := layer.place(location))]
    if error["type"] == "missing":  # The key is absent, so its section's place is the nearest.
        places = [place for layer in reversed(layers) if (place := layer.place(location[:-1]))]
        return f"{places[0] if places else _dotted(location[:-1])}: the key '{location[-1]}' is missing"
    where = places[0] if places else _dotted(location)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggest_key(location)}"
    key = find(location)
    if error["type"] == "value_error" and "ctx" in error and (key is None or key.section is not None):
        return f"{where}: {error['ctx']['error']}"
    if key is None:
        return f"{where}: {error['msg']}"
    value = error["input"]
    shown = "" if is_secret(key.field.annotation) or isinstance(value, dict | list) else f", not {_shown(value)}"
    wanted = allowed_item(key.field) if isinstance(location[-1], int) else allowed(key.field)
    return f"{where}: must be {wanted}{shown}"
