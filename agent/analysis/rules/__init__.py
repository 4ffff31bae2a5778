"""Rules that propose corrections, one file a part of grammar. A rule yields candidates for a sentence; it decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.analysis.rules import (
    adjectives,
    agreement,
    articles,
    determiners,
    inverted,
    missing_verbs,
    nouns,
    order,
    phrases,
    prepositions,
    pronouns,
    tense,
    verb_forms,
    word_class,
)
from agent.analysis.rules.sentence import Candidate, Sentence

Rule = Callable[[Sentence], Iterator[Candidate]]

RULES: tuple[Rule, ...] = (
    *phrases.RULES,
    *order.RULES,
    *tense.RULES,
    *verb_forms.RULES,
    *missing_verbs.RULES,
    *inverted.RULES,
    *agreement.RULES,
    *articles.RULES,
    *word_class.RULES,
    *nouns.RULES,
    *determiners.RULES,
    *prepositions.RULES,
    *adjectives.RULES,
    *pronouns.RULES,
)
"""In the order in which they win where two of equal standing change the same words."""
