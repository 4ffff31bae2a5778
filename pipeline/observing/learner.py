"""The learner's side of a call: when the voice was there, which words came, and which turn of the record they become."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import Frame, InputAudioRawFrame, InterimTranscriptionFrame, TranscriptionFrame

from agent.record import Word
from pipeline.faults.watch import Watch
from pipeline.messages import Speaking, Transcript
from pipeline.metrics.turn_clock import TurnClock
from pipeline.observing.conversation import Conversation
from pipeline.observing.segments import Segments, moved
from pipeline.transports.base import CallTransport
from pipeline.turns.voiced import VoicedTracker

if TYPE_CHECKING:
    from pipeline.session import Session

ONSET_LOOKBACK_S = 0.8
"""How far before the detector's decision the learner's first voiced sample is looked for."""
UNHEARD_VOICE_S = 0.5
"""Voice of at least this length without any word is worth a "please say it again"; less is taken for noise."""


class Learner:
    """Watches what the learner says in one call."""

    def __init__(
        self, session: Session, transport: CallTransport, watch: Watch, clock: TurnClock, conversation: Conversation
    ) -> None:
        self._session = session
        self._transport = transport
        self._watch = watch
        self._clock = clock
        self._conversation = conversation
        self._voiced = VoicedTracker()
        self._speaking = False
        self._voice_from_s = 0.0
        self._turn_from_at: float | None = None
        self._segments = Segments()
        self._typed = False
        self._uploaded: list[Word] | None = None
        self._answered = False
        self._excused = False
        self.judges_voices = False
        """Whether a voice over the tutor gets the turn only after a verdict, which the observer is then told of."""

    # What the call says

    def entered(self, words: Sequence[Word] | None) -> None:
        """The next turn was typed, or came as a file in which ``words`` were recognised."""
        if words is None:
            self._typed = True
        else:
            self._uploaded = list(words)
        self._clock.turn_started()

    def excuse_turn(self) -> None:
        """The learner has been told that a stage failed: no other request to say it again is due for this turn."""
        self._excused = True

    # Sound and words

    def on_input(self, _processor: Any, frame: Frame) -> None:
        """What the transport's input pushes."""
        if isinstance(frame, InputAudioRawFrame):
            end_s = frame.metadata.get("capture_end_s")
            if end_s is not None:
                self._voiced.add(frame.audio, end_s)

    async def on_stt(self, _processor: Any, frame: Frame) -> None:
        """What the recogniser pushes."""
        if isinstance(frame, TranscriptionFrame):
            self._clock.stt_final(time.monotonic(), empty=not frame.text.strip())
            self._watch.words(time.monotonic())
            if frame.text.strip():
                self._segments.add(frame)
                await self._session.send(Transcript(text=self._segments.text(), is_final=False))
        elif isinstance(frame, InterimTranscriptionFrame) and frame.text.strip():
            self._watch.words_coming(time.monotonic())
            await self._session.send(Transcript(text=self._segments.text(frame.text), is_final=False))

    def voice_started(self) -> None:
        """The voice detector found a voice."""
        self._excused = False
        self._watch.voice_started(time.monotonic())
        end_s = self._voiced.end_s
        if end_s is None:
            return
        onset_s = self._voiced.first_voiced_s(max(0.0, end_s - ONSET_LOOKBACK_S))
        self._voice_from_s = onset_s if onset_s is not None else end_s

    def voice_stopped(self) -> None:
        """The voice detector found that the voice is over."""
        voiced_s = self._voiced.voiced_s(self._voice_from_s)
        # A voice that was not given the turn may end without any word.
        words_owed = voiced_s >= UNHEARD_VOICE_S and (self._speaking or not self.judges_voices)
        self._watch.voice_stopped(time.monotonic(), words_owed=words_owed)
        stop_s = self._voiced.last_voiced_s(self._voice_from_s)
        at = self._transport.capture.time_of(stop_s) if stop_s is not None else None
        if at is not None:
            self._clock.user_stop(at)

    # Turns

    async def turn_started(self, *, over_tutor: bool) -> None:
        """The learner has the turn; ``over_tutor``: the tutor is still to be heard."""
        if self._speaking:
            return
        self._speaking, self._answered = True, False
        if not self.judges_voices:
            self._segments.clear()
        onset = self._transport.capture.time_of(self._voice_from_s)
        self._turn_from_at = self._session.now() - (time.monotonic() - onset if onset is not None else 0.0)
        self._clock.turn_started(onset_s=onset if over_tutor else None)
        await self._session.send(Speaking(who="learner", active=True))

    async def turn_stopped(self) -> None:
        """The learner's turn is over."""
        if not self._speaking:
            return
        self._speaking = False
        self._clock.end_of_turn(time.monotonic())
        await self._session.send(Speaking(who="learner", active=False))

    async def on_turn_stopped(self, _aggregator: Any, _strategy: Any, message: Any) -> None:
        """What pipecat's aggregator made of the turn: a voice without words is asked to speak again."""
        if message.content or self._answered or self._excused or self._watch.deaf:
            return
        # Frozen captions would suggest that the words are still being worked on.
        await self._session.send(Transcript(text="", is_final=True))
        if self._voiced.voiced_s(self._voice_from_s) >= UNHEARD_VOICE_S or self._cut_tutor():
            await self._session.unheard()

    def _cut_tutor(self) -> bool:
        last = self._session.record.turns[-1] if self._session.record.turns else None
        return last is not None and last.role == "tutor" and last.interrupted

    async def turn_in_context(self, messages: Sequence[Any] | None = None) -> None:
        """The turn stands in the conversation: it is taken into the record before the tutor begins to answer it."""
        self._clock.end_of_turn(time.monotonic())
        said = self._conversation.take_new(messages)
        typed, self._typed = self._typed, False
        uploaded, self._uploaded = self._uploaded, None
        now = self._session.now()
        for message in said:
            text = str(message.get("content", "")).strip()
            if not text:
                continue
            self._answered = True
            self._watch.heard_learner(time.monotonic())
            words = uploaded if uploaded is not None else [] if typed else self._segments.words()
            spoken_here = not typed and uploaded is None and self._turn_from_at is not None
            turn = self._session.writer.take_turn(
                "learner",
                text,
                started_at=self._turn_from_at if spoken_here and self._turn_from_at is not None else now,
                ended_at=now,
                words=words,
                typed=typed,
                source="live" if uploaded is None else "upload",
            )
            self._clock.number(turn.index)
            self._segments.clear()
            await self._session.send(Transcript(text=text, is_final=True))

    async def dropped(self, frame: TranscriptionFrame) -> None:
        """These words belong to no turn."""
        self._segments.drop(frame)
        await self._session.send(Transcript(text=self._segments.text(), is_final=True))

    async def belated(self, frame: TranscriptionFrame) -> bool:
        """These words belong to the learner's last turn, which was answered without them: they are added to it."""
        turn = next((t for t in reversed(self._session.record.turns) if t.role == "learner"), None)
        message = self._conversation.last_of_learner()
        if turn is None or turn.typed or turn.source != "live" or message is None or message.get("content") != turn.text:
            return False
        self._segments.clear()
        turn.words += moved(frame, turn.words[-1].end_s if turn.words else 0.0)
        turn.text = message["content"] = f"{turn.text} {frame.text.strip()}"
        self._session.writer.amend_turn(turn)
        await self._session.send(Transcript(text=turn.text, is_final=True))
        return True

    def finish(self) -> None:
        """The call ends: the words of an unfinished turn are one all the same."""
        text, words = self._segments.text(), self._segments.words()
        if not text:
            return
        self._segments.clear()
        now = self._session.now()
        started_at = self._turn_from_at if self._turn_from_at is not None else now
        self._session.writer.take_turn("learner", text, started_at=started_at, ended_at=now, words=words)
        self._conversation.add_recorded(text)
