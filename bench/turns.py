"""Pauses told from ends: false cut-offs and waiting times of Parley's detector and of stock pipecat's, on the same trials.

The weights and the waiting curve are fitted for each speaker on the others, so that every figure is of voices and sentences
that the detector had not met. The trials are those of ``bench/turn_trials.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.logistic import fit
from bench.settings import bench_settings, settings_hash
from bench.speech import speech_dir
from bench.turn_players import (
    EMBEDDED_FLUSH_S,
    ORACLE_FLUSH_S,
    Models,
    Recogniser,
    asked_s,
    embedded,
    ends_of,
    oracle,
    play,
    play_stock,
)
from bench.turn_trials import GAPS_S, Trial, build
from pipeline.turn_stop import sentence_end
from pipeline.turns.detector import Decision, MaybeEnded, Parameters, TurnDetector, Withdrawn
from pipeline.turns.endpoint import MAX_WAIT_S, Cues, Curve, Weights, end_probability, measured

CUTOFF_GOALS = {0.4: 0.05, 0.8: 0.10, 1.2: 0.20}
MARGIN = 0.8
"""The curve is drawn for this share of the false cut-offs that are allowed: a few speakers do not stand for all."""
SHORTEST_S = 0.2
"""What a turn waits for where its end is sure; of pauses of 0.3 s this cuts 4 %, which 0.25 would halve."""
ASK_AT_S = 0.2
RESAMPLES = 1_000
PATIENCE = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5)
SHORT_GAP_S = 0.3
"""A pause that is shorter than any that the detector is fitted on."""
STOCK_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector did in one trial: whether it cut the pause, and its wait after the true end (``None``: no end seen)."""

    speaker: str
    gap_s: float
    cut: bool
    wait_s: float | None


@dataclass(slots=True)
class Guesses:
    """Answers that would have been begun before their turn was over."""

    begun: int = 0
    withdrawn: int = 0
    ends: int = 0
    confirmed: int = 0
    lead_s: list[float] = field(default_factory=list)

    def count(self, decisions: Sequence[Decision]) -> None:
        """Of one trial."""
        guesses = [d for d in decisions if isinstance(d, MaybeEnded)]
        self.begun += len(guesses)
        self.withdrawn += sum(isinstance(d, Withdrawn) for d in decisions)
        for end in ends_of(list(decisions)):
            self.ends += 1
            if end.revision:
                self.confirmed += 1
                self.lead_s.append(end.time_s - max(g.time_s for g in guesses if g.time_s <= end.time_s))

    def figures(self) -> dict[str, Any]:
        """Shares, and how much sooner than the end of the turn a confirmed answer was begun."""
        return {
            "begun": self.begun,
            "withdrawn": self.withdrawn,
            "confirmed_of_ends": round(self.confirmed / self.ends, 3) if self.ends else None,
            "lead_p50_ms": round(1000 * float(np.median(self.lead_s))) if self.lead_s else None,
        }


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """Figures, peer, ratios and checks.

    Raises:
        RuntimeError: where the learners' recordings are missing.
    """
    folder = speech_dir()
    if folder is None:
        raise RuntimeError("the learners' recordings are needed (PARLEY_SPEECH_DIR)")
    trials, left_out = build(folder, places=1 if quick else 2)
    models = Models()
    voice = [models.voice(trial) for trial in trials]
    outcomes, guesses = _ours(trials, voice, models, oracle, ORACLE_FLUSH_S)
    short, _ = build(folder, places=1 if quick else 2, gaps_s=(SHORT_GAP_S,))
    figures: dict[str, Any] = {
        "settings_hash": settings_hash(),
        "trials": len(trials),
        "clips": len({t.clip for t in trials}),
        "clips_not_aligned": left_out,
        "speakers": len({t.speaker for t in trials}),
        "oracle": figures_of(outcomes),
        "guesses": guesses.figures(),
        "false_cutoff_300": _cut_short(trials, voice, short, models),
        "embedded": figures_of(_ours(trials, voice, models, embedded, EMBEDDED_FLUSH_S)[0]),
        "curve": [
            {"patience": p, **_short(_ours(trials, voice, models, oracle, ORACLE_FLUSH_S, patience=p)[0])} for p in PATIENCE
        ],
        "ablation": {
            name: _short(_ours(trials, voice, models, oracle, ORACLE_FLUSH_S, without=name)[0])
            for name in ("voice", "words", "both")
        },
        "control_auc": _control(trials),
    }
    states = [models.stock_states(trial) for trial in trials]
    stock = [outcome_of(t, play_stock(t, models, s)) for t, s in zip(trials, states, strict=True)]
    curve = [
        {"threshold": x, **_short([outcome_of(t, play_stock(t, models, s, x)) for t, s in zip(trials, states, strict=True)])}
        for x in STOCK_THRESHOLDS
    ]
    peer = {"name": "pipecat 1.14, smart-turn v3.2", **figures_of(stock), "curve": curve}
    return {
        "figures": figures,
        "peer": peer,
        "ratios": {
            k: _ratio(figures["oracle"][k], peer[k]) for k in ("false_cutoff_400", "false_cutoff_800", "false_cutoff_1200")
        }
        | {k[:-3]: _ratio(figures["oracle"][k], peer[k]) for k in ("wait_p50_ms", "wait_p95_ms")},
        "checks": _checks(figures["oracle"]),
    }


