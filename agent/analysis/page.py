"""The report as one HTML document, to be printed or kept: no script, nothing from elsewhere, light or dark, grey on paper.

Everything that was said, and everything that comes from a report, is escaped: it is text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from agent.analysis.plots import plots
from agent.analysis.scores import NOT_ENOUGH, NOT_HEARD
from agent.analysis.words import plural
from agent.record import CallRecord

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy under which the page works: it needs its own styles and nothing else."""

MEASURES = {
    "talk_ratio": "Your share of the talk",
    "learner_words": "Words you said",
    "learner_turns": "Your turns",
    "tutor_turns": "The tutor's turns",
    "words_per_minute": "Your pace, pauses included",
    "articulation_rate": "Your pace between pauses",
    "pauses_per_minute": "Your pauses",
    "pause_length_s": "Length of a pause",
    "pause_share": "Share of your pauses",
    "mean_length_of_run": "What you said between pauses",
    "response_time_s": "Your time to answer",
    "vocabulary_size": "Your vocabulary",
    "interruptions": "Interruptions",
}
"""The measures in the order in which they are shown, by name; any others follow."""

VERDICTS = (NOT_ENOUGH, NOT_HEARD)
"""Notes that stand in place of the scores."""

_STYLE = """
:root { color-scheme: light dark; --ink: #14211d; --ink-2: #46554f; --line: #d7dfdb; --accent: #0b6b50; --voice-you: #6d7d77;
  --bg: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8f0ec; --ink-2: #b1beb8; --line: #283430; --accent: #58d0a4;
  --voice-you: #94a49d; --bg: #0d1412; } }
@media print { :root { color-scheme: light; --ink: #000; --ink-2: #333; --line: #bbb; --accent: #000; --voice-you: #777;
  --bg: #fff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 50rem; padding: 2rem 1rem 4rem; color: var(--ink); background: var(--bg);
  font: 1rem/1.5 Atkinson, system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.95rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 2px solid var(--ink); font-size: 1.25rem; break-after: avoid; }
p, ul, ol, dl, table { margin: 0 0 .75rem; }
small, .soft { color: var(--ink-2); font-size: .8125rem; }
.scores { display: flex; gap: 3rem; margin-top: 1.5rem; }
.scores b { display: block; font-size: 2.4rem; line-height: 1.2; }
.mistakes, .said { list-style: none; padding: 0; }
.mistakes li { margin-bottom: .75rem; break-inside: avoid; }
.mistakes del { text-decoration-thickness: 1px; }
.mistakes ins { text-decoration: none; font-weight: 650; color: var(--accent); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem; }
.plot { display: block; width: 100%; max-width: 28rem; height: auto; break-inside: avoid; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
th { font-weight: 500; }
td { width: 12rem; }
tr, .said li { break-inside: avoid; }
.said li { margin-bottom: .5rem; }
.said b { display: block; font-size: .8125rem; color: var(--ink-2); }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } .plots { grid-template-columns: 1fr 1fr; } }
"""


def to_html(report: Mapping[str, Any], record: CallRecord, *, title: str) -> str:
    """The report of ``record`` as a document. ``title`` is the lesson's. A report of an earlier version may lack any key."""
    began = datetime.fromtimestamp(record.started_at, UTC)
    facts = [f"{began:%Y-%m-%d %H:%M} UTC", record.level]
    if record.ended_at is not None and record.ended_at >= record.started_at:
        facts.append(_duration(record.ended_at - record.started_at))
    parts = [
        f"<header><h1>{_e(title)}</h1><p class=soft>{_e(' · '.join(facts))}</p></header>",
        _scores(report),
        _mistakes(report),
        _list("What went well", report.get("strengths")),
        _list("Try next", report.get("suggestions")),
        _plots(report),
        _measures(report),
        _list("Notes", [note for note in _notes(report) if note not in VERDICTS]),
        _transcript(record),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(title)}: report</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def turn_numbers(report: Mapping[str, Any]) -> dict[int, int]:
    """Which of the learner's turns, counted from 1, stands at which index of the record."""
    turns = report.get("turns")
    entries = [t.get("turn") for t in turns if isinstance(t, Mapping)] if isinstance(turns, Sequence) else []
    return {index: number for number, index in enumerate(entries, 1) if isinstance(index, int)}


