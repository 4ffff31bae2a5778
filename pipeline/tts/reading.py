"""How one written word is read aloud: numbers, money, times, addresses, signs. Pure.

A word comes without white space, markup and the marks around it (those are ``pipeline.tts.normalise``'s affair). What needs no
other reading than its spelling comes back as it is.
"""

from __future__ import annotations

import re
import unicodedata

from pipeline.tts import numbers
from pipeline.tts.short_forms import BARE, CURRENCIES, MONTHS, SCALES, SYMBOLS, TOP_LEVEL, UNITS

_N = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_SIGN = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_SCALE = "|".join(sorted(SCALES, key=len, reverse=True))
_NUMBER = re.compile(rf"(?:{_N})")
_MONEY = re.compile(rf"({_SIGN})({_N})({_SCALE})?|({_N})({_SIGN})")
_WITH_UNIT = re.compile(rf"({_N})([^0-9.,]+)")
_ORDINAL = re.compile(r"([0-9][0-9,]*)(?:st|nd|rd|th)", re.I)
_DECADE = re.compile(r"['’]?((?:[0-9]{2})?[0-9]0)['’]?s")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4])[:]([0-5][0-9])(?:\s*([ap])\.?m\.?)?", re.I)
_HALF_DAY = re.compile(r"([0-9]{1,2})([ap])\.?m\.?", re.I)
_RATIO = re.compile(r"([0-9]+)(?::([0-9]+))+")
_FRACTION = re.compile(r"([0-9]{1,4})[/⁄]([0-9]{1,4})")
_DATE = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_SLASHED = re.compile(r"[0-9]+(?:/[0-9]+){2,}")
_DOTTED = re.compile(r"v?[0-9]+(?:\.[0-9]+){2,}", re.I)
_CODE = re.compile(r"\+?[0-9]+(?:[-–][0-9]+)+")
_SUM = re.compile(r"[-−]?[0-9.,]+(?:[-−+*×x÷/=][-−]?[0-9.,]+)+=?")
_OPERATOR = re.compile(r"([-−+*×x÷/=])")
_OPERATORS = {"-": "minus", "−": "minus", "*": "times", "x": "times", "/": "divided by"}
_VULGAR = re.compile(rf"([0-9]*)([{''.join(numbers.VULGAR)}])")
_POWER = re.compile(r"(.*[^²³¹⁰⁴-⁹])([²³¹⁰⁴-⁹]+)", re.S)
_EMAIL = re.compile(r"(?:mailto:)?([\w.+-]+)@((?:[\w-]+\.)+[a-z]{2,})", re.I)
_URL = re.compile(r"(?:https?|ftp)://(\S+)|(www\.\S+)", re.I)
_HOST = re.compile(r"(?:[a-z0-9-]+\.)+([a-z]{2,6})(/\S*)?", re.I)
_MOST_PATH_WORDS = 8
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def read(word: str) -> list[str]:
    """The words to say for ``word``: ``[word]`` where it is read as it is spelled, none where it is silent."""
    if not any(c.isalnum() for c in word):
        return _signs(word)
    if word in BARE:
        return BARE[word].split()
    address = _address(word)
    if address is not None:
        return address
    if not any(c.isnumeric() for c in word):
        return _letters(word)
    return _numeric(word)


def number_of(word: str) -> str | None:
    """The number in a word that is one and no more ("1,000", "2.5"), else ``None``."""
    return word if _NUMBER.fullmatch(word) else None


def money(word: str, scale: str = "") -> list[str] | None:
    """``word`` as an amount of money, ``scale`` ("million") being the next word; ``None`` where it is none."""
    match = _MONEY.fullmatch(word)
    if match is None:
        return None
    sign = match[1] or match[5]
    scale = scale or SCALES.get(match[3] or "", "")
    return numbers.money(match[2] or match[4], CURRENCIES[sign], scale).split()


def unit(word: str, *, one: bool) -> list[str] | None:
    """What ``word`` means behind a number, where it is a unit; ``one`` behind a 1."""
    names = UNITS.get(word)
    return None if names is None else names[0 if one else 1].split()


