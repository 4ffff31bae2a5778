"""What comes over the tutor and wants no turn: coughs, doors, keyboards, and what people say to show that they listen.

Noises are recordings where there are some (``noise_dir``), else made from a seed. All are float arrays of shape ``(samples,)``
at 16 kHz; ``at_level`` gives them their loudness.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.record import Word
from bench.speech import synthesise
from web.talk.wavs import read_wav

Floats = NDArray[np.float64]
Samples = Floats | NDArray[np.int16]

RATE_HZ = 16_000
FULL_SCALE = 32_768.0
ACTIVE_DB = 20.0
"""The level of a sound is that of its windows which are within this of the loudest."""
EXCERPT_S = 2.0
MADE = 24
"""Noises of a kind, where they are made."""

KINDS = {"cough": ("cough",), "door": ("door",), "keyboard": ("keyboard", "mouse")}
"""Kinds of noise, and the kinds of recordings that are taken for them."""

VOICES = (
    ("flite", "slt"),
    ("espeak-ng", "en-us"),
    ("flite", "kal16"),
    ("espeak-ng", "en-us+f3"),
    ("flite", "awb"),
    ("espeak-ng", "en-gb"),
    ("flite", "rms"),
    ("espeak-ng", "en-gb-scotland+f2"),
)
SAID = ("uh huh", "yeah", "okay", "right", "i see", "oh", "yes", "really", "sure", "got it", "that's right", "yeah yeah")
HUMMERS_HZ = (95.0, 120.0, 170.0, 220.0)
"""The pitches of the voices that hum, which synthesisers cannot."""


@dataclass(frozen=True, slots=True)
class Sound:
    """``name`` tells what it was taken from, ``source`` the recording, voice or speaker; ``words`` as they lie in it."""

    kind: str
    name: str
    source: str
    pcm: Floats
    words: tuple[Word, ...] = ()


def active_rms(pcm: Floats) -> float:
    """RMS of the 10 ms windows that are within ``ACTIVE_DB`` of the loudest; 0.0 of silence."""
    size = RATE_HZ // 100
    count = len(pcm) // size
    if not count:
        return 0.0
    power = (pcm[: count * size].reshape(count, size) ** 2).mean(axis=1)
    top = float(power.max())
    return float(np.sqrt(power[power >= top * 10 ** (-ACTIVE_DB / 10)].mean())) if top > 0 else 0.0


def at_level(pcm: Floats, level_db: float) -> Floats:
    """``pcm`` with its active parts at ``level_db`` below full scale (dBFS); silence stays silence."""
    rms = active_rms(pcm)
    return pcm * (FULL_SCALE * 10 ** (level_db / 20) / rms) if rms else pcm


def begins_s(pcm: Floats, below_db: float = 26.0) -> float:
    """Where the first 10 ms window begins that is within ``below_db`` of the loudest: the onset of a voice."""
    size = RATE_HZ // 100
    count = len(pcm) // size
    rms = np.sqrt((pcm[: count * size].reshape(count, size) ** 2).mean(axis=1))
    return float(np.argmax(rms >= rms.max(initial=0.0) * 10 ** (-below_db / 20))) / 100 if count else 0.0


def faded(pcm: Floats, fade_s: float = 0.015) -> Floats:
    """``pcm`` with both ends faded."""
    out = pcm.copy()
    fade = min(round(fade_s * RATE_HZ), len(out) // 2)
    out[:fade] *= np.linspace(0.0, 1.0, fade)
    out[len(out) - fade :] *= np.linspace(1.0, 0.0, fade)
    return out


# Noises


def noise_dir() -> Path | None:
    """``PARLEY_NOISE_DIR``, else ``../shared/noise`` beside the repository; ``None`` where there is none."""
    folder = Path(os.environ.get("PARLEY_NOISE_DIR", Path(__file__).parents[2] / "shared" / "noise"))
    return folder if (folder / "manifest.jsonl").is_file() else None


def noises(folder: Path | None) -> list[Sound]:
    """Coughs, doors and keyboards: the recordings of ``folder`` (``manifest.jsonl``: file, kind), else made ones."""
    if folder is None:
        return [
            Sound(kind, f"{kind}-{seed}", f"{kind}-{seed}", faded(make(np.random.default_rng([seed, len(kind)]))))
            for kind, make in MAKERS.items()
            for seed in range(MADE)
        ]
    entries = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Sound(kind, Path(entry["file"]).stem, recording(entry["file"]), loudest_part(recorded(folder / entry["file"])))
        for kind, names in KINDS.items()
        for entry in entries
        if entry["kind"] in names
    ]


def recording(file: str) -> str:
    """What ``file`` is a part of: parts of one recording differ in what follows the last hyphen."""
    return Path(file).stem.rpartition("-")[0] or Path(file).stem


def recorded(path: Path) -> Floats:
    """A recording as floats."""
    return read_wav(path, RATE_HZ).astype(np.float64)


def loudest_part(pcm: Floats, length_s: float = EXCERPT_S) -> Floats:
    """``length_s`` of ``pcm`` from shortly before its first loud window on."""
    start = max(0, round((begins_s(pcm, ACTIVE_DB) - 0.03) * RATE_HZ))
    return faded(pcm[start : start + round(length_s * RATE_HZ)])


def made_cough(rng: np.random.Generator) -> Floats:
    """Two or three bursts of 80 to 250 ms: an explosive onset, noise with the resonances of a throat, a voiced end in some."""
    parts = []
    for _ in range(rng.integers(2, 4)):
        length = round(rng.uniform(0.08, 0.25) * RATE_HZ)
        t = np.arange(length) / RATE_HZ
        burst = sum(
            (resonance(rng.standard_normal(length), rng.normal(f, f * 0.1), f * 0.25) / f for f in (550.0, 1600.0, 3000.0)),
            np.zeros(length),
        )
        voiced = np.sin(2 * np.pi * rng.uniform(180, 320) * t) * np.abs(burst).mean() * rng.uniform(0, 1.5) * (t > 0.06)
        parts += [(burst + voiced) * np.minimum(1.0, t / 0.008) * np.exp(-t / (0.35 * length / RATE_HZ))]
        parts += [np.zeros(round(rng.uniform(0.08, 0.3) * RATE_HZ))]
    return np.concatenate(parts)


def made_door(rng: np.random.Generator) -> Floats:
    """A slam, or two to five knocks: low resonances of a panel that die away, with the click of the contact."""
    knocks = int(rng.integers(1, 6))
    out = np.zeros(round(1.9 * RATE_HZ))
    modes = rng.uniform((60, 130, 250, 420), (110, 220, 400, 800))
    for i in range(knocks):
        t = np.arange(round(0.35 * RATE_HZ)) / RATE_HZ
        hit = sum(
            (np.exp(-t / rng.uniform(0.02, 0.08 if knocks > 1 else 0.2)) * np.sin(2 * np.pi * f * t) / (1 + n))
            for n, f in enumerate(modes)
        ) + 0.3 * rng.standard_normal(len(t)) * np.exp(-t / 0.004)
        at = round((0.02 + i * rng.uniform(0.18, 0.3)) * RATE_HZ)
        out[at : at + len(t)] += hit[: len(out) - at]
    return out


def made_keyboard(rng: np.random.Generator) -> Floats:
    """Keys struck 5 to 9 times a second: a click down and a softer one up, and the resonances of the case."""
    out = np.zeros(round(EXCERPT_S * RATE_HZ))
    at_s = 0.02
    while at_s < EXCERPT_S - 0.2:
        for shift_s, size in ((0.0, 1.0), (rng.uniform(0.06, 0.11), rng.uniform(0.2, 0.5))):
            t = np.arange(round(0.04 * RATE_HZ)) / RATE_HZ
            click = rng.standard_normal(len(t)) * np.exp(-t / 0.002)
            click += 0.5 * np.sin(2 * np.pi * rng.uniform(250, 900) * t) * np.exp(-t / 0.008)
            at = round((at_s + shift_s) * RATE_HZ)
            out[at : at + len(t)] += size * rng.uniform(0.6, 1.0) * click
        at_s += rng.uniform(0.11, 0.2)
    return out


MAKERS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "cough": made_cough,
    "door": made_door,
    "keyboard": made_keyboard,
}


def resonance(pcm: Floats, centre_hz: float, width_hz: float) -> Floats:
    """``pcm`` through a band of ``width_hz`` around ``centre_hz``, Gaussian in the spectrum."""
    spectrum = np.fft.rfft(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    return np.asarray(np.fft.irfft(spectrum * np.exp(-0.5 * ((hz - centre_hz) / width_hz) ** 2), len(pcm)))


# Backchannels


def backchannels(folder: Path, voices: tuple[tuple[str, str], ...] = VOICES) -> list[Sound]:
    """What each of ``voices`` says to show that it listens, synthesised into ``folder``, and "mm-hm" and "mm", hummed.

    Raises:
        RuntimeError: where a synthesiser is not installed.
    """
    out = []
    for program, voice in voices:
        for n, text in enumerate(SAID):
            pcm = synthesise((program, voice, text), folder / f"{program}-{voice}-{n}.wav", RATE_HZ).astype(np.float64)
            out.append(Sound("backchannel", f"{text} ({program} {voice})", f"{program} {voice}", pcm, spread(text, pcm)))
    for n, pitch_hz in enumerate(HUMMERS_HZ):
        for text in ("mm-hm", "mm"):
            pcm = hummed(np.random.default_rng([n, len(text)]), pitch_hz, beats=len(text.split("-")))
            out.append(Sound("backchannel", f"{text} (hummed, {pitch_hz:.0f} Hz)", f"hummed {n}", pcm, spread(text, pcm)))
    return out


def hummed(rng: np.random.Generator, pitch_hz: float, beats: int) -> Floats:
    """``beats`` times 0.15 to 0.3 s of a voice behind closed lips: its harmonics, damped above 1 kHz, each beat higher."""
    parts = []
    for beat in range(beats):
        t = np.arange(round(rng.uniform(0.15, 0.3) * RATE_HZ)) / RATE_HZ
        bent = pitch_hz * (1 + 0.2 * beat) * (1 + 0.08 * np.sin(np.pi * t / t[-1]))
        phase = 2 * np.pi * np.cumsum(bent) / RATE_HZ
        tones = sum(
            (np.sin(k * phase) / k / (1 + (k * pitch_hz / 1_000) ** 2) for k in range(1, round(3_000 / pitch_hz))),
            np.zeros(len(t)),
        )
        parts += [faded(tones, 0.04), 0.02 * rng.standard_normal(round(0.06 * RATE_HZ))]
    return np.concatenate(parts[:-1])


def spread(text: str, pcm: Floats) -> tuple[Word, ...]:
    """The words of ``text``, evenly over ``pcm`` by their letters: near enough for words that come half a second late."""
    words = text.split()
    ends = np.cumsum([len(word) for word in words]) / sum(len(word) for word in words) * len(pcm) / RATE_HZ
    starts = [0.0, *ends[:-1]]
    return tuple(Word(word, float(start), float(end)) for word, start, end in zip(words, starts, ends, strict=True))