def _scores(report: Mapping[str, Any]) -> str:
    known = [
        f"<p>{name}<b>{score:.0f}</b><small>of 100</small></p>"
        for name, key in (("Overall", "final_score"), ("Grammar", "grammar_score"))
        if isinstance(score := report.get(key), int | float)
    ]
    if known:
        return f'<section class="scores" aria-label="Scores">{"".join(known)}</section>'
    verdict = next((note for note in _notes(report) if note in VERDICTS), None)
    return f"<p>No score: {_e(verdict)}.</p>" if verdict else "<p>No score this time.</p>"


def _notes(report: Mapping[str, Any]) -> list[str]:
    given = report.get("notes")
    return [note for note in given if isinstance(note, str)] if isinstance(given, list) else []


def _mistakes(report: Mapping[str, Any]) -> str:
    numbers = turn_numbers(report)
    items = []
    for m in _mappings(report.get("mistakes")):
        number, time_s = numbers.get(m.get("turn", -1)), m.get("time_s")
        place = [f"your turn {number}"] if number is not None else []
        place += [clock(time_s)] if isinstance(time_s, int | float) else []
        items.append(
            f"<li><small>{_e(' · '.join(place))}</small><br><del>{_e(m.get('original'))}</del> → "
            f"<ins>{_e(m.get('correction'))}</ins><br><span class=soft>{_e(m.get('explanation'))}</span></li>"
        )
    return f"<section><h2>To work on</h2><ul class=mistakes>{''.join(items)}</ul></section>" if items else ""


def _list(title: str, items: Any) -> str:
    lines = [f"<li>{_e(item)}</li>" for item in items if isinstance(item, str)] if isinstance(items, list) else []
    return f"<section><h2>{_e(title)}</h2><ul>{''.join(lines)}</ul></section>" if lines else ""


def _plots(report: Mapping[str, Any]) -> str:
    drawn = plots(report)
    if not drawn:
        return ""
    levels = report.get("levels")
    note = f"<p class=soft>{_e(levels.get('note'))}</p>" if isinstance(levels, Mapping) and "levels" in drawn else ""
    return f"<section><h2>The call in pictures</h2><div class=plots>{''.join(drawn.values())}</div>{note}</section>"


def _measures(report: Mapping[str, Any]) -> str:
    given = report.get("measures")
    if not isinstance(given, Mapping):
        return ""
    rows = []
    for key in [*MEASURES, *(key for key in given if key not in MEASURES)]:
        measure = given.get(key)
        if not isinstance(measure, Mapping):
            continue
        name = MEASURES.get(key, key.replace("_", " ").capitalize())
        value, unit = shown(measure.get("value"), str(measure.get("unit") or ""))
        rows.append(
            f"<tr><th scope=row>{_e(name)}<br><small>{_e(measure.get('source'))}</small></th>"
            f"<td><b>{_e(value)}</b> {_e(unit)}</td></tr>"
        )
    latency = report.get("latency")
    if isinstance(latency, Mapping) and isinstance(p50 := latency.get("v2v_p50_ms"), int | float):
        n = latency.get("n")
        answers = plural(n, "answer") if isinstance(n, int) else "answers"
        rows.append(
            f"<tr><th scope=row>The tutor's time to answer<br><small>{_e(answers)}, from your last sound to the tutor's first."
            f"</small></th><td><b>{p50:.0f}</b> ms, median</td></tr>"
        )
    return f"<section><h2>Measured</h2><table>{''.join(rows)}</table></section>" if rows else ""


def _transcript(record: CallRecord) -> str:
    items = [
        f"<li><b>{'You' if turn.role == 'learner' else 'Tutor'}"
        f"{' (interrupted)' if turn.interrupted else ''}</b>{_e(turn.text)}</li>"
        for turn in record.turns
        if turn.text.strip()
    ]
    return f"<section><h2>What was said</h2><ol class=said>{''.join(items)}</ol></section>" if items else ""


def shown(value: Any, unit: str) -> tuple[str, str]:
    """A measure's value and unit as they are read: a share as a percentage, ``None`` as "not measured"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "not measured", ""
    if unit.startswith("share "):
        return f"{100 * value:.0f} %", unit.removeprefix("share ")
    plain = f"{value:.0f}" if value == int(value) else f"{value:.2f}".rstrip("0")
    return plain, unit


def clock(seconds: float) -> str:
    """83 s as ``"1:23"``."""
    whole = max(0, int(seconds)) if math.isfinite(seconds) else 0
    return f"{whole // 60}:{whole % 60:02}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _mappings(items: Any) -> Iterable[Mapping[str, Any]]:
    return (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


def _e(text: Any) -> str:
    return escape("" if text is None else str(text))
