"""What an engine is told by its file of settings. An error is one line: file, key, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

E = TypeVar("E", bound="EngineSettings")

FINER_FROM = 32
"""Between this size of batch and its double, and so on, there is one more."""


class SettingsError(Exception):
    """The text is for the operator."""


class EngineSettings(BaseModel):
    """What both engines are told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="a folder in moshi's file format, or the name of a repository on the hub")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535, description="0: any that is free, which the log names")
    slots: int = Field(64, ge=1, le=4096, description="sessions at the same time")
    buckets: list[int] = Field(
        default=[], description="sizes of batches, the largest being slots; empty: powers of two, from 32 on also those between"
    )
    device: str = Field("cuda", pattern=r"^(cpu|cuda(:\d+)?)$")
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    front_ends: int = Field(2, ge=1, le=64, description="processes that hold the sockets")
    keys: list[str] = Field(default=[], description="accepted keys; empty: none is asked for")

    @model_validator(mode="after")
    def _buckets_end_with_slots(self) -> EngineSettings:
        if self.buckets and (min(self.buckets) < 1 or max(self.buckets) != self.slots):
            raise ValueError(f"buckets: sizes from 1 to slots ({self.slots}), and slots itself, are wanted")
        return self

    @property
    def sizes(self) -> list[int]:
        """The sizes of batches, ascending."""
        if self.buckets:
            return sorted(set(self.buckets))
        powers = [1 << k for k in range(self.slots.bit_length())]
        # In larger ones a step's time follows its size, and a half-empty one would be computed whole.
        between = [size + size // 2 for size in powers if size >= FINER_FROM]
        return [*sorted(size for size in powers + between if size < self.slots), self.slots]

    def door_spec(self) -> dict[str, Any]:
        """What the front-ends are to know, as it goes through JSON."""
        return {"keys": self.keys}


class SttSettings(EngineSettings):
    """Of speech to text."""

    port: int = Field(8090, ge=0, le=65535)
    silent_s: float = Field(10.0, gt=0, description="seconds of a voice without a word after which a slot is made new")
    gather_ms: float = Field(20.0, ge=0, le=80, description="steps begin at most this often, so that sessions step together")

    def door_spec(self) -> dict[str, Any]:
        return {**super().door_spec(), "door": "stt"}


class TtsSettings(EngineSettings):
    """Of text to speech."""

    port: int = Field(8089, ge=0, le=65535)
    voices: str | None = Field(
        None,
        min_length=1,
        description="a folder of embeddings (.safetensors), or hf://owner/name; none: the model's own",
    )
    default_voice: str | None = None
    n_q: int | None = Field(None, ge=1, le=32, description="codebooks that are made; fewer is faster")
    temp: float = Field(0.6, ge=0)
    cfg_coef: float = Field(2.0, ge=0)
    wait: int | None = Field(
        None, ge=0, description="words behind a word that must be known before it begins; none: as many as the model is shown"
    )
    voice_places: int = Field(8, ge=1, description="different voices that can be spoken with at the same time")
    seed: int | None = Field(None, ge=0, lt=2**63, description="what is sampled; none: other each time")
    queue: int = Field(0, ge=0, description="sessions beyond slots that may be open, and wait for one with their first words")

    def door_spec(self) -> dict[str, Any]:
        return {**super().door_spec(), "door": "tts"}


def read_settings(path: Path, kind: type[E]) -> E:
    """The settings in this file.

    :raises SettingsError: where it cannot be read, or says what is not allowed
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise SettingsError(f"{path}: {e.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        where = getattr(e, "problem_mark", None)
        raise SettingsError(f"{path}: not YAML{f', line {where.line + 1}' if where is not None else ''}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a map of settings is wanted; there are: {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(content)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{path}: {key}: there is no such setting; there are: {', '.join(kind.model_fields)}") from None
        text = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{path}: {f'{key}: ' if key else ''}{text}") from None
