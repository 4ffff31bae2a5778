"""What the grammar checker makes of speech that the embedded recogniser heard.

Learners: clips of people who read correct sentences aloud, so each correction is false. Pairs: a correct sentence and its wrong
twin from the development set, spoken by flite's voices; a correction of the correct one, or one of the wrong one's that is not
among its references, is a false error. Both are heard twice: as free speech, and guided, with the sentence among expected ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from agent.analysis.grammar import apply
from agent.analysis.spoken import findings
from agent.record import Turn, Word
from bench.grammar_score import edits, tokens
from bench.hearing import hear
from bench.speech import speech_dir, synthesise
from bench.stats import wilson
from web.talk.wavs import read_wav

RATE_HZ = 16_000
DEV = Path(__file__).parent / "data" / "grammar" / "dev.jsonl"
VOICES = ("awb", "rms", "slt", "kal16")
PAIRS = 48
"""Pairs that are spoken, each by one of the voices in turn; every fourth with ``quick``."""
DISTRACTORS = 7


def measure(quick: bool) -> dict[str, Any]:
    """False corrections a 100 words of the learners, share of false errors of the pairs, and what was found of the wrong ones.

    Raises:
        RuntimeError: where the recordings or flite are missing.
    """
    clips = _clips()[:: 4 if quick else 1]
    pairs = _pairs()[:: 4 if quick else 1]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(max_workers=2) as pool:
        learners = list(pool.map(_learner, clips))
        heard = list(pool.map(_pair, [(i, *pair, folder) for i, pair in enumerate(pairs)]))
    words = sum(one["words"] for one in learners)
    n = len(heard)
    out: dict[str, Any] = {"clips": len(clips), "words": words, "pairs": n}
    for how in ("free", "guided"):
        false = sum(one[how]["false"] for one in learners)
        judged = sum(one[how]["judged"] for one in learners)
        out[how] = {
            "false_per_100_words": round(100 * false / words, 2) if words else None,
            "words_judged_share": round(judged / words, 3) if words else None,
            "pairs_false_share": round(sum(one[how]["false"] for one in heard) / (2 * n), 3),
            "pairs_false_ci95": wilson(sum(one[how]["false"] for one in heard), 2 * n),
            "pairs_found_share": round(sum(one[how]["found"] for one in heard) / n, 3),
        }
    # The worse of the two ways is what counts.
    out["false_per_100_words"] = max(out[how]["false_per_100_words"] for how in ("free", "guided"))
    out["pairs_false_share"] = max(out[how]["pairs_false_share"] for how in ("free", "guided"))
    return out


def _learner(clip: tuple[str, str, list[str]]) -> dict[str, Any]:
    path, text, others = clip
    pcm = read_wav(Path(path), RATE_HZ).tobytes()
    out: dict[str, Any] = {"words": len(tokens(text))}
    for how, expected in (("free", []), ("guided", [text, *others])):
        turn = _turn(hear(pcm, expected))
        found = findings(turn)
        out[how] = {"false": len(found), "judged": sum((w.confidence or 0) >= 0.7 for w in turn.words)}
    return out


def _pair(pair: tuple[int, str, list[str], str]) -> dict[str, Any]:
    index, wrong, references, folder = pair
    right = references[0]
    voice = VOICES[index % len(VOICES)]
    out: dict[str, Any] = {"free": {"false": 0, "found": 0}, "guided": {"false": 0, "found": 0}}
    for which, text in (("right", right), ("wrong", wrong)):
        pcm = synthesise(("flite", voice, text), Path(folder) / f"{index}-{which}.wav", RATE_HZ).tobytes()
        for how, expected in (("free", []), ("guided", [_plain(right), _plain(wrong)])):
            turn = _turn(hear(pcm, expected))
            found = findings(turn)
            heard = " ".join(word.text for word in turn.words)
            mended = apply(heard, found)
            wanted = [edits(wrong, reference) for reference in references]
            good = which == "wrong" and any(edits(heard, mended) == one for one in wanted)
            out[how]["found"] += good
            out[how]["false"] += bool(found) and not good
    return out


def _turn(words: Sequence[Word]) -> Turn:
    return Turn(0, "learner", " ".join(word.text for word in words), 0.0, 1.0, list(words))


def _plain(text: str) -> str:
    return " ".join(tokens(text))


def _clips() -> list[tuple[str, str, list[str]]]:
    """The learners' clips: path, what was read, and seven other sentences that might have been expected."""
    folder = speech_dir()
    if folder is None:
        raise RuntimeError("the learners' recordings are needed (PARLEY_SPEECH_DIR)")
    entries = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    learners = [entry for entry in entries if entry["file"].startswith("learners/")]
    texts = [entry["text"] for entry in learners]
    return [
        (
            str(folder / entry["file"]),
            entry["text"],
            [t for t in (*texts[i + 1 :], *texts[:i]) if t != entry["text"]][:DISTRACTORS],
        )
        for i, entry in enumerate(learners)
    ]


def _pairs() -> list[tuple[str, list[str]]]:
    """Pairs of the development set, spread over its types of mistakes."""
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    step = max(1, len(rows) // PAIRS)
    return [(row["text"], row["corrections"]) for row in rows[::step]][:PAIRS]
