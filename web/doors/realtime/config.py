"""What a session of the Realtime API is: the configuration in force, and what of a client's wishes can be followed. Pure.

Two things are taken for what the server has instead, and the session says so: the name of a voice of OpenAI's is the server's
own voice, and the name of a transcription model is the server's recogniser.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.brief import Brief
from pipeline.settings.tree import TurnSettings, VADSettings
from pipeline.transports.codecs import Codec
from web.doors.realtime.checks import (
    WITHOUT_MODEL,
    Abilities,
    FollowedChoice,
    check_choice,
    check_instructions,
    check_speed,
    check_tokens,
    check_tools,
    check_voice,
    unsupported,
)
from web.doors.realtime.events import (
    ApiError,
    Audio,
    AudioFormat,
    AudioInput,
    AudioOutput,
    FunctionTool,
    Modalities,
    OutputTokens,
    PcmFormat,
    ResponseOptions,
    ResponseVoice,
    SemanticVad,
    ServerVad,
    SessionUpdate,
    ToolChoiceFunction,
    Transcription,
)

PCM_HZ, G711_HZ = 24_000, 8_000
PREFIX_PADDING_MS = 300
"""What the recogniser keeps of the audio before a voice began, about; it cannot be changed."""
CONVERSATION = "response.conversation"
SILENCE_MS = 500
THRESHOLD = 0.5
EAGERNESS = {"low": 1.6, "medium": 1.0, "auto": 1.0, "high": 0.7}
"""What ``turns.patience`` is multiplied by."""


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration in force. ``turn_detection`` ``None``: the client says when a turn is over."""

    model: str | None = None
    instructions: str | None = None
    output_modalities: Modalities = field(default_factory=lambda: ["audio"])
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: FollowedChoice = "auto"
    max_output_tokens: OutputTokens = "inf"
    input_format: AudioFormat = field(default_factory=lambda: PcmFormat(type="audio/pcm"))
    output_format: AudioFormat = field(default_factory=lambda: PcmFormat(type="audio/pcm"))
    transcription: Transcription | None = None
    turn_detection: ServerVad | SemanticVad | None = field(default_factory=lambda: _whole(SemanticVad(type="semantic_vad")))
    voice: str = "default"
    voice_named: str | None = None
    """What the client calls the voice."""
    speed: float = 1.0

    @property
    def spoken(self) -> bool:
        """Whether answers are spoken, and not only written."""
        return "audio" in self.output_modalities

    @property
    def answers(self) -> bool:
        """Whether each turn of the user is answered by itself."""
        return self.turn_detection is not None and self.turn_detection.create_response is not False

    @property
    def interrupts(self) -> bool:
        """Whether the user's voice stops the assistant's."""
        return self.turn_detection is None or self.turn_detection.interrupt_response is not False

    @property
    def idle_s(self) -> float | None:
        """Silence of the user that is answered like a turn; ``None``: none is."""
        detection = self.turn_detection
        idle_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        return idle_ms / 1000 if idle_ms is not None else None

    def brief(self, **changes: Any) -> Brief | None:
        """What the assistant is to be; ``None``: the tutor.

        ``changes`` are one response's: ``instructions``, ``tools``, ``tool_choice``; ``said`` and ``aside`` as in ``Brief``.
        """
        instructions = changes.get("instructions", self.instructions) or None
        tools = changes.get("tools", self.tools) or ()
        choice = changes.get("tool_choice", self.tool_choice)
        said, aside = changes.get("said"), changes.get("aside", False)
        if instructions is None and not tools and said is None and not aside:
            return None
        named = choice if isinstance(choice, str) else {"type": "function", "function": {"name": choice.name}}
        return Brief(instructions, tuple(t.to_chat() for t in tools), named, said, aside)

    def turns(self, base: TurnSettings) -> TurnSettings | None:
        """Turn-taking as the client wants it; ``None``: as the settings say."""
        match self.turn_detection:
            case ServerVad(silence_duration_ms=silence):
                silence_s = max(0.02, (SILENCE_MS if silence is None else silence) / 1000 - VAD_STOP_S)
                return base.model_copy(update={"end": "stock", "smart_turn": False, "silence_s": silence_s, "speculate": False})
            case SemanticVad(eagerness=eagerness) if eagerness not in (None, "auto", "medium"):
                return base.model_copy(update={"end": "patient", "patience": base.patience * EAGERNESS[eagerness or "auto"]})
            case _:
                return None

    def vad(self, base: VADSettings) -> VADSettings | None:
        """Voice detection, the same."""
        if isinstance(self.turn_detection, ServerVad):
            threshold = self.turn_detection.threshold
            confidence = min(0.99, max(0.01, THRESHOLD if threshold is None else threshold))
            return base.model_copy(update={"confidence": confidence, "sure": max(confidence, base.sure), "stop_s": VAD_STOP_S})
        return None

    def to_wire(self, session_id: str, expires_at: int) -> dict[str, Any]:
        """The session in the API's form."""
        transcription = self.transcription.model_dump(exclude_none=True) if self.transcription is not None else None
        detection = self.turn_detection.model_dump() if self.turn_detection is not None else None
        choice = self.tool_choice
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "expires_at": expires_at,
            "model": self.model or "parley",
            "instructions": self.instructions or "",
            "output_modalities": list(self.output_modalities),
            "tools": [t.model_dump(exclude_none=True) for t in self.tools],
            "tool_choice": choice.model_dump() if isinstance(choice, ToolChoiceFunction) else choice,
            "max_output_tokens": self.max_output_tokens,
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
            "audio": {
                "input": {
                    "format": self.input_format.model_dump(),
                    "transcription": transcription,
                    "noise_reduction": None,
                    "turn_detection": detection,
                },
                "output": {"format": self.output_format.model_dump(), "voice": self.voice, "speed": self.speed},
            },
        }


