"""False and real interruptions: whether the tutor goes on after a cough or an "mm-hm", and stops for a learner who speaks.

The trials are those of ``bench/barge_events.py``, played without a network and without waiting. Parameters are
to be tried on one half of them (``Event.half`` 0); the figures are of the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADParams

from bench import barge_live, barge_onset
from bench.barge_events import Event, build, half_of, learners
from bench.barge_players import Ears, Embedded, Oracle, Outcome, play, play_stock
from bench.barge_sounds import KINDS, RATE_HZ, Sound, backchannels, noise_dir, noises
from bench.sentences import held_out
from bench.settings import bench_settings, settings_hash
from bench.speech import speech_dir
from bench.stats import percentile, ratio, wilson
from pipeline.log import import_quietly
from pipeline.pipecat_private import load_silero
from pipeline.turns.barge import Parameters

REPORTED = 1
"""The half of the trials that figures are of."""
STOP_BY_S = 1.0
"""A tutor who stops later than this after the learner's last word did not stop for it."""
LIVE, LIVE_QUICK = 10, 4
"""Events of each sort that are tried in a whole call."""
LIVE_S = 3.0
QUICK_EMBEDDED = 4
"""With ``--quick`` the embedded recogniser hears every fourth trial."""
FALSE_LOST_GOAL, REAL_STOPPED_GOAL = 0.03, 0.98

_events: list[Event] = []
"""The trials; workers have them by being forked."""
_ears: Ears | None = None


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """Figures, peer, ratios and checks.

    Raises:
        RuntimeError: where the learners' recordings or a synthesiser are missing.
    """
    folder = speech_dir()
    if folder is None:
        raise RuntimeError("the learners' recordings are needed (PARLEY_SPEECH_DIR)")
    with tempfile.TemporaryDirectory() as scratch:
        events, made_of = build(Path(scratch), folder, quick=quick)
        live = await barge_live.measure(server_cores, held_out(folder)[0], _for_calls(Path(scratch), folder, quick))
    _events[:] = [event for event in events if event.half == REPORTED]
    with ProcessPoolExecutor(2, mp_context=get_context("fork"), initializer=_quietly) as pool:
        onset = pool.submit(barge_onset.measure, folder, quick)
        stock = _played(pool, _stock)
        ours = _played(pool, _oracle)
        heard = _played(pool, _embedded, every=QUICK_EMBEDDED if quick else 1)
        onsets = onset.result()
    figures = {
        **made_of,
        "settings_hash": settings_hash(),
        **figures_of(ours),
        "embedded": figures_of(heard),
        "onset": onsets,
        "live": live,
    }
    peer = {"name": "pipecat 1.14, VADUserTurnStartStrategy", **figures_of(stock)}
    return {
        "figures": figures,
        "peer": peer,
        "ratios": {k: ratio(figures[k], peer[k]) for k in ("false_interruption_lost", "real_stopped")},
        "checks": {
            "false_interruption_lost": _check(figures, "false_interruption_lost", at_most=FALSE_LOST_GOAL),
            "real_stopped": _check(figures, "real_stopped", at_least=REAL_STOPPED_GOAL),
        },
        "trials": [_row(one, other) for one, other in zip(ours, stock, strict=True)],
    }


