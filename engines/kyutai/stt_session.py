"""One session of the speech-to-text engine: its audio that waits, what it has been told, what it is to be told. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from engines.kyutai.schedule.backlog import FRAME
from engines.kyutai.stt_records import Samples
from engines.kyutai.text import WordHeard
from engines.kyutai.transcript import Transcript
from engines.wire.kyutai import EndWord, Marker, TimedWord, Word

MOST_MARKERS = 256
"""Markers of one session that may wait for their audio to be written."""
_SAMPLE = 4  # bytes


@dataclass
class _Said:
    """A word of a flush. ``index``: the step of the flush that told it."""

    index: int
    text: str
    start_s: float
    stop_s: float | None = None


@dataclass
class Branch:
    """What a flush writes. ``id``: the client's name for it. ``asked_s``: when it was asked. ``begun``: live steps of the
    session before its first step; ``length``: its steps so far. ``commit``: it is to hold as soon as it is complete."""

    id: int
    asked_s: float
    begun: int = 0
    length: int = 0
    transcript: Transcript | None = None
    said: list[_Said] = field(default_factory=list)
    done: bool = False
    commit: bool = False

    def stepped(self, index: int, token: int, heard: int) -> None:
        """One of its steps wrote ``token``."""
        assert self.transcript is not None
        self.length = index + 1
        for one in self.transcript.stepped(token, heard):
            if isinstance(one, WordHeard):
                self.said.append(_Said(index, one.text, one.start_s))
            elif self.said:
                self.said[-1].stop_s = one.stop_s

    def ended(self) -> None:
        """All its steps were made. What was not written to its end is told as far as it was."""
        assert self.transcript is not None
        self.done = True
        self.said.extend(_Said(self.length - 1, word.text, word.start_s) for word in self.transcript.rest())

    def words(self, first: int) -> list[TimedWord]:
        """The words that its steps from ``first`` on told."""
        return [TimedWord(one.text, one.start_s, one.stop_s) for one in self.said if one.index >= first]


class Hearing:
    """``transcript``: of a session that has heard nothing. ``taken``: samples that were taken from the same client in
    sessions before, of which this one is the new beginning."""

    def __init__(self, transcript: Transcript, *, taken: int = 0) -> None:
        self.transcript = transcript
        self.branch: Branch | None = None
        self.steps = 0
        """Live steps so far."""
        self.told = 0
        """Live steps of which flushes that hold have told the words, those to come included."""
        self._audio = bytearray()
        self._received = 0
        self._next = 0
        self._taken = taken
        self._markers: deque[tuple[int, int, int | None]] = deque()  # id, frame before which it stands, step when it is due

    @property
    def whole(self) -> int:
        """Whole frames that wait."""
        return self._received // FRAME - self._next

    @property
    def buffered(self) -> int:
        """Samples that wait."""
        return self._received - self._next * FRAME

    @property
    def taken(self) -> int:
        """Samples that do not wait any more, since the client came."""
        return self._taken + self._next * FRAME

    @property
    def received(self) -> int:
        """Samples that came, since the client came."""
        return self._taken + self._received

    def add(self, audio: Samples, dropped: range) -> None:
        """Audio came, for which those frames are dropped."""
        self._audio += audio.tobytes()
        self._received += len(audio)
        self._skip(len(dropped))

    def take(self, frame: int) -> Samples:
        """The next frame, shape ``[1920]``."""
        assert frame == self._next
        audio = self._peek(FRAME)
        self._skip(1)
        return audio

    def rest(self, samples: int) -> Samples:
        """So many samples of the frame that is not whole yet, ``[samples]``."""
        return self._peek(samples)

    def marked(self, number: int, delay: int) -> None:
        """A marker came, behind all audio so far.

        :raises ValueError: where too many wait
        """
        if len(self._markers) >= MOST_MARKERS:
            raise ValueError(f"Marker: {MOST_MARKERS} wait, which is the most")
        frame = -(-self._received // FRAME)
        self._markers.append((number, frame, self.steps + delay if self._next >= frame else None))

    def stepped(self, token: int, heard: int, *, new: bool, delay: int) -> list[Word | EndWord | Marker]:
        """A live step was made. Returns what is to be told of it."""
        self.steps += 1
        out: list[Word | EndWord | Marker] = [
            Word(one.text, one.start_s) if isinstance(one, WordHeard) else EndWord(one.stop_s)
            for one in self.transcript.stepped(token, heard, new=new)
        ]
        if not self._markers:
            return out
        self._markers = deque(
            (number, frame, self.steps + delay if due is None and self._next >= frame else due)
            for number, frame, due in self._markers
        )
        while self._markers and (due := self._markers[0][2]) is not None and due <= self.steps:
            out.append(Marker(self._markers.popleft()[0]))
        return out

    def committed(self, told: range) -> list[TimedWord]:
        """The complete flush holds; ``told``: which of its steps have words that nobody has told. Returns them."""
        branch = self.branch
        assert branch is not None
        self.branch = None
        if not told:
            return []
        self.told = branch.begun + told.stop
        return branch.words(told.start)

    def renewed(self) -> None:
        """The slot's state was reset."""
        self.transcript.renewed()
        self.branch = None

    def _peek(self, samples: int) -> Samples:
        # A view of the bytes would keep them from being shortened.
        return np.frombuffer(self._audio, np.float32, samples).copy()

    def _skip(self, frames: int) -> None:
        if frames:
            self._next += frames
            del self._audio[: frames * FRAME * _SAMPLE]
