"""What the server and the process for reports say to each other.

The process tells with the byte ``READY`` that its word lists are loaded. Then each request (a record after ``REPORT``, one turn
after ``TURN``) and each answer (JSON after ``DONE``, or a traceback after ``FAILED``) has its length before it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from agent.record import CallRecord, Correction, Turn, TurnMetrics, Word

READY, DONE, FAILED = b"\x00", b"\x01", b"\x02"
REPORT, TURN = b"r", b"t"
LENGTH = struct.Struct("!I")


def _values_of(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(kind)))


# By itself pickle calls a Python function for each word, 6,000 in an hour: 12 ms, of which this leaves 2.
_word, _correction, _row = _values_of(Word), _values_of(Correction), _values_of(TurnMetrics)
_turn, _record = _values_of(Turn), _values_of(CallRecord)
_WORDS, _CORRECTIONS = (next(i for i, f in enumerate(fields(Turn)) if f.name == name) for name in ("words", "corrections"))
_TURNS, _METRICS = (next(i for i, f in enumerate(fields(CallRecord)) if f.name == name) for name in ("turns", "metrics"))


def pack(record: CallRecord) -> bytes:
    """``record`` as bytes. May run in a thread."""
    values = list(_record(record))
    values[_TURNS], values[_METRICS] = list(map(_plain, record.turns)), list(map(_row, record.metrics))
    return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)


def pack_turn(turn: Turn) -> bytes:
    """``turn`` as bytes."""
    return pickle.dumps(_plain(turn), pickle.HIGHEST_PROTOCOL)


def unpack_turn(data: bytes) -> Turn:
    """The turn that ``pack_turn`` was given; as ``unpack``, only for what came over the pipe."""
    return _whole(pickle.loads(data))


def _plain(turn: Turn) -> list[Any]:
    values = list(_turn(turn))
    values[_WORDS] = list(map(_word, values[_WORDS]))
    values[_CORRECTIONS] = list(map(_correction, values[_CORRECTIONS]))
    return values


def _whole(values: list[Any]) -> Turn:
    values[_WORDS] = [Word(*word) for word in values[_WORDS]]
    values[_CORRECTIONS] = [Correction(*correction) for correction in values[_CORRECTIONS]]
    return Turn(*values)


def unpack(data: bytes) -> CallRecord:
    """The record that ``pack`` was given. Only for what came over the pipe from the server that started this process."""
    values = pickle.loads(data)
    values[_TURNS] = list(map(_whole, values[_TURNS]))
    values[_METRICS] = [TurnMetrics(*row) for row in values[_METRICS]]
    return CallRecord(*values)