# Parley


def _ours(
    trials: Sequence[Trial],
    voice: Sequence[list[float]],
    models: Models,
    recogniser: Recogniser,
    flush_s: float,
    *,
    patience: float = 1.0,
    without: str = "",
) -> tuple[list[Outcome], Guesses]:
    """Each speaker's trials played to a detector that was fitted on the others'."""
    parameters = fitted_apart(trials, voice, models, recogniser, patience, without)
    out = []
    guesses = Guesses()
    for trial, probabilities in zip(trials, voice, strict=True):
        decisions = play(
            trial,
            _Deaf(parameters[trial.speaker], without)
            if without
            else TurnDetector(parameters[trial.speaker], sentence_end=sentence_end),
            models,
            probabilities,
            recogniser,
            flush_s=flush_s,
            can_flush=recogniser is oracle,
        )
        out.append(outcome_of(trial, [end.time_s for end in ends_of(decisions)]))
        guesses.count(decisions)
    return out, guesses


def fitted_apart(
    trials: Sequence[Trial], voice: Sequence[list[float]], models: Models, recogniser: Recogniser, patience: float, without: str
) -> dict[str, Parameters]:
    """For each speaker, what the trials of the others give; the rest as the settings of the benchmarks have it."""
    turns = bench_settings().turns
    cues = [_cues_of(t, v, models, recogniser, without) for t, v in zip(trials, voice, strict=True)]
    parameters: dict[str, Parameters] = {}
    for speaker in {t.speaker for t in trials}:
        others = [pair for t, pair in zip(trials, cues, strict=True) if t.speaker != speaker]
        parameters[speaker] = replace(fitted(others), patience=turns.patience * patience, max_guesses=turns.max_guesses)
    return parameters


def _cut_short(trials: Sequence[Trial], voice: Sequence[list[float]], short: Sequence[Trial], models: Models) -> dict[str, Any]:
    """Pauses shorter than those that the detector was fitted on: how many it cuts, beside stock."""
    parameters = fitted_apart(trials, voice, models, oracle, 1.0, "")
    ours = []
    for trial in short:
        detector = TurnDetector(parameters[trial.speaker], sentence_end=sentence_end)
        ends = ends_of(play(trial, detector, models, models.voice(trial), oracle))
        ours.append(outcome_of(trial, [end.time_s for end in ends]).cut)
    stock = [outcome_of(trial, play_stock(trial, models, models.stock_states(trial))).cut for trial in short]
    return {"trials": len(short), "parley": round(_share(ours), 3), "peer": round(_share(stock), 3)}


class _Deaf(TurnDetector):
    """The detector without one of its cues."""

    def __init__(self, parameters: Parameters, without: str) -> None:
        super().__init__(parameters, sentence_end=None if without in ("words", "both") else sentence_end)
        self._no_voice = without in ("voice", "both")

    def observe(self, what: Any) -> Any:
        """As the whole detector, but for what it is not told."""
        if self._no_voice and type(what).__name__ == "SmartTurn":
            what = replace(what, probability=0.5)
        return super().observe(what)


def _cues_of(trial: Trial, voice: list[float], models: Models, recogniser: Recogniser, without: str) -> tuple[Cues, Cues]:
    """What is known when the detector asks, in the pause and after the true end."""
    pair = []
    for end in (False, True):
        at_s = asked_s(trial, voice, end=end)
        words = recogniser(trial, at_s)
        sentence, last_word = sentence_end(words) if words and without not in ("words", "both") else (None, None)
        probability = models.smart_turn(trial, at_s) if without not in ("voice", "both") else None
        pair.append(Cues(probability, sentence, last_word, words))
    return pair[0], pair[1]