def on_the_hour(word: str) -> bool:
    """Whether ``word`` is a time such as "10:00", whose reading depends on an "a.m." behind it."""
    match = _CLOCK.fullmatch(word)
    return match is not None and match[2] == "00" and match[3] is None


def clock(word: str, *, half: bool) -> list[str] | None:
    """``word`` as a time of day, ``half`` where "a.m." or "p.m." is the next word; ``None`` where it is none."""
    match = _CLOCK.fullmatch(word)
    if match is None:
        return None
    suffix = [f"{match[3].lower()}.m."] if match[3] else []
    return [*numbers.clock(int(match[1]), int(match[2]), half=half or bool(suffix)).split(), *suffix]


def _numeric(word: str) -> list[str]:
    for reading in (_simple, _dates, _compound, _joined):
        said = reading(word)
        if said is not None:
            return said
    first, rest = word[0], word[1:]
    if first in SYMBOLS or first in "-+":
        return [*("minus" if first == "-" else SYMBOLS[first]).split(), *read(rest)]
    if word[-1] in "+=%°":
        return [*read(word[:-1]), *SYMBOLS[word[-1]].split()]
    return _mixed(word)


def _simple(word: str) -> list[str] | None:
    if _NUMBER.fullmatch(word):
        return numbers.plain(word).split()
    if match := _ORDINAL.fullmatch(word):
        return numbers.ordinal(match[1]).split()
    if match := _DECADE.fullmatch(word):
        return numbers.decade(match[1]).split()
    if said := money(word) or clock(word, half=False):
        return said
    if match := _HALF_DAY.fullmatch(word):
        return [*numbers.cardinal(match[1]).split(), f"{match[2].lower()}.m."]
    if (match := _WITH_UNIT.fullmatch(word)) and (said := unit(match[2], one=numbers.is_one(match[1]))):
        return [*numbers.number(match[1]).split(), *said]
    return None


def _dates(word: str) -> list[str] | None:
    if match := _DATE.fullmatch(word):
        return [MONTHS[int(match[2]) - 1], *numbers.ordinal(str(int(match[3]))).split(), *numbers.plain(match[1]).split()]
    if _SLASHED.fullmatch(word):
        return [w for part in word.split("/") for w in numbers.plain(str(int(part)) if len(part) < 5 else part).split()]
    if match := _FRACTION.fullmatch(word):
        return numbers.fraction(int(match[1]), int(match[2])).split()
    if match := _VULGAR.fullmatch(word):
        part = numbers.fraction(*numbers.VULGAR[match[2]]).split()
        return [*numbers.cardinal(match[1]).split(), "and", *part] if match[1] else part
    return None


def _compound(word: str) -> list[str] | None:
    if _DOTTED.fullmatch(word):
        letters = ["version"] if word[0] in "vV" else []
        parts = [numbers.cardinal(part) for part in word.lstrip("vV").split(".")]
        return [*letters, *" point ".join(parts).split()]
    if _CODE.fullmatch(word):
        parts = re.split("[-–]", word.lstrip("+"))
        if len(parts) > 2 or word[0] == "+" or (len(parts[0]), len(parts[1])) == (3, 4):
            return [*(["plus"] if word[0] == "+" else []), *(w for part in parts for w in numbers.digits(part).split())]
        return [*numbers.plain(parts[0]).split(), "to", *numbers.plain(parts[1]).split()]
    if _RATIO.fullmatch(word):
        return " to ".join(numbers.cardinal(part) for part in word.split(":")).split()
    if _SUM.fullmatch(word) and any(c in "+=*×÷x" for c in word):
        return [w for part in _OPERATOR.split(word) if part for w in (_OPERATORS.get(part) or " ".join(read(part))).split()]
    return None


