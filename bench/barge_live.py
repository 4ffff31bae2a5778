"""False and real interruptions in whole calls over WebRTC, read off the waveform at the client's wire.

A few, to confirm what ``bench/barge.py`` finds without a network: for each event a learner speaks, the tutor (a tone of six
seconds) answers, and over the answer comes the event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from bench.barge_events import LEVELS_DB, NOISE_LEVELS_DB
from bench.barge_sounds import RATE_HZ as SOUND_RATE_HZ
from bench.barge_sounds import Sound, at_level, begins_s
from bench.dialogue import known, until
from bench.sentences import Sentence
from bench.servers import ServerProcess
from bench.speech import RATE_HZ
from bench.stats import percentile
from bench.told_dialogue import ANNOUNCED_S, ToldDialogue
from web.talk.errors import TalkError

INTO_S = 0.7
"""How long the tutor has spoken when the event begins, beside what the dialogue waits."""
HELD_S = 0.1
"""A gap over this in the tutor's tone is a hold, or its end."""
GOES_ON_S = 1.0
"""The tutor who goes on does so within this; one who was interrupted answers later, since the learner's turn has to end."""
LAST_WORDS_S = 0.3
WATCHED_S = 1.5
OLD_ANSWER_S = 8.0


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What came of one event: ``ducked_ms`` from the onset to the tutor's silence, ``held_ms`` until it went on.

    ``stopped``: the turn was lost, or the learner's; ``None``: no answer was there to be interrupted.
    """

    kind: str
    name: str
    real: bool
    stopped: bool | None
    ducked_ms: float | None = None
    held_ms: float | None = None


class BargeDialogue(ToldDialogue):
    """One call, with events over the tutor's answers."""

    async def interrupt(self, opening: Sentence, events: Sequence[Sound]) -> list[LiveEvent]:
        """Each of ``events`` over the answer to ``opening``.

        Raises:
            TalkError: the call could not be made or was lost.
        """
        found = []
        async with self._in_call():
            for event in events:
                if self._client.lost is not None:
                    raise TalkError(self._client.lost)
                answered = await self._turn(opening)
                found.append(await self._event(event) if answered.v2v_ms is not None else _missed(event))
                await self._silence()
        return found

    async def _event(self, event: Sound) -> LiveEvent:
        await asyncio.sleep(INTO_S)
        heard, microphone = self._client.heard, self._client.microphone
        pcm = at_client(event)
        lead = np.zeros(round(ANNOUNCED_S * RATE_HZ), np.int16)
        said = microphone.say(np.concatenate([lead, pcm]))
        await until(lambda: microphone.onset_at(said) is not None, 5.0)
        begins = known(microphone.onset_at(said)) + ANNOUNCED_S
        words = [[word.text, word.end_s] for word in event.words]
        times = {"voice_s": begins_s(event.pcm), "end_s": len(pcm) / RATE_HZ}
        await self._tell("say", {"lead_s": begins - time.monotonic(), "words": words, **times})
        onset, end = begins + begins_s(event.pcm), begins + len(pcm) / RATE_HZ
        await asyncio.sleep(max(0.0, end + WATCHED_S - time.monotonic()))
        if not heard.sounding_at(onset):
            return _missed(event)
        silent = known(heard.end_of_run(onset, HELD_S))
        again = heard.first_voiced(silent)
        real = event.kind == "learner"
        # A learner may be believed only after a hold: what counts is whether the tutor speaks over the last words.
        stopped = not heard.sounding_at(end, LAST_WORDS_S) if real else again is None or again - silent > GOES_ON_S
        if silent > end + (0.0 if real else GOES_ON_S) or (again is None and silent - onset > OLD_ANSWER_S):
            return LiveEvent(event.kind, event.name, real, stopped=False)  # it was not even held
        held_ms = None if again is None or again - silent > GOES_ON_S else round(1000 * (again - silent), 1)
        return LiveEvent(event.kind, event.name, real, stopped, round(1000 * (silent - onset), 1), held_ms)


def _missed(event: Sound) -> LiveEvent:
    return LiveEvent(event.kind, event.name, event.kind == "learner", None)


def at_client(event: Sound) -> Any:
    """``event`` at the loudest of the trials' levels, int16 at the client's rate."""
    level_db = (LEVELS_DB if event.words else NOISE_LEVELS_DB)[0]
    loud = soxr.resample(at_level(event.pcm, level_db), SOUND_RATE_HZ, RATE_HZ)
    return np.clip(np.round(loud), -32_768, 32_767).astype(np.int16)


async def measure(cores: list[int], opening: Sentence, events: Sequence[Sound]) -> dict[str, Any]:
    """``events`` in one call with the server on ``cores``."""
    async with ServerProcess("barge", cores) as server:
        found = await BargeDialogue(server.url, "natural").interrupt(opening, events)
    met = [one for one in found if one.stopped is not None]
    return {
        "false": len([one for one in met if not one.real]),
        "false_lost": len([one for one in met if not one.real and one.stopped]),
        "real": len([one for one in met if one.real]),
        "real_stopped": len([one for one in met if one.real and one.stopped]),
        "not_met": len(found) - len(met),
        "duck_p50_ms": percentile([one.ducked_ms for one in met if one.real and one.ducked_ms is not None], 50),
        "held_p50_ms": percentile([one.held_ms for one in met if one.held_ms is not None], 50),
        "events": [
            {"kind": one.kind, "name": one.name, "stopped": one.stopped, "ducked_ms": one.ducked_ms, "held_ms": one.held_ms}
            for one in found
        ],
    }
