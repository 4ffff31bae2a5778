"""``python -m bench narrowband``: what a telephone costs. The same speech at 16 kHz and by way of the phone's door, in one go.

The way is the door's own code: 8 kHz, µ-law, and back to the recogniser's rate in pieces of 20 ms. No handset's band pass and
no loss lie in it. Two things are compared: what the embedded recogniser makes of learners' clips (freely, and against eight
sentences, as ``bench guided``; in full also of ``held_out`` speakers, on whom nothing was fitted or chosen), and how turns end
(the trials and players of ``bench turns``). The turn detector is fitted at 16 kHz on the other speakers, as that of calls is
fitted at 16 kHz: it is not told that this is a telephone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.guided import (
    QUICK_CLIPS,
    QUICK_DRAWS,
    Clip,
    Draw,
    Heard,
    apart,
    draws_of,
    edits,
    first_of_each,
    hear_parley,
    held_out,
    judge,
    learners,
    mean_ci,
    mean_of,
)
from bench.settings import settings_hash
from bench.speech import speech_dir
from bench.stats import RESAMPLES, ratio
from bench.turn_players import EMBEDDED_FLUSH_S, ORACLE_FLUSH_S, Models, Recogniser, embedded, ends_of, oracle, play, play_stock
from bench.turn_trials import RATE_HZ, Trial, build
from bench.turns import Outcome, figures_of, fitted_apart, outcome_of
from pipeline.transports.codecs import Codec, to_recogniser
from pipeline.tts.resample import StreamResampler
from pipeline.turn_stop import sentence_end
from pipeline.turns.detector import Parameters, TurnDetector

DRAWS = 6
"""Of each clip; what is told is uncertain by the speakers and their clips, of which more draws make no more."""
PHONE_HZ = 8_000
PIECE_BYTES = 160
"""20 ms of µ-law at 8 kHz."""


def phoned(pcm16: bytes) -> bytes:
    """Mono pcm16 at 16 kHz as it comes out of the phone's door: as many samples, 2 ms later."""
    down, codec, up = StreamResampler(RATE_HZ, PHONE_HZ), Codec("mulaw", PHONE_HZ), to_recogniser(PHONE_HZ)
    encoded = codec.encode(down.process(pcm16) + down.flush())
    pieces = (encoded[at : at + PIECE_BYTES] for at in range(0, len(encoded), PIECE_BYTES))
    out = b"".join(up.process(codec.decode(piece)) for piece in pieces)
    return out[: len(pcm16)].ljust(len(pcm16), b"\0")


@dataclass(frozen=True, slots=True)
class PhonedClip(Clip):
    """A clip that comes by telephone."""

    def pcm16(self) -> bytes:
        """Mono pcm16 at 16 kHz."""
        # The dataclass's slots make another class of this one, which the short form of super() does not find.
        return phoned(Clip.pcm16(self))


def phoned_trial(trial: Trial) -> Trial:
    """The same trial over the telephone; its times are those of the speech before."""
    return replace(trial, pcm=np.frombuffer(phoned(trial.pcm.tobytes()), np.int16))


# The recogniser


def word_errors(clips: Sequence[Clip], heard: Heard) -> dict[str, tuple[int, int]]:
    """Of free recognition, by speaker: errors, and words that were read."""
    counted: dict[str, tuple[int, int]] = {}
    for number, (text, found, _) in zip(sorted({t.draw.clip for t in heard.trials}), heard.free, strict=True):
        errors, words = counted.get(clips[number].speaker, (0, 0))
        read = text.split()
        counted[clips[number].speaker] = (errors + edits(read, found.split()), words + len(read))
    return counted


def pooled_ci(
    ours: dict[str, tuple[int, int]], less: dict[str, tuple[int, int]] | None = None, seed: int = 0
) -> list[float] | None:
    """95 % percentile-bootstrap interval over speakers of errors per word, to 0.001; with ``less`` of the difference to it."""
    names = sorted(ours)
    if len(names) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))

    def rates(counted: dict[str, tuple[int, int]]) -> Any:
        errors, words = np.asarray([counted[name] for name in names]).T
        return errors[drawn].sum(axis=1) / words[drawn].sum(axis=1)

    values = rates(ours) - (rates(less) if less is not None else 0.0)
    return [round(float(v), 3) for v in np.percentile(values, [2.5, 97.5])]


def wer_of(counted: dict[str, tuple[int, int]]) -> float:
    """Errors per word of all speakers together, to 0.001."""
    return round(sum(e for e, _ in counted.values()) / sum(w for _, w in counted.values()), 3)


def recogniser_figures(clips: Sequence[Clip], heard: Heard) -> dict[str, Any]:
    """Of one band."""
    counted, judged = word_errors(clips, heard), judge(clips, heard.trials)
    out: dict[str, Any] = {"free_wer": wer_of(counted), "free_wer_ci95": pooled_ci(counted)}
    for name, by_speaker in (
        ("choice8_right", judged.right),
        ("taken_right", judged.taken_right),
        ("taken_of_unexpected", judged.taken_wrong),
    ):
        out |= {name: mean_of(by_speaker), f"{name}_ci95": mean_ci(by_speaker)}
    return out


