"""Every event of the Realtime API that this door knows, one pydantic type each: what clients send, and what they are sent.

Names, fields and meanings are those of OpenAI's published API (the types of its Python package, version 3.52). A client's event
is read strictly: a field that the API does not have is an error. What the API has and this server has not can be read all the
same, and is refused by its name where it is applied (``config.py``, ``new_items.py``).
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ErrorType = Literal["invalid_request_error", "server_error", "rate_limit_error", "authentication_error"]
MAX_ID_CHARS = 64
MAX_INSTRUCTIONS_CHARS = 60_000
MAX_TEXT_CHARS = 20_000
MAX_TOOLS = 64
MAX_INPUT_ITEMS = 256
MIN_IDLE_MS, MAX_IDLE_MS = 5_000, 30_000


def new_id(prefix: str) -> str:
    """An id such as OpenAI gives: ``item_…``, ``resp_…``, ``event_…``."""
    return f"{prefix}_{secrets.token_hex(10)}"


class ApiError(Exception):
    """Something was refused; becomes an ``error`` event, or the body of an HTTP error. The text is fit for the client."""

    def __init__(self, message: str, *, code: str, param: str | None = None, kind: ErrorType = "invalid_request_error") -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.kind: ErrorType = kind

    def detail(self, event_id: str | None = None) -> ErrorDetail:
        """The error as it is sent; ``event_id`` is that of the client's event."""
        return ErrorDetail(type=self.kind, code=self.code, message=str(self), param=self.param, event_id=event_id)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


# The session's configuration.


class PcmFormat(_Part):
    """pcm16, little-endian, mono, 24 kHz."""

    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class PcmuFormat(_Part):
    """G.711 µ-law at 8 kHz."""

    type: Literal["audio/pcmu"]


class PcmaFormat(_Part):
    """G.711 A-law at 8 kHz."""

    type: Literal["audio/pcma"]


AudioFormat = Annotated[PcmFormat | PcmuFormat | PcmaFormat, Field(discriminator="type")]


class NoiseReduction(_Part):
    """Filters the client's audio before it is listened to."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class Transcription(_Part):
    """Whether the client is told the user's words as they were recognised."""

    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class ServerVad(_Part):
    """A turn ends with a silence of a fixed length."""

    type: Literal["server_vad"]
    threshold: float | None = Field(None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(None, ge=0)
    silence_duration_ms: int | None = Field(None, ge=0, le=10_000)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = Field(None, ge=MIN_IDLE_MS, le=MAX_IDLE_MS)


class SemanticVad(_Part):
    """A turn ends where what was said sounds complete."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(_Part):
    """The user's voice."""

    format: AudioFormat | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None


class Voice(_Part):
    """A voice of one's own."""

    id: str


class AudioOutput(_Part):
    """The answers' voice."""

    format: AudioFormat | None = None
    speed: float | None = Field(None, ge=0.25, le=1.5)
    voice: str | Voice | None = None


class Audio(_Part):
    """Both voices."""

    input: AudioInput | None = None
    output: AudioOutput | None = None


class FunctionTool(_Part):
    """A function that the client runs."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def to_chat(self) -> dict[str, Any]:
        """The same for a chat completion."""
        function = {
            "name": self.name,
            "description": self.description or "",
            "parameters": self.parameters or {"type": "object", "properties": {}},
        }
        return {"type": "function", "function": function}


class _Foreign(BaseModel):
    """Something that the API has and no server of this kind: its fields are nobody's."""

    model_config = ConfigDict(extra="allow")


class McpTool(_Foreign):
    """Tools of a server that OpenAI's servers call."""

    type: Literal["mcp"]


class ToolChoiceFunction(_Part):
    """This function must be called."""

    type: Literal["function"]
    name: str


class ToolChoiceMcp(_Foreign):
    """A tool of an MCP server must be called."""

    type: Literal["mcp"]


Tool = Annotated[FunctionTool | McpTool, Field(discriminator="type")]
ToolChoice = Literal["none", "auto", "required"] | ToolChoiceFunction | ToolChoiceMcp
Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTIONS_CHARS)]
Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
Modalities = Annotated[list[Literal["text", "audio"]], Field(min_length=1, max_length=1)]
OutputTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]
Metadata = Annotated[dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)]


class Tracing(_Part):
    """What a trace in OpenAI's dashboard is to be called."""

    group_id: str | None = None
    metadata: Any = None
    workflow_name: str | None = None