VAD_STOP_S = 0.15
"""Silence that the voice detector waits for by itself; the rest of a fixed silence is waited for behind it."""


def codec_of(wanted: AudioFormat) -> Codec:
    """How audio of that format is written."""
    match wanted.type:
        case "audio/pcmu":
            return Codec("mulaw", G711_HZ)
        case "audio/pcma":
            return Codec("alaw", G711_HZ)
        case _:
            return Codec("pcm16", PCM_HZ)


def changed(config: Config, wanted: SessionUpdate, can: Abilities, *, begun: bool = False, sounded: bool = False) -> Config:
    """The configuration with what was sent of ``wanted`` in it.

    ``begun``: the call runs, so its output's format stands. ``sounded``: the assistant was heard, so its voice stands.

    Raises:
        ApiError: something cannot be followed; then nothing is changed.
    """
    sent = wanted.model_fields_set
    new = config
    if wanted.type != "realtime":
        raise unsupported("session.type", "this server holds conversations")
    if "model" in sent and wanted.model is not None:
        if config.model is not None and wanted.model != config.model:
            raise ApiError("The model of a session cannot be changed.", code="cannot_update_model", param="session.model")
        new = replace(new, model=wanted.model[:100])
    if "instructions" in sent:
        new = replace(new, instructions=check_instructions(wanted.instructions, can, "session.instructions"))
    if wanted.output_modalities is not None:
        new = replace(new, output_modalities=list(wanted.output_modalities))
    if "tools" in sent:
        new = replace(new, tools=check_tools(wanted.tools, can, "session.tools"))
    if wanted.tool_choice is not None:
        new = replace(new, tool_choice=check_choice(wanted.tool_choice, new.tools, "session.tool_choice"))
    if wanted.max_output_tokens is not None:
        check_tokens(wanted.max_output_tokens, can, "session.max_output_tokens")
        new = replace(new, max_output_tokens=wanted.max_output_tokens)
    _check_unsupported(wanted)
    if wanted.audio is not None:
        new = _audio_changed(new, wanted.audio, can, begun=begun, sounded=sounded)
    check_choice(new.tool_choice, new.tools, "session.tool_choice")
    return new


def _check_unsupported(wanted: SessionUpdate) -> None:
    if wanted.include:
        raise unsupported("session.include")
    if wanted.parallel_tool_calls is False:
        raise unsupported("session.parallel_tool_calls", "whether calls come together is the language model's to say")
    for name in ("prompt", "reasoning"):  # not ``tracing``: clients ask for it unasked, and nothing that is said depends on it
        if getattr(wanted, name) is not None:
            raise unsupported(f"session.{name}")
    if wanted.truncation not in (None, "auto"):
        raise unsupported("session.truncation", "the oldest messages are left out where the model has no room for them")


def _audio_changed(config: Config, audio: Audio, can: Abilities, *, begun: bool, sounded: bool) -> Config:
    new = config
    if audio.input is not None:
        new = _input_changed(new, audio.input)
    if audio.output is not None:
        new = _output_changed(new, audio.output, can, begun=begun, sounded=sounded)
    return new


def _input_changed(config: Config, wanted: AudioInput) -> Config:
    new = config
    if wanted.format is not None:
        new = replace(new, input_format=wanted.format)
    if wanted.noise_reduction is not None and wanted.noise_reduction.model_dump(exclude_none=True):
        raise unsupported("session.audio.input.noise_reduction", "reduce noise where the sound is recorded")
    if "transcription" in wanted.model_fields_set:
        new = replace(new, transcription=_transcription(wanted.transcription))
    if "turn_detection" in wanted.model_fields_set:
        new = replace(new, turn_detection=_detection(wanted.turn_detection))
    return new


