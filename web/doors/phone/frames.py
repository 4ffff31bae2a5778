"""Reading what carriers send as JSON: every error says which part of the message is not as documented. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry

from web.doors.phone.carrier import BadFrame, Digit

_KEYS = frozenset(key.value for key in KeypadEntry)
_MAX_DIGITS = 12


def read_object(message: str | bytes) -> dict[str, Any]:
    """A message as a JSON object.

    Raises:
        BadFrame: it is none.
    """
    try:
        data = json.loads(message)
    except (ValueError, RecursionError) as e:
        raise BadFrame("not JSON") from e
    if not isinstance(data, dict):
        raise BadFrame("not an object")
    return data


def object_in(data: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under ``key``.

    Raises:
        BadFrame: there is none.
    """
    value = data.get(key)
    if not isinstance(value, dict):
        raise BadFrame(f"{key} is no object")
    return value


def text_in(data: dict[str, Any], key: str) -> str:
    """The text under ``key``, which is not empty.

    Raises:
        BadFrame: there is none.
    """
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise BadFrame(f"{key} is missing")
    return value


def audio_in(media: dict[str, Any]) -> bytes:
    """The decoded ``payload`` of a piece of audio.

    Raises:
        BadFrame: there is none, or it is no base64.
    """
    try:
        return base64.b64decode(text_in(media, "payload"), validate=True)
    except (binascii.Error, ValueError) as e:
        if isinstance(e, BadFrame):
            raise
        raise BadFrame("media: the payload is no base64") from e


def number_in(data: dict[str, Any], key: str) -> int | None:
    """The whole number under ``key``, written as a number or as text; ``None`` where there is none."""
    value = data.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 10**_MAX_DIGITS else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return None


def digit_of(value: object) -> Digit:
    """The key that was pressed.

    Raises:
        BadFrame: a telephone has no such key.
    """
    digit = str(value)
    if digit not in _KEYS:
        raise BadFrame(f"unknown key {digit[:10]!r}")
    return Digit(digit)


def to_json(event: str, **body: Any) -> str:
    """A message with its ``event`` in front."""
    return json.dumps({"event": event, **body}, separators=(",", ":"))


def to_base64(encoded: bytes) -> str:
    """Audio as it stands in a message."""
    return base64.b64encode(encoded).decode()
