"""The one place that turns a call's stage marks into ``TurnMetrics`` rows. Pure: every time is passed in, in seconds.

A row is opened when a learner's turn begins (or when the tutor speaks first), filled as stages are reached, and handed out when
the answer's first voiced packet has left; again when the client reports that it was heard, or when the answer was interrupted.

::

    learner   ──voice──┐ user_stop                                 ┌ onset ─ voice ──
    decision           └───────┐ eot                               │
    STT                        └──┐ stt_final                      │
    tutor                         └─┐ llm_first_token ─┐ sentence  │
    TTS                                                └┐ first    │
    wire                                                └─ sent ───┼───┐ stopped
"""

from __future__ import annotations

from collections.abc import Callable

from agent.record import TurnMetrics

RowHandler = Callable[[TurnMetrics], None]


def _ms(at_s: float) -> float:
    return round(at_s * 1000.0, 3)


class TurnClock:
    """Collects marks for the turns of one call.

    ``on_row`` receives the row each time it says something new. A row's ``turn`` is the index of the learner's turn in the
    record (of the tutor's own turn where it spoke first), set by ``number``; rows without a number are not handed out.
    """

    def __init__(self, on_row: RowHandler) -> None:
        self._on_row = on_row
        self._row: TurnMetrics | None = None
        self._numbered = False
        self._answers: dict[str, TurnMetrics] = {}  # utterance id -> the row that it answers
        self._sentence_open = False

    @property
    def row(self) -> TurnMetrics | None:
        """The row that is being filled."""
        return self._row

    def turn_started(self, *, onset_s: float | None = None) -> None:
        """A learner's turn began; ``onset_s`` is its first voiced sample where it began over the tutor's voice."""
        self._open()
        if onset_s is not None and self._row is not None:
            self._row.onset = _ms(onset_s)

    def tutor_first(self) -> None:
        """The tutor is asked to speak without a learner's turn before it."""
        self._open()

    def _open(self) -> None:
        self._row, self._numbered = TurnMetrics(turn=-1), False

    def number(self, turn: int) -> None:
        """The open row belongs to turn ``turn`` of the record."""
        if self._row is not None and not self._numbered:
            self._row.turn, self._numbered = turn, True

    def user_stop(self, at_s: float) -> None:
        """The last voiced sample; a later one of the same turn replaces it, but none of a voice after the turn's end."""
        row = self._row
        if row is not None and (row.eot is None or _ms(at_s) <= row.eot):
            row.user_stop = _ms(at_s)

    def stt_final(self, at_s: float, *, empty: bool = False) -> None:
        """The words of the turn are final; a later final of the same turn replaces it, unless it is ``empty``."""
        if self._row is not None and not (empty and self._row.stt_final is not None):
            self._row.stt_final = _ms(at_s)

    def end_of_turn(self, at_s: float) -> None:
        """The decision that the turn is over; the first mark counts: the frame that tells of it comes after the context's."""
        if self._row is not None and self._row.eot is None:
            self._row.eot = _ms(at_s)

    def llm_text(self, text: str, at_s: float) -> None:
        """A piece of the tutor's text."""
        row = self._row
        if row is None or not text:
            return
        if row.llm_first_token is None:
            row.llm_first_token = _ms(at_s)
        if row.llm_first_sentence is None and text.rstrip()[-1:] in (".", "!", "?", ":", ";", "…"):
            row.llm_first_sentence = _ms(at_s)

    def llm_end(self, at_s: float) -> None:
        """The tutor's text is complete; a reply without a full stop is a sentence all the same."""
        row = self._row
        if row is not None and row.llm_first_token is not None and row.llm_first_sentence is None:
            row.llm_first_sentence = _ms(at_s)

    def tts_audio(self, utterance: str, at_s: float) -> None:
        """The first audio of ``utterance`` was made; it answers the open row."""
        row = self._row
        if row is None:
            return
        self._answers[utterance] = row
        while len(self._answers) > 8:
            del self._answers[next(iter(self._answers))]
        if row.tts_first_audio is None:
            row.tts_first_audio = _ms(at_s)

    def sent(self, utterance: str, at_s: float) -> None:
        """The first voiced packet of ``utterance`` left."""
        row = self._answers.get(utterance)
        if row is not None and row.sent is None:
            row.sent = _ms(at_s)
            self._hand_out(row)

    def heard(self, utterance: str, at_s: float) -> None:
        """The client reports that ``utterance`` began to be heard."""
        row = self._answers.get(utterance)
        if row is not None and row.heard is None:
            row.heard = _ms(at_s)
            self._hand_out(row)

    def ducked(self, at_s: float) -> None:
        """The tutor was held because of the open turn: its last voiced packet before that left at ``at_s``."""
        row = self._row
        if row is not None and row.onset is not None:
            row.ducked = max(_ms(at_s), row.onset)

    def stopped(self, at_s: float) -> None:
        """The tutor fell silent because of the open turn: its last voiced packet left at ``at_s``."""
        row = self._row
        if row is not None and row.onset is not None:
            row.stopped = max(_ms(at_s), row.onset)
            row.verdict = "real"

    def _hand_out(self, row: TurnMetrics) -> None:
        if row.turn >= 0:
            self._on_row(row)