def _transcription(wanted: Transcription | None) -> Transcription | None:
    if wanted is None:
        return None
    param = "session.audio.input.transcription"
    for name in ("prompt", "keywords", "delay"):
        if getattr(wanted, name):
            raise unsupported(f"{param}.{name}")
    for language in [wanted.language, *(wanted.languages or [])]:
        if language and language.lower().split("-")[0] != "en":
            raise unsupported(f"{param}.language", "this server hears English")
    return wanted


def _detection(wanted: ServerVad | SemanticVad | None) -> ServerVad | SemanticVad | None:
    if wanted is None:
        return None
    param = "session.audio.input.turn_detection"
    if isinstance(wanted, ServerVad) and wanted.prefix_padding_ms not in (None, PREFIX_PADDING_MS):
        raise unsupported(f"{param}.prefix_padding_ms", f"it is {PREFIX_PADDING_MS}")
    return _whole(wanted)


def _whole(wanted: ServerVad | SemanticVad) -> ServerVad | SemanticVad:
    """With what is in force where nothing was said."""
    common = {
        "create_response": wanted.create_response is not False,
        "interrupt_response": wanted.interrupt_response is not False,
    }
    if isinstance(wanted, SemanticVad):
        return wanted.model_copy(update={**common, "eagerness": wanted.eagerness or "auto"})
    return wanted.model_copy(
        update={
            **common,
            "threshold": THRESHOLD if wanted.threshold is None else wanted.threshold,
            "prefix_padding_ms": PREFIX_PADDING_MS,
            "silence_duration_ms": SILENCE_MS if wanted.silence_duration_ms is None else wanted.silence_duration_ms,
        }
    )


def _output_changed(config: Config, wanted: AudioOutput, can: Abilities, *, begun: bool, sounded: bool) -> Config:
    new = config
    if wanted.format is not None:
        if begun and wanted.format != config.output_format:
            raise ApiError(
                "The output's format cannot be changed once the conversation has begun.",
                code="cannot_update_format",
                param="session.audio.output.format",
            )
        new = replace(new, output_format=wanted.format)
    if wanted.speed is not None:
        check_speed(wanted.speed, can)
        new = replace(new, speed=wanted.speed)
    if wanted.voice is not None:
        name = wanted.voice if isinstance(wanted.voice, str) else wanted.voice.id
        voice = check_voice(name, can, "session.audio.output.voice")
        if sounded and config.voice_named not in (None, name):
            raise ApiError(
                "The voice cannot be changed once the assistant was heard.",
                code="cannot_update_voice",
                param="session.audio.output.voice",
            )
        new = replace(new, voice=voice, voice_named=name)
    return new


def response_changes(config: Config, wanted: ResponseOptions, can: Abilities) -> dict[str, Any]:
    """What one response has of its own, as ``Config.brief`` takes it; ``said`` is yet to be added. Raises ``ApiError``."""
    for name in ("prompt", "reasoning"):
        if getattr(wanted, name) is not None:
            raise unsupported(f"response.{name}")
    if wanted.conversation not in (None, "auto", "none"):
        raise ApiError("Invalid value for 'response.conversation': 'auto' or 'none'.", code="invalid_value", param=CONVERSATION)
    if wanted.parallel_tool_calls is False:
        raise unsupported("response.parallel_tool_calls", "whether calls come together is the language model's to say")
    for name in ("conversation", "input"):
        if getattr(wanted, name) not in (None, "auto") and not can.instructions:
            raise unsupported(f"response.{name}", f"the tutor of this server ({can.engine}) {WITHOUT_MODEL}")
    if wanted.audio is not None and wanted.audio.output is not None:
        _check_responsecheck_voice(config, wanted.audio.output, can)
    changes: dict[str, Any] = {"aside": wanted.conversation == "none"}
    if wanted.instructions is not None:
        changes["instructions"] = check_instructions(wanted.instructions, can, "response.instructions")
    if wanted.tools is not None:
        changes["tools"] = check_tools(wanted.tools, can, "response.tools")
    if wanted.max_output_tokens is not None:
        check_tokens(wanted.max_output_tokens, can, "response.max_output_tokens")
        changes["max_output_tokens"] = wanted.max_output_tokens
    choice = config.tool_choice if wanted.tool_choice is None else wanted.tool_choice
    changes["tool_choice"] = check_choice(choice, changes.get("tools", config.tools), "response.tool_choice")
    return changes


def _check_responsecheck_voice(config: Config, wanted: ResponseVoice, can: Abilities) -> None:
    if wanted.format is not None and wanted.format != config.output_format:
        raise unsupported("response.audio.output.format", "a session has one format, that of session.audio.output.format")
    if wanted.voice is not None:
        check_voice(wanted.voice if isinstance(wanted.voice, str) else wanted.voice.id, can, "response.audio.output.voice")
