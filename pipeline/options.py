"""What a learner may set for a call: how freely the tutor answers, at what length, and how fast it speaks. Pure.

The ranges and defaults are the operator's (``options`` in the settings). Which options change anything is the engines' to say:
``pipeline.engine.Engine.honours``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.settings.tree import OptionSettings

OptionName = Literal["temperature", "max_tokens", "speech_rate"]
OPTION_STAGES: dict[OptionName, Literal["llm", "tts"]] = {"temperature": "llm", "max_tokens": "llm", "speech_rate": "tts"}
"""Every option, and the stage of a call that it is for."""


class BadOption(ValueError):
    """A value outside its range; the text names every such option with its range, fit for the client."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options in force; an engine that honours one reads it when an answer begins."""

    temperature: float = 0.7
    """Sampling temperature of a language model: 0 always takes the likeliest word."""
    max_tokens: int = 200
    """Longest answer of a language model, in its tokens."""
    speech_rate: float = 1.0
    """Multiple of the voice's usual rate."""

    @classmethod
    def of(cls, ranges: OptionSettings) -> CallOptions:
        """Every option at the operator's default."""
        return cls(**{name: getattr(ranges, name).default for name in OPTION_STAGES})

    def changed(self, wanted: Mapping[str, Any], ranges: OptionSettings) -> CallOptions:
        """These options with those of ``wanted`` (by name; ``None`` leaves one as it is) in their place.

        Raises:
            BadOption: one is outside its range; then none is changed.
        """
        given = {name: wanted[name] for name in OPTION_STAGES if wanted.get(name) is not None}
        problems = [p for name, value in given.items() if (p := _problem(name, value, ranges))]
        if problems:
            raise BadOption("; ".join(problems))
        return replace(self, **given)


def read_options(texts: Mapping[str, str], ranges: OptionSettings) -> tuple[dict[str, Any], list[str]]:
    """The options among the parameters of an address: those that may be used, and what is wrong with each of the others."""
    good: dict[str, Any] = {}
    problems = []
    for name in OPTION_STAGES:
        if name not in texts:
            continue
        problem: str | None
        try:
            value = int(texts[name]) if name == "max_tokens" else float(texts[name])
            problem = _problem(name, value, ranges)
        except ValueError:
            value, problem = 0, f"{_rule(name, ranges)}, not {texts[name][:40]!r}"
        if problem:
            problems.append(problem)
        else:
            good[name] = value
    return good, problems


def _problem(name: str, value: float, ranges: OptionSettings) -> str | None:
    limits = getattr(ranges, name)
    if limits.min <= value <= limits.max:
        return None
    return f"{_rule(name, ranges)}, not {value:g}"


def _rule(name: str, ranges: OptionSettings) -> str:
    limits = getattr(ranges, name)
    kind = "a whole number" if name == "max_tokens" else "a number"
    return f"{name} must be {kind} from {limits.min:g} to {limits.max:g}"
