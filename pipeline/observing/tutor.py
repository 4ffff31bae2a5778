"""The tutor's side of a call: its reply from the first written word to what was heard of it, with captions as it is spoken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)

from agent.record import Word
from pipeline.faults.watch import Watch
from pipeline.messages import AiText, Interrupted, Speaking, SpokenWord, TurnComplete
from pipeline.metrics import prometheus
from pipeline.metrics.turn_clock import TurnClock
from pipeline.observing.conversation import Conversation
from pipeline.observing.reply import LAST_PACKETS_S, Reply, backchannel, ends_clause
from pipeline.transports.base import CallTransport
from pipeline.turns.barge import Speech

if TYPE_CHECKING:
    from pipeline.session import Session

CAPTION_PERIOD_S = 0.06
"""How often the tutor's captions are moved on."""
HELD_WITHIN_S = 0.05
"""Once the tutor is held, its last packet has left within this time."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Tutor:
    """Watches what the tutor says in one call. ``spawn`` starts a task that the call's observer owns."""

    def __init__(
        self,
        session: Session,
        transport: CallTransport,
        watch: Watch,
        clock: TurnClock,
        conversation: Conversation,
        spawn: Spawn,
    ) -> None:
        self._session = session
        self._transport = transport
        self._watch = watch
        self._clock = clock
        self._conversation = conversation
        self._spawn = spawn
        self._captions: asyncio.Task[None] | None = None
        self._reply_ended = asyncio.Event()
        self._house_line = False
        self._voice_open = False
        self._ducked_at: float | None = None
        self.reply: Reply | None = None
        """The reply that is being made or spoken."""
        self.speaking = False
        """Whether it can be heard."""
        self.silent = False
        """Whether replies are only to be read, and no sound of them is owed."""

    @property
    def answering(self) -> bool:
        """Whether an answer is being made or spoken."""
        return self.reply is not None or self._watch.answering

    # What the call says

    def expect_reply_end(self) -> asyncio.Event:
        """An event that is set when the next turn of the tutor is over, spoken or interrupted."""
        self._reply_ended.clear()
        return self._reply_ended

    def house_line(self) -> None:
        """The next turn of the tutor is a line of the house."""
        self._house_line = True

    async def spare_line(self, text: str) -> None:
        """A line of the house begins whose audio comes from elsewhere, not from the voice's stage."""
        await self.finish_reply()
        self.reply = self._new_reply(house=True)
        self.reply.text, self.reply.complete = text, True
        await self._session.send(AiText(text=text, is_complete=True))

    def acted(self) -> None:
        """The LLM asks for functions to be run: its answer may be without a word."""
        self._watch.acted()
        if self.reply is not None:
            self.reply.acted = True

    async def leave_on_screen(self) -> None:
        """Its turn ends as it stands on the page, unspoken."""
        if self.reply is not None and not self.reply.complete:
            await self._session.send(AiText(text=self.reply.text.strip(), is_complete=True))
        await self.finish_reply(good=False)

    def truncate(self, number: int, heard_s: float) -> str | None:
        """Only the first ``heard_s`` of reply ``number`` were heard: conversation and record keep that, which is returned.

        ``None``: there is no such reply any more.
        """
        reply = next((r for r in self._session.said if r.number == number), None)
        if reply is None:
            return None
        text = reply.cut(heard_s)
        if reply.turn is not None:
            reply.turn.text, reply.turn.interrupted = text, True
            reply.turn.words = reply.words_until(heard_s)
            self._session.writer.amend_turn(reply.turn)
        self._conversation.shorten(reply, text, self.reply)
        return text

    # Text and sound

    async def wrote(self, frame: Frame, at_s: float) -> None:
        """A frame of an answer, which the LLM pushed at ``at_s`` (monotonic)."""
        if isinstance(frame, LLMFullResponseStartFrame):
            await self.finish_reply()
            self.reply = self._new_reply(house=self._house_line)
            self._house_line = False
            self._clock.number(len(self._session.record.turns))
        elif isinstance(frame, LLMTextFrame) and self.reply is not None:
            self.reply.text += frame.text
            self._clock.llm_text(frame.text, at_s)
            self._watch.text(time.monotonic(), frame.text, clause=ends_clause(frame.text))
            await self._session.send(AiText(text=frame.text, is_complete=False))
        elif isinstance(frame, LLMFullResponseEndFrame) and self.reply is not None:
            self.reply.complete = True
            self._clock.llm_end(at_s)
            self._watch.text_ended(time.monotonic())
            await self._session.send(AiText(text=self.reply.text.strip(), is_complete=True))
            if self.silent:
                self._watch.shown()
            if self.silent or (self.reply.acted and not self.reply.text.strip()):
                await self.finish_reply()

    def _new_reply(self, *, house: bool) -> Reply:
        brief = self._session.call_state.brief
        aside = not house and brief is not None and brief.aside
        start = len(self._conversation)
        return Reply(context_start=start, started_at=self._session.now(), house=house, aside=aside)

    async def on_tts(self, _processor: Any, frame: Frame) -> None:
        """What the voice pushes, or the gate behind it."""
        if isinstance(frame, TTSStartedFrame):
            self._watch.voice_began(time.monotonic())
            self._voice_open = True
        elif isinstance(frame, TTSStoppedFrame):
            self._watch.voice_ended(time.monotonic())
            self._voice_open = False
        if not isinstance(frame, TTSAudioRawFrame) or self.reply is None:
            return
        reply = self.reply
        seconds = len(frame.audio) / 2 / frame.num_channels / frame.sample_rate
        self._watch.audio(time.monotonic(), seconds, silent=not self._watch.voice_heard and not any(frame.audio))
        if reply.utterance is None and frame.context_id:
            reply.began(frame.context_id, early="made_at" in frame.metadata)
            self._clock.tts_audio(frame.context_id, frame.metadata.get("made_at", time.monotonic()))
        if not reply.kept and reply.must_be_kept(seconds):
            # What is answered is not lost any more. It is written while the answer is made, so this hardly ever waits.
            await self._session.writer.kept()
        reply.audio_s += seconds

    def on_words(self, utterance: str, words: list[Word]) -> None:
        """The voice says when each word of ``utterance`` begins and ends."""
        if self.reply is not None and self.reply.is_spoken_as(utterance):
            self.reply.words.extend(words)

    async def on_output(self, _processor: Any, frame: Frame) -> None:
        """What the transport's output pushes."""
        if isinstance(frame, BotStartedSpeakingFrame) and not self.speaking:
            self.speaking = True
            self._watch.speaking(time.monotonic(), True)
            await self._session.send(Speaking(who="tutor", active=True))
            if self._captions is None:
                self._captions = self._spawn(self._move_captions())
        elif isinstance(frame, BotStoppedSpeakingFrame) and self.speaking:
            self.speaking = False
            self._watch.speaking(time.monotonic(), False)
            await self._session.send(Speaking(who="tutor", active=False))
            reply = self.reply
            # The voice that was interrupted may be told of after the next answer was written: that one is still to be spoken.
            if reply is not None and reply.complete and self._sounded(reply):
                await self.finish_reply()

    def _sounded(self, reply: Reply) -> bool:
        """Whether any of its audio has left."""
        return self._transport.playout.sent_s(reply.utterance) > 0 if reply.utterance is not None else reply.audio_s > 0

    def _heard_s(self, reply: Reply) -> float:
        return self._transport.playout.heard_s(reply.utterance, time.monotonic()) if reply.utterance else 0.0

    # Captions

    async def _move_captions(self) -> None:
        try:
            while self.reply is not None:
                await self._show_words(self.reply, self._heard_s(self.reply))
                await asyncio.sleep(CAPTION_PERIOD_S)
        finally:
            self._captions = None

    async def _show_words(self, reply: Reply, heard_s: float | None) -> None:
        while (index := reply.next_shown(heard_s)) is not None:
            await self._session.send(SpokenWord(index=index, text=reply.words[index].text))

    # The end of a reply

    async def finish_reply(self, *, good: bool = True) -> None:
        """Its turn ran to its end; ``good`` if it was spoken."""
        reply, self.reply = self.reply, None
        if reply is None:
            return
        if good and not reply.house and reply.utterance is not None:
            self._session.faults_in_a_row = 0
        # At once, since the client may now go on; and again behind what the stock aggregator has yet to add.
        self._conversation.settle(reply)
        self._conversation.settle_later(None if reply.passed else reply)
        if reply.text.strip():
            await self._show_words(reply, None)
            self._take_turn(reply, reply.text.strip(), reply.words)
        self._keep(reply)
        await self._session.send(TurnComplete())
        self._reply_ended.set()

    async def cut_reply(self) -> None:
        """It was interrupted: only what was heard of its reply is kept."""
        reply, self.reply = self.reply, None
        if reply is None:
            return
        heard_s = self._heard_s(reply)
        if self.silent:
            # What is only to be read was read as it came.
            reply.cut_to = text = reply.text.strip()
        else:
            text = reply.cut(heard_s)
        self._conversation.settle_later(reply)
        self._keep(reply)
        prometheus.INTERRUPTIONS.inc()
        if reply.utterance is not None and self._clock.row is not None and self._clock.row.onset is not None:
            self._spawn(self._mark_stopped(reply.utterance))
        if not reply.complete:
            await self._session.send(AiText(text=reply.text.strip(), is_complete=True))
        await self._session.send(Interrupted(text=text))
        await self._session.send(TurnComplete())
        self._reply_ended.set()
        if text:
            self._take_turn(reply, text, reply.words_until(heard_s), interrupted=True)

    def _take_turn(self, reply: Reply, text: str, words: list[Word], *, interrupted: bool = False) -> None:
        reply.turn = self._session.writer.take_turn(
            "tutor",
            text,
            started_at=reply.started_at,
            ended_at=self._session.now(),
            words=words,
            interrupted=interrupted,
            backchannels=reply.backchannels,
        )

    def _keep(self, reply: Reply) -> None:
        """The reply is over, and may yet turn out to have been heard in part only."""
        reply.number = self._session.replies
        self._session.replies += 1
        self._session.said.append(reply)

    async def _mark_stopped(self, utterance: str) -> None:
        ducked_at = self._ducked_at
        await asyncio.sleep(LAST_PACKETS_S)
        if ducked_at is not None:
            self._clock.ducked(ducked_at)
        at = self._transport.playout.last_voiced_sent_at(utterance)
        if at is not None:
            self._clock.stopped(at)

    # Voices over it

    def speech(self) -> Speech:
        """What it says now, and how much of that is left where all of it is known."""
        reply = self.reply
        if reply is None or reply.utterance is None:
            return Speech()
        return reply.speech(self._heard_s(reply), voice_open=self._voice_open)

    def ducked(self) -> None:
        """It was held, for a voice."""
        self._ducked_at = None
        if self.reply is not None and self.reply.utterance is not None:
            self._spawn(self._mark_ducked(self.reply.utterance))

    async def _mark_ducked(self, utterance: str) -> None:
        await asyncio.sleep(HELD_WITHIN_S)
        self._ducked_at = self._transport.playout.last_voiced_sent_at(utterance)

    def backchannel(self, words: tuple[str, ...]) -> None:
        """The learner said ``words`` and wants no turn for it: they are kept with what they were said to."""
        turns = self._session.record.turns
        if self.reply is not None:
            self.reply.backchannels.append(backchannel(words, round(self._heard_s(self.reply), 3)))
        elif turns and turns[-1].role == "tutor":
            end_s = turns[-1].words[-1].end_s if turns[-1].words else 0.0
            turns[-1].backchannels.append(backchannel(words, end_s))
            self._session.writer.amend_turn(turns[-1])
