"""Forms of words: lemmas and inflections, from lemminflect's dictionary."""

from __future__ import annotations

from functools import lru_cache

from lemminflect import getAllLemmas, getInflection


@lru_cache(maxsize=1 << 15)
def lemmas(word: str) -> dict[str, tuple[str, ...]]:
    """Lemmas of a lower-case form by universal part of speech: "NOUN", "VERB", "ADJ", "ADV", "AUX" …"""
    return dict(getAllLemmas(word))


@lru_cache(maxsize=1 << 15)
def inflect(lemma: str, tag: str) -> str | None:
    """The usual form of ``lemma`` for a Penn tag (VBD, VBN, VBG, VBZ, NNS, JJR, JJS …), or ``None``."""
    if lemma == "be":
        return {"VB": "be", "VBP": "are", "VBZ": "is", "VBD": "was", "VBN": "been", "VBG": "being"}.get(tag)
    forms = getInflection(lemma, tag, inflect_oov=True)
    return forms[0] if forms else None


@lru_cache(maxsize=1 << 15)
def all_forms(lemma: str, tag: str) -> frozenset[str]:
    """All forms of ``lemma`` that the dictionary gives for ``tag``."""
    return frozenset(getInflection(lemma, tag, inflect_oov=False))


def verb_lemma(word: str) -> str | None:
    """The infinitive of a verb form, or ``None`` where the dictionary knows no such verb."""
    found = lemmas(word)
    for pos in ("VERB", "AUX"):
        if pos in found:
            return found[pos][0]
    return None


def noun_lemma(word: str) -> str | None:
    """The singular of a noun form, or ``None``."""
    found = lemmas(word).get("NOUN")
    return found[0] if found else None
