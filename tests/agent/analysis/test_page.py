"""The printable report: whole, readable as it is, and never more than text of what was said."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from agent.analysis.page import clock, shown, to_html
from agent.analysis.report import first_report
from agent.record import CallRecord, Correction, Turn
from tests.agent.analysis.test_report import practice

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Reads a document strictly: every element is closed in its place."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f"{data} "


def test_the_page_holds_all_of_the_report() -> None:
    record = practice(0.95)
    report = first_report(record)
    read = Reader(to_html(report, record, title="Introductions"))
    text = re.sub(r"\s+", " ", read.text)
    assert read.tags.count("svg") == 5
    assert f"Overall {report['final_score']}" in text
    for mistake in report["mistakes"]:
        assert mistake["original"] in text
        assert mistake["explanation"] in text
    # The second turn of the learner is at 19.5 s.
    assert "your turn 2 · 0:19" in text
    for line in [*report["strengths"], *report["suggestions"], *report["notes"], report["levels"]["note"]]:
        assert line in text
    for measure in report["measures"].values():
        assert measure["source"] in text
    assert all(turn.text in text for turn in record.turns)


def test_nothing_is_loaded_or_run() -> None:
    record = practice(0.95)
    document = to_html(first_report(record), record, title="Introductions")
    read = Reader(document)
    assert not {"script", "link", "img", "iframe", "object", "base", "form", "a"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "@import" not in document
    assert "url(" not in document


NASTY = "<script>alert(1)</script><img src=x onerror=alert(1)> \"'&amp; </style></main>"


def test_what_was_said_is_never_markup() -> None:
    turn = Turn(1, "learner", NASTY, 10.0, 12.0, typed=True, corrections=[Correction("script", NASTY, NASTY)])
    record = CallRecord("s", 0.0, "websocket", "beginner", NASTY, [turn], ended_at=95.0)
    report = first_report(record)
    assert report["mistakes"]
    fields = ("strengths", "suggestions", "notes")
    nasty: dict[str, Any] = {**report, **{key: [NASTY] for key in fields}}
    nasty["levels"] = {**report["levels"], "note": NASTY}
    nasty["measures"] = {NASTY: {"value": NASTY, "unit": NASTY, "source": NASTY}}
    read = Reader(to_html(nasty, record, title=NASTY))
    assert not {"script", "img"} & set(read.tags)
    assert read.tags.count("style") == 1 + read.tags.count("svg")
    # Title, heading, mistake (2), lists (3), note of the levels, measure (2), transcript.
    assert read.text.count("<script>alert(1)</script>") == 11


@pytest.mark.parametrize(
    "report", [{}, {"notes": ["The report could not be made."]}, {"measures": 3, "turns": 3, "mistakes": 3}]
)
def test_a_report_with_little_in_it_is_a_page_too(report: dict[str, Any]) -> None:
    read = Reader(to_html(report, CallRecord("s", 0.0, "websocket", "beginner", "introductions"), title="Introductions"))
    assert "No score this time." in read.text
    assert "svg" not in read.tags


def test_values_as_they_are_read() -> None:
    assert shown(0.25, "share of talking time") == ("25 %", "of talking time")
    assert shown(3, "turns") == ("3", "turns")
    assert shown(1.5, "s, mean") == ("1.5", "s, mean")
    assert shown(None, "turns") == ("not measured", "")
    assert clock(83.9) == "1:23"


def test_why_there_is_no_score_stands_where_the_score_would() -> None:
    record = CallRecord("s", 0.0, "websocket", "beginner", "introductions")
    read = Reader(to_html(first_report(record), record, title="Introductions"))
    assert "No score: not enough speech." in read.text
    assert read.text.count("not enough speech") == 1
