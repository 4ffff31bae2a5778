"""What a call looks like in a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from web.talk.screen import LINES, Screen, level, report_lines


def drawn(screen: Screen) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(screen.render())
    return console.export_text()


def told(*messages: dict[str, Any], headphones: bool = True) -> Screen:
    screen = Screen(headphones=headphones)
    for message in messages:
        screen.take(message)
    return screen


def you(text: str, final: bool = True) -> dict[str, Any]:
    return {"type": "transcript", "text": text, "is_final": final}


def tutor(text: str, complete: bool = True) -> dict[str, Any]:
    return {"type": "ai_text", "text": text, "is_complete": complete}


def test_captions_grow_and_become_sure():
    screen = told(tutor("Hello", False), tutor(" there.", False))
    assert [(line.who, line.text, line.partial) for line in screen.lines] == [("tutor", "Hello there.", True)]
    for message in (tutor("Hello there."), you("I goes", False), you("I goes home", False), you("I goes home."), tutor("Why?")):
        screen.take(message)
    assert [(line.who, line.text, line.partial) for line in screen.lines] == [
        ("tutor", "Hello there.", False),
        ("you", "I goes home.", False),
        ("tutor", "Why?", False),
    ]


def test_what_was_not_heard_of_an_interrupted_reply_is_taken_back():
    screen = told(tutor("Once upon a time", False), you("Stop.", False), {"type": "interrupted", "text": "Once upon"})
    assert "tutor  Once upon …" in drawn(screen)
    assert "a time" not in drawn(screen)


def test_the_rest_of_an_interrupted_text_is_not_shown():
    screen = told(tutor("Once upon a ", False), {"type": "interrupted", "text": "Once"}, tutor("Once upon a time."))
    assert [line.text for line in screen.lines] == ["Once"]
    for message in ({"type": "turn_complete"}, tutor("Yes?")):
        screen.take(message)
    assert [line.text for line in screen.lines] == ["Once", "Yes?"]


def test_a_reply_of_which_nothing_was_heard_leaves_no_line():
    assert told(tutor("Once upon a time."), {"type": "interrupted", "text": ""}).lines == []


def test_a_voice_over_the_tutor_does_not_split_its_line():
    screen = told(tutor("Once upon ", False), you("mm", False), tutor("a time.", False), tutor("Once upon a time."), you("Mm."))
    assert [line.text for line in screen.lines] == ["Once upon a time.", "Mm."]


def test_corrections_stand_under_their_turn_and_are_replaced():
    def corrections(*items: str) -> dict[str, Any]:
        made = [{"original": "goes", "correction": item, "explanation": "first person"} for item in items]
        return {"type": "corrections", "turn": 1, "items": made}

    screen = told(you("I goes home."), corrections("go"), tutor("Why?"), you("Because."), corrections("go", "went"))
    assert [line.notes for line in screen.lines] == [["goes → go: first person", "goes → went: first person"], [], []]
    lines = [line.strip() for line in drawn(screen).splitlines()]
    assert lines.index("goes → go: first person") == lines.index("you  I goes home.") + 1


def test_a_correction_of_nothing_is_no_failure():
    assert told({"type": "corrections", "turn": 1, "items": []}).lines == []


def test_long_calls_show_their_end():
    screen = told(*(m for n in range(50) for m in (you(f"learner {n}."), tutor(f"tutor {n}."))))
    text = drawn(screen)
    assert "tutor 49." in text
    assert sum("learner" in line or "tutor  tutor" in line for line in text.splitlines()) <= LINES


def test_what_a_learner_must_know():
    screen = told({"type": "connected", "session_id": "s", "recording": True}, {"type": "error", "message": "no lesson 'x'"})
    text = drawn(screen)
    assert "this call is recorded" in text
    assert "no lesson 'x'" in text
    assert "space interrupt" in text
    assert "--headphones" not in text
    screen.take({"type": "recording_stopped", "reason": "disk"})
    assert "is recorded" not in drawn(screen)
    assert "--headphones" in drawn(told(headphones=False))
    screen.muted = True
    assert "muted" in drawn(screen)


def test_text_of_a_server_is_no_markup():
    assert "[bold]x[/nonsense]" in drawn(told(tutor("[bold]x[/nonsense]")))


def test_typing():
    screen = Screen(headphones=True)
    assert screen.type("a") is None
    assert screen.typing is None
    screen.typing = ""
    assert [screen.type(key) for key in "Helo"] == [None] * 4
    screen.type("\x7f")
    assert "> Hel" in drawn(screen)
    assert [screen.type(key) for key in ("l", "ó", "\x00")] == [None] * 3
    assert screen.type("\r") == "Helló"
    assert screen.typing is None
    screen.typing = "x"
    assert (screen.type("\x1b"), screen.typing) == (None, None)
    screen.typing = "  "
    assert (screen.type("\n"), screen.typing) == (None, None)


@pytest.mark.parametrize(("amplitude", "expected"), [(0, 0.0), (32_767, 0.95), (328, 0.28), (33, 0.0)])
def test_levels(amplitude, expected):
    tone = (amplitude * np.sin(np.arange(16_000) / 10)).astype("<i2").tobytes()
    assert level(tone) == pytest.approx(expected, abs=0.02)


def test_levels_are_bars():
    screen = Screen(headphones=True)
    screen.microphone, screen.tutor = 1.0, 0.5
    assert [line.count("█") for line in drawn(screen).splitlines() if line.strip().startswith(("you", "tutor"))] == [24, 12]


def test_a_report_in_words_leaves_out_what_was_not_measured():
    report = {
        "final_score": 71,
        "grammar_score": None,
        "measures": {"words_per_minute": {"value": 93.5, "unit": "words a minute"}, "learner_words": {"value": None}},
        "mistakes": [{"original": "goes", "correction": "go", "explanation": "first person"}],
        "suggestions": ["Speak more."],
    }
    assert report_lines(report) == ["score: 71 of 100", "words per minute: 93.5", "goes → go: first person", "Speak more."]
    assert report_lines({}) == []
