"""What travels over the socket of an RTVI client, read and written. Pure.

Two framings are in use. Client SDKs send pipecat's protobuf frames as binary messages, with the voice in frames of its own.
pipecat's own RTVI client (that of its evals) sends each RTVI message as JSON text, with its voice in ``raw-audio`` messages.
A client shows which it speaks by its first message. The protobuf schema and the evals' messages are pipecat's.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Literal

import pipecat.frames.protobufs.frames_pb2 as protobufs
from google.protobuf.message import DecodeError

from pipeline.transports.webrtc_messages import RTVI_LABEL

Framing = Literal["protobuf", "text"]
RATES_HZ = (8_000, 48_000)
"""Between these a client's voice may be."""
_RAW_AUDIO = ("raw-audio", "raw-audio-batch")


class BadFrame(ValueError):
    """What came is no message of this protocol; the text is fit for the client. ``id`` is the message's, where it has one."""

    def __init__(self, reason: str, id: str | None = None) -> None:
        super().__init__(reason)
        self.id = id


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the learner's voice: mono pcm16, whole samples, at ``rate_hz``."""

    pcm16: bytes
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message of RTVI; ``data`` is an object, empty where there was none."""

    type: str
    id: str
    data: dict[str, Any]
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Interruption:
    """The client wants the tutor to be quiet."""


Received = Sound | Message | Interruption


def read_protobuf(raw: bytes, max_chars: int) -> list[Received]:
    """Read one binary message.

    Args:
        raw: The message as it came; its size is the caller's to limit.
        max_chars: Most characters of an RTVI message without sound.

    Raises:
        BadFrame: it is no frame, or one that a client has no use for.
    """
    try:
        frame = protobufs.Frame.FromString(raw)  # type: ignore[attr-defined]
    except DecodeError:
        raise BadFrame("a binary message must be one of pipecat's protobuf frames") from None
    match frame.WhichOneof("frame"):
        case "audio":
            return [_sound(frame.audio.audio, frame.audio.sample_rate, frame.audio.num_channels)]
        case "message":
            return read_json(frame.message.data, max_chars)
        case "interruption":
            return [Interruption()]
        case None:
            raise BadFrame("an empty frame")
        case other:
            raise BadFrame(f"a frame with {other!r} has no meaning here; text goes as the RTVI message 'send-text'")


def read_json(raw: str, max_chars: int) -> list[Received]:
    """Read one RTVI message in JSON; one with sound in it may have any length. Raises ``BadFrame``."""
    if len(raw) > max_chars and not any(kind in raw[:400] for kind in _RAW_AUDIO):
        raise BadFrame(f"a message of {len(raw)} characters is over the limit of {max_chars}")
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadFrame("a message must be JSON") from None
    if not isinstance(message, dict) or message.get("label") != RTVI_LABEL:
        raise BadFrame(f"a message must be an object with the label {RTVI_LABEL!r}")
    kind, id, data = message.get("type"), message.get("id"), message.get("data")
    if not isinstance(kind, str):
        raise BadFrame("an RTVI message needs a 'type'")
    id = id[:100] if isinstance(id, str) else ""
    if data is not None and not isinstance(data, dict):
        raise BadFrame(f"{kind[:40]}: 'data' must be an object", id)
    if kind in _RAW_AUDIO:
        return list(_sounds(data or {}, id))
    return [Message(kind, id, data or {}, message)]


def _sounds(data: dict[str, Any], id: str) -> list[Sound]:
    pieces = data.get("base64AudioBatch") or [data.get("base64Audio")]
    rate_hz, channels = data.get("sampleRate"), data.get("numChannels", 1)
    texts = isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces)
    if not texts or not isinstance(rate_hz, int) or not isinstance(channels, int):
        raise BadFrame("raw-audio: 'base64Audio', 'sampleRate' and 'numChannels' are required", id)
    try:
        return [_sound(base64.b64decode(piece, validate=True), rate_hz, channels) for piece in pieces]
    except (binascii.Error, ValueError) as e:
        raise BadFrame(str(e) if isinstance(e, BadFrame) else "raw-audio: not valid base64", id) from None


def _sound(pcm16: bytes, rate_hz: int, channels: int) -> Sound:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise BadFrame(f"audio must have {RATES_HZ[0]} to {RATES_HZ[1]} samples a second, this has {rate_hz}")
    if channels != 1:
        raise BadFrame(f"audio must have one channel, this has {channels}")
    if len(pcm16) % 2:
        raise BadFrame(f"audio must be whole 16-bit samples, this has {len(pcm16)} bytes")
    return Sound(pcm16, rate_hz)


class Writer:
    """Puts what a client is sent into its framing, which must be known by then.

    ``sounds``: a client with text framing gets the tutor's voice, too (as pipecat's evals do, where they ask for it); one with
    protobuf framing always does.
    """

    def __init__(self) -> None:
        self.framing: Framing | None = None
        self.sounds = False

    def message(self, message: dict[str, Any]) -> str | bytes:
        """A message of RTVI."""
        text = json.dumps(message, separators=(",", ":"))
        if self.framing == "text":
            return text
        return _packed(message=protobufs.MessageFrame(data=text))  # type: ignore[attr-defined]

    def audio(self, pcm16: bytes, rate_hz: int) -> str | bytes | None:
        """A piece of the tutor's voice; ``None`` where the client is not to have it."""
        if self.framing == "protobuf":
            piece = protobufs.AudioRawFrame(audio=pcm16, sample_rate=rate_hz, num_channels=1)  # type: ignore[attr-defined]
            return _packed(audio=piece)
        if not self.sounds:
            return None
        data = {"audio": base64.b64encode(pcm16).decode("ascii"), "sampleRate": rate_hz}
        return json.dumps({"label": RTVI_LABEL, "type": "eval-bot-audio", "data": data})


def _packed(**fields: Any) -> bytes:
    packed: bytes = protobufs.Frame(**fields).SerializeToString()  # type: ignore[attr-defined]
    return packed


def rtvi(kind: str, data: Any = None, id: str | None = None) -> dict[str, Any]:
    """A message of RTVI."""
    message: dict[str, Any] = {"label": RTVI_LABEL, "type": kind}
    if id is not None:
        message["id"] = id
    if data is not None:
        message["data"] = data
    return message


def as_rtvi(wire: dict[str, Any]) -> dict[str, Any]:
    """One of our own messages (``pipeline.messages.to_wire``): an error is RTVI's own, the others are server messages."""
    if wire["type"] == "error":
        return rtvi("error", {"error": wire["message"], "fatal": False})
    return rtvi("server-message", wire)


def times_to_first(row: dict[str, Any]) -> dict[str, Any] | None:
    """RTVI's ``metrics`` for a turn's row (``TurnMetrics.to_dict``): seconds that each stage took to its first output.

    ``None``: the row has none of them.
    """
    spans = {
        "stt": ("user_stop", "stt_final"),
        "llm": ("eot", "llm_first_token"),
        "tts": ("llm_first_sentence", "tts_first_audio"),
    }
    ttfb = [
        {"processor": stage, "value": round(max(0.0, row[until] - row[since]) / 1000, 4)}
        for stage, (since, until) in spans.items()
        if row.get(since) is not None and row.get(until) is not None
    ]
    return rtvi("metrics", {"ttfb": ttfb}) if ttfb else None
