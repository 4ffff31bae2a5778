"""Trials of barge-in: eight seconds of a tutor who speaks, and what the learner's microphone hears meanwhile.

``false`` events want no turn: noises, backchannels, the tutor's own echo. ``real`` ones are learners who begin a sentence over
the tutor. Under all lies the same quiet room. Levels are those of a laptop's microphone: a voice at -35 dBFS, and two that are
quieter; noises 10 dB above, since a cough is louder than speech. The halves are for choosing parameters and for reporting; no
recording, voice or speaker is in both.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from agent.record import Word
from bench.barge_sounds import (
    RATE_HZ,
    Floats,
    Sound,
    active_rms,
    at_level,
    backchannels,
    begins_s,
    faded,
    noise_dir,
    noises,
    spread,
)
from bench.speech import synthesise
from bench.turn_trials import Pcm16, align, room_tone
from web.talk.wavs import read_wav

LEVELS_DB = (-35.0, -45.0, -55.0)
NOISE_LEVELS_DB = (-25.0, -35.0, -45.0)
ROOM_RMS = 10.0
"""-70 dBFS: a quiet room."""
TUTOR_AT_S = 0.5
EARLIEST_S, LATEST_S = 2.0, 4.0
"""When an event begins."""
AFTER_S = 4.0
"""What is watched after an event: words that overturn a verdict may come late."""
ECHO_LOSS_DB = 20.0
TUTOR_LEVELS_DB = (-15.0, -25.0, -35.0)
"""As it is sent; its echo is 20 dB quieter."""
ECHO_TRIALS = 24
ECHO_S = 6.0
ROOM_DELAYS_S = (0.02, 0.12)
REVERB_S = 0.08
"""The echo decays by 60 dB in three times this."""

PASSAGES = (
    ("espeak-ng", "en-gb", "Last summer we went to a small village by the sea, and we stayed there for almost two weeks. "
     "Every morning my sister bought fresh bread, and in the afternoon we walked along the beach until the sun went down."),
    ("flite", "slt", "Let us talk about the weather in your country. In some places it rains nearly every day in winter, "
     "and people carry an umbrella all the time. What do you usually wear when it is cold, and what do you do at home?"),
    ("espeak-ng", "en-us", "My brother works in a large hospital near the station. He gets up at five in the morning, takes "
     "the first bus, and has breakfast with the other nurses. He told me that the nights are longer than the days."),
    ("flite", "rms", "There are three things that you should know about this city. The market opens early, the museum is "
     "free on Sundays, and the best restaurants are on the other side of the river, where nobody speaks English."),
)  # fmt: skip
"""Program, voice and words of a tutor who speaks for ten seconds or more."""


@dataclass(frozen=True, slots=True)
class Tutor:
    """What the tutor says: ``pcm`` is normalised speech; the times of ``words`` count from its first sample."""

    pcm: Floats
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One trial. ``mic`` (int16, ``(samples,)`` at 16 kHz) holds the room and what is heard beside the tutor.

    ``onset_s`` is the first voiced sample of that, ``end_s`` its end; ``words`` have the trial's times. With an ``echo`` (an
    impulse response) the microphone hears what the tutor plays, too, as long as it plays. ``tutor_level_db`` is dBFS as sent.
    """

    kind: str
    name: str
    source: str
    real: bool
    half: int
    level_db: float
    mic: Pcm16
    onset_s: float
    end_s: float
    words: tuple[Word, ...]
    tutor: Tutor
    tutor_level_db: float = -20.0
    echo: Floats | None = None


def tutors(folder: Path) -> list[Tutor]:
    """The passages, synthesised into ``folder``, with the times of their words.

    Raises:
        RuntimeError: where a synthesiser is not installed.
    """
    decoder = Decoder(loglevel="FATAL", lm=None)
    out = []
    for n, (program, voice, text) in enumerate(PASSAGES):
        pcm = synthesise((program, voice, text), folder / f"tutor-{n}.wav", RATE_HZ)
        plain = text.lower().replace(",", "").replace(".", "").replace("?", "")
        words = align(decoder, pcm, plain.split())
        out.append(Tutor(pcm.astype(np.float64), tuple(words) if words else spread(plain, pcm.astype(np.float64))))
    return out


