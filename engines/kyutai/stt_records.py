"""What the front-ends and the step process of speech to text say to each other of one session: kinds of records and their
bytes. Everything is in the machine's byte order, as it never leaves it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PCM32, PCM16, INIT, MARKER, FLUSH, WITHDRAW, COMMIT = range(1, 8)
"""To the engine. Audio, as 32-bit floats or 16-bit integers; the messages of these names, each but ``INIT`` with its id."""
STEP, TOLD, TAKEN = range(1, 4)
"""From the engine. A step (``Stepped``); a message of the wire, packed; samples that it has taken from the session so far."""

_ID = struct.Struct("=q")
_TAKEN = struct.Struct("=Q")
_STEP = struct.Struct("=QII")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_FULL_SCALE = 32768.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stepped:
    """One live step. ``taken``: samples that the engine has stepped or dropped since the session came; ``step``: how many
    steps the session made, this one included; ``buffered``: samples that wait; ``pauses``: of each pause head."""

    taken: int
    step: int
    buffered: int
    pauses: tuple[float, ...]


def number(value: int) -> bytes:
    """The payload of a message with an id.

    :raises ValueError: where it has more than 64 bits
    """
    if not _LOWEST <= value <= _HIGHEST:
        raise ValueError("an id of at most 64 bits is wanted")
    return _ID.pack(value)


def read_number(payload: bytes) -> int:
    value: int = _ID.unpack(payload)[0]
    return value


def taken(samples: int) -> bytes:
    return _TAKEN.pack(samples)


def read_taken(payload: bytes) -> int:
    value: int = _TAKEN.unpack(payload)[0]
    return value


def stepped(one: Stepped) -> bytes:
    return _STEP.pack(one.taken, one.step, one.buffered) + struct.pack(f"={len(one.pauses)}f", *one.pauses)


def read_stepped(payload: bytes) -> Stepped:
    heads = (len(payload) - _STEP.size) // 4
    so_far, step, buffered = _STEP.unpack_from(payload)
    return Stepped(so_far, step, buffered, struct.unpack_from(f"={heads}f", payload, _STEP.size))


def samples(kind: int, payload: bytes) -> Samples:
    """The audio of a record of the kind ``PCM32`` or ``PCM16``, in [-1, 1], shape ``[samples]``."""
    if kind == PCM32:
        return np.frombuffer(payload, np.float32)
    return np.frombuffer(payload, np.int16).astype(np.float32) / np.float32(_FULL_SCALE)


def floats(values: Sequence[float]) -> bytes:
    """The payload of ``PCM32``.

    :raises ValueError: where a value is not finite: it would stay in the session's state for good
    """
    audio = np.asarray(values, np.float32)
    if not np.isfinite(audio).all():
        raise ValueError("samples are to be finite")
    return audio.tobytes()