def differences(clips: Sequence[Clip], narrow: Heard, wide: Heard) -> dict[str, Any]:
    """8 kHz less 16 kHz, paired by speaker."""
    errors, others = word_errors(clips, narrow), word_errors(clips, wide)
    out: dict[str, Any] = {
        "free_wer": round(wer_of(errors) - wer_of(others), 3),
        "free_wer_ci95": pooled_ci(errors, others),
    }
    ours, theirs = judge(clips, narrow.trials), judge(clips, wide.trials)
    for name, mine, other in (
        ("choice8_right", ours.right, theirs.right),
        ("taken_right", ours.taken_right, theirs.taken_right),
        ("taken_of_unexpected", ours.taken_wrong, theirs.taken_wrong),
    ):
        by_speaker = {speaker: mine[speaker] - other[speaker] for speaker in mine}
        out |= {name: mean_of(by_speaker), f"{name}_ci95": mean_ci(by_speaker)}
    return out


# Turns


def turn_figures(wide: Sequence[Trial], *, words: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of 8 kHz and of 16 kHz: Parley's detector with true words, with the embedded recogniser's (``words``), and stock's."""
    narrow = [phoned_trial(trial) for trial in wide]
    bands = {}
    for name, trials in (("narrow", narrow), ("wide", wide)):
        models = Models()
        bands[name] = (trials, models, [models.voice(trial) for trial in trials])
    found: dict[str, dict[str, Any]] = {"narrow": {}, "wide": {}}
    recognisers: list[tuple[str, Recogniser, float]] = [("oracle", oracle, ORACLE_FLUSH_S)]
    if words:
        recognisers.append(("embedded", embedded, EMBEDDED_FLUSH_S))
    for player, recogniser, flush_s in recognisers:
        _, models, voice = bands["wide"]
        parameters = fitted_apart(wide, voice, models, recogniser, 1.0, "")
        for name, band in bands.items():
            found[name][player] = figures_of(_play(*band, parameters, recogniser, flush_s))
    for name, (trials, models, _) in bands.items():
        stock = [outcome_of(trial, play_stock(trial, models, models.stock_states(trial))) for trial in trials]
        found[name]["stock"] = figures_of(stock)
    return found["narrow"], found["wide"]


def _play(
    trials: Sequence[Trial],
    models: Models,
    voice: Sequence[list[float]],
    parameters: dict[str, Parameters],
    recogniser: Recogniser,
    flush_s: float,
) -> list[Outcome]:
    outcomes = []
    for trial, probabilities in zip(trials, voice, strict=True):
        detector = TurnDetector(parameters[trial.speaker], sentence_end=sentence_end)
        decisions = play(trial, detector, models, probabilities, recogniser, flush_s=flush_s, can_flush=recogniser is oracle)
        outcomes.append(outcome_of(trial, [end.time_s for end in ends_of(decisions)]))
    return outcomes


# Both


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """Figures of 8 kHz, those of 16 kHz as the peer, ratios and differences.

    Raises:
        RuntimeError: there are no recordings of learners.
    """
    folder = speech_dir()
    if folder is None:
        raise RuntimeError("bench narrowband needs recordings of learners: set PARLEY_SPEECH_DIR to their folder")
    clips = learners(folder)
    draws = draws_of(clips, QUICK_DRAWS if quick else DRAWS)
    trials, left_out = build(folder, places=1 if quick else 2)
    if quick:
        chosen = first_of_each(clips, QUICK_CLIPS)
        draws = [d for d in draws if d.clip in chosen]
        files = {str(clips[number].path.relative_to(folder)) for number in chosen}
        trials = [trial for trial in trials if trial.clip in files]
    (narrow, wide), (turns, turns_wide) = await asyncio.gather(
        _both_bands(clips, draws, server_cores), asyncio.to_thread(turn_figures, trials, words=not quick)
    )
    figures: dict[str, Any] = {**recogniser_figures(clips, narrow), "turns": turns}
    peer: dict[str, Any] = {"name": "the same speech at 16 kHz", **recogniser_figures(clips, wide), "turns": turns_wide}
    paired = differences(clips, narrow, wide)
    others = held_out(folder)
    if others and not quick:
        narrow, wide = await _both_bands(others, draws_of(others, DRAWS, seed=1), server_cores)
        figures["held_out"] = recogniser_figures(others, narrow)
        peer["held_out"] = recogniser_figures(others, wide)
        paired["held_out"] = differences(others, narrow, wide)
    return {
        "figures": {
            "settings_hash": settings_hash(),
            "clips": len({d.clip for d in draws}),
            "speakers": len({clips[d.clip].speaker for d in draws}),
            "turn_trials": len(trials),
            "clips_not_aligned": left_out,
            **figures,
        },
        "peer": peer,
        "ratios": {name: ratio(figures[name], peer[name]) for name in ("free_wer", "choice8_right", "taken_right")},
        "differences": paired,
    }


async def _both_bands(clips: Sequence[Clip], draws: Sequence[Draw], server_cores: list[int]) -> tuple[Heard, Heard]:
    """What the recogniser makes of ``draws`` by telephone, and at 16 kHz."""
    by_phone = [PhonedClip(clip.path, clip.speaker, clip.text) for clip in clips]
    narrow, wide = await asyncio.gather(
        apart(hear_parley, by_phone, draws, server_cores[:1]), apart(hear_parley, clips, draws, server_cores[-1:])
    )
    return narrow, wide
