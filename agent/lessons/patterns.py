"""The little language in which lessons write replies, and what is made of it: a matcher, and the sentences it stands for.

=================  =============================================================
``word``           that word; contractions match in both forms
``{place}``        a value of the slot ``place``
``{a job}``        the same with its article: "a teacher", "an engineer"
``{known job}``    only a listed value, even where the slot takes other words too
``{written job}``  a listed value, or other words if they were written with a capital
``(big|tall)``     one of these
``[really]``       this or nothing
``*``              up to four words of any kind (in matching; nothing in expansion)
``!(ago|of)``      none of these may come next
``^ word``         only where the learner's turn begins, but for "well", "yes" and the like
``word $``         only where it ends, but for "please" and "thanks"
=================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product

from agent.lessons.heard import Heard, normal

# A free slot ends at these: they begin a new part of the sentence, or cannot be a name, a place or a thing.
_STOP_WORDS = """
    a an the and but or because so i you he she it we they is am are was were be do does did not no yes to of in on at
    for with  my your his her its our their this that what where when who how why please sorry okay hello hi from live
    lives work works  name very have has fine good well great tired happy ready here learning living working going
    trying just also still so new busy  coming called there too
"""
_LEAD = "(?:(?:well|oh|so|yes|yeah|okay|hi|hello|hey|and|please|the|excuse me) )*"
_TAIL = "(?:(?:please|too|thanks) )?"
_AN_BEFORE = re.compile(r"(?i)(?!uni|use|one|once|eu)(?:[aeiou]|hour|honest|heir)")
_PARTS = re.compile(r"\s*(?:(?P<slot>\{(?:a |known |written )?[a-z_]+\})|(?P<mark>!\(|[()\[\]|*])|(?P<word>[^\s()\[\]{}|*]+))")

Node = tuple[str, "str | tuple[Sequence_, ...]"]
Sequence_ = tuple[Node, ...]


class PatternError(ValueError):
    """A pattern that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class SlotValues:
    """What may stand in a slot: ``values`` as they are written back, and up to ``free_words`` words of any other kind."""

    values: tuple[str, ...]
    free_words: int = 0
    proper: bool = False

    def display(self, spoken: str) -> str:
        """A captured value as it is written: ``spoken`` is in normal form."""
        for value in self.values:
            if _normal_value(value) == spoken:
                return value
        return spoken.title() if self.proper else spoken


@lru_cache(maxsize=4096)
def _normal_value(value: str) -> str:
    """A slot's value in normal form; a turn asks for that of the same ones hundreds of times."""
    return normal(value)


def with_article(noun: str) -> str:
    """``noun`` with "a" or "an"."""
    return f"{'an' if _AN_BEFORE.match(noun) else 'a'} {noun}"


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern matched in ``Heard.line``, and the slots' values in normal form."""

    start: int
    end: int
    slots: Mapping[str, str]


