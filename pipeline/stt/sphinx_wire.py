"""The messages between the pool and a worker process: a header (kind, utterance, length of the body), then the body.

Audio is raw pcm16; every other body is JSON. Both ends are the same program, so a malformed message is a defect, not input.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any

HEADER = struct.Struct("!BII")


class Kind(IntEnum):
    """What a message is. The first group goes to a worker, the second comes from it."""

    OPEN = 1  # {"expected": [...], "careful": [...], "partials": bool}
    AUDIO = 2  # pcm16
    FINISH = 3  # {}
    CANCEL = 4  # {}

    READY = 16  # {"preloaded": bool, "load_s": float}
    PARTIAL = 17  # {"text": str}
    PROGRESS = 18  # {}: a chunk is decoded, the worker is alive
    FINAL = 19  # a Recognition
    FAILED = 20  # {"reason": str}


def pack(kind: Kind, utterance: int = 0, body: bytes | dict[str, Any] = b"") -> bytes:
    """One message as bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HEADER.pack(kind, utterance, len(data)) + data


def unpack(buffer: bytearray) -> tuple[Kind, int, bytes] | None:
    """Take the first whole message off ``buffer``, or ``None`` where there is none yet."""
    if len(buffer) < HEADER.size:
        return None
    kind, utterance, length = HEADER.unpack_from(buffer)
    end = HEADER.size + length
    if len(buffer) < end:
        return None
    body = bytes(buffer[HEADER.size : end])
    del buffer[:end]
    return Kind(kind), utterance, body
