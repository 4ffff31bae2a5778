"""What a call makes of the frames that pass through it: captions, turns of the record, and metrics rows.

It hooks into the stages' own push events, which pipecat runs inline, so that it adds no stage and no queue to the chain. Each
hook is idempotent, because a frame that is broadcast passes twice (up and down).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from agent.analysis.words import tokens
from agent.record import Turn, TurnMetrics, Word
from pipeline.faults.watch import Watch
from pipeline.messages import AiText, Interrupted, Metrics, Speaking, SpokenWord, Transcript, TurnComplete
from pipeline.metrics import prometheus
from pipeline.metrics.turn_clock import TurnClock
from pipeline.speculation import HeldReply, WithdrawnFrame
from pipeline.transports.base import CallTransport
from pipeline.turns.barge import Speech
from pipeline.turns.gate import Gate
from pipeline.turns.heard import heard_text, words_heard
from pipeline.turns.voiced import VoicedTracker

if TYPE_CHECKING:
    from pipeline.session import Session

ONSET_LOOKBACK_S = 0.8
"""How far before the detector's decision the learner's first voiced sample is looked for."""
UNKEPT_S = 0.2
"""So much of an answer that was made beforehand may be spoken before the turn that it answers is durable: it would wait for
nothing else than the disk."""
CAPTION_PERIOD_S = 0.06
"""How often the tutor's captions are moved on."""
SAID_LATELY_S = 3.0
"""How far back the tutor's words are compared with the learner's, to know an echo by them."""
HELD_WITHIN_S = 0.05
"""Once the tutor is held, its last packet has left within this time."""
LAST_PACKETS_S = 0.1
"""After an interruption, packets that were on their way have left within this time."""
CLAUSE_ENDS = (".", "!", "?", ":", ";", "…")
"""Marks behind which any voice speaks what it has."""
INSERTED_KEPT = 64
UNHEARD_VOICE_S = 0.5
"""Voice of at least this length without any word is worth a "please say it again"; less is taken for noise."""


@dataclass(slots=True)
class Reply:
    """One reply of the tutor while it is made and spoken."""

    context_start: int
    started_at: float
    text: str = ""
    complete: bool = False
    utterance: str | None = None
    audio_s: float = 0.0
    words: list[Word] = field(default_factory=list)
    words_shown: int = 0
    backchannels: list[Word] = field(default_factory=list)
    cut_to: str | None = None
    """What was heard of it, once it was interrupted."""
    unkept_s: float = 0.0
    """How much of it may be spoken before what it answers is durable ..."""
    kept: bool = False
    """... and whether that was waited for."""
    house: bool = False
    """A line of the house (an apology, a farewell) and no answer."""
    aside: bool = False
    """It is said, and no part of the conversation."""
    passed: bool = False
    """Its end has passed the whole chain."""
    acted: bool = False
    """Functions were asked for with it."""
    number: int = -1
    """Its place among the session's replies that are over ..."""
    turn: Turn | None = None
    """... its turn in the record, if any word of it was heard ..."""
    message: dict[str, Any] | None = None
    """... and what of it stands in the conversation."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A frame of the LLM, and when it came."""

    frame: Frame
    at_s: float