class Pattern:
    """One pattern of a lesson, compiled.

    Raises:
        PatternError: for an unknown slot, a slot twice, brackets that do not close, "^" or "$" out of place, or nothing to say.
    """

    def __init__(self, source: str, slots: Mapping[str, SlotValues], *, whole: bool = False, anywhere: bool = False) -> None:
        self.source = source
        self._slots = slots
        text = source.strip()
        inner = text.removeprefix("^").removesuffix("$")
        if "^" in inner or "$" in inner:
            raise PatternError(f"{source!r}: '^' stands first and '$' stands last")
        self._nodes = _parse(inner)
        self.slot_names = [name for _, name in _slots(self._nodes)]
        self._written = {name for prefix, name in _slots(self._nodes) if prefix == "written"}
        for name in self.slot_names:
            if name not in slots:
                allowed = ", ".join(sorted(slots)) or "none"
                raise PatternError(f"{source!r}: unknown slot {name!r}, allowed: {allowed}")
        if len(set(self.slot_names)) != len(self.slot_names):
            raise PatternError(f"{source!r}: a slot may stand only once")
        # A slot alone would match any sentence that mentions it, so it must be the whole answer.
        self.bare = all(kind == "slot" for kind, _ in self._nodes)
        whole = whole or (self.bare and not anywhere)
        begin = f"^{_LEAD}" if whole or text.startswith("^") else "(?:^|(?<= ))"
        end = rf"{_TAIL}\Z" if whole or text.endswith("$") else ""
        self._compiled = re.compile(f"{begin}(?P<_body>{self._regex(self._nodes)}){end}")

    def match(self, heard: Heard) -> Match | None:
        """Find the pattern in what was said; a whole pattern must be all of it, but for "well" and "please"."""
        found = self._compiled.search(heard.line)
        if found is None:
            return None
        start, end = found.span("_body")
        if start == end:
            return None
        values = {name: found.group(name).strip() for name in self.slot_names if found.group(name)}
        if not all(self._is_written(name, values[name], heard) for name in self._written if name in values):
            return None
        return Match(start, end, values)

    def _is_written(self, name: str, value: str, heard: Heard) -> bool:
        return any(normal(known) == value for known in self._slots[name].values) or set(value.split()) <= heard.capitals

    def expand(self, limit: int) -> list[str]:
        """At most ``limit`` sentences that the pattern stands for, lower case, in the order of the slots' values."""
        return list(islice(dict.fromkeys(text for text in self._sentences(self._nodes) if text), limit))

    def _regex(self, nodes: Sequence_) -> str:
        out = []
        for kind, value in nodes:
            if kind == "any":
                out.append("(?:[^ ]+ ){0,4}?")
            elif kind == "word":
                out.append("".join(re.escape(word) + " " for word in normal(str(value)).split()))
            elif kind == "slot":
                prefix, _, name = str(value).rpartition(" ")
                out.append(("(?:an? )" if prefix == "a" else "") + f"(?P<{name}>{self._slot_regex(name, prefix == 'known')})")
            else:
                assert not isinstance(value, str)
                options = "|".join(self._regex(v) for v in value)
                out.append(f"(?!{options})" if kind == "not" else f"(?:{options})" + ("?" if kind == "optional" else ""))
        return "".join(out)

    def _slot_regex(self, name: str, known_only: bool) -> str:
        slot = self._slots[name]
        known = sorted((normal(v) + " " for v in slot.values), key=len, reverse=True)
        parts = [re.escape(v) for v in known]
        # Any two words as a whole answer would be taken for a job or a hobby; a name may well be unknown.
        if slot.free_words and not known_only and (slot.proper or not self.bare):
            parts.append(f"(?:(?!(?:{'|'.join(_STOP_WORDS.split())}) )[^ ]+ ){{1,{slot.free_words}}}")
        return "|".join(parts)

    def _sentences(self, nodes: Sequence_) -> Iterator[str]:
        choices = [self._choices(kind, value) for kind, value in nodes]
        for parts in product(*choices):
            yield " ".join(part for part in parts if part)

    def _choices(self, kind: str, value: str | tuple[Sequence_, ...]) -> Sequence[str]:
        if kind in ("any", "not"):
            return [""]
        if kind == "word":
            return [str(value).lower()]
        if kind == "slot":
            prefix, _, name = str(value).rpartition(" ")
            values = [v.lower() for v in self._slots[name].values]
            return [with_article(v) for v in values] if prefix == "a" else values
        assert not isinstance(value, str)
        inner = [text for option in value for text in self._sentences(option)]
        return ["", *inner] if kind == "optional" else inner


def expand_all(patterns: Sequence[Pattern], limit: int) -> list[str]:
    """At most ``limit`` sentences of ``patterns``, one of each pattern in turn, so that none is crowded out."""
    lists = [p.expand(limit) for p in patterns]
    longest = max((len(one) for one in lists), default=0)
    mixed = (one[i] for i in range(longest) for one in lists if i < len(one))
    return list(islice(dict.fromkeys(mixed), limit))


def _slots(nodes: Sequence_) -> Iterator[tuple[str, str]]:
    """Prefix and name of each slot."""
    for kind, value in nodes:
        if kind == "slot":
            prefix, _, name = str(value).rpartition(" ")
            yield prefix, name
        elif not isinstance(value, str):
            for option in value:
                yield from _slots(option)


def _parse(source: str) -> Sequence_:
    """Read ``source`` by recursive descent; alternatives are a tuple of sequences."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(source.rstrip()):
        found = _PARTS.match(source, at)
        if found is None:
            raise PatternError(
                f"{source!r}: cannot read {source[at : at + 12]!r}; "
                "slots are {name}, {a name}, {known name} and {written name}"
            )
        tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
        at = found.end()

    def options(i: int, close: str) -> tuple[tuple[Sequence_, ...], int]:
        done: list[Sequence_] = []
        nodes: list[Node] = []
        while i < len(tokens):
            kind, text = tokens[i]
            i += 1
            if kind == "mark" and text in ("(", "["):
                inner, i = options(i, ")" if text == "(" else "]")
                nodes.append(("choice" if text == "(" else "optional", inner))
            elif kind == "mark" and text == "*":
                nodes.append(("any", ""))
            elif text == "!(":
                inner, i = options(i, ")")
                if next(_slots((("not", inner),)), None):
                    raise PatternError(f"{source!r}: no slot may stand in !(…)")
                nodes.append(("not", inner))
            elif kind == "mark" and text == "|" and close:
                done.append(tuple(nodes))
                nodes = []
            elif kind == "mark" and text == close:
                return (*done, tuple(nodes)), i
            elif kind == "mark":
                raise PatternError(f"{source!r}: {text!r} out of place")
            else:
                nodes.append((kind, text[1:-1] if kind == "slot" else text))
        if close:
            raise PatternError(f"{source!r}: {close!r} is missing")
        return (tuple(nodes),), i

    (nodes,), _ = options(0, "")
    if all(kind == "not" for kind, _ in nodes):
        raise PatternError("a pattern must say something")
    return nodes
