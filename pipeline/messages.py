"""Every message between a client and a call, one pydantic type each.

The WebSocket door sends them as JSON text frames. The WebRTC door carries those marked "extra" inside RTVI server / client
messages with the same schema. The first group is a fixed protocol that other clients speak: it must not change. Extras
reach a WebSocket client only when it asked for them with ``?extras=1``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent.record import Level

MAX_TEXT_CHARS = 2_000
INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000
OptionNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
OptionWhole = Annotated[int, Field(strict=True)]
"""Options of a call; their ranges are the settings'."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


# Client to server: the fixed protocol.


class EndConversation(_Message):
    """Hang up. The server answers with ``analysis`` and closes."""

    type: Literal["end_conversation"] = "end_conversation"


class SetLevel(_Message):
    """Change the learner's level from the tutor's next turn on."""

    type: Literal["set_level"] = "set_level"
    level: Level


class Ping(_Message):
    """Answered with ``pong``; also keeps a silent connection attached."""

    type: Literal["ping"] = "ping"


# Client to server: extras.


class TextInput(_Message):
    """A turn that the learner typed."""

    type: Literal["text"] = "text"
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]


class Interrupt(_Message):
    """Stop the tutor now, as if the learner had spoken over it."""

    type: Literal["interrupt"] = "interrupt"


class SetLesson(_Message):
    """Start another lesson; the conversation begins anew."""

    type: Literal["set_lesson"] = "set_lesson"
    lesson: Annotated[str, Field(min_length=1, max_length=100)]


class SetOptions(_Message):
    """Change options of the call from the tutor's next answer on; one that is left out stays. ``pipeline.options`` has them."""

    type: Literal["set_options"] = "set_options"
    temperature: OptionNumber | None = None
    max_tokens: OptionWhole | None = None
    speech_rate: OptionNumber | None = None


class Resume(_Message):
    """Take up a detached session. The first message of a new connection."""

    type: Literal["resume"] = "resume"
    token: Annotated[str, Field(min_length=1, max_length=200)]


class Playout(_Message):
    """What the client has played: exactly one of an RTP timestamp (WebRTC) or a sample index (WebSocket).

    ``sample`` counts the samples of the tutor's 24 kHz stream since the connection opened, over all binary messages.
    ``rtp_timestamp`` is the 32-bit timestamp of the last played packet (48 kHz units).
    """

    type: Literal["playout"] = "playout"
    rtp_timestamp: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    sample: Annotated[int, Field(ge=0)] | None = None


ClientMessage = Annotated[
    EndConversation | SetLevel | Ping | TextInput | Interrupt | SetLesson | SetOptions | Resume | Playout,
    Field(discriminator="type"),
]
EXTRA_CLIENT_TYPES = frozenset({"text", "interrupt", "set_lesson", "set_options", "resume", "playout"})
_client_messages: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


# Server to client: the fixed protocol.


class Connected(_Message):
    """First message. ``resume_token``, ``level``, ``lesson`` and ``options`` are sent only with extras.

    ``recording`` is true where both voices of the call are kept, whatever the client asked for; else it is left out.
    """

    type: Literal["connected"] = "connected"
    session_id: str
    resume_token: str | None = None
    level: Level | None = None
    lesson: str | None = None
    resumed: bool | None = None
    recording: Literal[True] | None = None
    options: dict[str, float] | None = None


class Transcript(_Message):
    """The learner's words as recognised. A partial replaces the partial before it; a final ends it."""

    type: Literal["transcript"] = "transcript"
    text: str
    is_final: bool


class AiText(_Message):
    """The tutor's words. ``is_complete`` false: a delta. True: the full text of the reply."""

    type: Literal["ai_text"] = "ai_text"
    text: str
    is_complete: bool


class AiAudioStart(_Message):
    """Binary messages with the tutor's speech follow (pcm16, mono)."""

    type: Literal["ai_audio_start"] = "ai_audio_start"
    sample_rate: int = OUTPUT_RATE_HZ


