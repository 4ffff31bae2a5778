"""What the learner says: twelve utterances of two synthesisers and, where they are, real learners' recordings.

Each is trimmed to its exact speech bounds (10 ms windows) and normalised to a peak of 12,000, 48 kHz mono pcm16.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from web.talk.listening import SPEECH_RMS, Pcm16, normalise, trim, window_rms
from web.talk.wavs import read_wav

RATE_HZ = 48_000
REAL_CLIPS = 6

SYNTHETIC = [
    ("flite", "awb", "We went to the market on Saturday."),
    ("espeak-ng", "en-gb", "Tell me about the weather tomorrow."),
    ("flite", "slt", "Could you say that again more slowly?"),
    ("flite", "rms", "I would like a cup of tea, please."),
    ("espeak-ng", "en-us", "Tell me about the weather tomorrow."),
    ("flite", "kal16", "I have lived here for almost three years."),
    ("flite", "slt", "My sister works in a large hospital."),
    ("espeak-ng", "en-us", "Could you say that again more slowly?"),
    ("flite", "rms", "My favourite season is the winter."),
    ("flite", "kal16", "We went to the market on Saturday."),
    ("flite", "slt", "Where can I buy a ticket for the museum?"),
    ("espeak-ng", "en-gb", "My sister works in a large hospital."),
]
"""Program, voice, words: of 96 combinations, twelve whose end is beyond dispute.

By ear: smart-turn is sure of it (p > 0.8 after 120 to 340 ms of silence); a missed end costs 3 s on either server, and with one
in ten p90 would be a toss-up. By level: it lies within 30 ms for any threshold from -34 to -20 dB below the loudest window.
Learners end as they will; they are counted apart.
"""

LEARNER_END = 0.05
"""A learner's recording has a room and a breath after the last word: its speech bounds are its first and last window with more
than this share (-26 dB) of the loudest window's RMS."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance: whole sentences, int16 of shape ``(samples,)`` at ``RATE_HZ``."""

    name: str
    pcm: Pcm16
    real: bool


def utterances(folder: Path, speech_dir: Path | None) -> list[Spoken]:
    """All utterances in a fixed order, synthesised into ``folder``; with ``REAL_CLIPS`` of ``speech_dir``, one a speaker.

    Raises:
        RuntimeError: where a synthesiser is not installed.
    """
    spoken = []
    for index, one in enumerate(SYNTHETIC):
        path = folder / f"{index}.wav"
        spoken.append(Spoken(f"{one[0]}-{one[1]}-{index}", synthesise(one, path, RATE_HZ), real=False))
    if speech_dir is not None:
        spoken += [Spoken(path.stem, _prepare(path, real=True), real=True) for path in real_clips(speech_dir)]
    return spoken


def synthesise(spoken: tuple[str, str, str], path: Path, rate_hz: int) -> Pcm16:
    """Program, voice and words as one utterance at ``rate_hz``, by way of the file ``path``.

    Raises:
        RuntimeError: where the program is not installed.
    """
    program, voice, text = spoken
    option = (
        ["-voice", voice, "-t", text, "-o", str(path)]
        if program == "flite"
        else ["-v", voice, "-s", "150", "-w", str(path), text]
    )
    try:
        subprocess.run([program, *option], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise RuntimeError(f"{program} is needed to make the speech (Debian: apt-get install {program}): {e}") from None
    return _prepare(path, rate_hz=rate_hz)


def _prepare(path: Path, *, real: bool = False, rate_hz: int = RATE_HZ) -> Pcm16:
    pcm = read_wav(path, rate_hz)
    threshold = max(SPEECH_RMS, LEARNER_END * float(window_rms(pcm, rate_hz).max(initial=0.0))) if real else SPEECH_RMS
    return normalise(trim(pcm, rate_hz, threshold_rms=threshold))


def real_clips(speech_dir: Path, count: int = REAL_CLIPS) -> list[Path]:
    """The first learner's clip of each of the first ``count`` speakers of ``manifest.jsonl``."""
    chosen: dict[str, Path] = {}
    for line in (speech_dir / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file"].startswith("learners/") and len(chosen) < count:
            chosen.setdefault(entry["speaker"], speech_dir / entry["file"])
    return list(chosen.values())


def speech_dir() -> Path | None:
    """``PARLEY_SPEECH_DIR``, else ``../shared/speech`` beside the repository; ``None`` where there is none."""
    default = Path(__file__).parents[2] / "shared" / "speech"
    folder = Path(os.environ.get("PARLEY_SPEECH_DIR", default))
    return folder if (folder / "manifest.jsonl").is_file() else None
