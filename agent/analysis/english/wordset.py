"""Sets of words, written as one reads them."""

from __future__ import annotations


def wordset(text: str) -> frozenset[str]:
    """The words of ``text``, which are parted by blanks."""
    return frozenset(text.split())
