"""What is run for each engine: its address, its command with everything put in, and its own YAML file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from pipeline.engine_manager.cache import Weights, snapshot
from pipeline.settings.load import ROOT, SettingsError
from pipeline.settings.processes import EngineSettings
from pipeline.settings.tree import Settings

STAGES = ("stt", "llm", "tts")
_HUB = "hf://"
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Launch:
    """One engine, ready to be started."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    """The whole environment that it gets."""
    url: str
    ready_url: str
    start_timeout_s: float
    stop_timeout_s: float

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


def models_dir(settings: Settings) -> Path:
    """Where models lie: ``models.cache_dir``, or a folder of ``data_dir``."""
    chosen = settings.models.cache_dir or settings.data_dir / "models"
    return chosen.expanduser().resolve()


def used(settings: Settings) -> dict[str, EngineSettings]:
    """The engines that these settings need, in their order.

    One named after a stage is needed where the stage's engine is reached by an address, and is given no other one.
    """
    return {
        name: engine
        for name, engine in settings.engines.items()
        if name not in STAGES or _serves(engine, stage_section(settings, name))
    }


def _serves(engine: EngineSettings, section: Any) -> bool:
    return section is not None and section.url in ("", engine.url, stage_url("stt", engine.url))


def stage_url(stage: str, url: str) -> str:
    """``url`` with the scheme that the stage speaks: the voices are reached over WebSockets, the tutor over HTTP."""
    scheme, _, rest = url.partition("://")
    secure = scheme in ("https", "wss")
    return f"{('https' if secure else 'http') if stage == 'llm' else ('wss' if secure else 'ws')}://{rest}"


def stage_section(settings: Settings, stage: str) -> Any:
    """The section of the stage's engine, where it has an address; else ``None``."""
    chosen = getattr(settings, stage)
    section = getattr(chosen, chosen.engine, None)
    return section if hasattr(section, "url") else None


def with_addresses(settings: Settings) -> Settings:
    """``settings`` with a free port for every launch that asks for one, and the stages told where their engines are."""
    if not settings.engines:
        return settings
    settings = settings.model_copy(deep=True)
    for name, engine in used(settings).items():
        parts = urlsplit(engine.url)
        if parts.port == 0:
            assert parts.hostname is not None
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            engine.url = urlunsplit(parts._replace(netloc=f"{host}:{free_port(parts.hostname)}"))
        if name in STAGES:
            stage_section(settings, name).url = stage_url(name, engine.url)
    return settings


def free_port(host: str) -> int:
    """A port of ``host`` that nobody listens on at the moment."""
    with _bound(host, 0) as listener:
        return int(listener.getsockname()[1])


