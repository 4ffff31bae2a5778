"""Pauses put into the sentences of real learners, and their true ends: what a detector of turn ends is tried on.

Each trial is one clip with one gap: room tone of 0.4, 0.8 or 1.2 s at a word end, two words or more from either end of the
sentence. Word times come from a forced alignment. The same room tone lies under the whole clip, in the gap and after the true
end; cuts fade over 15 ms. So a pause and an end differ in what was said and how, and in nothing else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from agent.record import Word
from pipeline.stt.pronounce import pronounce
from web.talk.wavs import read_wav

Pcm16 = NDArray[np.int16]

RATE_HZ = 16_000
GAPS_S = (0.4, 0.8, 1.2)
LEAD_S, TAIL_S = 0.5, 2.8
FADE_S = 0.015
TONE_RMS = 20.0
"""Room tone: -64 dBFS, as of a quiet room with a common headset."""
EDGE_WORDS = 2
PLACES = 2
"""Places of the gap in each clip, drawn by lot where there are more."""


@dataclass(frozen=True, slots=True)
class Trial:
    """``pcm`` of shape ``(samples,)`` at 16 kHz. The gap lies from ``gap_at_s`` to ``resumes_s``, the true end is at ``end_s``.

    ``words`` are all words with their times in this audio, ``before`` of them before the gap.
    """

    clip: str
    speaker: str
    pcm: Pcm16
    words: tuple[Word, ...]
    before: int
    gap_s: float
    gap_at_s: float
    resumes_s: float
    end_s: float


def build(
    speech_dir: Path, *, places: int = PLACES, seed: int = 7, gaps_s: Sequence[float] = GAPS_S
) -> tuple[list[Trial], int]:
    """The trials of all learners' clips that could be aligned, and how many could not."""
    trials: list[Trial] = []
    left_out = 0
    rng = random.Random(seed)
    decoder = Decoder(loglevel="FATAL", lm=None)
    for entry in _learners(speech_dir):
        pcm = read_wav(speech_dir / entry["file"], RATE_HZ)
        words = align(decoder, pcm, entry["text"].split())
        if words is None:
            left_out += 1
            continue
        possible = range(EDGE_WORDS, len(words) - EDGE_WORDS + 1)
        for before in sorted(rng.sample(possible, min(places, len(possible)))):
            tone_seed = rng.randrange(1 << 30)
            trials += [_trial(entry, pcm, words, before, gap_s, tone_seed) for gap_s in gaps_s]
    return trials, left_out


def align(decoder: Decoder, pcm: Pcm16, words: Sequence[str]) -> list[Word] | None:
    """Where ``words`` lie in ``pcm``, or ``None`` where the recogniser's model cannot fit them in."""
    for word in set(words):
        if decoder.lookup_word(word) is None:
            decoder.add_word(word, pronounce(word, decoder.lookup_word), True)
    decoder.reinit_feat()
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    found = [s for s in decoder.seg() or [] if s.word[0] not in "<["]
    if [s.word.split("(")[0] for s in found] != list(words):
        return None
    return [Word(word, s.start_frame / 100, (s.end_frame + 1) / 100) for word, s in zip(words, found, strict=True)]


def _learners(speech_dir: Path) -> Iterator[dict[str, str]]:
    for line in (speech_dir / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["file"].startswith("learners/"):
            yield entry


def _trial(entry: dict[str, str], pcm: Pcm16, words: Sequence[Word], before: int, gap_s: float, tone_seed: int) -> Trial:
    begin_s = max(0.0, words[0].start_s - 0.1)
    cut_s, end_s = words[before - 1].end_s, words[-1].end_s
    first, second = _piece(pcm, begin_s, cut_s), _piece(pcm, cut_s, end_s)
    gap_at_s = LEAD_S + len(first) / RATE_HZ
    resumes_s = gap_at_s + gap_s
    silence = [np.zeros(round(s * RATE_HZ)) for s in (LEAD_S, gap_s, TAIL_S)]
    speech = np.concatenate([silence[0], first, silence[1], second, silence[2]])
    whole = np.clip(speech + room_tone(len(speech), tone_seed), -32_768, 32_767).astype(np.int16)
    shift_s = LEAD_S - begin_s
    moved = [
        Word(w.text, w.start_s + shift_s + gap_s * (i >= before), w.end_s + shift_s + gap_s * (i >= before))
        for i, w in enumerate(words)
    ]
    true_end_s = resumes_s + len(second) / RATE_HZ
    return Trial(entry["file"], entry["speaker"], whole, tuple(moved), before, gap_s, gap_at_s, resumes_s, true_end_s)


def _piece(pcm: Pcm16, start_s: float, end_s: float) -> NDArray[np.float64]:
    piece = pcm[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)].astype(np.float64)
    fade = min(round(FADE_S * RATE_HZ), len(piece) // 2)
    piece[:fade] *= np.linspace(0.0, 1.0, fade)
    piece[-fade:] *= np.linspace(1.0, 0.0, fade)
    return piece


def room_tone(samples: int, seed: int, rms: float = TONE_RMS) -> NDArray[np.float64]:
    """Noise with the high frequencies damped, of ``rms``; a longer one with the same ``seed`` begins in the same way."""
    white = np.random.default_rng(seed).standard_normal(samples + 8)
    # The mean of eight independent values spreads by 1 / sqrt(8).
    return np.asarray(np.convolve(white, np.ones(8) / 8, "valid")[:samples] * 8**0.5 * rms)
