"""What travels over a call's data channel: RTVI for its client SDKs, or the WebSocket door's JSON for plain clients. Pure.

A client shows which of the two it speaks by its first message. In RTVI our messages are the payload of ``server-message`` and
``client-message``; in plain JSON they are the messages themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.messages import (
    MAX_TEXT_CHARS,
    BadMessage,
    ClientMessage,
    EndConversation,
    ServerMessage,
    parse_client_message,
    to_wire,
)

RTVI_LABEL = "rtvi-ai"
SIGNALLING = "signalling"
"""Type of the messages by which pipecat's small-webrtc transport keeps its tracks in step: no part of either language."""
PEER_LEFT = json.dumps({"type": SIGNALLING, "message": {"type": "peerLeft"}})
"""Tells a client SDK that the bot hung up."""

Language = Literal["unknown", "rtvi", "plain"]


@dataclass(frozen=True, slots=True)
class Command:
    """One of our own messages, in whichever language."""

    message: ClientMessage


@dataclass(frozen=True, slots=True)
class Rtvi:
    """A message of RTVI itself, for the pipeline's RTVI processor."""

    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Nothing to do but to note that the client is alive; ``sdk``: only a client SDK sends it."""

    sdk: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that means nothing here; ``reason`` is fit for the client."""

    reason: str


@dataclass(frozen=True, slots=True)
class SentText:
    """A turn that was typed, in RTVI's own message: its client is told of it by the message's id."""

    id: str
    text: str


Received = Command | Rtvi | SentText | Keepalive | Refused


class Dialogue:
    """Reads and writes the messages of one client in the language that it speaks."""

    def __init__(self, max_chars: int) -> None:
        self.language: Language = "unknown"
        self._max_chars = max_chars

    def read(self, raw: str | bytes) -> Received:
        """Understand one message of the client, and learn its language from it."""
        if isinstance(raw, bytes):
            return Refused("binary messages have no meaning here; audio goes over the audio track")
        if raw.startswith("ping"):
            return Keepalive(sdk=True)
        if len(raw) > self._max_chars:
            return Refused(f"message longer than {self._max_chars} characters")
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            return Refused("a message must be JSON")
        if isinstance(data, dict) and data.get("type") == SIGNALLING:
            return Keepalive(sdk=True)
        if isinstance(data, dict) and data.get("label") == RTVI_LABEL:
            self.language = "rtvi"
            return self._read_rtvi(data)
        if self.language == "unknown":
            self.language = "plain"
        return _parse(data)

    def write(self, message: ServerMessage | dict[str, Any]) -> str | None:
        """The text to send: one of our messages, or a whole message of RTVI (a dict), which a plain client is not sent.

        The language must be known.
        """
        if isinstance(message, dict):
            return json.dumps(message) if self.language == "rtvi" or message.get("label") != RTVI_LABEL else None
        wire = to_wire(message)
        if self.language == "rtvi":
            wire = {"label": RTVI_LABEL, "type": "server-message", "data": wire}
        return json.dumps(wire)

    def _read_rtvi(self, data: dict[str, Any]) -> Received:
        if not isinstance(data.get("type"), str):
            return Refused("an RTVI message needs a 'type'")
        match data["type"]:
            case "client-message":
                return self._read_client_message(data.get("data"))
            case "send-text" if (sent := _sent_text(data)) is not None:
                return sent
            case "disconnect-bot":
                # pipecat's processor would end the pipeline, and nothing else.
                return Command(EndConversation())
            case "send-file" | "dtmf":
                return Refused(f"{data['type']} has no meaning here")
            case _:
                return Rtvi(data)

    def _read_client_message(self, body: Any) -> Received:
        if not isinstance(body, dict) or not isinstance(body.get("t"), str):
            return Refused("client-message needs 'data' with a type 't'")
        fields = body.get("d")
        if fields is not None and not isinstance(fields, dict):
            return Refused("client-message: 'd' must be an object")
        return _parse({**(fields or {}), "type": body["t"]})


def _sent_text(data: dict[str, Any]) -> SentText | None:
    """A ``send-text`` that is answered at once and aloud; others are for pipecat's processor."""
    body = data.get("data")
    if not isinstance(body, dict):
        return None
    text, options = body.get("content"), body.get("options") or {}
    plain = isinstance(options, dict) and all(options.get(k, True) is True for k in ("run_immediately", "audio_response"))
    if not plain or not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT_CHARS:
        return None
    return SentText(str(data.get("id") or ""), text)


def _parse(data: Any) -> Received:
    try:
        return Command(parse_client_message(data))
    except BadMessage as e:
        return Refused(str(e))
