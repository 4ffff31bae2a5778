"""Whole sentences with the times of their words: what the learner says where a recogniser that knows them is asked.

Word times come from a forced alignment, as in ``bench/turn_trials.py``. A sentence ends with its last word: what a recording
holds after it (a breath, a room) is cut off, so that the last voiced sample is the last word's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from pocketsphinx import Decoder

from agent.record import Word
from bench.speech import RATE_HZ, SYNTHETIC, Spoken
from bench.turn_trials import RATE_HZ as ALIGN_RATE_HZ
from bench.turn_trials import align, room_tone
from web.talk.listening import Pcm16, normalise
from web.talk.wavs import read_wav

PAD_S = 0.3
"""Silence that the aligner is given on either side of a clip."""
LEAD_IN_S = 0.05
FADE_S = 0.015
PUNCTUATION = ".,?!;:"

READ = (
    ("read/sense_and_sensibility_01_austen_64kb-0870.wav", 0, None),
    ("read/sense_and_sensibility_01_austen_64kb-0880.wav", 0, None),
    ("read/jfk.wav", 5, 14),
    ("read/jfk.wav", 14, None),
)
"""Sentences that are read aloud, beside the learners': file, and which of its words (from, to)."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """``pcm``: int16 of shape ``(samples,)`` at ``bench.speech.RATE_HZ``, from the first word to the end of the last.

    The times of ``words`` are seconds from its first sample.
    """

    name: str
    speaker: str
    pcm: Pcm16
    words: tuple[Word, ...]

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / RATE_HZ


def held_out(speech_dir: Path) -> list[Sentence]:
    """Sentences of speakers on whom no part of the turn detector was fitted, one speaker after the other in turn.

    They are the learners of ``scored/`` who have no clip in ``learners/``, and some of ``read/``. A clip whose words the
    aligner cannot fit in is left out.

    Raises:
        RuntimeError: where the recordings are missing.
    """
    scores = speech_dir / "scored" / "scores.jsonl"
    if not scores.is_file():
        raise RuntimeError("the held-out speakers' recordings are needed (PARLEY_SPEECH_DIR with scored/)")
    rows = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    manifest = [json.loads(line) for line in (speech_dir / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    fitted = {entry["speaker"] for entry in manifest if entry["file"].startswith("learners/")}
    texts = {entry["file"]: (entry["speaker"], entry["text"]) for entry in manifest}
    found: list[Sentence] = []
    for row in rows:
        if row["speaker"] not in fitted:
            found += _whole(scores.parent / f"{row['utt']}.wav", row["speaker"], row["text"].lower().split())
    for file, start, stop in READ:
        speaker, text = texts[file]
        found += _whole(speech_dir / file, speaker, text.split(), start, stop)
    return in_turn(found)


def in_turn(sentences: Sequence[Sentence]) -> list[Sentence]:
    """The same, each speaker's first, then each speaker's second, and so on: a part of them has as many voices as it can."""
    place: dict[str, int] = {}
    keyed = []
    for index, sentence in enumerate(sentences):
        turn = place[sentence.speaker] = place.get(sentence.speaker, -1) + 1
        keyed.append((turn, index, sentence))
    return [sentence for _, _, sentence in sorted(keyed, key=lambda k: k[:2])]


def synthetic(spoken: Sequence[Spoken]) -> list[Sentence]:
    """The synthetic utterances of ``bench/speech.py`` (in its order) with their words.

    Raises:
        RuntimeError: where the words of one cannot be found in it.
    """
    found = []
    for one, (program, voice, text) in zip(spoken, SYNTHETIC, strict=True):
        words = _aligned(one.pcm, [word.strip(PUNCTUATION).lower() for word in text.split()])
        if words is None:
            raise RuntimeError(f"the words of {one.name} cannot be found in it")
        found.append(Sentence(one.name, f"{program}-{voice}", one.pcm, _within(words, len(one.pcm) / RATE_HZ)))
    return found


def _whole(path: Path, speaker: str, words: Sequence[str], start: int = 0, stop: int | None = None) -> list[Sentence]:
    pcm = normalise(read_wav(path, RATE_HZ))
    aligned = _aligned(pcm, words)
    if aligned is None:
        return []
    chosen = aligned[start:stop]
    begin_s = max(0.0, chosen[0].start_s - LEAD_IN_S)
    piece = pcm[round(begin_s * RATE_HZ) : round(chosen[-1].end_s * RATE_HZ)].astype(np.float64)
    fade = min(len(piece) // 2, round(FADE_S * RATE_HZ))
    piece[len(piece) - fade :] *= np.linspace(1.0, 0.0, fade)
    moved = [Word(w.text, w.start_s - begin_s, w.end_s - begin_s) for w in chosen]
    name = path.stem if not start else f"{path.stem}-{start}"
    return [Sentence(name, speaker, piece.astype(np.int16), _within(moved, len(piece) / RATE_HZ))]


def _aligned(pcm: Pcm16, words: Sequence[str]) -> list[Word] | None:
    low = soxr.resample(pcm.astype(np.float64), RATE_HZ, ALIGN_RATE_HZ)
    pad = np.zeros(round(PAD_S * ALIGN_RATE_HZ))
    whole = np.concatenate([pad, low, pad])
    whole += room_tone(len(whole), seed=1)
    # A fresh one: what a decoder heard before changes its means, and with them the fit.
    decoder = Decoder(loglevel="FATAL", lm=None)
    found = align(decoder, np.clip(whole, -32_768, 32_767).astype(np.int16), words)
    return None if found is None else [Word(w.text, w.start_s - PAD_S, w.end_s - PAD_S) for w in found]


def _within(words: Sequence[Word], duration_s: float) -> tuple[Word, ...]:
    """``words`` with times that lie in the clip: the aligner may put the edge of a word some 10 ms outside."""

    def inside(time_s: float) -> float:
        return round(min(max(time_s, 0.0), duration_s), 3)

    return tuple(Word(w.text, inside(w.start_s), inside(w.end_s)) for w in words)