class SessionUpdate(_Part):
    """What a client may want of a session. Fields that were not sent are not in ``model_fields_set``."""

    type: Literal["realtime", "transcription"]
    model: str | None = None
    instructions: Instructions | None = None
    output_modalities: Modalities | None = None
    audio: Audio | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: OutputTokens | None = None
    include: list[str] | None = None
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    tracing: Tracing | Literal["auto"] | None = None
    truncation: dict[str, Any] | Literal["auto", "disabled"] | None = None


# Items of the conversation, as clients create them.


class UserContent(_Part):
    """Of a user's message."""

    type: Literal["input_text", "input_audio", "input_image"]
    text: str | None = Field(None, max_length=MAX_TEXT_CHARS)
    audio: str | None = None
    transcript: str | None = Field(None, max_length=MAX_TEXT_CHARS)
    image_url: str | None = None
    detail: str | None = None


class AssistantContent(_Part):
    """Of an assistant's message."""

    type: Literal["output_text", "output_audio"]
    text: str | None = Field(None, max_length=MAX_TEXT_CHARS)
    audio: str | None = None
    transcript: str | None = Field(None, max_length=MAX_TEXT_CHARS)


class SystemContent(_Part):
    """Of a system message."""

    type: Literal["input_text"]
    text: str = Field(max_length=MAX_TEXT_CHARS)


ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Status = Literal["completed", "incomplete", "in_progress"]


class _Item(_Part):
    id: ItemId | None = None
    object: Literal["realtime.item"] | None = None
    status: Status | None = None


class UserMessage(_Item):
    """Something the user says or types."""

    type: Literal["message"]
    role: Literal["user"]
    content: Annotated[list[UserContent], Field(min_length=1, max_length=16)]


class AssistantMessage(_Item):
    """Something the assistant has said, in a conversation that is taken up."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: Annotated[list[AssistantContent], Field(min_length=1, max_length=16)]


class SystemMessage(_Item):
    """Something the assistant is told."""

    type: Literal["message"]
    role: Literal["system"]
    content: Annotated[list[SystemContent], Field(min_length=1, max_length=16)]


class FunctionCallItem(_Item):
    """A call that the assistant made, in a conversation that is taken up."""

    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: ItemId | None = None


class FunctionCallOutput(_Item):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: ItemId
    output: str = Field(max_length=MAX_TEXT_CHARS)


class McpItem(_Foreign):
    """What only tools of MCP servers leave in a conversation."""

    type: Literal["mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response"]
    id: str | None = None


class ItemReference(_Part):
    """An item that there is, among the input of a response."""

    type: Literal["item_reference"]
    id: ItemId


Message = Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]
NewItem = Annotated[Message | FunctionCallItem | FunctionCallOutput | McpItem, Field(discriminator="type")]
InputItem = Annotated[Message | FunctionCallItem | FunctionCallOutput | McpItem | ItemReference, Field(discriminator="type")]


# Client to server.


class _ClientEvent(_Part):
    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdateEvent(_ClientEvent):
    """Change the session's configuration; answered with ``session.updated``."""

    type: Literal["session.update"]
    session: SessionUpdate


class AppendEvent(_ClientEvent):
    """Audio of the user, base64 in the input's format."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class CommitEvent(_ClientEvent):
    """The audio so far is a turn of the user; only without turn detection."""

    type: Literal["input_audio_buffer.commit"]


class ClearEvent(_ClientEvent):
    """Forget the audio so far."""

    type: Literal["input_audio_buffer.clear"]


class ClearOutputEvent(_ClientEvent):
    """WebRTC: stop speaking, and forget what has not been played."""

    type: Literal["output_audio_buffer.clear"]


class ItemCreateEvent(_ClientEvent):
    """Put an item into the conversation."""

    type: Literal["conversation.item.create"]
    item: NewItem
    previous_item_id: str | None = None


class ItemRetrieveEvent(_ClientEvent):
    """Ask for an item as the server has it."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDeleteEvent(_ClientEvent):
    """Take an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ItemTruncateEvent(_ClientEvent):
    """Of this item of the assistant only so much was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class ResponseVoice(_Part):
    """The voice of one response."""

    format: AudioFormat | None = None
    voice: str | Voice | None = None


class ResponseAudio(_Part):
    """The sound of one response."""

    output: ResponseVoice | None = None


class ResponseOptions(_Part):
    """What a client may want of one response."""

    instructions: Instructions | None = None
    output_modalities: Modalities | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: OutputTokens | None = None
    metadata: Metadata | None = None
    conversation: str | None = None
    audio: ResponseAudio | None = None
    input: Annotated[list[InputItem], Field(max_length=MAX_INPUT_ITEMS)] | None = None
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None


