"""A measured call in which the server is told what will be said: sentences from silence, each answered.

Both ends run on one machine, so the server's monotonic clock is the client's: a stage of a turn is dated from the last voiced
sample as the client sent it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from bench.dialogue import LEAD_S, ROW_S, STUCK_S, Dialogue, known, ms, until
from bench.oracle import VOICED_PEAK, Row
from bench.sentences import Sentence
from bench.speech import RATE_HZ
from web.talk.errors import TalkError

ANNOUNCED_S = 0.4
"""How long before its first sample an utterance is announced; a multiple of a frame."""
QUIET_S = 0.8
STAGES = ("user_stop", "eot", "stt_final", "llm_first_token", "llm_first_sentence", "tts_first_audio", "sent")
ANSWERED_WITHIN_S = 3.0
"""A turn without an answer for this long is stuck."""


@dataclass(frozen=True, slots=True)
class ToldTurn:
    """One turn. ``v2v_ms``: ``None`` where it was not answered, or is cut: the tutor spoke before the sentence was over.

    ``stages_ms``: when the server reached each of ``STAGES``, where it tells.
    """

    utterance: str
    v2v_ms: float | None
    cut: bool = False
    stages_ms: dict[str, float] = field(default_factory=dict)

    @property
    def stuck(self) -> bool:
        """Whether the answer was missed."""
        return not self.cut and (self.v2v_ms is None or self.v2v_ms > ANSWERED_WITHIN_S * 1000)


class ToldDialogue(Dialogue):
    """One call of ``row`` with a server that has ``bench.oracle``'s routes."""

    def __init__(self, url: str, row: Row) -> None:
        super().__init__(url)
        self._row_name: Row = row
        self._http = httpx.AsyncClient(base_url=f"{url}/bench/oracle", timeout=5, trust_env=False)
        self.arrivals_ms: list[float] = []
        """For each utterance, when its voice had reached the recogniser's stage, against what was announced, ms."""

    async def say_all(self, sentences: Sequence[Sentence]) -> list[ToldTurn]:
        """Each of ``sentences`` from silence, answered to the end.

        Raises:
            TalkError: the call could not be made or was lost.
        """
        turns: list[ToldTurn] = []
        async with self._in_call():
            for sentence in sentences:
                if self._client.lost is not None:
                    raise TalkError(self._client.lost)
                turns.append(await self._turn(sentence))
                await self._silence(QUIET_S)
            self.arrivals_ms = (await self._http.get("/arrivals")).raise_for_status().json()
        return turns

    @asynccontextmanager
    async def _in_call(self) -> AsyncIterator[None]:
        """The call, from its first moments until it is hung up. Raises ``TalkError`` where the server is not reached."""
        reader: asyncio.Task[None] | None = None
        try:
            await self._tell("call", {"row": self._row_name})
            await self._client.connect()
            reader = asyncio.create_task(self._collect())
            await asyncio.sleep(LEAD_S)
            yield
        except httpx.HTTPError as e:
            raise TalkError(f"the server could not be told what is said: {e!r}") from None
        finally:
            await self._client.close()
            await self._http.aclose()
            if reader is not None:
                await asyncio.gather(reader, return_exceptions=True)

    async def _tell(self, what: str, body: dict[str, Any]) -> None:
        (await self._http.post(f"/{what}", json=body)).raise_for_status()

    async def _turn(self, sentence: Sentence) -> ToldTurn:
        heard, microphone = self._client.heard, self._client.microphone
        lead = round(ANNOUNCED_S * RATE_HZ)
        utterance = microphone.say(np.concatenate([np.zeros(lead, np.int16), sentence.pcm]))
        await until(lambda: microphone.onset_at(utterance) is not None, 5.0)
        begins = known(microphone.onset_at(utterance)) + ANNOUNCED_S
        # What is said is timed by the frames that carry it: the last sample is known when its frame is complete.
        frame = microphone.frame_samples
        last_frame_s = ((len(sentence.pcm) - 1) // frame) * frame / RATE_HZ
        voice_s = int(np.argmax(np.abs(sentence.pcm) > VOICED_PEAK)) // frame * frame / RATE_HZ
        words = [[w.text, min(w.end_s, last_frame_s)] for w in sentence.words]
        times = {"voice_s": voice_s, "end_s": last_frame_s}
        await self._tell("say", {"lead_s": begins - time.monotonic(), "words": words, **times})
        await asyncio.wait_for(utterance.done.wait(), sentence.duration_s + 10)
        end = known(microphone.ended_at(utterance))
        await until(lambda: heard.first_voiced(end) is not None, STUCK_S)
        cut = heard.first_voiced(begins, end) is not None
        after = heard.voice_to_voice_s(end)
        await asyncio.sleep(ROW_S)
        if after is None or cut:
            return ToldTurn(sentence.name, None, cut=cut)
        return ToldTurn(sentence.name, ms(after), stages_ms=self._stages(begins, end))

    def _stages(self, since: float, end: float) -> dict[str, float]:
        """Of the latest turn whose row came after ``since``, from ``end``."""
        rows = [row for at, row in self._rows if at > since and row.get("sent") is not None]
        return {name: round(rows[-1][name] - end * 1000, 1) for name in STAGES if rows and rows[-1].get(name) is not None}