def _joined(word: str) -> list[str] | None:
    """Two readings with a dash between them, or one with a power behind it."""
    for dash in "–—-":
        left, found, right = word.partition(dash)
        ranges = found and left and right and left[-1] in "0123456789%°" and any(c.isdigit() for c in right)
        if ranges and not any(c.isalpha() for c in left + right.rstrip("%°CFkmgcl")):
            return [*read(left), "to", *read(right)]
    if match := _POWER.fullmatch(word):
        power = match[2].translate(_SUPERSCRIPTS)
        name = {"2": "squared", "3": "cubed"}.get(power) or f"to the power of {numbers.cardinal(power)}"
        return [*read(match[1]), *name.split()]
    return None


def _mixed(word: str) -> list[str]:
    """Letters and digits together: each by itself."""
    if "-" in word.strip("-"):
        return [w for part in word.split("-") if part for w in read(part)]
    plural = re.fullmatch(r"(.*[0-9])['’]?s", word)
    said = [w for part in numbers.mixed(plural[1] if plural else word) for w in _letters(part)]
    if plural and said:
        said[-1] = numbers.plural(said[-1])
    return said


def _letters(word: str) -> list[str]:
    """A word without digits: apart at dashes between clauses, underscores, slashes and signs."""
    if word.isalpha():
        return [word]
    parts = [p for p in re.split(r"(?<=\w)[—–]+(?=\w)|--+|[_|\\]+|(?<=\w)[/&+=@](?=\w)", word) if p]
    marks = re.findall(r"(?<=\w)[—–]+(?=\w)|--+|[_|\\]+|(?<=\w)[/&+=@](?=\w)", word)
    if len(parts) != len(marks) + 1 or not marks:
        return [word]
    said = [parts[0]]
    for mark, part in zip(marks, parts[1:], strict=True):
        if mark[0] in "—–" or mark.startswith("--"):
            said[-1] += "," if said[-1][-1].isalnum() else ""
        elif mark == "/":
            said += ["per"] if {said[-1], part} <= UNITS.keys() else ["or"] if said[-1].islower() and part.islower() else []
        elif mark in SYMBOLS:
            said += SYMBOLS[mark].split()
        said.append(part)
    return [word for word in said if any(c.isalnum() for c in word)]


def _signs(word: str) -> list[str]:
    """A word of signs alone."""
    said: list[str] = []
    for c in word:
        if c in SYMBOLS:
            said += SYMBOLS[c].split()
        elif c in CURRENCIES:
            said.append(CURRENCIES[c][1])
        elif unicodedata.category(c) in ("Sc", "Sm") and c not in "|~":
            said += unicodedata.name(c, "").replace(" SIGN", "").lower().split()
    return said


def _address(word: str) -> list[str] | None:
    """An e-mail or web address, said so that it can be written down; its protocol and its query are not said."""
    if match := _EMAIL.fullmatch(word):
        return [*_spelled(match[1]), "at", *_spelled(match[2])]
    if match := _URL.fullmatch(word):
        rest = (match[1] or match[2]).rstrip("/")
    elif (match := _HOST.fullmatch(word)) and match[1].lower() in TOP_LEVEL and not _looks_like_sentences(word):
        rest = word.rstrip("/")
    else:
        return None
    rest = re.sub(r"^www\.", "", rest, flags=re.I)
    host, *path = re.split(r"[/?#]", rest)
    segments = [w for part in path[: rest.count("/")] for w in ["slash", *_spelled(part)] if part]
    return [*_spelled(host), *segments[:_MOST_PATH_WORDS]]


def _looks_like_sentences(word: str) -> bool:
    """Two sentences without a space between them, such as "Hello.In"."""
    return bool(re.search(r"[a-z]\.[A-Z][a-z]", word))


def _spelled(text: str) -> list[str]:
    names = {".": "dot", "-": "dash", "_": "underscore", "+": "plus", ":": "colon", "@": "at", "~": "tilde", "%": "percent"}
    said: list[str] = []
    for part in re.findall(r"[^\W_]+|[\W_]", text):
        if not part.isalnum():
            said += [names[part]] if part in names else []
        else:
            said += numbers.mixed(part)
    return said
