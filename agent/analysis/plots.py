"""The report's plots as SVG. Pure: a report goes in, text comes out, and nothing that a learner said is in it.

A plot can stand by itself or inside an HTML page. Its colours are the page's where the page defines them (``--ink``,
``--accent`` and so on, as ``web/client`` does), and otherwise light or dark as the reader prefers; on paper they are greys.
What a colour tells is also told by a label or a pattern. ``<title>`` and ``<desc>`` say in words what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from agent.analysis.levels import LEVELS
from agent.analysis.words import percentile

WIDTH, HEIGHT, BAR_HEIGHT = 360, 200, 76
"""Size in user units, which are meant to be shown as one CSS pixel each, so that 12 units are a readable text."""
PLOT_TOP, PLOT_BOTTOM, PLOT_LEFT, PLOT_RIGHT = 30.0, 166.0, 40.0, 352.0
MOST_VALUES_LABELLED = 10
MOST_VALUES_TOLD = 12

_LIGHT = {"bg": "#fff", "ink": "#14211d", "ink-2": "#46554f", "line": "#d7dfdb", "accent": "#0b6b50", "voice-you": "#6d7d77"}
_DARK = {"bg": "#0d1412", "ink": "#e8f0ec", "ink-2": "#b1beb8", "line": "#283430", "accent": "#58d0a4", "voice-you": "#94a49d"}
_PAPER = {"bg": "#fff", "ink": "#000", "ink-2": "#333", "line": "#bbb", "accent": "#444", "voice-you": "#777"}


def _palette(colours: Mapping[str, str], *, own: bool = False) -> str:
    # On paper the plot's own greys count, whatever the page's theme is.
    return "".join(f"--plot-{n}:{c if own else f'var(--{n},{c})'};" for n, c in colours.items())


_STYLE = (
    f".plot{{{_palette(_LIGHT)}}}"
    f"@media (prefers-color-scheme:dark){{.plot{{{_palette(_DARK)}}}}}"
    f"@media print{{.plot{{{_palette(_PAPER, own=True)}}}}}"
    ".plot text{font:12px Atkinson,system-ui,sans-serif;fill:var(--plot-ink-2)}"
    ".plot .plot-name{font-weight:600;fill:var(--plot-ink)}"
    ".plot .plot-value{fill:var(--plot-ink);stroke:var(--plot-bg);stroke-width:3px;paint-order:stroke}"
    ".plot .plot-grid{stroke:var(--plot-line);stroke-width:1}"
    ".plot .plot-base{stroke:var(--plot-ink-2);stroke-width:1}"
    ".plot .plot-middle{stroke:var(--plot-ink);stroke-width:1;stroke-dasharray:4 3}"
    ".plot .plot-bar{fill:var(--plot-accent)}"
    ".plot .plot-other{fill:none;stroke:var(--plot-voice-you);stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what stands below it, how it is called in words, and its height in the plot's unit, if it was measured."""

    label: str
    name: str
    value: float | None


def plots(report: Mapping[str, Any]) -> dict[str, str]:
    """The plots of a report, SVG by name, in the order in which they are shown; without those that there are no data for.

    The names are ``talk_share``, ``speech_rate``, ``response_times``, ``levels`` and ``latency``. A report of an earlier
    version may lack any key.
    """
    drawn: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
        "talk_share": talk_share,
        "speech_rate": speech_rate,
        "response_times": response_times,
        "levels": level_profile,
        "latency": latency_by_turn,
    }
    return {name: svg for name, draw in drawn.items() if (svg := draw(report)) is not None}


def talk_share(report: Mapping[str, Any]) -> str | None:
    """The learner's and the tutor's share of the talking time: one bar of two parts."""
    mine = _number(_measure(report, "talk_ratio"))
    if mine is None or not 0 <= mine <= 1:
        return None
    root = _svg(
        BAR_HEIGHT, "Share of the talking time", f"You spoke for {_percent(mine)} of the talking time, the tutor for the rest."
    )
    left, width = 1.0, WIDTH - 2.0
    split = left + width * mine
    _rect(root, "plot-bar", left, 26, split - left, 24, f"You: {_percent(mine)}")
    _rect(root, "plot-other", split, 26, left + width - split, 24, f"Tutor: {_percent(1 - mine)}")
    _text(root, left, 68, f"You {_percent(mine)}", "plot-value")
    _text(root, left + width, 68, f"Tutor {_percent(1 - mine)}", "plot-value", anchor="end")
    return _written(root)


def speech_rate(report: Mapping[str, Any]) -> str | None:
    """Words a minute of each spoken turn, with the rate of the whole call."""
    whole = _number(_measure(report, "words_per_minute"))
    return _by_turn(report, "words_per_minute", "Your pace", "words a minute", whole, "whole call")


def response_times(report: Mapping[str, Any]) -> str | None:
    """Seconds until the learner answered, with the median."""
    return _by_turn(report, "response_time_s", "Your time to answer", "s", None, "median")


def latency_by_turn(report: Mapping[str, Any]) -> str | None:
    """Voice-to-voice latency in ms: until the tutor answered each turn, with the median.

    The median is the report's, where it has one: the tutor answers sounds, too, in which no words were found and which are no
    turns.
    """
    latency = report.get("latency")
    whole = _number(latency.get("v2v_p50_ms")) if isinstance(latency, Mapping) else None
    return _by_turn(report, "v2v_ms", "The tutor's time to answer", "ms", whole, "median")