class ResponseCreateEvent(_ClientEvent):
    """Have the assistant speak."""

    type: Literal["response.create"]
    response: ResponseOptions | None = None


class ResponseCancelEvent(_ClientEvent):
    """Have it stop."""

    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = Annotated[
    SessionUpdateEvent
    | AppendEvent
    | CommitEvent
    | ClearEvent
    | ClearOutputEvent
    | ItemCreateEvent
    | ItemRetrieveEvent
    | ItemDeleteEvent
    | ItemTruncateEvent
    | ResponseCreateEvent
    | ResponseCancelEvent,
    Field(discriminator="type"),
]
CLIENT_TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.delete",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
)
_client_events: TypeAdapter[ClientEvent] = TypeAdapter(ClientEvent)


def parse_client_event(data: Any) -> ClientEvent:
    """Read a decoded JSON value as a client's event.

    Raises:
        ApiError: naming the field and what it allows.
    """
    if not isinstance(data, dict):
        raise ApiError("An event must be a JSON object with a 'type'.", code="invalid_event")
    if data.get("type") not in CLIENT_TYPES:
        shown = repr(data.get("type"))[:60]
        raise ApiError(
            f"Invalid value: {shown}. Supported values are: {', '.join(CLIENT_TYPES)}.", code="invalid_value", param="type"
        )
    try:
        return _client_events.validate_python(data)
    except ValidationError as e:
        raise invalid(e, skip=1) from None


def parse_session(data: Any) -> SessionUpdate:
    """Read a session's configuration as it comes with an offer or a client secret; raises ``ApiError``."""
    try:
        return SessionUpdate.model_validate(data)
    except ValidationError as e:
        raise invalid(e, prefix="session") from None


_TAGS = (
    {"message", "function_call", "function_call_output", "item_reference", "user", "assistant", "system"}
    | {"server_vad", "semantic_vad", "audio/pcm", "audio/pcmu", "audio/pcma"}
    | {"function", "mcp", "ToolChoiceFunction", "ToolChoiceMcp", "McpItem", "Voice"}
)
"""Of tagged unions: pydantic names them among the places, the client knows no such field."""


def invalid(error: ValidationError, *, skip: int = 0, prefix: str = "") -> ApiError:
    """What pydantic found, in OpenAI's words; the first of it."""
    first = error.errors(include_url=False)[0]
    places = [str(p)[:60] for p in first["loc"][skip:] if p not in _TAGS]
    param = ".".join([prefix, *places] if prefix else places) or None
    shown = repr(param) if param else "event"
    match first["type"]:
        case "extra_forbidden":
            return ApiError(f"Unknown parameter: {shown}.", code="unknown_parameter", param=param)
        case "missing":
            return ApiError(f"Missing required parameter: {shown}.", code="missing_required_parameter", param=param)
        case "union_tag_not_found":
            param = f"{param}.type" if param else "type"
            return ApiError(f"Missing required parameter: {param!r}.", code="missing_required_parameter", param=param)
        case kind if kind.endswith("_type"):
            return ApiError(f"Invalid type for {shown}: {first['msg']}.", code="invalid_type", param=param)
        case _:
            return ApiError(f"Invalid value for {shown}: {first['msg']}.", code="invalid_value", param=param)


# Server to client.


class ErrorDetail(BaseModel):
    """What was refused or failed."""

    type: ErrorType
    code: str | None = None
    message: str
    param: str | None = None
    event_id: str | None = None


class _ServerEvent(BaseModel):
    event_id: str = Field(default_factory=lambda: new_id("event"))


Json = dict[str, Any]
"""A session, an item or a response as ``config.py``, ``items.py`` and ``responses.py`` write them."""


class ErrorEvent(_ServerEvent):
    """Something was refused or failed; the session goes on."""

    type: Literal["error"] = "error"
    error: ErrorDetail


class SessionCreated(_ServerEvent):
    """The first event."""

    type: Literal["session.created"] = "session.created"
    session: Json


class SessionUpdated(_ServerEvent):
    """The configuration that is now in force."""

    type: Literal["session.updated"] = "session.updated"
    session: Json


class SpeechStarted(_ServerEvent):
    """The user has begun a turn; ``item_id`` is what it will be."""

    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


class SpeechStopped(_ServerEvent):
    """The turn is over."""

    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str


