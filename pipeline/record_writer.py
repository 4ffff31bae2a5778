"""The record of a session as it grows: turns, their corrections and rows of metrics, each written and analysed as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Protocol

from agent.analysis.mistakes import stands, together
from agent.record import CallRecord, Correction, Role, Source, Turn, TurnMetrics, Word
from pipeline.messages import CorrectionItem, Corrections, ServerMessage, TurnAnalysis
from pipeline.metrics import prometheus
from pipeline.store.journal import CallJournal, Journal

KEPT_WITHIN_S = 0.25
"""How long an answer that has begun to be spoken waits for the turn that it answers to be durable, where the disk is usually
prompt."""
WRITTEN_WITHIN_S = 1.0
"""How long the end of a session waits until its record is durable; afterwards it is written while nobody waits."""


class Insight(Protocol):
    """Who says what is sure of one turn, as ``pipeline.analyst.Analyst``."""

    async def insight(self, turn: Turn) -> dict[str, Any] | None:
        """Its corrections, levels and notable words; ``None`` where nobody can say in time."""
        ...


class RecordWriter:
    """Takes into ``record`` what a call reports. Nothing here waits for the disk but ``kept`` and ``written``.

    ``send`` tells the attached client; ``spawn`` starts a task that the session owns.
    """

    def __init__(
        self,
        record: CallRecord,
        analyst: Insight,
        *,
        send: Callable[[ServerMessage], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.record = record
        self._analyst = analyst
        self._send = send
        self._spawn = spawn
        self._journal: CallJournal | None = None
        self._closed = False

    # Life

    def open(self, journal: Journal) -> bool:
        """Have it written from now on; false where it is already."""
        if self._journal is not None:
            return False
        self._journal = journal.open(self.record)
        return True

    def close(self, *, ended_at: float, reason: str, report: dict[str, Any] | None) -> None:
        """The session is over: no turn is corrected any more."""
        self._closed = True
        if self._journal is not None:
            self._journal.close(ended_at=ended_at, reason=reason, report=report)

    async def kept(self) -> None:
        """Wait until what was said is durable: at most ``KEPT_WITHIN_S``, and not for a disk that is known to be late."""
        if self._journal is not None:
            await self._journal.kept(KEPT_WITHIN_S)

    async def written(self) -> None:
        """Wait until all of it is durable, ``WRITTEN_WITHIN_S`` at most."""
        if self._journal is not None:
            await self._journal.written(WRITTEN_WITHIN_S)

    def update(self, **changed: str) -> None:
        """The ``level`` or the ``lesson`` changed."""
        if self._journal is not None:
            self._journal.update(**changed)

    # What a call reports

    def take_turn(
        self,
        role: Role,
        text: str,
        *,
        started_at: float,
        ended_at: float,
        words: list[Word] | None = None,
        interrupted: bool = False,
        typed: bool = False,
        source: Source = "live",
        backchannels: list[Word] | None = None,
    ) -> Turn:
        """Take a finished turn into the record, and have it written."""
        turn = Turn(
            index=len(self.record.turns),
            role=role,
            text=text,
            started_at=started_at,
            ended_at=ended_at,
            words=words or [],
            interrupted=interrupted,
            typed=typed,
            source=source,
            backchannels=backchannels or [],
        )
        self.record.turns.append(turn)
        prometheus.TURNS.labels(role).inc()
        self.amend_turn(turn)
        return turn

    def amend_turn(self, turn: Turn) -> None:
        """A turn of the record has changed: have it written anew."""
        self._keep(turn)
        if turn.role == "learner":
            self._spawn(self._analyse(turn))

    def add_metrics(self, row: TurnMetrics) -> None:
        """Keep a metrics row (in place of an earlier state of the same turn) and have it written."""
        kept = replace(row)
        rows = self.record.metrics
        position = next((i for i, r in enumerate(rows) if r.turn == row.turn), None)
        if position is None:
            rows.append(kept)
        else:
            rows[position] = kept
        if self._journal is not None:
            self._journal.add_metrics(kept)

    async def correct_last(self, corrections: Iterable[Correction]) -> None:
        """The lesson corrects the learner's last turn, if there is one."""
        theirs = list(corrections)
        learner = next((t for t in reversed(self.record.turns) if t.role == "learner"), None)
        if theirs and learner is not None:
            # The checker may have been first; what the lesson says of the same words goes before.
            await self._correct(learner, together(replace(learner, corrections=theirs), learner.corrections))

    def _keep(self, turn: Turn) -> None:
        if self._journal is not None:
            self._journal.add_turn(turn)

    async def _analyse(self, turn: Turn) -> None:
        """Tell of a turn of the learner what is sure, while the call goes on."""
        found = await self._analyst.insight(turn)
        if found is None or self._closed:
            return
        corrections = together(turn, [Correction(**item) for item in found["corrections"]])
        if corrections != turn.corrections:
            await self._correct(turn, corrections)
        if found["levels"]:
            await self._send(TurnAnalysis(turn=turn.index, levels=found["levels"], notable=found["notable"]))

    async def _correct(self, turn: Turn, corrections: list[Correction]) -> None:
        turn.corrections = corrections
        self._keep(turn)
        items = [
            CorrectionItem(original=c.original, correction=c.correction, explanation=c.explanation)
            for c in corrections
            if stands(c, turn)
        ]
        if items:
            await self._send(Corrections(turn=turn.index, items=items))