def level_profile(report: Mapping[str, Any]) -> str | None:
    """How many different words of each CEFR level were used."""
    levels = report.get("levels")
    profile = levels.get("profile") if isinstance(levels, Mapping) else None
    if not isinstance(profile, Mapping):
        return None
    columns = [Column(level, level, _number(profile.get(level)) or 0.0) for level in LEVELS]
    if not any(column.value for column in columns):
        return None
    return _columns("Levels of your words", "different words", columns, below="CEFR level of the word")


def _by_turn(report: Mapping[str, Any], key: str, title: str, unit: str, middle: float | None, middle_name: str) -> str | None:
    turns = report.get("turns")
    entries = [t for t in turns if isinstance(t, Mapping)] if isinstance(turns, Sequence) else []
    columns = [Column(str(i), f"Turn {i}", _number(t.get(key))) for i, t in enumerate(entries, 1)]
    known = [c.value for c in columns if c.value is not None]
    if not known:
        return None
    if middle is None:
        middle = percentile(known, 0.5)
    # The middle of one value is that value.
    reference = (middle_name, middle) if middle is not None and len(known) > 1 else None
    return _columns(title, unit, columns, below="your turns", reference=reference)


def _columns(
    title: str, unit: str, columns: Sequence[Column], *, below: str, reference: tuple[str, float] | None = None
) -> str:
    known = [c.value for c in columns if c.value is not None]
    # Headroom, so that the highest column has a place for its value.
    top = _nice(1.1 * max([*known, reference[1] if reference else 0.0]))
    root = _svg(HEIGHT, f"{title}, {unit}", _told(columns, unit, reference))
    height = PLOT_BOTTOM - PLOT_TOP

    def y(value: float) -> float:
        return PLOT_BOTTOM - height * value / top

    for value in (0.0, top / 2, top):
        _line(root, "plot-base" if value == 0 else "plot-grid", PLOT_LEFT, y(value), PLOT_RIGHT, y(value))
        _text(root, PLOT_LEFT - 6, y(value) + 4, _figure(value), anchor="end")
    step = (PLOT_RIGHT - PLOT_LEFT) / len(columns)
    width = min(step * 0.7 if step > 3 else step, 36.0)
    every = max(1, math.ceil(len(columns) / 12))
    for i, column in enumerate(columns):
        centre = PLOT_LEFT + step * (i + 0.5)
        if i % every == 0:
            _text(root, centre, PLOT_BOTTOM + 15, column.label, anchor="middle")
        if column.value is None:
            continue
        at = y(column.value)
        _rect(
            root, "plot-bar", centre - width / 2, at, width, PLOT_BOTTOM - at, f"{column.name}: {_figure(column.value)} {unit}"
        )
    if reference is not None:
        name, value = reference
        _line(root, "plot-middle", PLOT_LEFT, y(value), PLOT_RIGHT, y(value))
        _text(root, PLOT_RIGHT, PLOT_BOTTOM + 30, f"- - {name}: {_figure(value)} {unit}", anchor="end")
    # After the line of the middle, which would strike them out.
    for i, column in enumerate(columns if len(columns) <= MOST_VALUES_LABELLED else ()):
        if column.value is not None:
            centre = PLOT_LEFT + step * (i + 0.5)
            _text(root, centre, y(column.value) - 4, _figure(column.value), "plot-value", anchor="middle")
    _text(root, PLOT_LEFT, PLOT_BOTTOM + 30, below)
    return _written(root)


def _told(columns: Sequence[Column], unit: str, reference: tuple[str, float] | None) -> str:
    known = [c for c in columns if c.value is not None]
    middle = f" {reference[0].capitalize()}: {_figure(reference[1])} {unit}." if reference else ""
    if len(columns) <= MOST_VALUES_TOLD:
        return "; ".join(f"{c.name}: {_figure(c.value)}" for c in columns) + "." + middle
    low, high = min(known, key=lambda c: c.value or 0.0), max(known, key=lambda c: c.value or 0.0)
    return (
        f"{len(known)} of {len(columns)} turns measured, from {_figure(low.value)} ({low.name.lower()}) "
        f"to {_figure(high.value)} {unit} ({high.name.lower()}).{middle}"
    )


def _nice(most: float) -> float:
    """The least of 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten that is not below ``most``."""
    if not most > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(f * power for f in (1, 2, 3, 4, 5, 6, 8, 10, 20) if f * power >= most)


def _measure(report: Mapping[str, Any], name: str) -> Any:
    measures = report.get("measures")
    found = measures.get(name) if isinstance(measures, Mapping) else None
    return found.get("value") if isinstance(found, Mapping) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _figure(value: float | None) -> str:
    if value is None:
        return "not measured"
    digits = 0 if value >= 10 or value == int(value) else 1
    return f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# A little SVG


def _svg(height: int, title: str, description: str) -> Element:
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "plot",
            "role": "img",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": str(WIDTH),
            "height": str(height),
        },
    )
    SubElement(root, "title").text = title
    SubElement(root, "desc").text = description
    SubElement(root, "style").text = _STYLE
    _text(root, 0, 13, title, "plot-name")
    return root


def _rect(parent: Element, kind: str, x: float, y: float, width: float, height: float, title: str) -> None:
    attributes = {"class": kind, "x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height)}
    SubElement(SubElement(parent, "rect", attributes), "title").text = title


def _line(parent: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    SubElement(parent, "line", {"class": kind, "x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2)})


def _text(parent: Element, x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> None:
    attributes = {"x": _n(x), "y": _n(y)}
    if kind:
        attributes["class"] = kind
    if anchor != "start":
        attributes["text-anchor"] = anchor
    SubElement(parent, "text", attributes).text = text


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _written(root: Element) -> str:
    return tostring(root, encoding="unicode")
