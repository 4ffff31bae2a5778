"""What the front-ends and the step process of text to speech say to each other of one session, and the bytes of it: one record
each, with its kind.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import msgpack
import numpy as np
import numpy.typing as npt

from engines.kyutai.link.channel import CLOSE, ERROR, OPEN

# To the engine, besides OPEN and CLOSE.
VOICE, WORDS, END = 1, 2, 3
# From the engine, besides CLOSE, with the count of frames, and ERROR.
OPENED, FRAME, WORD = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Open:
    """A session comes. ``voice``: its name, ``None`` for the default. ``seed``: of what is sampled, ``None`` for the engine's
    choice."""

    voice: str | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class OwnVoice:
    """The listener brings a voice, as the file of one has it: float32, of 1 to 3 dimensions. Before any words."""

    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Words:
    """To be said: the tokens of each word."""

    tokens: list[list[int]]


@dataclass(frozen=True, slots=True)
class Ended:
    """No more words come."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Nobody listens any more; the session is over, and nothing more is said of it."""


Ask = Open | OwnVoice | Words | Ended | Unwanted
"""To the step process."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is taken in."""


@dataclass(frozen=True, slots=True)
class Frame:
    """80 ms of the voice. ``pcm``: samples in [-1, 1] at 24 kHz, shape ``[1920]``."""

    pcm: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WordBegun:
    """The session's next word begins so many steps of 80 ms after the first sample of its audio."""

    step: int


@dataclass(frozen=True, slots=True)
class Done:
    """All is said; the session is over. ``frames``: how many there were."""

    frames: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over before its time. ``message``: for the client."""

    message: str


Event = Opened | Frame | WordBegun | Done | Failed
"""From the step process."""


def to_engine(ask: Ask) -> tuple[int, bytes]:
    """Kind and payload."""
    match ask:
        case Open(voice=voice, seed=seed):
            return OPEN, json.dumps({"voice": voice, "seed": seed}).encode()
        case OwnVoice(embedding=values):
            return VOICE, msgpack.packb([list(values.shape), values.astype("<f4").tobytes()])
        case Words(tokens=tokens):
            return WORDS, msgpack.packb(tokens)
        case Ended():
            return END, b""
        case Unwanted():
            return CLOSE, b""


def at_engine(kind: int, payload: bytes) -> Ask:
    """What a front-end said.

    :raises ValueError: for an unknown kind
    """
    if kind == OPEN:
        return Open(**json.loads(payload))
    if kind == VOICE:
        shape, values = msgpack.unpackb(payload)
        return OwnVoice(np.frombuffer(values, "<f4").astype(np.float32).reshape(shape))
    if kind == WORDS:
        return Words(msgpack.unpackb(payload))
    if kind == END:
        return Ended()
    if kind == CLOSE:
        return Unwanted()
    raise ValueError(f"tts: no record of the kind {kind}")


def to_front(event: Event) -> tuple[int, bytes]:
    """Kind and payload."""
    match event:
        case Opened():
            return OPENED, b""
        case Frame(pcm=pcm):
            return FRAME, pcm.astype("<f4").tobytes()
        case WordBegun(step=step):
            return WORD, struct.pack("<I", step)
        case Done(frames=frames):
            return CLOSE, struct.pack("<I", frames)
        case Failed(message=text):
            return ERROR, text.encode()


def at_front(kind: int, payload: bytes) -> Event:
    """What the step process said.

    :raises ValueError: for an unknown kind
    """
    if kind == FRAME:
        return Frame(np.frombuffer(payload, "<f4").astype(np.float32))
    if kind == WORD:
        return WordBegun(struct.unpack("<I", payload)[0])
    if kind == OPENED:
        return Opened()
    if kind == CLOSE:
        return Done(struct.unpack("<I", payload)[0])
    if kind == ERROR:
        return Failed(payload.decode())
    raise ValueError(f"tts: no record of the kind {kind}")
