"""How soon a voice is found, and how often noise is taken for one: Parley's voice detector beside stock pipecat's.

Sentences of learners at four levels and recorded noises at three, each after a second of a quiet room, once through Silero;
the rules of both detectors are then asked about the same probabilities. The delay is from the first voiced sample (the first
10 ms within 26 dB of the loudest) to the window by which the detector speaks. One half of the speakers and recordings is
reported; ``chosen_on`` is the other, for trying parameters.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipecat.audio.vad.vad_analyzer import VADParams, VADState

from bench.barge_events import LEVELS_DB, NOISE_LEVELS_DB, ROOM_RMS, half_of, learners, whole
from bench.barge_players import WINDOW_S, Ears, Windows, call_states, stock_states
from bench.barge_sounds import RATE_HZ, Floats, at_level, begins_s, noise_dir, noises, recorded, recording
from bench.settings import bench_settings
from bench.stats import percentile
from bench.turn_trials import room_tone
from pipeline.pipecat_private import load_silero
from pipeline.settings.tree import VADSettings

VOICE_LEVELS_DB = (-25.0, *LEVELS_DB)
"""A headset's, and those of the trials."""
LEAD_S = 1.0
LATE_S = 1.0
"""A voice that is not found within this is missed."""

Rule = Callable[[Windows], Sequence[VADState]]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model made of one sound; ``onset_s`` is ``None`` for noise."""

    level_db: float
    half: int
    onset_s: float | None
    windows: Windows


def measure(speech_dir: Path, quick: bool) -> dict[str, Any]:
    """Figures of the two detectors and of a few other settings. ``quick`` takes every second sound."""
    heard = _heard(speech_dir, 2 if quick else 1)
    ours = bench_settings().vad
    rules: dict[str, Rule] = {
        "parley": lambda windows: call_states(windows, ours),
        "stock": lambda windows: stock_states(windows, VADParams()),
        "stock, no volume gate, 2 windows": lambda windows: stock_states(windows, VADParams(start_secs=0.064, min_volume=0.0)),
    }
    for sure in (0.8, 0.9, 0.98):
        settings = ours.model_copy(update={"sure": sure})
        rules[f"parley, sure {sure}"] = _with(settings)
    return {
        name: {
            **figures_of([one for one in heard if one.half == 1], rule),
            "chosen_on": figures_of([one for one in heard if one.half == 0], rule),
        }
        for name, rule in rules.items()
    }


def _with(settings: VADSettings) -> Rule:
    return lambda windows: call_states(windows, settings)


def figures_of(heard: Sequence[Heard], rule: Rule) -> dict[str, Any]:
    """Onset delays in ms and shares missed at each level, and starts at noise in a minute."""
    out: dict[str, Any] = {}
    delays_of: list[float] = []
    for level_db in VOICE_LEVELS_DB:
        voices = [one for one in heard if one.onset_s is not None and one.level_db == level_db]
        found = [_delay_s(one, rule) for one in voices]
        delays = [1000 * delay for delay in found if delay is not None]
        delays_of += delays
        out[f"{level_db:.0f} dBFS"] = {
            "onset_p50_ms": percentile(delays, 50),
            "onset_p90_ms": percentile(delays, 90),
            "missed": round(1 - len(delays) / len(found), 3) if found else None,
            "n": len(found),
        }
    noise = [one for one in heard if one.onset_s is None]
    minutes = sum(len(one.windows.probability) for one in noise) * WINDOW_S / 60
    starts = sum(len(starts_s(rule(one.windows))) for one in noise)
    return {
        **out,
        "onset_p50_ms": percentile(delays_of, 50),
        "false_starts": starts,
        "noise_minutes": round(minutes, 2),
        "false_starts_per_minute": round(starts / minutes, 2) if minutes else None,
    }


def starts_s(states: Sequence[VADState]) -> list[float]:
    """When a voice was found."""
    found = []
    speaking = False
    for n, state in enumerate(states):
        if state == VADState.SPEAKING and not speaking:
            found.append((n + 1) * WINDOW_S)
        speaking = state in (VADState.SPEAKING, VADState.STOPPING)
    return found


def _delay_s(one: Heard, rule: Rule) -> float | None:
    assert one.onset_s is not None
    after = [at_s - one.onset_s for at_s in starts_s(rule(one.windows)) if at_s >= one.onset_s]
    return after[0] if after and after[0] < LATE_S else None


def _heard(speech_dir: Path, every: int) -> list[Heard]:
    ears = Ears(load_silero())
    rng = random.Random(3)
    out = []
    clips, _ = learners(speech_dir)
    for clip in clips[::every]:
        for level_db in VOICE_LEVELS_DB:
            loud = at_level(clip.pcm, level_db)
            lead_s = LEAD_S + rng.uniform(0.0, 0.5)
            windows = ears.hear(whole(after_quiet(loud, lead_s, rng.randrange(1 << 30))))
            out.append(Heard(level_db, half_of(clip.source), lead_s + begins_s(loud), windows))
    for n, (source, pcm) in enumerate(_noises()[::every]):
        level_db = NOISE_LEVELS_DB[n % len(NOISE_LEVELS_DB)]
        windows = ears.hear(whole(after_quiet(at_level(pcm, level_db), LEAD_S, n)))
        out.append(Heard(level_db, half_of(source), None, windows))
    return out


def after_quiet(pcm: Floats, lead_s: float, seed: int) -> Floats:
    """``pcm`` after ``lead_s`` of a quiet room, which goes on under it and for half a second more."""
    lead = round(lead_s * RATE_HZ)
    out = room_tone(lead + len(pcm) + RATE_HZ // 2, seed, ROOM_RMS)
    out[lead : lead + len(pcm)] += pcm
    return out


def _noises() -> list[tuple[str, Floats]]:
    """Whole recordings of every kind there is, each with what it was taken from; made ones where there are none."""
    folder = noise_dir()
    if folder is None:
        return [(sound.source, sound.pcm) for sound in noises(None)]
    entries = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(recording(entry["file"]), recorded(folder / entry["file"])) for entry in entries]
