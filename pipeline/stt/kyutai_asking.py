"""Asks a Kyutai server for the words that are still to come and waits for them: by flushes, of a moshi-server by markers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil

from pipeline.settings.tree import KyutaiSTTSettings
from pipeline.stt.kyutai_asked import Asked, Flush
from pipeline.stt.kyutai_link import FRAME, KyutaiLink
from pipeline.stt.kyutai_words import FRAME_S, HeardWord, LiveWords

_NO_AUDIO_S = 0.3


class Asking:
    """What one stage asks over ``link``; ``words`` is told of what is asked in vain."""

    def __init__(self, link: KyutaiLink, words: LiveWords, limits: KyutaiSTTSettings) -> None:
        self._link = link
        self._words = words
        self._limits = limits
        self._asked = Asked()
        self._news = asyncio.Event()
        # One frame more, as its last step writes what the frames before it were about.
        self._delay_samples = (ceil(limits.delay_s / FRAME_S) + 1) * FRAME

    @property
    def open_flush(self) -> Flush | None:
        """The last flush, where nothing has made it void."""
        return self._asked.flush

    # Questions

    def flush(self, *, eager: bool) -> None:
        """Ask for all words of the audio so far; ``eager``: while the learner may go on."""
        self._words.withdrawn()
        self._link.flush(self._asked.new_flush(self._link.connections, self._link.audio.end_s, eager=eager).number)

    def withdraw(self) -> None:
        """The last flush was for nothing."""
        flush = self._asked.drop_flush()
        if flush is not None:
            self._link.withdraw(flush.number)
            self._words.withdrawn()

    def hurry_marker(self) -> None:
        """No more audio is to be waited for: a moshi-server that was sent a marker is given silence."""
        if self._link.state == "up" and not self._link.flushes and self._asked.marker is not None:
            self._link.fill(self._delay_samples)

    def voice_ended(self) -> None:
        """What was marked before is about an earlier voice."""
        self._asked.unmark()

    def forget(self) -> None:
        """Nothing that was asked for is waited for any more."""
        self._asked.forget()

    # Answers

    def changed(self) -> None:
        """The state of the link is another one."""
        self._news.set()

    def flushed(self, number: int, words: Sequence[HeardWord], *, overtaken: bool) -> Flush | None:
        """Flush ``number`` was answered with ``words``; ``None`` where nobody waits for it any more."""
        flush = self._asked.answered(number, overtaken=overtaken)
        if flush is not None:
            self._words.flushed(words)
            self._news.set()
        return flush

    def marker_came(self, number: int) -> None:
        """Marker ``number`` came back."""
        if self._asked.marker_came(number):
            self._news.set()

    async def all_told(self, voice_end_s: float, *, more_s: float = 0.0) -> bool:
        """Whether the server has told all words of the voice that ended at ``voice_end_s`` of the audio.

        Returns once it has, or is gone, or the time for its answer and ``more_s`` are over: then the link is begun anew.
        """
        limit_s = self._limits.answer_timeout_s + more_s
        if self._link.state == "up" and not self._link.flushes:
            limit_s += self._limits.delay_s
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    self._news.clear()
                    if self._link.state in ("down", "full"):
                        return False
                    if self._link.flushes:
                        if self._is_flushed(voice_end_s):
                            return True
                    elif self._link.state == "up" and await self._is_marked():
                        return True
                    await self._news.wait()
        except TimeoutError:
            if self._link.state == "up":
                self._link.restart(f"no words came within {limit_s:g} s")
            return False

    def _is_flushed(self, voice_end_s: float) -> bool:
        flush = self._asked.flush
        if flush is None or not flush.covers(voice_end_s, self._link.connections) or self._words.went_on(flush.asked_s):
            self.flush(eager=False)
            return False
        return flush.answered

    async def _is_marked(self) -> bool:
        if self._asked.marker is None:
            self._link.marker(self._asked.new_marker())
        heard = self._link.audio.end
        try:
            async with asyncio.timeout(_NO_AUDIO_S):
                await self._news.wait()
        except TimeoutError:
            if self._link.audio.end == heard and not self._asked.marked:
                # A muted microphone: what it would give is silence.
                self._link.fill(self._delay_samples)
        return self._asked.marked
