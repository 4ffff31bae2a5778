"""What a carrier's stream says, and what a carrier's adapter must be able to say: the rest of the door knows no carrier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.transports.codecs import Codec


@dataclass(frozen=True, slots=True)
class Started:
    """The stream of a call begins."""

    call_id: str
    """The carrier's name for the call."""
    token: str = ""
    """What the door gave the carrier for this stream."""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audio:
    """The caller's voice, as the carrier's codec has it; numbered where the carrier numbers it."""

    encoded: bytes
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Digit:
    """The caller pressed a key: one of 0 to 9, A to D, * and #."""

    digit: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The audio in front of this mark was played, or thrown away by a ``clear``."""

    name: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The caller is gone."""

    reason: str = "hung up by the caller"


@dataclass(frozen=True, slots=True)
class Failed:
    """The carrier complains."""

    message: str


Event = Started | Audio | Digit | Mark | Stopped | Failed


class BadFrame(ValueError):
    """A message that the carrier's documents do not know; the text says what is wrong with it."""


class Carrier(Protocol):
    """The wire format of one carrier's stream over a WebSocket. One object a stream: it may remember the stream's id."""

    name: str
    """As settings and metrics call it."""
    codec: Codec
    """Of both directions; sure from ``Started`` on."""
    piece_s: float
    """Audio in one outgoing message, in seconds: a multiple of 0.02."""

    def parse(self, message: str | bytes) -> Event | None:
        """An incoming message as an event; ``None`` for one that needs no answer.

        Raises:
            BadFrame: it is not as the carrier documents it.
        """
        ...

    def audio(self, encoded: bytes) -> str | bytes:
        """The message that plays ``encoded``."""
        ...

    def mark(self, name: str) -> str | bytes | None:
        """The message that comes back as ``Mark(name)`` once what was sent before was played; ``None``: there is none."""
        ...

    def clear(self) -> str | bytes | None:
        """The message that empties the carrier's buffer; ``None``: there is none."""
        ...
