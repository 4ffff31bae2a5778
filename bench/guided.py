"""``python -m bench guided``: which of the expected replies a learner said, if any, beside a naive grammar.

Real learners' clips. For each clip eight sentences, the true one and seven of other clips that are at most two words longer
or shorter; and eight without the true one, which stand for speech that nobody expected. What is fitted (the weights of the
evidence, the threshold) is fitted on the other speakers. Parley's recogniser and the peer hear the same draws, each in a
fresh process.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import random
import sys
import time
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.logistic import Array, fit, threshold
from bench.speech import speech_dir
from bench.stats import RESAMPLES, percentile, ratio

DRAWS, QUICK_DRAWS = 20, 4
QUICK_CLIPS = 3
"""Clips a speaker with ``--quick``."""
SENTENCES = 8
MAX_LONGER = 2
LET_THROUGH = 0.10
MANY = 60
"""Expected replies of a busy turn, for the time that a final takes."""
GOALS = {"choice8_right": 0.90, "accepted_right_at_10": 0.80}


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what was read in it: lower case, no punctuation."""

    path: Path
    speaker: str
    text: str

    def pcm16(self) -> bytes:
        """Mono pcm16 at 16 kHz."""
        with wave.open(str(self.path)) as wav:
            return bytes(wav.readframes(wav.getnframes()))


@dataclass(frozen=True, slots=True)
class Draw:
    """Eight sentences for the clip number ``clip``; ``inside``: the true one is among them."""

    clip: int
    inside: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a recogniser made of a draw.

    ``best`` is the sentence it chooses when it must; ``features`` tell how sure it is (higher is surer), nothing where it has
    no result; ``taken`` says whether it would have taken the sentence as it is shipped."""

    draw: Draw
    best: str | None
    features: tuple[float, ...]
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that one recogniser gave. Times in seconds and ms, ``memory_mb`` is its process's resident set."""

    trials: list[Trial]
    audio_s: float
    cpu_s: float
    memory_mb: float
    final_ms: list[float]
    free: list[tuple[str, str, bool]]
    """Read, recognised freely, and whether that was sure enough to be passed on."""


def learners(folder: Path) -> list[Clip]:
    """The clips of ``learners/``, by the manifest's order."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [Clip(folder / r["file"], r["speaker"], r["text"]) for r in rows if r["file"].startswith("learners/")]


def held_out(folder: Path) -> list[Clip]:
    """The clips of ``scored/``, of other speakers: nothing was ever fitted on them. None where they are missing."""
    scores = folder / "scored" / "scores.jsonl"
    rows = [json.loads(line) for line in scores.read_text().splitlines()] if scores.is_file() else []
    return [Clip(scores.parent / f"{r['utt']}.wav", r["speaker"], r["text"].lower()) for r in rows]


def draws_of(clips: Sequence[Clip], count: int, seed: int = 0) -> list[Draw]:
    """``count`` draws with the true sentence and as many without it for each clip, the same for the same ``seed``."""
    chance = random.Random(seed)
    texts = sorted({clip.text for clip in clips})
    out = []
    for _ in range(count):
        for number, clip in enumerate(clips):
            words = len(clip.text.split())
            like = [t for t in texts if t != clip.text and abs(len(t.split()) - words) <= MAX_LONGER]
            others = chance.sample(like, SENTENCES)
            inside = [clip.text, *others[1:]]
            chance.shuffle(inside)
            out += [Draw(number, True, tuple(inside)), Draw(number, False, tuple(others))]
    return out


def hear_parley(clips: Sequence[Clip], draws: Sequence[Draw]) -> Heard:
    """The decoder of the pool's workers, fed as they feed it."""
    from bench.hearing import recognise
    from pipeline.stt.guided import FREE_MIN, WEIGHTS
    from pipeline.stt.sphinx_decoder import SphinxDecoder

    decoder = SphinxDecoder()
    decoder.warm()
    texts = [clip.text for clip in clips]
    trials, final_ms, free = [], [], []
    audio_s = cpu_s = 0.0
    for number, clip in enumerate(clips):
        own = [d for d in draws if d.clip == number]
        if not own:
            continue
        before = time.process_time()
        result = recognise(decoder, clip.pcm16(), own[0].sentences)
        cpu_s += time.process_time() - before
        audio_s += result.audio_s
        others = [t for t in texts if t != clip.text][: MANY - 1]
        final_ms.append(recognise(decoder, clip.pcm16(), [clip.text, *others]).final_ms)
        without = decoder.again(())
        free.append((clip.text, without.text, (without.confidence or 0.0) >= FREE_MIN))
        for draw in own:
            result = decoder.again(draw.sentences)
            found = result.details
            features = tuple(found["features"]) if "best" in found else ()
            assert len(features) in (0, len(WEIGHTS))
            trials.append(Trial(draw, found.get("best"), features, result.source == "expected"))
    return Heard(trials, audio_s, cpu_s, _memory_mb(), final_ms, free)