class TurnComplete(_Message):
    """The tutor's turn is over: all its audio was sent, or it was interrupted."""

    type: Literal["turn_complete"] = "turn_complete"


class Analysis(_Message):
    """The report, once, at the end of the call."""

    type: Literal["analysis"] = "analysis"
    data: dict[str, Any]


class Error(_Message):
    """Something was refused or failed; ``message`` says what. The connection goes on unless it is closed after it."""

    type: Literal["error"] = "error"
    message: str


class Pong(_Message):
    """Answer to ``ping``."""

    type: Literal["pong"] = "pong"


# Server to client: extras.


class Interrupted(_Message):
    """The tutor was interrupted; ``text`` is what of its reply was heard."""

    type: Literal["interrupted"] = "interrupted"
    text: str


class Hold(_Message):
    """Stop playing, at once, and keep what has not been played: somebody may want to say something."""

    type: Literal["hold"] = "hold"


class GoOn(_Message):
    """Go on playing with the very next sample: nobody wanted to."""

    type: Literal["go_on"] = "go_on"


class CorrectionItem(_Message):
    original: str
    correction: str
    explanation: str


class Corrections(_Message):
    """Mistakes in the learner's turn number ``turn``."""

    type: Literal["corrections"] = "corrections"
    turn: int
    items: list[CorrectionItem]


class TurnAnalysis(_Message):
    """Of the learner's turn number ``turn``: how many of its words belong to which CEFR level, and those of B2 and above."""

    type: Literal["turn_analysis"] = "turn_analysis"
    turn: int
    levels: dict[str, int]
    notable: list[dict[str, str]]


class Suggestions(_Message):
    """What the learner might say now."""

    type: Literal["suggestions"] = "suggestions"
    items: list[str]


class Metrics(_Message):
    """One ``TurnMetrics`` row, in ms (see ``agent.record.TurnMetrics.to_dict``); sent again when ``heard`` is known."""

    type: Literal["metrics"] = "metrics"
    row: dict[str, Any]


class Speaking(_Message):
    """Who started or stopped speaking."""

    type: Literal["speaking"] = "speaking"
    who: Literal["learner", "tutor"]
    active: bool


class SpokenWord(_Message):
    """A word of the tutor's current reply whose audio is leaving now; ``index`` counts the reply's words from 0."""

    type: Literal["word"] = "word"
    index: int
    text: str


class RecordingStopped(_Message):
    """The call is no longer recorded; ``reason`` says why. The call goes on."""

    type: Literal["recording_stopped"] = "recording_stopped"
    reason: str


ServerMessage = (
    Connected
    | Transcript
    | AiText
    | AiAudioStart
    | TurnComplete
    | Analysis
    | Error
    | Pong
    | Interrupted
    | Hold
    | GoOn
    | Corrections
    | TurnAnalysis
    | Suggestions
    | Metrics
    | Speaking
    | SpokenWord
    | RecordingStopped
)
EXTRA_SERVER_TYPES = frozenset(
    {
        "interrupted",
        "hold",
        "go_on",
        "corrections",
        "turn_analysis",
        "suggestions",
        "metrics",
        "speaking",
        "word",
        "recording_stopped",
    }
)


class BadMessage(ValueError):
    """A client's message that is not one of ``ClientMessage``; its text is fit to show to the client."""


def parse_client_message(data: Any) -> ClientMessage:
    """Read a decoded JSON value as a client message.

    Raises:
        BadMessage: naming the unknown type, or the field and what it allows.
    """
    if not isinstance(data, dict):
        raise BadMessage("a message must be a JSON object with a 'type'")
    try:
        return _client_messages.validate_python(data)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
            raise BadMessage(f"unknown message type {str(data.get('type'))[:40]!r}") from None
        where = ".".join(str(p) for p in first["loc"][1:]) or "message"
        raise BadMessage(f"{str(data.get('type'))[:40]}: {where}: {first['msg']}") from None


def to_wire(message: ServerMessage) -> dict[str, Any]:
    """The message as a JSON-ready dict, without fields that are not set."""
    return message.model_dump(mode="json", exclude_none=True)