def _for_calls(scratch: Path, speech: Path, quick: bool) -> list[Sound]:
    """A few sounds of the reported half, of every kind, learners and the others by turns."""
    count = LIVE_QUICK if quick else LIVE
    found = [*noises(noise_dir()), *backchannels(scratch)]
    kinds = [[s for s in found if s.kind == kind and half_of(s.source) == REPORTED] for kind in (*KINDS, "backchannel")]
    false = [sounds[n * 7 % len(sounds)] for n in range(count) for sounds in kinds]
    # The tutor of the calls speaks for six seconds: a longer sentence would outlast it.
    real = [s for s in learners(speech)[0] if half_of(s.source) == REPORTED and len(s.pcm) < LIVE_S * RATE_HZ]
    chosen = [real[n * len(real) // count] for n in range(count)]
    return [sound for n in range(count) for sound in (false[n], chosen[n])]


# Trials, in processes of their own


def _quietly() -> None:
    import_quietly()
    logger.disable("pipecat")  # it tells of every detector that is made


def _played(pool: ProcessPoolExecutor, player: Callable[[int], Outcome], every: int = 1) -> list[Outcome]:
    return list(pool.map(player, range(0, len(_events), every), chunksize=8))


def _heard() -> Ears:
    global _ears
    if _ears is None:
        _ears = Ears(load_silero())
    return _ears


def _stock(index: int) -> Outcome:
    return play_stock(_events[index], _heard(), VADParams())


def _oracle(index: int) -> Outcome:
    return play(_events[index], _heard(), bench_settings().vad, Parameters(), Oracle())


def _embedded(index: int) -> Outcome:
    return play(_events[index], _heard(), bench_settings().vad, Parameters(), Embedded())


# What came of them


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares with Wilson's intervals, times in ms, and the shares of each kind at each level."""
    false = [one for one in outcomes if not one.event.real]
    real = [one for one in outcomes if one.event.real]
    stopped = [one for one in real if did_stop(one)]
    ducked = [1000 * (one.ducked_s - one.event.onset_s) for one in real if one.ducked_s is not None]
    kinds = sorted({(one.event.kind, one.event.level_db) for one in outcomes})
    return {
        **_share("false_interruption_lost", (one.lost_s is not None for one in false)),
        **_share("real_stopped", (did_stop(one) for one in real)),
        "resume_p50_ms": percentile([1000 * s for one in false for s in one.resumed], 50),
        "resume_p95_ms": percentile([1000 * s for one in false for s in one.resumed], 95),
        "duck_p50_ms": percentile(ducked, 50),
        "duck_p90_ms": percentile(ducked, 90),
        "stop_p50_ms": percentile([1000 * ((one.lost_s or 0.0) - one.event.onset_s) for one in stopped], 50),
        "ducked_false": round(sum(one.ducked_s is not None for one in false) / len(false), 3) if false else None,
        "by_kind": {
            f"{kind} {level_db:.0f} dBFS": _kind([o for o in outcomes if (o.event.kind, o.event.level_db) == (kind, level_db)])
            for kind, level_db in kinds
        },
    }


def did_stop(one: Outcome) -> bool:
    """Whether the tutor stopped for a learner, and not long after."""
    return one.lost_s is not None and one.event.onset_s - 0.1 <= one.lost_s <= one.event.end_s + STOP_BY_S


def _kind(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    if outcomes[0].event.real:
        return _share("stopped", (did_stop(one) for one in outcomes))
    return _share("lost", (one.lost_s is not None for one in outcomes))


def _share(name: str, values: Iterable[bool]) -> dict[str, Any]:
    found = list(values)
    if not found:
        return {name: None, f"{name}_n": 0, f"{name}_ci95": None}
    return {
        name: round(sum(found) / len(found), 3),
        f"{name}_n": len(found),
        f"{name}_ci95": wilson(sum(found), len(found)),
    }


def _check(figures: dict[str, Any], name: str, *, at_most: float = 1.0, at_least: float = 0.0) -> dict[str, Any]:
    limit = f"at most {at_most}" if at_most < 1.0 else f"at least {at_least}"
    return {"value": figures[name], "limit": limit, "ok": at_least <= figures[name] <= at_most}


def _row(ours: Outcome, stock: Outcome) -> dict[str, Any]:
    event = ours.event
    return {
        "kind": event.kind,
        "name": event.name,
        "level_db": event.level_db,
        "real": event.real,
        "ducked_ms": _after(ours.ducked_s, event),
        "stopped_ms": _after(ours.lost_s, event),
        "late": ours.late,
        "held_ms": [round(1000 * s) for s in ours.resumed],
        "stock_stopped_ms": _after(stock.lost_s, event),
    }


def _after(at_s: float | None, event: Event) -> int | None:
    return None if at_s is None else round(1000 * (at_s - event.onset_s))
