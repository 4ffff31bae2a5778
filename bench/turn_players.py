"""A trial played to a detector, without waiting: Silero and smart-turn are the real ones, the time is the trial's own."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from pipecat.audio.vad.vad_analyzer import VADParams, VADState

from bench.turn_trials import RATE_HZ, Trial
from pipeline.pipecat_private import SharedSileroVAD, SharedSmartTurn, load_silero, load_smart_turn
from pipeline.turns.detector import (
    AskVoice,
    AskWords,
    Decision,
    Ended,
    Observation,
    Parameters,
    SmartTurn,
    Tick,
    TurnDetector,
    Voice,
    Words,
)
from pipeline.turns.echo import level_db
from pipeline.turns.fading import Fading

WINDOW = 512
"""Samples of a Silero window: 32 ms."""
SMART_TURN_S = 0.06
"""What smart-turn takes (46 to 60 ms were measured)."""
ORACLE_DELAY_S, ORACLE_FLUSH_S = 0.5, 0.1
"""The oracle recogniser gives each word this long after its end, and all of them this long after it is asked to flush."""
EMBEDDED_FLUSH_S = 0.15
STOCK_INCOMPLETE_S = 3.0
MEMORY_S = 8.0

Recogniser = Callable[[Trial, float], tuple[str, ...]]
"""The words of a trial that end before a time, as a recogniser would give them."""


class Models:
    """The real models, and what they said already."""

    def __init__(self) -> None:
        self._silero = load_silero()
        self._smart = SharedSmartTurn(load_smart_turn(), ThreadPoolExecutor(1))
        self._smart.set_sample_rate(RATE_HZ)
        self._asked: dict[tuple[str, int, float, int], float] = {}

    def voice(self, trial: Trial) -> list[float]:
        """Silero's probability for each window."""
        vad = SharedSileroVAD(self._silero, VADParams())
        vad.set_sample_rate(RATE_HZ)
        data = trial.pcm.tobytes()
        step = WINDOW * 2
        return [float(np.ravel(vad.voice_confidence(data[at : at + step]))[0]) for at in range(0, len(data) - step + 1, step)]

    def stock_states(self, trial: Trial) -> list[VADState]:
        """The state of stock pipecat's detector after each window."""
        vad = SharedSileroVAD(self._silero, VADParams())
        vad.set_sample_rate(RATE_HZ)
        data = trial.pcm.tobytes()
        step = WINDOW * 2
        return [vad._run_analyzer(data[at : at + step]) for at in range(0, len(data) - step + 1, step)]

    def smart_turn(self, trial: Trial, at_s: float) -> float:
        """smart-turn's probability that the turn is over at ``at_s``, from the audio of the last 8 s before."""
        end = min(len(trial.pcm), round(at_s * RATE_HZ))
        # Until the learner goes on, the trials of a place are the same, however long the gap will be.
        key = (trial.clip, trial.before, trial.gap_s if at_s > trial.resumes_s else 0.0, end)
        if key not in self._asked:
            audio = trial.pcm[max(0, end - round(MEMORY_S * RATE_HZ)) : end].astype(np.float32) / 32_768
            self._asked[key] = float(self._smart._predict_endpoint(audio)["probability"])
        return self._asked[key]


def asked_s(trial: Trial, voice: list[float], *, end: bool) -> float:
    """When the detector asks about the pause, or about the true end: some windows after the voice, since the detector lags."""
    before_s = float("inf") if end else trial.resumes_s
    voiced = Parameters().voiced
    last = max(i for i, p in enumerate(voice) if p >= voiced and (i + 1) * WINDOW / RATE_HZ <= before_s)
    silent_s = (last + 1) * WINDOW / RATE_HZ + Parameters().ask_after_s[0]
    return float(np.ceil(silent_s * RATE_HZ / WINDOW - 1e-9) * WINDOW / RATE_HZ)


def oracle(trial: Trial, until_s: float) -> tuple[str, ...]:
    """The true words that end before ``until_s``."""
    return tuple(word.text for word in trial.words if word.end_s <= until_s + 1e-9)


