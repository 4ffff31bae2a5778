"""One measured call: utterances, answers and interruptions, read off the waveform at the client's wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.levels import fell_after_s
from bench.speech import Spoken
from web.talk.client import Server
from web.talk.errors import TalkError
from web.talk.listening import Pcm16
from web.talk.microphone import Utterance
from web.talk.rtc_client import RTCClient

LEAD_S = 2.0
STUCK_S = 10.0
"""A turn without an answer for this long is stuck."""
INTERRUPT_AFTER_S = 3.0
"""From the end of an utterance to the one that interrupts its answer."""
QUIET_S = 1.0
"""Silence after an answer before the next utterance."""
ANSWER_LIMIT_S = 20.0
OLD_ANSWER_GAP_S = 0.5
"""A gap over this divides the rest of an old answer from a new one."""
ROW_S = 0.5
"""After an answer's first voiced packet, its metrics row has come by then."""
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class TurnResult:
    """One turn. ``v2v_ms``: ``None`` is stuck. ``row_ms``: what the server's own ``TurnMetrics`` row says of the same turn."""

    utterance: str
    kind: str
    """``clean``: spoken from silence. ``interrupting``: over the tutor's answer. ``learner``: a real learner's, from silence.
    ``cut``: the tutor began before its end and was still speaking then, so there is no time to measure."""
    v2v_ms: float | None
    row_ms: float | None = None


@dataclass(slots=True)
class DialogueResult:
    """What one call gave. ``barge_in_ms``: onset of the interrupting speech to the old answer's last voiced packet, ``fell_ms``
    to the last one before its level fell by 20 dB: it was stopped or turned down."""

    turns: list[TurnResult] = field(default_factory=list)
    barge_in_ms: list[float] = field(default_factory=list)
    fell_ms: list[float] = field(default_factory=list)
    barge_in_row_ms: list[float] = field(default_factory=list)
    not_sounding: int = 0
    """Interruptions that met no answer: it was late, or stuck."""
    packets_per_s: float = 0.0
    seconds: float = 0.0


async def first_packet_ms(url: str, timeout_s: float = 20.0) -> float | None:
    """From the POST of an offer to the first RTP packet; ``None`` where none came.

    Raises:
        TalkError: the offer was refused, or there was no connection in time.
    """
    client = RTCClient(Server(url), messages="rtvi", request_data={}, connect_timeout_s=timeout_s)
    try:
        await client.connect()
        await until(lambda: client.first_packet_at is not None, timeout_s)
        if client.first_packet_at is None or client.offered_at is None:
            return None
        return round((client.first_packet_at - client.offered_at) * 1000, 1)
    finally:
        await client.close()


