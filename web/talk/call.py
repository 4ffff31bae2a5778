"""One call of the headless client, from hello to the report. Every wait has a bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from web.talk.client import TalkClient
from web.talk.conversation import Conversation, Exchange
from web.talk.errors import TalkError
from web.talk.listening import Pcm16
from web.talk.microphone import Utterance

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the client waits, in seconds."""

    hello: float = 15.0
    opening: float = 4.0
    """For the tutor's first sign of an opening turn; a tutor that does not greet costs this once."""
    answer: float = 15.0
    """From the end of a clip to the first sign of its answer."""
    speech: float = 120.0
    """For an answer to end."""
    report: float = 60.0
    quiet: float = 0.4
    """Silence after an answer before the next clip, as a person would leave."""


@dataclass(slots=True)
class Result:
    """What a call gave. ``unplayed`` counts the clips that were left when the server ended the call; ``errors`` is what the
    server complained about although the call went on."""

    session_id: str
    transport: str
    turns: list[Exchange]
    report: dict[str, Any]
    unplayed: int = 0
    errors: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``talk --json``."""
        return {
            "session_id": self.session_id,
            "transport": self.transport,
            "turns": [turn.to_dict() for turn in self.turns],
            "report": self.report,
        }


class Call:
    """Plays ``clips`` (mono pcm16 at the client's microphone rate) and waits for each answer. ``lesson`` is the one that the
    client asked for; a server that gives another one is an error. ``on_recorded`` is called where the server says that it keeps
    both voices."""

    def __init__(
        self,
        client: TalkClient,
        *,
        lesson: str | None = None,
        patience: Patience | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_recorded: Callable[[], None] | None = None,
    ) -> None:
        self._on_recorded = on_recorded
        self._client = client
        self._lesson = lesson
        self._patience = patience or Patience()
        self.conversation = Conversation(self._voice_to_voice_ms, on_exchange)

    async def run(self, clips: Sequence[Pcm16]) -> Result:
        """The whole call.

        Raises:
            TalkError: where the server refuses, goes away, does not answer or gives no report.
        """
        client, talk = self._client, self.conversation
        try:
            await client.connect()
            await self._hello()
            unplayed = await self._converse(clips)
            if talk.report is None:
                await client.send({"type": "end_conversation"})
                await self._until(lambda: talk.report is not None, self._patience.report, "no report came")
            return Result(talk.session_id or "", client.door, talk.exchanges, talk.report or {}, unplayed, talk.errors)
        finally:
            await client.close()

    async def _hello(self) -> None:
        talk, wait = self.conversation, self._patience
        await self._until(lambda: talk.session_id is not None, wait.hello, "the server did not say hello")
        if talk.recorded and self._on_recorded is not None:
            self._on_recorded()
        if self._lesson is not None and talk.lesson not in (None, self._lesson):
            await self._until(lambda: bool(talk.errors), 1.0)
            raise TalkError(f"the lesson {self._lesson!r} cannot be had{self._last_error()}")
        if await self._until(lambda: self._sounding or self._over, wait.opening):
            await self._until(lambda: self._over or not self._sounding, wait.speech, "the tutor's opening did not end")
            await self._quiet()

    async def _converse(self, clips: Sequence[Pcm16]) -> int:
        """Returns how many clips were left when the server ended the call."""
        talk, client = self.conversation, self._client
        talk.learner_spoke = True
        for index, clip in enumerate(clips):
            if self._over:
                return len(clips) - index
            utterance = client.microphone.say(clip)
            played_s = len(clip) / client.microphone.rate_hz
            await self._played(utterance, played_s + 10.0)
            # From the last voiced sample, not the clip's last: an answer may begin in the silence that a clip ends with.
            onset = client.microphone.onset_at(utterance) or 0.0
            await self._answered(index + 1, max(onset, client.microphone.last_voice_end(time.monotonic()) or 0.0))
        return 0

    async def _played(self, utterance: Utterance, timeout_s: float) -> None:
        await self._until(lambda: utterance.done.is_set() or self._over, timeout_s, "the microphone stood still")

    async def _answered(self, number: int, spoken_at: float) -> None:
        """Wait for an answer to what was said until ``spoken_at`` to begin, to end, and to be heard out."""
        talk, wait = self.conversation, self._patience

        def begun() -> bool:
            finished = talk.finished_at is not None and talk.finished_at > spoken_at and not talk.owed
            return talk.answering or finished or self._over

        await self._until(begun, wait.answer, f"no answer to clip {number}")
        await self._until(lambda: self._over or not talk.answering, wait.speech, f"the answer to clip {number} did not end")
        await self._quiet()

    @property
    def _over(self) -> bool:
        return self.conversation.report is not None

    @property
    def _sounding(self) -> bool:
        last = self._client.heard.last_voiced()
        return self.conversation.answering or (last is not None and time.monotonic() - last < self._patience.quiet)

    async def _quiet(self) -> None:
        """Let what is still on its way be heard."""
        await self._until(lambda: not self._sounding or self._over, self._patience.answer)

    async def _until(self, condition: Callable[[], bool], timeout_s: float, otherwise: str | None = None) -> bool:
        """Read messages until ``condition`` holds; after ``timeout_s`` raise ``TalkError(otherwise)``, or return ``False``."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.conversation.tick(time.monotonic(), self._client.heard.last_voiced())
            if condition():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                if otherwise is None:
                    return False
                raise TalkError(f"{otherwise} within {timeout_s:.0f} s{self._last_error()}")
            try:
                item = await self._client.receive(min(POLL_S, left))
            except TalkError as e:
                raise TalkError(f"{e}{self._last_error(str(e))}") from None
            if item is not None:
                self.conversation.take(*item)

    def _last_error(self, known: str = "") -> str:
        """What the server complained of last, unless ``known`` has it already."""
        errors = self.conversation.errors
        return f" (the server said: {errors[-1]})" if errors and errors[-1] not in known else ""

    def _voice_to_voice_ms(self, begun_at: float) -> float | None:
        stop = self._client.microphone.last_voice_end(begun_at)
        found = None if stop is None else self._client.heard.voice_to_voice_s(stop)
        return None if found is None else round(found * 1000, 1)