class Committed(_ServerEvent):
    """The user's audio is an item of the conversation."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    previous_item_id: str | None
    item_id: str


class TimeoutTriggered(_ServerEvent):
    """The user has been silent for as long as the client allowed; ``item_id`` is what that silence will be."""

    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class Cleared(_ServerEvent):
    """The user's audio is forgotten."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class OutputStarted(_ServerEvent):
    """WebRTC: the response's first audio leaves."""

    type: Literal["output_audio_buffer.started"] = "output_audio_buffer.started"
    response_id: str


class OutputStopped(_ServerEvent):
    """WebRTC: all its audio has left."""

    type: Literal["output_audio_buffer.stopped"] = "output_audio_buffer.stopped"
    response_id: str


class OutputCleared(_ServerEvent):
    """WebRTC: the rest of its audio was dropped."""

    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"
    response_id: str


class ItemAdded(_ServerEvent):
    """There is a new item; it may yet grow."""

    type: Literal["conversation.item.added"] = "conversation.item.added"
    previous_item_id: str | None
    item: Json


class ItemDone(_ServerEvent):
    """The item is complete."""

    type: Literal["conversation.item.done"] = "conversation.item.done"
    previous_item_id: str | None
    item: Json


class ItemRetrieved(_ServerEvent):
    """The item that was asked for."""

    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: Json


class ItemDeleted(_ServerEvent):
    """The item is no longer part of the conversation."""

    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


class ItemTruncated(_ServerEvent):
    """Only so much of the item was heard; its text is what was heard."""

    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    item_id: str
    content_index: int
    audio_end_ms: int


class TranscriptionDelta(_ServerEvent):
    """Words of the user."""

    type: Literal["conversation.item.input_audio_transcription.delta"] = "conversation.item.input_audio_transcription.delta"
    item_id: str
    content_index: int = 0
    delta: str


class TranscriptionCompleted(_ServerEvent):
    """All words of the item; a second one for the same item takes the place of the first (words that came late)."""

    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: int = 0
    transcript: str
    usage: Json


class TranscriptionFailed(_ServerEvent):
    """The words could not be made out, because the recogniser failed."""

    type: Literal["conversation.item.input_audio_transcription.failed"] = "conversation.item.input_audio_transcription.failed"
    item_id: str
    content_index: int = 0
    error: Json


class RateLimits(_ServerEvent):
    """What of its allowance the client has left."""

    type: Literal["rate_limits.updated"] = "rate_limits.updated"
    rate_limits: list[Json]


class ResponseCreated(_ServerEvent):
    """A response begins."""

    type: Literal["response.created"] = "response.created"
    response: Json


class ResponseDone(_ServerEvent):
    """It is over; its ``status`` says how."""

    type: Literal["response.done"] = "response.done"
    response: Json


class _OfItem(_ServerEvent):
    response_id: str
    item_id: str
    output_index: int = 0


class _OfPart(_OfItem):
    content_index: int = 0


class OutputItemAdded(_ServerEvent):
    """An item of the response begins."""

    type: Literal["response.output_item.added"] = "response.output_item.added"
    response_id: str
    output_index: int
    item: Json


class OutputItemDone(_ServerEvent):
    """It is complete."""

    type: Literal["response.output_item.done"] = "response.output_item.done"
    response_id: str
    output_index: int
    item: Json


class ContentPartAdded(_OfPart):
    """A part of the item begins."""

    type: Literal["response.content_part.added"] = "response.content_part.added"
    part: Json


class ContentPartDone(_OfPart):
    """It is complete."""

    type: Literal["response.content_part.done"] = "response.content_part.done"
    part: Json


class AudioDelta(_OfPart):
    """Audio of the response, base64 in the output's format."""

    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"
    delta: str


class AudioDone(_OfPart):
    """All its audio was sent."""

    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class TranscriptDelta(_OfPart):
    """Words that are, or will be, spoken."""

    type: Literal["response.output_audio_transcript.delta"] = "response.output_audio_transcript.delta"
    delta: str


class TranscriptDone(_OfPart):
    """All words that were spoken; of an interrupted response those that were heard."""

    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"
    transcript: str


class TextDelta(_OfPart):
    """Words of a response that is only written."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str


class TextDone(_OfPart):
    """All of them."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str


class ArgumentsDelta(_OfItem):
    """Arguments of a function call."""

    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    call_id: str
    delta: str


class ArgumentsDone(_OfItem):
    """All of them."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    call_id: str
    name: str
    arguments: str


ServerEvent = _ServerEvent
