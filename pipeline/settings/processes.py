"""The settings of engines that run as processes of their own: where they listen, how they are started, what they need."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.settings.section import Section

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""``owner/name``."""


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class LaunchSettings(Section):
    """How an engine is started. Without it, somebody else runs the engine."""

    command: list[str] = Field(
        min_length=1,
        description="Program and arguments. {python}, {engines_python}, {root}, {host}, {port}, {model}, {gpu_share}, "
        "{config}, {models_dir} and the names of values are put in.",
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Variables that it gets besides the server's own; the same is put in. The server's PARLEY_ ones it does "
        "not get.",
    )
    config: Path | None = Field(
        None, description="A YAML file of the engine's own; {config} is a copy with host, port, model and values put in."
    )
    gpu: int | None = Field(None, ge=0, description="The one card that it sees, by nvidia-smi's number; null: all.")
    start_timeout_s: float = Field(1800.0, gt=0, description="Longest wait until it is ready, downloads included.")
    stop_timeout_s: float = Field(10.0, gt=0, le=15, description="Then it is killed.")


class WeightSettings(Section):
    """Files of a Hugging Face repository."""

    repo: str = Field(description="owner/name.")
    files: list[str] = Field(default_factory=list, description="Patterns such as *.safetensors; empty takes all files.")
    revision: str = Field("main", min_length=1, description="Branch, tag or commit.")


class EngineSettings(Section):
    """An engine that is a process of its own, be it started here or by somebody else."""

    url: str = Field(description="Where it listens, such as http://127.0.0.1:8090; port 0 takes a free one for a launch.")
    ready: str = Field("/ready", description="The path that answers 200 as soon as it can work.")
    model: str = Field("", description="What it serves: a folder, or a Hugging Face repository; {model} in the command.")
    values: dict[str, int | float | str] = Field(
        default_factory=dict, description="Further values for the command and for the engine's YAML file, by their name."
    )
    weights: list[WeightSettings] = Field(default_factory=list, description="What `models download` fetches for it.")
    gpu_gb: float | None = Field(None, gt=0, description="GPU memory that it takes, in GB (10⁹ bytes).")
    gpu_share: float | None = Field(None, gt=0, le=1, description="Or the share of the card that it takes, as vLLM does.")
    launch: LaunchSettings | None = Field(None, description="How it is started; null: somebody else runs it.")

    @field_validator("values")
    @classmethod
    def _numbers_are_numbers(cls, values: dict[str, int | float | str]) -> dict[str, int | float | str]:
        """What comes from a variable is text."""
        return {name: _number(value) if isinstance(value, str) else value for name, value in values.items()}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> EngineSettings:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            port = None
        if port is None or not parts.hostname or parts.scheme not in ("http", "https", "ws", "wss"):
            raise ValueError("url: must be an address with its port, such as http://127.0.0.1:8090")
        if not self.ready.startswith("/"):
            raise ValueError("ready: must be a path, such as /ready")
        if self.launch is None and port == 0:
            raise ValueError("url: port 0 is only for an engine with launch")
        for weights in self.weights:
            if not REPOSITORY.fullmatch(weights.repo):
                raise ValueError(f"weights: '{weights.repo}' is no repository; allowed: owner/name, as Hugging Face calls it")
        if self.gpu_gb is not None and self.gpu_share is not None:
            raise ValueError("gpu_gb and gpu_share: allowed: one of the two")
        return self


class ModelSettings(Section):
    """The weights of models, which are downloaded once."""

    cache_dir: Path | None = Field(None, description="Where they lie, laid out as Hugging Face does; null: data_dir/models.")
    preload: bool = Field(True, description="Load the engines at the start; false waits for POST /models/load.")


class GpuSettings(Section):
    """The memory of the graphics card that the engines share."""

    memory_gb: float | None = Field(
        None, gt=0, description="GB (10⁹ bytes) of the card, for `check` on a machine that has none; null: what is found."
    )
    reserve_gb: float = Field(2.0, ge=0, description="GB that are left free, for the desktop and for peaks.")