class Dialogue:
    """Speaks RTVI, as a browser with pipecat's client does, to whichever server stands at ``url``."""

    def __init__(self, url: str) -> None:
        self._client = RTCClient(Server(url), messages="rtvi", request_data={}, on_audio=self._on_audio)
        self._levels: list[tuple[float, float]] = []
        self._rows: list[tuple[float, dict[str, Any]]] = []
        self._result = DialogueResult()

    async def run(self, pairs: Sequence[tuple[Spoken, Spoken]], singles: Sequence[Spoken] = ()) -> DialogueResult:
        """For each pair: the first from silence, ``INTERRUPT_AFTER_S`` after its end the second over its answer. Then each of
        ``singles``, learners' clips, from silence and answered to the end.

        Raises:
            TalkError: the call could not be made or was lost.
        """
        client = self._client
        reader: asyncio.Task[None] | None = None
        try:
            await client.connect()
            reader = asyncio.create_task(self._collect())
            begun, packets = time.monotonic(), client.heard.packets
            await asyncio.sleep(LEAD_S)
            for first, second in pairs:
                if client.lost is not None:
                    raise TalkError(client.lost)
                await self._pair(first, second)
            for spoken in singles:
                if await self._from_silence(spoken, "learner") is not None:
                    await self._silence()
            self._result.seconds = time.monotonic() - begun
            self._result.packets_per_s = round((client.heard.packets - packets) / self._result.seconds, 2)
        finally:
            await client.close()
            if reader is not None:
                await asyncio.gather(reader, return_exceptions=True)
        return self._result

    def _on_audio(self, pcm: Pcm16, _rate_hz: int, at: float) -> None:
        self._levels.append((at, float(np.sqrt(np.mean(pcm.astype(np.float32) ** 2)))))

    async def _collect(self) -> None:
        while True:
            try:
                item = await self._client.receive(10.0)
            except TalkError:
                return
            if item is not None and item[0].get("type") == "metrics" and isinstance(item[0].get("row"), dict):
                self._rows.append((item[1], item[0]["row"]))

    async def _pair(self, first: Spoken, second: Spoken) -> None:
        end = await self._from_silence(first, "clean")
        if end is None:
            return
        heard, microphone = self._client.heard, self._client.microphone
        await asyncio.sleep(max(0.0, end + INTERRUPT_AFTER_S - time.monotonic()))

        over = await self._say(second)
        onset, over_end = known(microphone.onset_at(over)), known(microphone.ended_at(over))
        old_end = await self._old_answer_end(onset)
        since = max(over_end, old_end)
        await until(lambda: heard.first_voiced(since) is not None, STUCK_S)
        new = heard.first_voiced(since)
        interruption = heard.barge_in(onset, OLD_ANSWER_GAP_S)
        if interruption.sounding and interruption.stopped_after_s is not None:
            self._result.barge_in_ms.append(ms(interruption.stopped_after_s))
        else:
            self._result.not_sounding += 1
        fell = fell_after_s(self._levels, onset)
        if fell is not None:
            self._result.fell_ms.append(ms(fell))
        await self._silence()
        row = self._row(over_end, float("inf"), "v2v_ms")
        kind = "cut" if old_end < over_end and heard.sounding_at(over_end, over_end - old_end - POLL_S) else "interrupting"
        self._result.turns.append(TurnResult(second.name, kind, None if new is None else ms(new - over_end), row))
        stopped = self._row(onset, float("inf"), "barge_in_ms")
        if stopped is not None:
            self._result.barge_in_row_ms.append(stopped)

    async def _from_silence(self, spoken: Spoken, kind: str) -> float | None:
        """Say it and note its answer's beginning; the speech's end, or ``None`` (after silence) where none was measured."""
        heard = self._client.heard
        said = await self._say(spoken)
        end = known(self._client.microphone.ended_at(said))
        await until(lambda: heard.first_voiced(end) is not None, STUCK_S)
        found = heard.voice_to_voice_s(end)
        if found is None or heard.sounding_at(end):
            self._result.turns.append(
                TurnResult(spoken.name, kind if found is None else "cut", None if found is None else ms(found))
            )
            await self._silence()
            return None
        await asyncio.sleep(ROW_S)
        self._result.turns.append(TurnResult(spoken.name, kind, ms(found), self._row(end, float("inf"), "v2v_ms")))
        return end

    async def _say(self, spoken: Spoken) -> Utterance:
        utterance = self._client.microphone.say(spoken.pcm)
        await asyncio.wait_for(utterance.done.wait(), len(spoken.pcm) / 48_000 + 10)
        return utterance

    async def _old_answer_end(self, onset: float) -> float:
        """When the answer that sounded at ``onset`` fell silent; ``onset`` itself where none did."""
        heard = self._client.heard

        def silent() -> bool:
            last = heard.end_of_run(onset, OLD_ANSWER_GAP_S)
            return time.monotonic() - (last or onset) > OLD_ANSWER_GAP_S

        await until(silent, ANSWER_LIMIT_S)
        interruption = heard.barge_in(onset, OLD_ANSWER_GAP_S)
        return onset + (interruption.stopped_after_s or 0.0)

    async def _silence(self, quiet_s: float | None = None) -> None:
        """Until the tutor has been silent for ``quiet_s``, ``QUIET_S`` where that is left out."""
        heard, wanted_s = self._client.heard, QUIET_S if quiet_s is None else quiet_s
        await until(lambda: time.monotonic() - (heard.last_voiced() or 0.0) > wanted_s, ANSWER_LIMIT_S)

    def _row(self, after: float, before: float, key: str) -> float | None:
        """``key`` of the latest turn's row among the messages that arrived in ``(after, before)``; the last one counts."""
        rows = [row for at, row in self._rows if after < at < before and row.get(key) is not None]
        if not rows:
            return None
        latest = max(row.get("turn", 0) for row in rows)
        return float([row for row in rows if row.get("turn", 0) == latest][-1][key])


async def until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Until ``condition`` holds, or ``timeout_s`` have passed."""
    for _ in range(int(timeout_s / POLL_S) + 1):
        if condition():
            return
        await asyncio.sleep(POLL_S)


def known(at: float | None) -> float:
    """A time that must be there."""
    assert at is not None, "an utterance that was played has its times"
    return at


def ms(seconds: float) -> float:
    """Milliseconds, to 0.1."""
    return round(seconds * 1000, 1)
