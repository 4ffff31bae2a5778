"""What a server of this kind can be asked for, and what not: single wishes, checked against its abilities. Pure.

What it cannot follow is refused with an error that names the parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from web.doors.realtime.events import (
    ApiError,
    FunctionTool,
    OutputTokens,
    Tool,
    ToolChoice,
    ToolChoiceFunction,
    ToolChoiceMcp,
)

OPENAI_VOICES = frozenset(["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"])
WITHOUT_MODEL = "follows its lessons and no instructions"

FollowedChoice = Literal["none", "auto", "required"] | ToolChoiceFunction


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the server's engines can be asked for. ``max_tokens`` and ``speed`` are the ranges allowed; ``None``: not at all."""

    engine: str = "scripted"
    instructions: bool = False
    tools: bool = False
    max_tokens: tuple[int, int] | None = None
    speed: tuple[float, float] | None = None
    voice: str = "default"
    recogniser: str = "pocketsphinx"


def check_instructions(text: str | None, can: Abilities, param: str) -> str | None:
    """Instructions that can be followed, or none; raises ``ApiError``."""
    if not text or not text.strip():
        return None
    if not can.instructions:
        raise unsupported(param, f"the tutor of this server ({can.engine}) {WITHOUT_MODEL}")
    return text


def check_tools(tools: list[Tool] | None, can: Abilities, param: str) -> tuple[FunctionTool, ...]:
    """Tools that can be used, or none; raises ``ApiError``."""
    if tools and not can.tools:
        raise unsupported(param, f"the language model of this server ({can.engine}) calls no functions")
    functions = tuple(t for t in tools or () if isinstance(t, FunctionTool))
    if len(functions) < len(tools or ()):
        raise unsupported(f"{param}.type", "this server calls no MCP servers; functions are run by the client")
    names = [t.name for t in functions]
    if len(set(names)) < len(names):
        raise ApiError("Two tools have the same name.", code="invalid_value", param=param)
    return functions


def check_choice(choice: ToolChoice, tools: tuple[FunctionTool, ...], param: str) -> FollowedChoice:
    """A choice that can be followed; raises ``ApiError`` where ``choice`` wants a tool that is not there."""
    if isinstance(choice, ToolChoiceMcp):
        raise unsupported(param, "this server calls no MCP servers")
    if isinstance(choice, ToolChoiceFunction) and choice.name not in {t.name for t in tools}:
        raise ApiError(f"Tool {choice.name!r} is not among the tools.", code="invalid_value", param=f"{param}.name")
    if choice == "required" and not tools:
        raise ApiError("'required' needs tools.", code="invalid_value", param=param)
    return choice


def check_tokens(tokens: OutputTokens, can: Abilities, param: str) -> None:
    """Raise ``ApiError`` where an answer cannot be kept to ``tokens``."""
    if tokens == "inf":
        return
    if can.max_tokens is None:
        raise unsupported(param, f"the tutor of this server ({can.engine}) has no length to set")
    low, high = can.max_tokens
    if not low <= tokens <= high:
        raise ApiError(f"Invalid value for {param!r}: this server allows {low} to {high}.", code="invalid_value", param=param)


def unsupported(param: str, why: str = "this server has no such thing") -> ApiError:
    """The refusal of something that the API has and this server has not."""
    return ApiError(f"Unsupported parameter {param!r}: {why}.", code="unsupported_parameter", param=param)


def check_speed(speed: float, can: Abilities, param: str = "session.audio.output.speed") -> None:
    """Raise ``ApiError`` where the voice cannot speak so fast or so slowly."""
    if speed == 1.0:
        return
    if can.speed is None:
        raise unsupported(param, "the voice of this server has one speed")
    if not can.speed[0] <= speed <= can.speed[1]:
        raise ApiError(
            f"Invalid value for {param!r}: this server allows {can.speed[0]:g} to {can.speed[1]:g}.",
            code="invalid_value",
            param=param,
        )


def check_voice(name: str, can: Abilities, param: str) -> str:
    """The server's voice, where ``name`` stands for it; raises ``ApiError``."""
    if name in OPENAI_VOICES or name in ("default", can.voice):
        return can.voice
    raise ApiError(
        f"Invalid value {name[:60]!r} for {param!r}: this server has one voice, {can.voice!r}.",
        code="invalid_value",
        param=param,
    )
