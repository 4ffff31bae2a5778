"""The plots, read back: what they show is what the report says, in proportion."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from agent.analysis.plots import MOST_VALUES_TOLD, WIDTH, plots
from agent.analysis.report import first_report
from agent.record import CallRecord
from tests.agent.analysis.test_report import practice

SVG = "{http://www.w3.org/2000/svg}"


def turn(**known: float) -> dict[str, Any]:
    return {"turn": 1, "words_per_minute": None, "response_time_s": None, "v2v_ms": None, **known}


REPORT: dict[str, Any] = {
    "measures": {"talk_ratio": {"value": 0.25}, "words_per_minute": {"value": 90.0}},
    "levels": {"profile": {"A1": 8, "A2": 4, "B1": 2, "B2": 0, "C1": 1, "C2": 0}, "words": 15, "note": ""},
    "turns": [
        turn(words_per_minute=60.0, response_time_s=1.0, v2v_ms=500),
        turn(),
        turn(words_per_minute=120.0, response_time_s=3.0, v2v_ms=750),
        turn(words_per_minute=30.0, response_time_s=2.0, v2v_ms=1000),
    ],
}


def bars(svg: str) -> list[tuple[str, float, float]]:
    """Title, width and height of each bar."""
    root = ElementTree.fromstring(svg)
    return [
        (bar.findtext(f"{SVG}title") or "", float(bar.attrib["width"]), float(bar.attrib["height"]))
        for bar in root.iter(f"{SVG}rect")
    ]


def test_every_plot_says_in_words_what_it_shows() -> None:
    drawn = plots(REPORT)
    assert list(drawn) == ["talk_share", "speech_rate", "response_times", "levels", "latency"]
    told = {}
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
        told[name] = root.findtext(f"{SVG}desc")
        assert "script" not in svg
        # A page has classes of its own, such as "bar".
        assert {e.attrib["class"].split("-")[0] for e in root.iter() if "class" in e.attrib} == {"plot"}
        assert not [e for e in root.iter() if any(key.startswith("on") or "href" in key for key in e.attrib)]
    assert told == {
        "talk_share": "You spoke for 25 % of the talking time, the tutor for the rest.",
        "speech_rate": "Turn 1: 60; Turn 2: not measured; Turn 3: 120; Turn 4: 30. Whole call: 90 words a minute.",
        "response_times": "Turn 1: 1; Turn 2: not measured; Turn 3: 3; Turn 4: 2. Median: 2 s.",
        "levels": "A1: 8; A2: 4; B1: 2; B2: 0; C1: 1; C2: 0.",
        "latency": "Turn 1: 500; Turn 2: not measured; Turn 3: 750; Turn 4: 1000. Median: 750 ms.",
    }


def test_the_talk_is_divided_in_proportion() -> None:
    (mine, width, _), (other, rest, _) = bars(plots(REPORT)["talk_share"])
    assert (mine, other) == ("You: 25 %", "Tutor: 75 %")
    assert rest / width == pytest.approx(3, rel=0.01)
    assert width + rest <= WIDTH


@pytest.mark.parametrize(
    ("name", "titles", "values"),
    [
        ("speech_rate", ["Turn 1: 60", "Turn 3: 120", "Turn 4: 30"], [60, 120, 30]),
        ("response_times", ["Turn 1: 1", "Turn 3: 3", "Turn 4: 2"], [1, 3, 2]),
        ("latency", ["Turn 1: 500", "Turn 3: 750", "Turn 4: 1000"], [500, 750, 1000]),
        ("levels", ["A1: 8", "A2: 4", "B1: 2", "B2: 0", "C1: 1", "C2: 0"], [8, 4, 2, 0, 1, 0]),
    ],
)
def test_columns_are_as_high_as_what_they_show(name: str, titles: list[str], values: list[float]) -> None:
    drawn = bars(plots(REPORT)[name])
    assert [title.rsplit(" ", 3 if name == "speech_rate" else 2 if name == "levels" else 1)[0] for title, *_ in drawn] == titles
    highest = max(height for *_, height in drawn)
    assert [height / highest for *_, height in drawn] == pytest.approx([v / max(values) for v in values], abs=0.001)


def test_the_axis_reaches_above_the_highest_column() -> None:
    root = ElementTree.fromstring(plots(REPORT)["speech_rate"])
    grid = [float(line.attrib["y1"]) for line in root.iter(f"{SVG}line") if line.attrib["class"] in ("plot-grid", "plot-base")]
    labels = [text.text for text in root.iter(f"{SVG}text")]
    assert {"0", "100", "200"} <= set(labels)
    tops = [float(bar.attrib["y"]) for bar in root.iter(f"{SVG}rect")]
    assert min(grid) <= min(tops)
    middle = next(line for line in root.iter(f"{SVG}line") if line.attrib["class"] == "plot-middle")
    assert float(middle.attrib["y1"]) == pytest.approx(max(grid) - (max(grid) - min(grid)) * 90 / 200, abs=0.01)


def test_a_long_call_stays_within_the_frame_and_is_summed_up() -> None:
    long = {"turns": [turn(response_time_s=1 + i % 7) for i in range(400)]}
    svg = plots(long)["response_times"]
    root = ElementTree.fromstring(svg)
    rects = list(root.iter(f"{SVG}rect"))
    assert len(rects) == 400
    assert all(float(r.attrib["x"]) >= 0 and float(r.attrib["x"]) + float(r.attrib["width"]) <= WIDTH for r in rects)
    assert len([t for t in root.iter(f"{SVG}text") if (t.text or "").isdigit()]) <= MOST_VALUES_TOLD + 3
    assert root.findtext(f"{SVG}desc") == "400 of 400 turns measured, from 1 (turn 1) to 7 s (turn 7). Median: 4 s."


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"notes": ["The report could not be made."]},
        {"measures": {"talk_ratio": {"value": None}}, "levels": None, "turns": []},
        {"measures": {"talk_ratio": 3}, "levels": {"profile": {"A1": 0}}, "turns": [turn()]},
        {"measures": {"talk_ratio": {"value": math.nan}}, "levels": {"profile": "no"}, "turns": [{"v2v_ms": math.inf}, 3]},
    ],
)
def test_without_data_there_is_no_plot(report: dict[str, Any]) -> None:
    assert plots(report) == {}


def test_the_plots_of_a_real_report() -> None:
    drawn = plots(first_report(practice(0.95)))
    assert list(drawn) == ["talk_share", "speech_rate", "response_times", "levels", "latency"]
    assert [height for *_, height in bars(drawn["latency"])] == [pytest.approx(136.0 * 500 / 600, abs=0.01)] * 8
    assert plots(first_report(CallRecord("s", 0.0, "webrtc", "advanced", "introductions"))) == {}


def test_the_median_of_the_tutors_times_is_that_of_the_report() -> None:
    """An answer to a sound in which no words were found is no turn, and counts."""
    drawn = plots(
        {"turns": [turn(v2v_ms=500), turn(v2v_ms=900)], "latency": {"v2v_p50_ms": 800.0, "v2v_p90_ms": 2000.0, "n": 3}}
    )
    assert "median: 800 ms" in drawn["latency"]