def build(folder: Path, speech_dir: Path, *, quick: bool = False, seed: int = 11) -> tuple[list[Event], dict[str, int | str]]:
    """All trials, in an order that depends on nothing but ``seed``, and what they were made from.

    ``quick`` takes a third of the noises and backchannels at each level, another third at the next, and each interruption at
    one place instead of three.

    Raises:
        RuntimeError: where a synthesiser is not installed.
    """
    rng = random.Random(seed)
    speakers = tutors(folder)
    clips, left_out = learners(speech_dir)
    noise_files = noise_dir()
    events = []
    for levels, sounds in ((NOISE_LEVELS_DB, noises(noise_files)), (LEVELS_DB, backchannels(folder))):
        for n, sound in enumerate(sounds):
            for m, level_db in enumerate(levels):
                if not quick or (n // 2 + m) % 3 == 0:
                    events.append(over(sound, level_db, rng.choice(speakers), rng, real=False))
    rooms = [(n, level_db) for n in range(ECHO_TRIALS) for level_db in TUTOR_LEVELS_DB]
    events += [echoing(speakers[n % len(speakers)], level_db, n, rng) for n, level_db in rooms]
    places = [(clip, level_db) for _ in range(1 if quick else 3) for clip in clips for level_db in LEVELS_DB]
    events += [over(clip, level_db, rng.choice(speakers), rng, real=True) for clip, level_db in places]
    made = "made" if noise_files is None else "recorded"
    return events, {"noises": made, "clips": len(clips), "clips_not_aligned": left_out}


def learners(speech_dir: Path) -> tuple[list[Sound], int]:
    """Learners' sentences with the times of their words, and how many could not be aligned."""
    decoder = Decoder(loglevel="FATAL", lm=None)
    out = []
    left_out = 0
    for line in (speech_dir / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if not entry["file"].startswith("learners/"):
            continue
        pcm = read_wav(speech_dir / entry["file"], RATE_HZ)
        words = align(decoder, pcm, entry["text"].split())
        if words is None:
            left_out += 1
            continue
        begin_s = max(0.0, words[0].start_s - 0.05)
        piece = faded(pcm[round(begin_s * RATE_HZ) : round((words[-1].end_s + 0.1) * RATE_HZ)].astype(np.float64))
        moved = tuple(Word(w.text, w.start_s - begin_s, w.end_s - begin_s) for w in words)
        out.append(Sound("learner", Path(entry["file"]).stem, entry["speaker"], piece, moved))
    return out, left_out


def over(sound: Sound, level_db: float, tutor: Tutor, rng: random.Random, *, real: bool) -> Event:
    """``sound`` over ``tutor`` at ``level_db``, at a time drawn from ``rng``."""
    at_s = round(rng.uniform(EARLIEST_S, LATEST_S), 3)
    loud = at_level(sound.pcm, level_db)
    at = round(at_s * RATE_HZ)
    end_s = at_s + len(loud) / RATE_HZ
    mic = room_tone(at + len(loud) + round(AFTER_S * RATE_HZ), rng.randrange(1 << 30), ROOM_RMS)
    mic[at : at + len(loud)] += loud
    words = tuple(Word(w.text, w.start_s + at_s, w.end_s + at_s) for w in sound.words)
    onset_s, half = at_s + begins_s(loud), half_of(sound.source)
    return Event(sound.kind, sound.name, sound.source, real, half, level_db, whole(mic), onset_s, end_s, words, tutor)


def echoing(tutor: Tutor, level_db: float, number: int, rng: random.Random) -> Event:
    """Only ``tutor``, whom the microphone hears, too. Each ``number`` has a room and a passage's part of its own."""
    room = impulse(rng.uniform(*ROOM_DELAYS_S), rng.randrange(1 << 30))
    mic = room_tone(round((TUTOR_AT_S + ECHO_S + AFTER_S) * RATE_HZ), rng.randrange(1 << 30), ROOM_RMS)
    skip_s = rng.uniform(0.0, max(0.0, len(tutor.pcm) / RATE_HZ - ECHO_S - 2.0))
    part = tutor.pcm[round(skip_s * RATE_HZ) :]
    words = tuple(Word(w.text, w.start_s - skip_s, w.end_s - skip_s) for w in tutor.words if w.start_s >= skip_s)
    begin_s = TUTOR_AT_S + begins_s(part)
    name = f"echo {number}"
    half, end_s = number // len(PASSAGES) % 2, TUTOR_AT_S + ECHO_S
    heard_db = level_db - ECHO_LOSS_DB
    return Event("echo", name, name, False, half, heard_db, whole(mic), begin_s, end_s, (), Tutor(part, words), level_db, room)


def impulse(delay_s: float, seed: int) -> Floats:
    """A small room's answer to what is played: the direct sound after ``delay_s`` and a tail of noise that decays; energy 1."""
    tail = np.arange(round(3 * REVERB_S * RATE_HZ)) / RATE_HZ
    decay = np.random.default_rng(seed).standard_normal(len(tail)) * np.exp(-tail * np.log(1000) / (3 * REVERB_S)) * 0.05
    decay[0] = 1.0
    out = np.concatenate([np.zeros(round(delay_s * RATE_HZ)), decay])
    return np.asarray(out / np.sqrt((out**2).sum()) * 10 ** (-ECHO_LOSS_DB / 20))


def whole(pcm: Floats) -> Pcm16:
    """``pcm`` in int16, which takes a quarter of the memory."""
    return np.clip(np.round(pcm), -32_768, 32_767).astype(np.int16)


def tutor_sent(event: Event) -> Floats:
    """The tutor's speech at the level at which it is sent."""
    rms = active_rms(event.tutor.pcm)
    return event.tutor.pcm * (32_768 * 10 ** (event.tutor_level_db / 20) / rms)


def half_of(source: str) -> int:
    """0 (for choosing) or 1 (for reporting), the same for all that comes from one recording, voice or speaker."""
    return sum(source.encode()) % 2
