"""The grammar checker on the held-out third of its test set, beside Harper alone; with ``--spoken`` also on what was heard.

Figures are sums over sentences; nothing of the sentences is printed, so that they stay unknown to whoever tunes the checker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.grammar_score import Score, on_correct, score, total
from bench.m2 import BadM2, read_m2

SET = Path(__file__).parent / "data" / "grammar" / "heldout.jsonl"
RESAMPLES = 2_000
LEAST = {"precision": 0.85, "recall": 0.55}
MOST = {"false_per_100_words": 2.0, "pairs_false_share": 0.05}

Correct = Callable[[str], str]


async def run(quick: bool, server_cores: list[int], spoken: bool = False, other_set: Path | None = None) -> dict[str, Any]:
    """Figures, peer, ratios and checks. In look-alikes and in the corrected sentences, every edit is wrong.

    ``other_set`` is a file of other sentences: M2 (``*.m2``), or JSON lines with ``text`` and ``corrections``. Nothing is
    checked of it, and without look-alikes only its own sentences count.

    Raises:
        RuntimeError: for ``spoken`` where the learners' recordings or flite are missing.
    """
    from agent.analysis import grammar

    rows = _rows(other_set or SET)
    grammar.warm()
    began = time.perf_counter()
    # Another set may be of typed text.
    ours = _scores(rows, lambda text: grammar.apply(text, grammar.check(text, spelling=other_set is not None)))
    took_s = time.perf_counter() - began
    peer = _scores(rows, _harper())
    figures = _figures(ours) | {
        "sentences": len(rows),
        "ms_per_sentence": round(1000 * took_s / max(1, sum(len(_correct_ones(row)) + 1 for row in rows)), 2),
    }
    theirs = _figures(peer)
    if all("category" in row for row in rows):
        figures["recall_by_category"] = _by_category(rows, ours)
    checks: dict[str, Any] = (
        {}
        if other_set
        else {
            name: {"value": figures[name], "limit": f"at least {least}", "ok": figures[name] >= least}
            for name, least in LEAST.items()
        }
    )
    result: dict[str, Any] = {
        "figures": figures,
        "peer": {"name": "harper", **theirs},
        "ratios": {
            name: round(figures[name] / theirs[name], 3) if theirs[name] else None for name in ("precision", "recall", "f05")
        },
        "checks": checks,
    }
    if spoken:
        from bench.grammar_spoken import measure

        figures["spoken"] = measure(quick)
        checks |= {
            name: {"value": figures["spoken"][name], "limit": f"at most {most}", "ok": figures["spoken"][name] <= most}
            for name, most in MOST.items()
        }
    return result


def _scores(rows: list[dict[str, Any]], correct: Correct) -> list[Score]:
    """One score a row: the wrong sentence, its look-alike, and its own first correction, together."""
    out = []
    for row in rows:
        wrong = score(row["text"], correct(row["text"]), row["corrections"])
        right = [on_correct(text, correct(text)) for text in _correct_ones(row)]
        out.append(total([wrong, *right]))
    return out


def _rows(path: Path) -> list[dict[str, Any]]:
    """
    Raises:
        RuntimeError: where the file cannot be used; the text names the line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        rows = list(read_m2(text)) if path.suffix == ".m2" else [json.loads(line) for line in text.splitlines() if line.strip()]
        for number, row in enumerate(rows, 1):
            if not isinstance(row["text"], str) or not row["corrections"]:
                raise BadM2(f"entry {number}: needs a text and corrections")
    except (BadM2, json.JSONDecodeError, KeyError, TypeError) as e:
        raise RuntimeError(f"{path}: {e!r}" if isinstance(e, KeyError) else f"{path}: {e}") from None
    if not rows:
        raise RuntimeError(f"{path}: holds no sentence")
    return rows


def _correct_ones(row: dict[str, Any]) -> list[str]:
    return [row["lookalike"], row["corrections"][0]] if "lookalike" in row else []


def _figures(scores: list[Score]) -> dict[str, Any]:
    whole = total(scores)
    rng = np.random.default_rng(0)
    draws = [total(scores[i] for i in rng.integers(len(scores), size=len(scores))) for _ in range(RESAMPLES)]
    out: dict[str, Any] = {}
    for name in ("precision", "recall", "f05"):
        values = [getattr(draw, name) for draw in draws]
        out[name] = round(getattr(whole, name), 3)
        out[f"{name}_ci95"] = [round(float(v), 3) for v in np.percentile(values, [2.5, 97.5])]
    return out | {"right": whole.right, "wrong": whole.wrong, "missing": whole.missing}


def _by_category(rows: list[dict[str, Any]], scores: list[Score]) -> dict[str, str]:
    """Found and all mistakes of each category of NUCLE."""
    categories = sorted({row["category"] for row in rows})
    sums = {c: total(s for row, s in zip(rows, scores, strict=True) if row["category"] == c) for c in categories}
    return {c: f"{one.right} of {one.right + one.missing}" for c, one in sums.items()}


def _harper() -> Correct:
    """Harper as it comes, each finding's first suggestion taken, without what cannot be heard."""
    import harper

    linter = harper.Linter(harper.Dialect.AMERICAN)
    unheard = {"Spelling", "Capitalization", "Punctuation", "Formatting", "Style", "Typo", "Readability", "Regionalism"}

    def correct(text: str) -> str:
        lints = [lint for lint in linter.lint(text) if str(lint.lint_kind) not in unheard and lint.suggestions]
        for lint in sorted(lints, key=lambda one: one.span.start, reverse=True):
            text = str(linter.apply_suggestion(text, lint, lint.suggestions[0]))
        return text

    return correct
