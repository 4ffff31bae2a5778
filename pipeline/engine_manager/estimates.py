"""How much GPU memory an engine needs, from its settings. Pure arithmetic; all in GB (10⁹ bytes).

Kyutai's models: two bytes for each of the parameters that their names tell, 0.4 for Mimi (float32), 0.6 for CUDA's context,
workspaces and graphs, and what each session's slot remembers in bfloat16: the keys and values of its window in every layer,
98 MB for the recogniser of 1 B, 148 MB for that of 2.6 B, 66 MB for the voice of 1.6 B, which keeps 82 MB more for each voice
that is spoken with.

Language models behind vLLM: the size of the weights' files, 1.5 for activations and graphs, and for each token of the longest
context the keys and values: 2 · layers · key-value heads · width of a head · 2 bytes. Less than that, and vLLM does not start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
OTHER_GB = 0.4 + 0.6
VOICES = 2
"""Voices that are spoken with at the same time: the tutor's own, and one more."""
VOICE_GB = 0.082


@dataclass(frozen=True, slots=True)
class Speech:
    """What an engine of Kyutai's takes: ``fixed_gb`` alone, and ``slot_gb`` for each session."""

    fixed_gb: float
    slot_gb: float

    def total_gb(self, slots: int) -> float:
        """With so many slots."""
        return self.fixed_gb + self.slot_gb * slots

    def slots_in(self, gb: float) -> int:
        """How many slots fit into so much memory; 0 where not even the weights do."""
        return max(0, int((gb - self.fixed_gb) / self.slot_gb + 1e-9))


SPEECH = {
    "stt-1b": Speech(1.0 * 2 + OTHER_GB, 0.098),
    "stt-2.6b": Speech(2.6 * 2 + OTHER_GB, 0.148),
    "tts-1.6b": Speech(1.6 * 2 + OTHER_GB + VOICES * VOICE_GB, 0.066),
}


@dataclass(frozen=True, slots=True)
class Language:
    """What a language model takes: its files, and each token that it looks back on."""

    files_gb: float
    layers: int
    kv_heads: int
    head_width: int

    def least_gb(self, max_model_len: int) -> float:
        """What one context of that length needs."""
        return self.files_gb + 1.5 + max_model_len * 4 * self.layers * self.kv_heads * self.head_width / 1e9


LANGUAGE = {"qwen2.5-7b-instruct-awq": Language(5.6, 28, 4, 128)}


def speech(model: str) -> Speech | None:
    """The estimate for a model by its name, such as ``kyutai/stt-1b-en_fr``; ``None`` for one that is not known."""
    return _by_name(SPEECH, model)


def language(model: str) -> Language | None:
    """The estimate for a model by its name, such as ``Qwen/Qwen2.5-7B-Instruct-AWQ``; ``None`` for one that is not known."""
    return _by_name(LANGUAGE, model)


def _by_name(known: dict[str, T], model: str) -> T | None:
    name = model.rstrip("/").rpartition("/")[2].lower()
    return next((what for start, what in known.items() if name.startswith(start)), None)
