"""What a batched text-to-speech engine does in each step. Pure: times and measured costs are arguments.

A voice is made faster than it is played. So the sessions of a batch need not all step every time: who is far ahead is left
out, and whose listener would first hear a gap goes first. What that leaves is for new requests, which are admitted only where
everybody who speaks keeps his deadline. Who has no audio yet steps without the others while they can wait: the first steps of
a session make none and cost a part of the others' only where these are not in the batch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from engines.kyutai.schedule.backlog import FRAME_S
from engines.kyutai.schedule.buckets import Batch, Buckets, Cost
from engines.kyutai.schedule.playout import Playout
from engines.kyutai.schedule.slots import NoFreeChannels, Session, Slots


@dataclass(frozen=True)
class TtsPlan:
    """One step, to be carried out in the order of the fields.

    ``admitted``: sessions and the slots they have now. ``resets``: slots whose state is made new. ``finished``: sessions that
    ended without a word, so that there is nothing to make. ``step``: who steps, earliest underrun first; ``None`` where
    nobody needs to. ``wake_s``: then, when somebody will; ``None`` where that takes a word, a request or an end.
    """

    admitted: tuple[tuple[Session, int], ...]
    resets: tuple[int, ...]
    finished: tuple[Session, ...]
    step: Batch | None
    wake_s: float | None


@dataclass
class _Speaking:
    """A session and what is known of it. ``words`` were given, ``used`` of them the model has taken."""

    playout: Playout = field(default_factory=Playout)
    slot: int | None = None
    words: int = 0
    used: int = 0
    ended: bool = False

    @property
    def has_text(self) -> bool:
        return self.ended or self.words > self.used

    @property
    def dry_s(self) -> float:
        """When its listener hears a gap. Who has heard nothing yet is waiting already."""
        return -math.inf if self.playout.dry_s is None else self.playout.dry_s


class TtsScheduler:
    """``buckets``: sizes of batches; the largest is the number of slots. ``queue``: sessions beyond the slots that may be
    open. ``ahead_s``: who is further ahead of his listener is left out. ``headroom``: share of real time that steps of all
    who speak may take.

    A session takes a slot with its first word, and not before. Methods that name a session raise ``KeyError`` where there is
    none, but ``cancelled`` and ``stepped``, which may come late.
    """

    def __init__(self, buckets: Buckets, *, queue: int = 0, ahead_s: float = 1.0, headroom: float = 0.9) -> None:
        if not 0.0 < headroom <= 1.0:
            raise ValueError("tts: a headroom above 0 and up to 1 is wanted")
        self._buckets = buckets
        self._queue = queue
        self._ahead_s = ahead_s
        self._most_s = headroom * FRAME_S
        self._slots = Slots(buckets.slots)
        self._sessions: dict[Session, _Speaking] = {}
        self._line: deque[Session] = deque()
        self._finished: list[Session] = []

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return self._slots.free

    def opened(self, session: Session) -> None:
        """A session came.

        :raises NoFreeChannels: where so many are open that it could not even wait
        :raises ValueError: where it is there already
        """
        if session in self._sessions:
            raise ValueError(f"tts: {session} is there already")
        if len(self._sessions) >= self._slots.count + self._queue:
            raise NoFreeChannels
        self._sessions[session] = _Speaking()

    def text(self, session: Session, words: int) -> None:
        """So many further words came. With the first one the session gets into line.

        :raises ValueError: after the end of its text
        """
        one = self._sessions[session]
        if one.ended:
            raise ValueError(f"tts: {session} has ended its text")
        if words > 0 and one.words == 0:
            self._line.append(session)
        one.words += words

    def end(self, session: Session) -> None:
        """No more text comes. What was given is still spoken; where nothing was, the session is over."""
        one = self._sessions[session]
        one.ended = True
        if one.words == 0:
            del self._sessions[session]
            self._finished.append(session)

    def cancelled(self, session: Session) -> None:
        """Nobody listens any more. Its slot is free at once, for the very next plan."""
        one = self._sessions.pop(session, None)
        if one is None:
            self._finished = [name for name in self._finished if name != session]
            return
        if one.slot is not None:
            self._slots.give_back(one.slot)
        elif one.words:
            self._line.remove(session)

    def playing(self, session: Session, since_s: float) -> None:
        """The listener's player says when it began; without that, it is taken to begin with the first frame made."""
        self._sessions[session].playout.playing(since_s)

    def stepped(self, session: Session, now_s: float, *, audio: bool, words: int, done: bool) -> float:
        """What a step gave: whether a frame of audio, how many words it took, and whether the speech is over, which frees the
        slot. Returns the gap that the listener heard before this frame, in seconds."""
        one = self._sessions.get(session)
        if one is None:
            return 0.0
        one.used += words
        gap_s = one.playout.made(now_s) if audio else 0.0
        if done and one.slot is not None:
            del self._sessions[session]
            self._slots.give_back(one.slot)
        return gap_s

    def plan(self, now_s: float, cost: Cost, *, admission_s: float = 0.0) -> TtsPlan:
        """What is done now, where a step costs ``cost`` and each admission ``admission_s`` seconds."""
        admitted, resets = self._admit(now_s, cost, admission_s)
        now_s += admission_s * len(admitted)
        able = sorted((one.dry_s, one.slot) for one in self._sessions.values() if one.slot is not None and one.has_text)
        near = [(dry_s, slot) for dry_s, slot in able if dry_s - self._ahead_s <= now_s]
        finished, self._finished = tuple(self._finished), []
        return TtsPlan(
            admitted=admitted,
            resets=resets,
            finished=finished,
            step=self._buckets.batch(self._chosen(near, now_s, cost)) if near else None,
            wake_s=able[0][0] - self._ahead_s if able and not near else None,
        )

    def _admit(self, now_s: float, cost: Cost, admission_s: float) -> tuple[tuple[tuple[Session, int], ...], tuple[int, ...]]:
        admitted: list[tuple[Session, int]] = []
        resets: list[int] = []
        while self._line and self._slots.free and self._has_slack(now_s + admission_s * (len(admitted) + 1), cost):
            session = self._line.popleft()
            slot, dirty = self._slots.take(session)
            self._sessions[session].slot = slot
            admitted.append((session, slot))
            if dirty:
                resets.append(slot)
        return tuple(admitted), tuple(resets)

    def _has_slack(self, ready_s: float, cost: Cost) -> bool:
        """Whether one more can be taken in by ``ready_s``: all can then be served in real time by steps of everybody, and
        everybody who speaks can wait for the first of them. Who has run dry for want of text waits for nothing. Nobody else,
        no question."""
        taken = self._slots.count - self._slots.free
        if taken == 0:
            return True
        step_s = cost(self._buckets.holds(taken + 1))
        speaking = [one for one in self._sessions.values() if one.slot is not None and one.playout.dry_s is not None]
        waiting = [one.dry_s for one in speaking if one.has_text or one.dry_s > ready_s]
        return step_s <= self._most_s and all(ready_s + step_s <= dry_s for dry_s in waiting)

    def _chosen(self, near: Sequence[tuple[float, int]], now_s: float, cost: Cost) -> list[int]:
        """Who of those ``near`` (earliest underrun first) steps: those without audio, or a full bucket of the most urgent,
        where the others can wait for this step and for one of everybody after it; all of them otherwise."""
        slots = [slot for _, slot in near]
        worst_s = cost(self._buckets.holds(self._slots.count - self._slots.free))
        new = sum(dry_s == -math.inf for dry_s, _ in near)
        if 0 < new < len(near) and now_s + cost(self._buckets.holds(new)) + worst_s <= near[new][0]:
            return slots[:new]
        if self._buckets.holds(len(slots)) == len(slots):
            return slots
        full = max((size for size in self._buckets.sizes if size < len(slots)), default=None)
        if full is not None and now_s + cost(full) + worst_s <= near[full][0]:
            return slots[:full]
        return slots