def check_port(name: str, host: str, port: int) -> None:
    """See that an engine can listen there.

    Raises:
        SettingsError: somebody else does, or the address is not this machine's.
    """
    try:
        _bound(host, port).close()
    except OSError as e:
        raise SettingsError(
            f"engines.{name}.url: {host} port {port}: {(e.strerror or str(e)).lower()}; leave launch out where the engine is "
            "already running, or take port 0"
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def launches(settings: Settings, env: Mapping[str, str] | None = None, *, write: bool = True) -> list[Launch]:
    """What to start, in the settings' order, after ``with_addresses``.

    Writes the engines' own files into ``data_dir``; without ``write`` they are only looked at.

    Raises:
        SettingsError: a command names something that is not there.
    """
    base = dict(os.environ if env is None else env)
    named = used(settings).items()
    return [launch(name, engine, settings, base, write=write) for name, engine in named if engine.launch is not None]


def launch(name: str, engine: EngineSettings, settings: Settings, base: Mapping[str, str], *, write: bool = True) -> Launch:
    """One of them, which has a launch; ``base`` is the server's environment. Raises as ``launches`` does."""
    assert engine.launch is not None
    parts = urlsplit(engine.url)
    values: dict[str, Any] = {
        **engine.values,
        "host": parts.hostname,
        "port": parts.port,
        **({"model": model_path(engine.model)} if engine.model else {}),
    }
    models = models_dir(settings)
    if write:
        _make_folder(models, 0o755)
    known = {
        **values,
        "python": sys.executable,
        "engines_python": engines_python(),
        "models_dir": models,
        "root": ROOT,
        **({"gpu_share": engine.gpu_share} if engine.gpu_share is not None else {}),
    }
    if engine.launch.config is not None:
        known["config"] = _own_config(name, engine.launch.config, values, settings, write)
    command = tuple(_filled(name, argument, known) for argument in engine.launch.command)
    own = {
        "HF_HUB_CACHE": str(models),
        # Without it, what an engine prints stays in its buffer until that is full.
        "PYTHONUNBUFFERED": "1",
        **({"CUDA_VISIBLE_DEVICES": str(engine.launch.gpu)} if engine.launch.gpu is not None else {}),
        **{key: _filled(name, text, known) for key, text in engine.launch.env.items()},
    }
    # The settings' variables may hold the server's secrets, and are none of an engine's business.
    inherited = {k: v for k, v in base.items() if not k.startswith("PARLEY_")}
    full = {**inherited, **own}
    if shutil.which(command[0], path=full.get("PATH")) is None:
        raise SettingsError(
            f"engines.{name}.launch.command: '{command[0]}' is no program of this machine{_advice(engine.launch.command[0])}"
        )
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    ready = urlunsplit((scheme, parts.netloc, engine.ready, "", ""))
    return Launch(name, command, full, engine.url, ready, engine.launch.start_timeout_s, engine.launch.stop_timeout_s)


def model_path(model: str) -> str:
    """A folder of this machine as an absolute path; anything else, such as a repository's name, as it is."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_dir() else model


def engines_python() -> str:
    """The Python of the engines' own environment, which ``make engines`` makes; where there is none, its place."""
    return str(ROOT / ".venv-engines" / "bin" / "python")


def _advice(program: str) -> str:
    if "{engines_python}" in program:
        return "; `make engines` installs the speech engines"
    return "; `make vllm` installs it" if ".venv-vllm" in program else ""


def _filled(name: str, argument: str, known: Mapping[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise SettingsError(
                f"engines.{name}.launch.command: nothing is known for {match[0]}; set engines.{name}.{_where(match[1])}"
            )
        return str(known[match[1]])

    return _PLACE.sub(value, argument)


def _where(key: str) -> str:
    return {"model": "model", "gpu_share": "gpu_share", "config": "launch.config"}.get(key, f"values.{key}")


def read_own_config(name: str, path: Path) -> dict[str, Any]:
    """The engine's YAML file, looked for in the working directory and then beside the program.

    Raises:
        SettingsError: it is not there, or is no mapping.
    """
    file = path.expanduser()
    file = file if file.is_file() else ROOT / path
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise SettingsError(f"engines.{name}.launch.config: {path} cannot be read: {e}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"engines.{name}.launch.config: {path} must hold 'key: value' lines")
    return content


def own_values(name: str, engine: EngineSettings) -> dict[str, Any]:
    """What the engine is told: its own file, with ``values`` over it. Raises as ``read_own_config`` does."""
    file = engine.launch.config if engine.launch is not None else None
    return {**(read_own_config(name, file) if file is not None else {}), **engine.values}


def repositories(content: Mapping[str, Any]) -> dict[str, str]:
    """Of an engine's own values those that are ``hf://owner/name``, by their key, and the repository's name."""
    return {k: v.removeprefix(_HUB) for k, v in content.items() if isinstance(v, str) and v.startswith(_HUB)}


def _folders(name: str, content: dict[str, Any], models: Path) -> dict[str, Any]:
    """``content`` with the folders of those repositories that are there; the engine itself gets the others."""
    there = {key: snapshot(Weights(name, repository), models) for key, repository in repositories(content).items()}
    return {**content, **{key: str(folder) for key, folder in there.items() if folder is not None}}


def _own_config(name: str, path: Path, values: Mapping[str, Any], settings: Settings, write: bool) -> Path:
    content = _folders(name, {**read_own_config(name, path), **values}, models_dir(settings))
    folder = settings.data_dir.expanduser().resolve() / "engines"
    file = folder / f"{name}.yaml"
    if not write:
        return file
    _make_folder(folder, 0o700)
    try:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        file.chmod(0o600)
    except OSError as e:
        raise SettingsError(f"{file}: cannot be written: {(e.strerror or str(e)).lower()}") from None
    return file


def _make_folder(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as e:
        raise SettingsError(f"{folder}: cannot be made: {(e.strerror or str(e)).lower()}") from None
