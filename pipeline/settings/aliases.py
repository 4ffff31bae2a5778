"""Variables of an earlier system that are still understood: each stands for settings of the tree. Pure.

A variable of this list is weaker than any ``PARLEY_`` variable, and stronger than the YAML file. What it stands for may
depend on the engines that the file chooses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
"""The settings as far as they are known: nested, as written."""

NO_EFFECT = "the engine's own rate is used"


@dataclass(frozen=True, slots=True)
class Alias:
    """What a variable stands for: ``keys`` (dotted) of those that ``when`` wants for these settings and this value."""

    name: str
    keys: tuple[str, ...] = ()
    when: Callable[[Values, str], bool] = lambda values, value: True
    why_not: str = ""


def _section(values: Values, *path: str) -> Any:
    here: Any = values
    for part in path:
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def _launched(name: str) -> Callable[[Values, str], bool]:
    return lambda values, _: _section(values, "engines", name) is not None


def _engine(stage: str, engine: str) -> Callable[[Values, str], bool]:
    return lambda values, _: _section(values, stage, "engine") == engine


def _is_address(_: Values, value: str) -> bool:
    # Some shells keep the machine's own name in HOST, which nobody meant for us.
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return value == "localhost"
    return True


ALIASES = (
    Alias("LLM_MODEL_NAME", ("engines.llm.model",), _launched("llm"), "the settings have no engines.llm"),
    Alias("LLM_MODEL_NAME", ("llm.transformers.model",), _engine("llm", "transformers"), "llm.engine is not transformers"),
    Alias("LLM_MAX_MODEL_LEN", ("llm.max_model_len",)),
    Alias("LLM_MAX_MODEL_LEN", ("engines.llm.values.max_model_len",), _launched("llm"), "the settings have no engines.llm"),
    Alias("LLM_GPU_MEMORY_UTILIZATION", ("engines.llm.gpu_share",), _launched("llm"), "the settings have no engines.llm"),
    Alias("ASR_MODEL_NAME", ("engines.stt.model",), _launched("stt"), "the settings have no engines.stt"),
    Alias("ASR_MODEL_NAME", ("stt.whisper.model",), _engine("stt", "whisper"), "stt.engine is not whisper"),
    Alias("ASR_SAMPLE_RATE", why_not=NO_EFFECT),
    Alias("ASR_WHISPER_FALLBACK_MODEL", ("stt.whisper.model",)),
    Alias("ASR_SILENCE_RMS_THRESHOLD", ("stt.kyutai.noise.rms",)),
    Alias("ASR_SILENCE_PEAK_THRESHOLD", ("stt.kyutai.noise.peak",)),
    Alias("ASR_FILTER_NOISE_TRANSCRIPTS", ("stt.kyutai.noise.enabled",)),
    Alias("ASR_NOISE_MAX_DURATION_S", ("stt.kyutai.noise.max_duration_s",)),
    Alias("TTS_MODEL_NAME", ("engines.tts.model",), _launched("tts"), "the settings have no engines.tts"),
    Alias("TTS_SAMPLE_RATE", why_not=NO_EFFECT),
    Alias("PRELOAD_MODELS", ("models.preload",)),
    Alias("MODELS_CACHE_DIR", ("models.cache_dir",)),
    Alias("HOST", ("server.host",), _is_address, "it is no address"),
    Alias("PORT", ("server.port",)),
)


def meant(env: Mapping[str, str], values: Values) -> list[tuple[str, str, str]]:
    """What the variables of ``env`` stand for: the variable's name, the key, and the value as it is written."""
    return [
        (alias.name, key, env[alias.name])
        for alias in ALIASES
        if env.get(alias.name) and alias.when(values, env[alias.name])
        for key in alias.keys
    ]


def notes(env: Mapping[str, str], values: Values) -> list[str]:
    """A line for each variable of the list that is set: what it was taken for, or why it changes nothing."""
    lines = []
    taken = meant(env, values)
    for name in dict.fromkeys(alias.name for alias in ALIASES):
        if not env.get(name):
            continue
        keys = [key for of, key, _ in taken if of == name]
        if keys:
            lines.append(f"{name} is an old name: it was taken for {' and '.join(keys)}")
        else:
            why = dict.fromkeys(alias.why_not for alias in ALIASES if alias.name == name)
            lines.append(f"{name} is an old name and changes nothing: {', '.join(why)}")
    return lines