class CallObserver:
    """Watches one call. Owned by the call; ``close`` awaits every task it started."""

    def __init__(
        self,
        session: Session,
        transport: CallTransport,
        watch: Watch,
        *,
        stt: Any,
        user: Any,
        llm: Any,
        tts: Any,
        assistant: Any,
        gate: HeldReply | None = None,
    ) -> None:
        self._session = session
        self._transport = transport
        self._watch = watch
        self._voiced = VoicedTracker()
        self._clock = TurnClock(self._on_row)
        self._exporter = prometheus.RowExporter(transport.door)
        self._tasks: set[asyncio.Task[None]] = set()
        self._captions: asyncio.Task[None] | None = None
        self._interruption_settled = asyncio.Event()
        self._reply_ended = asyncio.Event()
        self._house_line = False
        self._reply: Reply | None = None
        self._unsettled: Reply | None = None
        # The learner's open turn.
        self._speaking = False
        self._voice_from_s = 0.0
        self._turn_from_at: float | None = None
        self._segments: list[TranscriptionFrame] = []
        self._segment_starts_s: list[float] = []
        self._typed = False
        self._uploaded: list[Word] | None = None
        self._answered = False
        self._excused = False
        self._tutor_speaking = False
        self._voice_open = False
        self._ducked_at: float | None = None
        self.judges_voices = False
        """Whether a voice over the tutor gets the turn only after a verdict, which this observer is then told of."""
        # What the LLM writes, and what follows from it, where it answers a guess.
        self._unsaid: Gate[_Written | Callable[[], None]] = Gate()
        self._inserted: deque[dict[str, Any]] = deque(maxlen=INSERTED_KEPT)
        self.silent = False
        """Whether replies are only to be read, and no sound of them is owed."""

        transport.input().add_event_handler("on_before_push_frame", self._on_input)
        stt.add_event_handler("on_before_push_frame", self._on_stt)
        user.add_event_handler("on_before_push_frame", self._on_user)
        user.add_event_handler("on_user_turn_stopped", self._on_user_turn_stopped)
        llm.add_event_handler("on_before_push_frame", self._on_llm)
        (gate or tts).add_event_handler("on_before_push_frame", self._on_tts)
        transport.output().add_event_handler("on_before_push_frame", self._on_output)
        assistant.add_event_handler("on_after_process_frame", self._on_assistant)
        if gate is not None:
            gate.words_to = self._on_words
        if hasattr(tts, "on_words"):
            tts.on_words = self._on_words if gate is None else gate.on_words
        transport.playout.on_first_voiced = lambda utterance, at: self._clock.sent(utterance, at)
        transport.playout.on_heard = lambda utterance, at: self._clock.heard(utterance, at)

    # What the call says

    def tutor_first(self) -> None:
        """The tutor is asked to speak without a learner's turn."""
        self._clock.tutor_first()

    def typed(self) -> None:
        """The next learner's turn was typed."""
        self._typed = True
        self._clock.turn_started()

    def uploaded(self, words: Sequence[Word]) -> None:
        """The next learner's turn came as a file, in which ``words`` were recognised."""
        self._uploaded = list(words)
        self._clock.turn_started()

    def forget_conversation(self) -> None:
        """The context was emptied."""
        self._session.messages_recorded = 0
        self._unsettled = None

    def expect_interruption(self) -> asyncio.Event:
        """An event that is set when the next interruption has passed the whole chain."""
        self._interruption_settled.clear()
        return self._interruption_settled

    def expect_reply_end(self) -> asyncio.Event:
        """An event that is set when the tutor's next turn is over, spoken or interrupted."""
        self._reply_ended.clear()
        return self._reply_ended

    def house_line(self) -> None:
        """The tutor's next turn is a line of the house."""
        self._house_line = True

    async def spare_line(self, text: str) -> None:
        """A line of the house begins whose audio comes from elsewhere, not from the voice's stage."""
        await self._finish_reply()
        self._reply = self._new_reply(house=True)
        self._reply.text, self._reply.complete = text, True
        await self._session.send(AiText(text=text, is_complete=True))

    async def unanswered(self) -> None:
        """A turn of the learner is over that the tutor is not asked to answer: it is taken into the record."""
        self._clock.end_of_turn(time.monotonic())
        await self._record_learner(self._session.context.messages)

    @property
    def answering(self) -> bool:
        """Whether an answer is being made or spoken."""
        return self._reply is not None or self._watch.answering

    def acted(self) -> None:
        """The LLM asks for functions to be run: its answer may be without a word."""
        self._watch.acted()
        if self._reply is not None:
            self._reply.acted = True

    def insert_message(self, index: int, message: dict[str, Any]) -> None:
        """Put a message into the conversation, where nothing was said just now; the record does not get it."""
        messages = list(self._session.context.messages)
        self._inserted.append(message)
        messages.insert(index, message)
        self._set_messages(messages, index, 1)

    def remove_message(self, message: dict[str, Any]) -> None:
        """Take a message out of the conversation; the record keeps it."""
        messages = list(self._session.context.messages)
        index = next((i for i, m in enumerate(messages) if m is message), None)
        if index is not None:
            del messages[index]
            self._set_messages(messages, index, -1)

    def _set_messages(self, messages: list[Any], index: int, by: int) -> None:
        self._session.context.set_messages(messages)
        if index < self._session.messages_recorded or by > 0:
            self._session.messages_recorded = max(0, self._session.messages_recorded + by)
        for reply in (self._reply, self._unsettled):
            if reply is not None and index < reply.context_start + (by > 0):
                reply.context_start += by

    def truncate(self, number: int, heard_s: float) -> str | None:
        """Only the first ``heard_s`` of reply ``number`` were heard: conversation and record keep that, which is returned.

        ``None``: there is no such reply any more.
        """
        reply: Reply | None = next((r for r in self._session.said if r.number == number), None)
        if reply is None:
            return None
        text = heard_text(reply.text, reply.words, heard_s, reply.audio_s or None)
        reply.cut_to = text
        if reply.turn is not None:
            reply.turn.text, reply.turn.interrupted = text, True
            reply.turn.words = reply.words[: words_heard(reply.words, heard_s)]
            self._session.amend_turn(reply.turn)
        if reply.message is not None and text:
            reply.message["content"] = text
        elif reply.message is not None:
            self.remove_message(reply.message)
            reply.message = None
        return text

    def excuse_turn(self) -> None:
        """The learner has been told that a stage failed: no other request to say it again is due for this turn."""
        self._excused = True

    async def leave_on_screen(self) -> None:
        """The tutor's turn ends as it stands on the page, unspoken."""
        if self._reply is not None and not self._reply.complete:
            await self._session.send(AiText(text=self._reply.text.strip(), is_complete=True))
        await self._finish_reply(good=False)

    # The learner

    def _on_input(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, InputAudioRawFrame):
            end_s = frame.metadata.get("capture_end_s")
            if end_s is not None:
                self._voiced.add(frame.audio, end_s)

    async def _on_stt(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, TranscriptionFrame):
            self._clock.stt_final(time.monotonic(), empty=not frame.text.strip())
            self._watch.words(time.monotonic())
            if frame.text.strip():
                self._segments.append(frame)
                await self._session.send(Transcript(text=self._heard_so_far(), is_final=False))
        elif isinstance(frame, InterimTranscriptionFrame) and frame.text.strip():
            self._watch.words_coming(time.monotonic())
            await self._session.send(Transcript(text=f"{self._heard_so_far()} {frame.text.strip()}".strip(), is_final=False))

    def _heard_so_far(self) -> str:
        return " ".join(f.text.strip() for f in self._segments)

    async def _on_user(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._voice_started()
        elif isinstance(frame, UserStartedSpeakingFrame):
            await self._turn_started()
        elif isinstance(frame, InterruptionFrame):
            self._watch.interrupted(time.monotonic())
            await self._cut_reply()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._voice_stopped()
        elif isinstance(frame, UserStoppedSpeakingFrame):
            await self._turn_stopped()
        elif isinstance(frame, LLMContextFrame) and not frame.speculation:
            self._clock.end_of_turn(time.monotonic())
            await self._record_learner(frame.context.messages)
            self._watch.asked(time.monotonic())

    def _voice_started(self) -> None:
        self._excused = False
        self._watch.voice_started(time.monotonic())
        end_s = self._voiced.end_s
        if end_s is None:
            return
        onset_s = self._voiced.first_voiced_s(max(0.0, end_s - ONSET_LOOKBACK_S))
        self._voice_from_s = onset_s if onset_s is not None else end_s

    def _voice_stopped(self) -> None:
        voiced_s = self._voiced.voiced_s(self._voice_from_s)
        # A voice that was not given the turn may end without any word.
        words_owed = voiced_s >= UNHEARD_VOICE_S and (self._speaking or not self.judges_voices)
        self._watch.voice_stopped(time.monotonic(), words_owed=words_owed)
        stop_s = self._voiced.last_voiced_s(self._voice_from_s)
        at = self._transport.capture.time_of(stop_s) if stop_s is not None else None
        if at is not None:
            self._clock.user_stop(at)

    async def _turn_started(self) -> None:
        if self._speaking:
            return
        self._speaking, self._answered = True, False
        if not self.judges_voices:
            self._segments.clear()
        onset = self._transport.capture.time_of(self._voice_from_s)
        self._turn_from_at = self._session.now() - (time.monotonic() - onset if onset is not None else 0.0)
        self._clock.turn_started(onset_s=onset if self._tutor_speaking else None)
        await self._session.send(Speaking(who="learner", active=True))

    async def _turn_stopped(self) -> None:
        if not self._speaking:
            return
        self._speaking = False
        self._clock.end_of_turn(time.monotonic())
        await self._session.send(Speaking(who="learner", active=False))

    async def _on_user_turn_stopped(self, _aggregator: Any, _strategy: Any, message: Any) -> None:
        if message.content or self._answered or self._excused or self._watch.deaf:
            return
        # Frozen captions would suggest that the words are still being worked on.
        await self._session.send(Transcript(text="", is_final=True))
        if self._voiced.voiced_s(self._voice_from_s) >= UNHEARD_VOICE_S or self._was_cut():
            await self._session.unheard()

    def _was_cut(self) -> bool:
        last = self._session.record.turns[-1] if self._session.record.turns else None
        return last is not None and last.role == "tutor" and last.interrupted

    async def _record_learner(self, messages: list[Any]) -> None:
        """Take the learner's new turns into the record before the tutor begins to answer them."""
        said = [m for m in messages[self._session.messages_recorded :] if isinstance(m, dict) and m.get("role") == "user"]
        self._session.messages_recorded = len(messages)
        typed, self._typed = self._typed, False
        uploaded, self._uploaded = self._uploaded, None
        now = self._session.now()
        for message in said:
            text = str(message.get("content", "")).strip()
            if not text:
                continue
            self._answered = True
            self._watch.heard_learner(time.monotonic())
            words = uploaded if uploaded is not None else [] if typed else self._words()
            spoken_here = not typed and uploaded is None and self._turn_from_at is not None
            turn = self._session.take_turn(
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

    def _words(self) -> list[Word]:
        """The words of the turn's segments, with times from the start of the turn's first segment."""
        words: list[Word] = []
        first_start: float | None = None
        for frame in self._segments:
            result = frame.result
            start = getattr(result, "started_s", None)
            if first_start is None:
                first_start = start
            shift = (
                (start - first_start) if start is not None and first_start is not None else (words[-1].end_s if words else 0.0)
            )
            words += [
                Word(w.text, round(w.start_s + shift, 3), round(w.end_s + shift, 3), w.confidence)
                for w in getattr(result, "words", ())
            ]
        return words

    # Answers to a guess

    def hold(self) -> None:
        """What the LLM writes from now on answers a guess: it is neither shown nor recorded."""
        self._unsaid.hold()

    async def confirm(self) -> None:
        """The guess was right: the turn stands in the context, and the answer is the tutor's."""
        now = time.monotonic()
        self._clock.end_of_turn(now)
        await self._record_learner(self._session.context.messages)
        self._watch.asked(now)
        while held := self._unsaid.drain():
            for item in held:
                await self._said(item)
        self._unsaid.release()

    def withdraw(self) -> None:
        """The guess was wrong: nothing was written."""
        self._wasted(self._unsaid.withdraw())

    def when_said(self, action: Callable[[], None]) -> None:
        """Do ``action``, which follows from what the LLM writes, unless that answers a guess: then when it is confirmed."""
        for item in self._unsaid.take(action):
            assert callable(item)
            item()

    async def _said(self, item: _Written | Callable[[], None]) -> None:
        if isinstance(item, _Written):
            await self._llm_wrote(item.frame, item.at_s)
        else:
            item()

    def _wasted(self, dropped: Sequence[_Written | Callable[[], None]]) -> None:
        pieces = sum(isinstance(x, _Written) and isinstance(x.frame, LLMTextFrame) for x in dropped)
        prometheus.SPECULATION_WASTED_TOKENS.inc(pieces)

    # The tutor

    async def _on_llm(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, WithdrawnFrame):
            self._unsaid.mark()
        elif isinstance(frame, InterruptionFrame):
            self._wasted(self._unsaid.clear())
        elif isinstance(frame, (LLMFullResponseStartFrame, LLMTextFrame, LLMFullResponseEndFrame)):
            for item in self._unsaid.take(_Written(frame, time.monotonic())):
                await self._said(item)

    async def _llm_wrote(self, frame: Frame, at_s: float) -> None:
        if isinstance(frame, LLMFullResponseStartFrame):
            await self._finish_reply()
            self._reply = self._new_reply(house=self._house_line)
            self._house_line = False
            self._clock.number(len(self._session.record.turns))
        elif isinstance(frame, LLMTextFrame) and self._reply is not None:
            self._reply.text += frame.text
            self._clock.llm_text(frame.text, at_s)
            self._watch.text(time.monotonic(), frame.text, clause=frame.text.rstrip()[-1:] in CLAUSE_ENDS)
            await self._session.send(AiText(text=frame.text, is_complete=False))
        elif isinstance(frame, LLMFullResponseEndFrame) and self._reply is not None:
            self._reply.complete = True
            self._clock.llm_end(at_s)
            self._watch.text_ended(time.monotonic())
            await self._session.send(AiText(text=self._reply.text.strip(), is_complete=True))
            if self.silent:
                self._watch.shown()
            if self.silent or (self._reply.acted and not self._reply.text.strip()):
                await self._finish_reply()

    def _new_reply(self, *, house: bool) -> Reply:
        brief = self._session.call_state.brief
        aside = not house and brief is not None and brief.aside
        start = len(self._session.context.messages)
        return Reply(context_start=start, started_at=self._session.now(), house=house, aside=aside)

    async def _on_tts(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, TTSStartedFrame):
            self._watch.voice_began(time.monotonic())
            self._voice_open = True
        elif isinstance(frame, TTSStoppedFrame):
            self._watch.voice_ended(time.monotonic())
            self._voice_open = False
        if not isinstance(frame, TTSAudioRawFrame) or self._reply is None:
            return
        reply = self._reply
        seconds = len(frame.audio) / 2 / frame.num_channels / frame.sample_rate
        self._watch.audio(time.monotonic(), seconds, silent=not self._watch.voice_heard and not any(frame.audio))
        if reply.utterance is None and frame.context_id:
            reply.utterance = frame.context_id
            self._clock.tts_audio(frame.context_id, frame.metadata.get("made_at", time.monotonic()))
            reply.unkept_s = UNKEPT_S if "made_at" in frame.metadata else 0.0
        if not reply.kept and reply.audio_s + seconds >= reply.unkept_s:
            # What is answered is not lost any more. It is written while the answer is made, so this hardly ever waits.
            reply.kept = True
            await self._session.kept()
        reply.audio_s += seconds

    def _on_words(self, context_id: str, words: list[Word]) -> None:
        reply = self._reply
        if reply is not None and reply.utterance in (None, context_id):
            reply.words.extend(words)

    async def _on_output(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, BotStartedSpeakingFrame) and not self._tutor_speaking:
            self._tutor_speaking = True
            self._watch.speaking(time.monotonic(), True)
            await self._session.send(Speaking(who="tutor", active=True))
            if self._captions is None:
                self._captions = self._spawn(self._move_captions())
        elif isinstance(frame, BotStoppedSpeakingFrame) and self._tutor_speaking:
            self._tutor_speaking = False
            self._watch.speaking(time.monotonic(), False)
            await self._session.send(Speaking(who="tutor", active=False))
            reply = self._reply
            # The voice that was interrupted may be told of after the next answer was written: that one is still to be spoken.
            if reply is not None and reply.complete and self._spoken(reply):
                await self._finish_reply()

    def _spoken(self, reply: Reply) -> bool:
        """Whether any of its audio has left."""
        return self._transport.playout.sent_s(reply.utterance) > 0 if reply.utterance is not None else reply.audio_s > 0

    async def _move_captions(self) -> None:
        try:
            while self._reply is not None:
                await self._show_words(self._reply)
                await asyncio.sleep(CAPTION_PERIOD_S)
        finally:
            self._captions = None

    async def _show_words(self, reply: Reply, *, everything: bool = False) -> None:
        at_s = self._transport.playout.heard_s(reply.utterance, time.monotonic()) if reply.utterance else 0.0
        while reply.words_shown < len(reply.words):
            word = reply.words[reply.words_shown]
            if not everything and word.start_s > at_s:
                return
            await self._session.send(SpokenWord(index=reply.words_shown, text=word.text))
            reply.words_shown += 1

    async def _finish_reply(self, *, good: bool = True) -> None:
        """The tutor's turn ran to its end; ``good`` if it was spoken."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if good and not reply.house and reply.utterance is not None:
            self._session.faults_in_a_row = 0
        # At once, since the client may now go on; and again behind what the stock aggregator has yet to add.
        self._settle(reply)
        self._unsettled = None if reply.passed else reply
        if reply.text.strip():
            await self._show_words(reply, everything=True)
            reply.turn = self._session.take_turn(
                "tutor",
                reply.text.strip(),
                started_at=reply.started_at,
                ended_at=self._session.now(),
                words=reply.words,
                backchannels=reply.backchannels,
            )
        self._keep(reply)
        await self._session.send(TurnComplete())
        self._reply_ended.set()

    def _keep(self, reply: Reply) -> None:
        """The reply is over, and may yet turn out to have been heard in part only."""
        reply.number = self._session.replies
        self._session.replies += 1
        self._session.said.append(reply)

    async def _cut_reply(self) -> None:
        """The tutor was interrupted: only what was heard of its reply is kept."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        heard_s = self._transport.playout.heard_s(reply.utterance, time.monotonic()) if reply.utterance else 0.0
        # What is only to be read was read as it came.
        read = reply.text.strip() if self.silent else None
        reply.cut_to = heard_text(reply.text, reply.words, heard_s, reply.audio_s or None) if read is None else read
        self._unsettled = reply
        self._keep(reply)
        prometheus.INTERRUPTIONS.inc()
        if reply.utterance is not None and self._clock.row is not None and self._clock.row.onset is not None:
            self._spawn(self._mark_stopped(reply.utterance))
        if not reply.complete:
            await self._session.send(AiText(text=reply.text.strip(), is_complete=True))
        await self._session.send(Interrupted(text=reply.cut_to))
        await self._session.send(TurnComplete())
        self._reply_ended.set()
        if reply.cut_to:
            heard_words = reply.words[: words_heard(reply.words, heard_s)]
            reply.turn = self._session.take_turn(
                "tutor",
                reply.cut_to,
                started_at=reply.started_at,
                ended_at=self._session.now(),
                words=heard_words,
                interrupted=True,
                backchannels=reply.backchannels,
            )

    async def _mark_stopped(self, utterance: str) -> None:
        ducked_at = self._ducked_at
        await asyncio.sleep(LAST_PACKETS_S)
        if ducked_at is not None:
            self._clock.ducked(ducked_at)
        at = self._transport.playout.last_voiced_sent_at(utterance)
        if at is not None:
            self._clock.stopped(at)

    # Voices over the tutor

    def speech(self) -> Speech:
        """What the tutor says now, and how much of it is left where all of it is known."""
        reply = self._reply
        if reply is None or reply.utterance is None:
            return Speech()
        at_s = self._transport.playout.heard_s(reply.utterance, time.monotonic())
        said = (w.text for w in reply.words if at_s - SAID_LATELY_S <= w.start_s <= at_s + LAST_PACKETS_S)
        left_s = reply.audio_s - at_s if reply.complete and not self._voice_open else None
        return Speech(tuple(token for text in said for token in tokens(text)), left_s)

    def ducked(self, onset_at: float) -> None:
        """The tutor was held, for a voice that began at ``onset_at``."""
        self._ducked_at = None
        reply = self._reply
        if reply is not None and reply.utterance is not None:
            self._spawn(self._mark_ducked(reply.utterance))

    async def _mark_ducked(self, utterance: str) -> None:
        await asyncio.sleep(HELD_WITHIN_S)
        self._ducked_at = self._transport.playout.last_voiced_sent_at(utterance)

    def backchannel(self, words: tuple[str, ...]) -> None:
        """The learner said ``words`` and wants no turn for it: they are kept with what they were said to."""
        reply, turns = self._reply, self._session.record.turns
        text = " ".join(words)
        if reply is not None:
            at_s = self._transport.playout.heard_s(reply.utterance, time.monotonic()) if reply.utterance else 0.0
            reply.backchannels.append(Word(text, round(at_s, 3), round(at_s, 3)))
        elif turns and turns[-1].role == "tutor":
            end_s = turns[-1].words[-1].end_s if turns[-1].words else 0.0
            turns[-1].backchannels.append(Word(text, end_s, end_s))
            self._session.amend_turn(turns[-1])

    async def dropped(self, frame: TranscriptionFrame) -> None:
        """These words belong to no turn."""
        self._segments = [f for f in self._segments if f is not frame]
        await self._session.send(Transcript(text=self._heard_so_far(), is_final=True))

    async def belated(self, frame: TranscriptionFrame) -> bool:
        """These words belong to the learner's last turn, which was answered without them: they are added to it."""
        turn = next((t for t in reversed(self._session.record.turns) if t.role == "learner"), None)
        message: Any = next(
            (m for m in reversed(self._session.context.messages) if isinstance(m, dict) and m.get("role") == "user"), None
        )
        if turn is None or turn.typed or turn.source != "live" or message is None or message.get("content") != turn.text:
            return False
        self._segments = [frame]
        end_s = turn.words[-1].end_s if turn.words else 0.0
        turn.words += [Word(w.text, w.start_s + end_s, w.end_s + end_s, w.confidence) for w in self._words()]
        self._segments = []
        turn.text = message["content"] = f"{turn.text} {frame.text.strip()}"
        self._session.amend_turn(turn)
        await self._session.send(Transcript(text=turn.text, is_final=True))
        return True

    def _on_assistant(self, _processor: Any, frame: Frame) -> None:
        if isinstance(frame, LLMFullResponseEndFrame) and self._unsettled is None and self._reply is not None:
            self._reply.passed = self._reply.complete
        if isinstance(frame, (InterruptionFrame, LLMFullResponseEndFrame)):
            self._settle_context()
        if isinstance(frame, InterruptionFrame):
            self._interruption_settled.set()

    def _settle_context(self) -> None:
        """Put what was heard, with its punctuation, in place of what the stock aggregator gathered from word frames."""
        reply, self._unsettled = self._unsettled, None
        if reply is not None:
            self._settle(reply)

    def _settle(self, reply: Reply) -> None:
        text = reply.text.strip() if reply.cut_to is None else reply.cut_to
        messages = list(self._session.context.messages)
        head, tail = messages[: reply.context_start], messages[reply.context_start :]
        taken = messages[reply.context_start : self._session.messages_recorded]
        tail = [m for m in tail if not (isinstance(m, dict) and self._is_stock(m))]
        if text and not reply.aside:
            reply.message = reply.message or {"role": "assistant", "content": text}
            reply.message["content"] = text
            head.append(reply.message)  # type: ignore[arg-type]
        self._session.context.set_messages(head + tail)
        # Messages that moved behind the reply are new to the record only if they were before.
        behind = sum(any(m is known for known in taken) for m in tail)
        recorded = len(head) + behind if behind else self._session.messages_recorded
        self._session.messages_recorded = min(recorded, len(head) + len(tail))

    def _is_stock(self, message: dict[str, Any]) -> bool:
        """Whether the stock aggregator put it there, and neither the client nor a function that was asked for."""
        mine = message.get("role") != "assistant" or bool(message.get("tool_calls"))
        return not mine and not any(message is inserted for inserted in self._inserted)

    # Metrics and the end

    def _on_row(self, row: TurnMetrics) -> None:
        self._exporter.export(row)
        self._session.add_metrics(row)
        self._spawn(self._session.send(Metrics(row=row.to_dict())))

    async def finish(self) -> None:
        """Record what is still unrecorded: a reply in mid-air and words of an unfinished turn. Safe to call twice."""
        await self._cut_reply()
        self._settle_context()
        text = self._heard_so_far()
        if text:
            words = self._words()
            self._segments.clear()
            started_at = self._turn_from_at if self._turn_from_at is not None else self._session.now()
            self._session.take_turn("learner", text, started_at=started_at, ended_at=self._session.now(), words=words)
            self._session.context.add_message({"role": "user", "content": text})
            self._session.messages_recorded = len(self._session.context.messages)

    async def close(self) -> None:
        """Await the observer's tasks."""
        tasks = [t for t in self._tasks if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._transport.playout.on_first_voiced = self._transport.playout.on_heard = None

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
