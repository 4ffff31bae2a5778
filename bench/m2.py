"""Sentences and their corrections from a file in the M2 format of the CoNLL shared tasks (and of ERRANT). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

UNHEARD = ("SPELL", "PUNCT", "ORTH", "Mec", "noop")
"""Types of edits that cannot be heard; they are not asked for."""


class BadM2(ValueError):
    """The text is no M2; the message names the line."""


def read_m2(text: str) -> Iterator[dict[str, Any]]:
    """``{"text", "corrections"}`` a sentence, one correction an annotator; edits of ``UNHEARD`` types are left out.

    Raises:
        BadM2: for the first line that cannot be read.
    """
    words: list[str] | None = None
    edits: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("S"):
            words = line[2:].split()
        elif line.startswith("A ") and words is not None:
            parts = line[2:].split("|||")
            try:
                start, end = (int(x) for x in parts[0].split())
                kind, replacement, annotator = parts[1], parts[2], parts[5]
            except (ValueError, IndexError):
                raise BadM2(f"line {number}: no edit: {line[:60]!r}") from None
            edits[annotator]  # an annotator who changes nothing is one too
            if start >= 0 and not any(name in kind for name in UNHEARD):
                edits[annotator].append((start, end, "" if replacement == "-NONE-" else replacement))
        elif not line.strip() and words is not None:
            every = [_applied(words, found) for found in edits.values()] or [" ".join(words)]
            yield {"text": _plain(" ".join(words)), "corrections": [_plain(one) for one in every]}
            words = None
            edits.clear()
        elif line.strip():
            raise BadM2(f"line {number}: neither a sentence nor an edit: {line[:60]!r}")


def _applied(words: list[str], edits: list[tuple[int, int, str]]) -> str:
    out = list(words)
    for start, end, replacement in sorted(edits, reverse=True):
        out[start:end] = replacement.split()
    return " ".join(out)


def _plain(text: str) -> str:
    """Without the blanks that the format has before marks and parts of contractions."""
    for part in ("n't", "'s", "'m", "'re", "'ve", "'ll", "'d"):
        text = text.replace(f" {part} ", f"{part} ")
    for mark in ".,!?;:":
        text = text.replace(f" {mark}", mark)
    return text