def fitted(pairs: Sequence[tuple[Cues, Cues]]) -> Parameters:
    """Weights and curve for the pauses and ends of ``pairs``."""
    x = np.asarray([measured(c) for pair in pairs for c in pair])
    y = np.asarray([0.0, 1.0] * len(pairs))
    found = fit(x, y)
    weights = Weights(found.bias, *found.weights)
    pauses = np.asarray([end_probability(replace(pause, words=()), weights) for pause, _ in pairs])
    return Parameters(weights=weights, curve=curve_for(pauses))


def curve_for(pauses: NDArray[np.float64]) -> Curve:
    """A waiting curve by which no more of ``pauses`` (probabilities) are cut than is allowed for each length."""
    at = {gap: float(np.quantile(pauses, 1 - MARGIN * share)) for gap, share in CUTOFF_GOALS.items()}
    slow = float(np.quantile(pauses, 0.5))
    points = [
        (at[0.4], SHORTEST_S),
        (at[0.4], 0.42),
        (at[0.8], 0.8),
        (at[0.8], 0.82),
        (at[1.2], 1.2),
        (at[1.2], 1.25),
        (slow, 1.7),
    ]
    ordered: list[tuple[float, float]] = []
    for p, wait in points:
        ordered.append((min(p, ordered[-1][0]) if ordered else min(1.0, p), wait))
    return Curve((*ordered, (0.0, MAX_WAIT_S)))


# What came of it


def outcome_of(trial: Trial, ends: Sequence[float]) -> Outcome:
    """What came of a trial in which turns ended at ``ends``, in seconds."""
    cut = any(trial.gap_at_s - 0.05 < end < trial.resumes_s for end in ends)
    after = [end for end in ends if end >= trial.end_s - 0.05]
    return Outcome(trial.speaker, trial.gap_s, cut, after[0] - trial.end_s if after else None)


def _short(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    waits = [o.wait_s if o.wait_s is not None else 3.4 for o in outcomes]
    return {
        **{f"false_cutoff_{round(1000 * gap)}": round(_share(o.cut for o in outcomes if o.gap_s == gap), 3) for gap in GAPS_S},
        "wait_p50_ms": round(1000 * float(np.percentile(waits, 50))),
        "wait_p95_ms": round(1000 * float(np.percentile(waits, 95))),
    }


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares and waiting times, with 95 % intervals that are drawn over speakers."""
    by_speaker: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_speaker[outcome.speaker].append(outcome)
    speakers = list(by_speaker.values())
    rng = np.random.default_rng(0)
    draws = [
        _short([o for i in rng.integers(len(speakers), size=len(speakers)) for o in speakers[i]]) for _ in range(RESAMPLES)
    ]
    out = _short(outcomes)
    for name in list(out):
        out[f"{name}_ci95"] = [round(float(v), 3) for v in np.percentile([draw[name] for draw in draws], [2.5, 97.5])]
    return out


def _checks(figures: dict[str, Any]) -> dict[str, Any]:
    limits = {
        "false_cutoff_400": 0.05,
        "false_cutoff_800": 0.10,
        "false_cutoff_1200": 0.20,
        "wait_p50_ms": 400,
        "wait_p95_ms": 1800,
    }
    return {k: {"value": figures[k], "limit": f"at most {v}", "ok": figures[k] <= v} for k, v in limits.items()}


def _control(trials: Sequence[Trial]) -> float:
    """How well level and spectrum of the last 50 ms tell pauses from ends, 0.2 s after the voice: area under the curve."""
    rows, labels, speakers = [], [], []
    for trial in trials:
        for at_s, is_end in ((trial.gap_at_s, 0.0), (trial.end_s, 1.0)):
            end = round((at_s + ASK_AT_S) * 16_000)
            piece = trial.pcm[end - 800 : end].astype(np.float64)
            spectrum = np.abs(np.fft.rfft(piece * np.hanning(800)))[: 8 * 48].reshape(8, 48).mean(axis=1)
            rows.append([np.log(np.sqrt(np.mean(piece**2)) + 1), *np.log(spectrum + 1)])
            labels.append(is_end)
            speakers.append(trial.speaker)
    x, y, who = np.asarray(rows), np.asarray(labels), np.asarray(speakers)
    scores = np.zeros(len(y))
    for speaker in set(speakers):
        scores[who == speaker] = fit(x[who != speaker], y[who != speaker]).logit(x[who == speaker])
    ends, pauses = scores[y == 1], scores[y == 0]
    return round(float(np.mean(ends[:, None] > pauses[None, :]) + 0.5 * np.mean(ends[:, None] == pauses[None, :])), 3)


def _share(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 3) if theirs else None