def play(
    trial: Trial,
    detector: TurnDetector,
    models: Models,
    voice: list[float],
    recogniser: Recogniser,
    *,
    flush_s: float = ORACLE_FLUSH_S,
    can_flush: bool = True,
) -> list[Decision]:
    """Play ``trial`` to ``detector``: what it decided, without its questions.

    Words come ``flush_s`` after they are asked for; from a recogniser that cannot flush (not ``can_flush``) as long after the
    voice detector's stop, which is when smart-turn is asked.
    """
    queue: list[tuple[float, int, Observation]] = []
    fading = Fading()
    for i, probability in enumerate(voice):
        time_s = (i + 1) * WINDOW / RATE_HZ
        quiet = fading.quiet(level_db(trial.pcm[i * WINDOW : (i + 1) * WINDOW].tobytes()))
        heapq.heappush(queue, (time_s, i, Voice(time_s, probability, quiet)))
    number = len(queue)
    seen: list[Decision] = []
    while queue:
        time_s, _, observation = heapq.heappop(queue)
        check_s = detector.next_check_s
        decisions: list[Decision] = []
        if check_s is not None and check_s < time_s:
            decisions += detector.observe(Tick(check_s))
        decisions += detector.observe(observation)
        for decision in decisions:
            at_s = decision.time_s
            later: list[Observation] = []
            if isinstance(decision, AskVoice):
                later.append(SmartTurn(at_s + SMART_TURN_S, at_s, models.smart_turn(trial, at_s)))
            elif not isinstance(decision, AskWords):
                seen.append(decision)
            if isinstance(decision, AskWords if can_flush else AskVoice):
                later.append(Words(at_s + flush_s, recogniser(trial, at_s), complete=can_flush, final=not can_flush))
            for answer in later:
                number += 1
                heapq.heappush(queue, (answer.time_s, number, answer))
    return seen


def ends_of(decisions: list[Decision]) -> list[Ended]:
    """The ends among ``decisions``."""
    return [decision for decision in decisions if isinstance(decision, Ended)]


def play_stock(trial: Trial, models: Models, states: list[VADState], threshold: float = 0.5) -> list[float]:
    """Play ``trial`` to stock pipecat: when its turns ended. smart-turn is asked once a stop; "incomplete" waits for 3 s."""
    ends: list[float] = []
    in_turn = False
    deadline_s: float | None = None
    before = VADState.QUIET
    for i, state in enumerate(states):
        now_s = (i + 1) * WINDOW / RATE_HZ
        if deadline_s is not None and now_s >= deadline_s:
            ends.append(deadline_s)
            in_turn, deadline_s = False, None
        if state == VADState.SPEAKING and before != VADState.SPEAKING and before != VADState.STOPPING:
            in_turn, deadline_s = True, None
        if state == VADState.QUIET and before == VADState.STOPPING and in_turn:
            complete = models.smart_turn(trial, now_s) > threshold
            deadline_s = now_s + (SMART_TURN_S if complete else STOCK_INCOMPLETE_S)
        before = state
    if deadline_s is not None:
        ends.append(deadline_s)
    return ends


@lru_cache(maxsize=4096)
def _free_words(key: tuple[str, int, int], pcm: bytes) -> tuple[str, ...]:
    from bench.hearing import hear

    return tuple(word.text for word in hear(pcm, ()))


def embedded(trial: Trial, until_s: float) -> tuple[str, ...]:
    """What the embedded recogniser makes of the speech before ``until_s``, gap and all."""
    end = round(until_s * RATE_HZ)
    # The same speech with the same gap is decoded once, whatever the silence after it.
    last = max((word.end_s for word in trial.words if word.end_s <= until_s + 1e-9), default=0.0)
    return _free_words(
        (trial.clip, trial.before, round(last * 100)), trial.pcm[: min(end, round((last + 0.2) * RATE_HZ))].tobytes()
    )