def hear_peer(clips: Sequence[Clip], draws: Sequence[Draw]) -> Heard:
    """The naive grammar; its only feature is its score per frame."""
    from bench.peers.naive_grammar import NaiveGrammar

    peer = NaiveGrammar()
    pcm16 = {number: clips[number].pcm16() for number in {d.clip for d in draws}}
    trials = []
    audio_s = cpu_s = 0.0
    for draw in draws:
        before = time.process_time()
        best, score = peer.hear(pcm16[draw.clip], draw.sentences)
        cpu_s += time.process_time() - before
        audio_s += len(pcm16[draw.clip]) / 32_000
        trials.append(Trial(draw, best, () if best is None else (score,)))
    return Heard(trials, audio_s, cpu_s, _memory_mb(), [], [])


@dataclass(frozen=True, slots=True)
class Judged:
    """Per speaker: the shares of draws, each 0..1."""

    right: dict[str, float]
    accepted: dict[str, float]
    let_through: dict[str, float]
    taken_right: dict[str, float]
    taken_wrong: dict[str, float]


def judge(clips: Sequence[Clip], trials: Sequence[Trial]) -> Judged:
    """Right, and accepted with weights and threshold of the other speakers. No result is wrong and not accepted."""
    speaker = np.asarray([clips[t.draw.clip].speaker for t in trials])
    inside = np.asarray([t.draw.inside for t in trials])
    right = np.asarray([t.draw.inside and t.best == clips[t.draw.clip].text for t in trials])
    taken = np.asarray([t.taken for t in trials])
    judged = Judged({}, {}, {}, {}, {})
    for name in sorted(set(speaker.tolist())):
        own = speaker == name
        sure = sureness(trials, right, ~own)
        limit = threshold(sure[~own & ~inside], LET_THROUGH)
        judged.right[name] = float(right[own & inside].mean())
        judged.accepted[name] = float((right & (sure > limit))[own & inside].mean())
        judged.let_through[name] = float((sure > limit)[own & ~inside].mean())
        judged.taken_right[name] = float((right & taken)[own & inside].mean())
        judged.taken_wrong[name] = float(taken[own & ~inside].mean())
    return judged


def sureness(trials: Sequence[Trial], right: Any, known: Any) -> Array:
    """How sure each trial is, higher is surer, by a fit on the trials that are ``known``; no result: the least sure."""
    width = max(len(t.features) for t in trials)
    x = np.asarray([t.features or (math.nan,) * width for t in trials], np.float64)
    there = ~np.isnan(x[:, 0])
    sure = x[:, 0].copy() if width == 1 else fit(x[known & there], right[known & there].astype(np.float64)).logit(x)
    sure[~there] = -1e9
    return np.asarray(sure)


