"""A ring of records in shared memory: one process writes, one reads, and neither ever waits for the other.

The memory is an anonymous file (``memfd``), which whoever is to share it inherits as a descriptor: there is no name that could
be left behind, and the memory is free when the last of them is gone, however that came about. What was written becomes
visible by one aligned store of eight bytes, after the records themselves; this relies on stores being seen in their order, as
on x86-64, or on the system call with which the writer wakes the reader.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<IIBxxx")  # length of the payload, session, kind
_SKIP = 0xFFFFFFFF  # in the place of a length: the rest up to the end of the ring is empty
_DATA = 128  # where the data begins; the two counters stand before it, on cache lines of their own
_WRITTEN, _READ = 0, 8  # their places, in words of eight bytes
_ALIGN = 16


class RingFull(Exception):
    """There is no room for the record now."""


@dataclass(frozen=True, slots=True)
class Record:
    """``session``: the front-end's number for a connection, or 0. ``kind``: what the payload is, 0 to 255."""

    session: int
    kind: int
    payload: bytes


def memory(size: int) -> int:
    """The descriptor of new memory for a ring of ``size`` bytes, a power of two of at least 1,024."""
    if size < 1024 or size & (size - 1):
        raise ValueError("ring: a power of two of at least 1024 is wanted")
    fd = os.memfd_create("parley-ring")
    os.ftruncate(fd, _DATA + size)
    return fd


class Ring:
    """One end of the ring in the memory behind ``fd``, which stays the caller's to close. ``reserve``: bytes of it that only
    an urgent record may take.

    A process uses either ``put`` and ``publish``, or ``take``.
    """

    def __init__(self, fd: int, *, reserve: int = 0) -> None:
        self._map = mmap.mmap(fd, 0)
        self._view = memoryview(self._map)
        self._count = self._view[:_DATA].cast("Q")
        self._data = self._view[_DATA:]
        self._size = len(self._data)
        self._reserve = reserve
        self._at = self._count[_WRITTEN]

    @property
    def largest(self) -> int:
        """Bytes of the largest payload that is taken at all."""
        return self._size // 4 - _HEADER.size

    @property
    def used(self) -> int:
        """Bytes that wait to be read, those included that were not published yet."""
        return self._at - self._count[_READ]

    @property
    def unread(self) -> bool:
        """For the reader: whether there is more to take."""
        return self._count[_READ] != self._count[_WRITTEN]

    def put(self, session: int, kind: int, payload: bytes | bytearray | memoryview = b"", *, urgent: bool = False) -> None:
        """Adds a record. The reader sees it after ``publish``.

        :raises RingFull: where there is no room; nothing is written then
        :raises ValueError: where the payload is over ``largest``
        """
        length = len(payload)
        if length > self.largest:
            raise ValueError(f"ring: a payload of {length} bytes where {self.largest} are the most")
        need = (_HEADER.size + length + _ALIGN - 1) & -_ALIGN
        start = self._at & (self._size - 1)
        rest = self._size - start
        skipped = rest if need > rest else 0
        if self.used + skipped + need > self._size - (0 if urgent else self._reserve):
            raise RingFull
        if skipped:
            _HEADER.pack_into(self._data, start, _SKIP, 0, 0)
            start = 0
        _HEADER.pack_into(self._data, start, length, session, kind)
        self._data[start + _HEADER.size : start + _HEADER.size + length] = payload
        self._at += skipped + need

    def publish(self) -> bool:
        """Lets the reader see what was put. Returns whether there was anything."""
        if self._count[_WRITTEN] == self._at:
            return False
        self._count[_WRITTEN] = self._at
        return True

    def take(self, most: int = 4096) -> list[Record]:
        """The oldest records, at most so many; their room is free afterwards."""
        at, end = self._count[_READ], self._count[_WRITTEN]
        records: list[Record] = []
        while at != end and len(records) < most:
            start = at & (self._size - 1)
            length, session, kind = _HEADER.unpack_from(self._data, start)
            if length == _SKIP:
                at += self._size - start
                continue
            body = start + _HEADER.size
            records.append(Record(session, kind, bytes(self._data[body : body + length])))
            at += (_HEADER.size + length + _ALIGN - 1) & -_ALIGN
        self._count[_READ] = at
        return records

    def close(self) -> None:
        """Gives the mapping back."""
        self._count.release()
        self._data.release()
        self._view.release()
        self._map.close()
