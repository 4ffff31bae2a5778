"""``--lesson``: a name or a file, for ``serve`` and for ``talk``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.settings.load import SettingsError, load_settings
from tests.web.cli.test_commands import WITHIN_S, one_line, run, serving
from web.cli.lesson import lesson_file, lesson_settings

LESSON = """
title: Colours
goal: Name a colour.
slots: {colour: {values: [red, blue]}}
greeting: "Hello! This is a lesson about colours."
steps:
  - id: colour
    ask: "Which colour do you like?"
    simpler: "Red or blue?"
    hint: "Name a colour."
    model: "I like red."
    replies: [{say: "i like {colour}", react: "{colour} is nice."}]
    react: "Good!"
    suggestions: ["I like red."]
way_back: "I see."
closing: "Goodbye!"
goodbye: "Bye!"
"""


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    """A folder with a lesson, two that are broken, and sentences to read."""
    (tmp_path / "colours.yaml").write_text(LESSON)
    (tmp_path / "broken.yaml").write_text(LESSON.replace("i like {colour}", "i like {color}"))
    (tmp_path / "empty.txt").write_text("# no sentence\n")
    (tmp_path / "my sentences.txt").write_text("The sun is shining.\nIt is late.\n")
    (tmp_path / "introductions").write_text("A file that is named like a lesson.\n")
    (tmp_path / "plain").write_text("A file without an ending.\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "is_file"),
    [
        ("opinions", False),
        ("introductions", False),
        ("./introductions", True),
        ("no_such_lesson", False),
        ("plain", True),
        ("colours.yaml", True),
        ("no_such_file.yaml", True),
        ("some/folder", True),
    ],
)
def test_a_name_is_told_from_a_file(lessons: Path, monkeypatch: pytest.MonkeyPatch, given: str, is_file: bool) -> None:
    monkeypatch.chdir(lessons)
    assert lesson_file(given) == (Path(given) if is_file else None)


def test_the_named_lesson_is_the_one_that_calls_start_with() -> None:
    assert lesson_settings(None) == {}
    assert lesson_settings("opinions") == {"lesson": "opinions"}
    assert lesson_settings("x/colours.yaml") == {"lesson": "colours", "lesson_file": Path("x/colours.yaml")}


def test_settings_know_the_lesson_of_the_file() -> None:
    env = {"PARLEY_TUTOR__LESSON_FILE": "x/colours.yaml"}
    assert load_settings(env=env, dotenv=None).tutor.lesson == "introductions"
    assert load_settings(env={**env, "PARLEY_TUTOR__LESSON": "colours"}, dotenv=None).tutor.lesson == "colours"
    with pytest.raises(SettingsError, match=r"^PARLEY_TUTOR__LESSON: must be one of: colours, daily_routine, .* not 'flowers'"):
        load_settings(env={**env, "PARLEY_TUTOR__LESSON": "flowers"}, dotenv=None)


WRONG = {
    "broken": (
        "broken.yaml",
        "broken.yaml: steps.0 (colour).replies.0.say: 'i like {color}': unknown slot 'color', allowed: colour",
    ),
    "empty": ("empty.txt", "empty.txt: holds no sentence; write one on each line"),
    "missing": ("none.yaml", "none.yaml: No such file or directory"),
    "folder": (".", ".: Is a directory"),
}


@pytest.mark.parametrize("command", [["serve"], ["talk", "--wav", "hello.wav"]], ids=lambda c: c[0])
@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_one_line(lessons: Path, command: list[str], given: str, message: str) -> None:
    assert one_line(run(lessons, *command, "--lesson", given)) == f"parley: {message}"


def test_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    line = one_line(run(tmp_path, "--lesson", "cooking"))
    assert line.startswith("parley: --lesson: must be one of: daily_routine, ")
    assert line.endswith("not 'cooking'")


def test_a_bad_file_of_the_settings_is_one_line_too(lessons: Path) -> None:
    line = one_line(run(lessons, "serve", env={"PARLEY_TUTOR__READ_ALOUD_FILE": "empty.txt"}))
    assert line == "parley: empty.txt: holds no sentence; write one on each line"


def test_a_file_and_another_server_do_not_go_together(lessons: Path) -> None:
    line = one_line(run(lessons, "talk", "--wav", "x.wav", "--lesson", "colours.yaml", "--url", "http://127.0.0.1:1"))
    assert "leave out --url" in line


def test_check_reads_the_file(lessons: Path) -> None:
    rows = json.loads(run(lessons, "check", "--port", "0", "--lesson", "broken.yaml", "--json").stdout)["checks"]
    (row,) = (row for row in rows if row["name"] == "lessons")
    assert row["outcome"] == "problem"
    assert "unknown slot 'color'" in row["detail"]


@pytest.mark.parametrize(
    ("given", "name", "kind", "title"),
    [
        ("colours.yaml", "colours", "conversation", "Colours"),
        ("my sentences.txt", "my sentences", "read_aloud", "Read aloud: my sentences"),
        ("opinions", "opinions", "conversation", "Giving your opinion"),
    ],
)
def test_the_page_offers_the_lesson_first(lessons: Path, given: str, name: str, kind: str, title: str) -> None:
    with serving(lessons, "--lesson", given) as (process, url):
        deadline = time.monotonic() + WITHIN_S
        while httpx.get(url + "ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        config: dict[str, Any] = httpx.get(url + "api/client-config").json()
        process.terminate()
        assert process.wait(WITHIN_S) == 0
    assert config["default_lesson"] == name
    listed = {lesson["id"]: lesson for lesson in config["lessons"]}
    assert (listed[name]["kind"], listed[name]["title"]) == (kind, title)
    assert "introductions" in listed


@pytest.mark.parametrize("token", [None, "hunter2"])
def test_talk_brings_a_server_for_a_file(lessons: Path, flite_wav: Callable[..., Path], token: str | None) -> None:
    """Even where the settings ask for a token, and nothing is left in a folder of its own or of the settings."""
    folder = lessons / "tmp"
    folder.mkdir()
    env = {"TMPDIR": str(folder), "PARLEY_TTS__ESPEAK__RATE_WPM": "300", **({"PARLEY_AUTH__TOKEN": token} if token else {})}
    said = ["--wav", str(flite_wav("I like blue."))]
    done = run(lessons, "talk", "--transport", "websocket", "--lesson", "colours.yaml", *said, "--json", env=env)
    assert done.returncode == 0, done.stderr
    (turn,) = json.loads(done.stdout)["turns"]
    assert turn["user"].lower().rstrip(".") == "i like blue"
    assert turn["tutor"] == "Blue is nice. Goodbye!"
    assert list(folder.glob("parley-*")) == []
    assert not (lessons / "data").exists()


def test_a_server_that_cannot_start_says_why(lessons: Path) -> None:
    env = {"PARLEY_STT__ENGINE": "ears"}
    line = one_line(run(lessons, "talk", "--wav", "x.wav", "--lesson", "colours.yaml", env=env))
    assert "the server for colours.yaml did not start: PARLEY_STT__ENGINE: must be one of: " in line