def mean_ci(by_speaker: dict[str, float], seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of the mean over speakers (the draws of one are not independent), to 0.001."""
    values = np.asarray(list(by_speaker.values()))
    if len(values) < 2:
        return None
    means = np.random.default_rng(seed).choice(values, size=(RESAMPLES, len(values)), replace=True).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def figures(clips: Sequence[Clip], heard: Heard) -> dict[str, Any]:
    """What is published of one recogniser."""
    judged = judge(clips, heard.trials)
    out: dict[str, Any] = {}
    for name, by_speaker in (
        ("choice8_right", judged.right),
        ("accepted_right_at_10", judged.accepted),
        ("let_through", judged.let_through),
    ):
        out[name] = mean_of(by_speaker)
        out[f"{name}_ci95"] = mean_ci(by_speaker)
    inside = [t for t in heard.trials if t.draw.inside]
    out["no_result"] = round(sum(t.best is None for t in inside) / len(inside), 3)
    out["rtf"] = round(heard.cpu_s / heard.audio_s, 3)
    out["memory_mb"] = round(heard.memory_mb, 1)
    return out


def shipped(judged: Judged) -> dict[str, Any]:
    """The same with the constants as they stand in the code."""
    return {
        "taken_right": mean_of(judged.taken_right),
        "taken_right_ci95": mean_ci(judged.taken_right),
        "taken_of_unexpected": mean_of(judged.taken_wrong),
        "taken_of_unexpected_ci95": mean_ci(judged.taken_wrong),
    }


def fitted(clips: Sequence[Clip], trials: Sequence[Trial]) -> dict[str, Any]:
    """Weights, bias and thresholds from all speakers: what ``pipeline/stt/guided.py`` holds."""
    x = np.asarray([t.features for t in trials if t.features], np.float64)
    kept = [t for t in trials if t.features]
    right = np.asarray([t.draw.inside and t.best == clips[t.draw.clip].text for t in kept], np.float64)
    outside = np.asarray([not t.draw.inside for t in kept])
    found = fit(x, right)
    sure = 1.0 / (1.0 + np.exp(-found.logit(x)))
    return {
        "weights": [round(w, 3) for w in found.weights],
        "bias": round(found.bias, 3),
        "confidence_that_lets_through": {str(s): round(threshold(sure[outside], s), 3) for s in (0.10, 0.05, 0.02)},
    }


def free_speech(free: Sequence[tuple[str, str, bool]]) -> dict[str, Any]:
    """Of free speech: the share that is sure enough, and the word error rate of that and of the rest."""

    def wer(rows: Sequence[tuple[str, str, bool]]) -> float | None:
        words = sum(len(text.split()) for text, _, _ in rows)
        return round(sum(edits(text.split(), found.split()) for text, found, _ in rows) / words, 3) if words else None

    kept = [row for row in free if row[2]]
    return {
        "free_sure": round(len(kept) / len(free), 3),
        "free_sure_wer": wer(kept),
        "free_unsure_wer": wer([row for row in free if not row[2]]),
    }


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        RuntimeError: there are no recordings of learners.
    """
    folder = speech_dir()
    if folder is None:
        raise RuntimeError("bench guided needs recordings of learners: set PARLEY_SPEECH_DIR to their folder")
    clips = learners(folder)
    count = QUICK_DRAWS if quick else DRAWS
    draws = draws_of(clips, count)
    if quick:
        chosen = first_of_each(clips, QUICK_CLIPS)
        draws = [d for d in draws if d.clip in chosen]
    ours = await apart(hear_parley, clips, draws, server_cores)
    _progress("parley", len(ours.trials))
    peer = await apart(hear_peer, clips, draws, server_cores)
    _progress("peer", len(peer.trials))
    result = report(clips, ours, peer)
    others = held_out(folder)
    if others:
        again = draws_of(others, count, seed=1)
        ours = await apart(hear_parley, others, again, server_cores)
        _progress("parley, held out", len(ours.trials))
        peer = await apart(hear_peer, others, again, server_cores)
        judged = judge(others, ours.trials)
        result["figures"]["held_out_choice8_right"] = mean_of(judged.right)
        result["figures"]["held_out_choice8_right_ci95"] = mean_ci(judged.right)
        result["figures"] |= {f"held_out_{name}": value for name, value in shipped(judged).items()}
        result["peer"]["held_out_choice8_right"] = mean_of(judge(others, peer.trials).right)
    return result


def report(clips: Sequence[Clip], ours: Heard, peer: Heard) -> dict[str, Any]:
    """The benchmark's result, without the machine."""
    mine, theirs = figures(clips, ours), figures(clips, peer)
    mine |= shipped(judge(clips, ours.trials)) | free_speech(ours.free)
    mine["final_60_p50_ms"] = percentile(ours.final_ms, 50)
    mine["final_60_p90_ms"] = percentile(ours.final_ms, 90)
    return {
        "figures": mine,
        "peer": theirs,
        "ratios": {name: ratio(mine[name], theirs[name]) for name in (*GOALS, "rtf", "memory_mb")},
        "checks": {name: {"value": mine[name], "limit": goal, "ok": mine[name] >= goal} for name, goal in GOALS.items()},
        "fit": fitted(clips, ours.trials),
        "input": {
            "clips": len({t.draw.clip for t in ours.trials}),
            "speakers": len({clips[t.draw.clip].speaker for t in ours.trials}),
            "draws_of_each_clip": sum(t.draw.clip == ours.trials[0].draw.clip for t in ours.trials) // 2,
        },
        "trials": {
            subject: [[t.draw.clip, t.draw.inside, t.best, t.features, t.taken] for t in heard.trials]
            for subject, heard in (("parley", ours), ("peer", peer))
        },
    }


async def apart(
    work: Callable[[Sequence[Clip], Sequence[Draw]], Heard], clips: Sequence[Clip], draws: Sequence[Draw], cores: list[int]
) -> Heard:
    """Run ``work`` in a fresh process on one core, so that its memory and its time are its own."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in the pool's workers; the new process reads it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_alone, initargs=(cores[0],)) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work, clips, draws)


def _alone(core: int) -> None:
    os.sched_setaffinity(0, {core})


def _memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def first_of_each(clips: Sequence[Clip], count: int) -> set[int]:
    """The numbers of each speaker's first ``count`` clips."""
    seen: dict[str, int] = {}
    chosen = set()
    for number, clip in enumerate(clips):
        seen[clip.speaker] = seen.get(clip.speaker, 0) + 1
        if seen[clip.speaker] <= count:
            chosen.add(number)
    return chosen


def edits(words: Sequence[str], others: Sequence[str]) -> int:
    """Words to insert, delete or replace so that ``others`` becomes ``words`` (Levenshtein 1966)."""
    row = list(range(len(others) + 1))
    for i, word in enumerate(words, 1):
        before, row = row, [i]
        for j, other in enumerate(others, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return row[-1]


def mean_of(by_speaker: dict[str, float]) -> float:
    """The mean over speakers, to 0.001."""
    return round(sum(by_speaker.values()) / len(by_speaker), 3)


def _progress(subject: str, trials: int) -> None:
    print(f"{subject}: {trials} trials", file=sys.stderr, flush=True)
