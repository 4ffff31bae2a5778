"""What the manager decides without a process: when to start again, what lines say, which level they are of."""

from __future__ import annotations

import pytest

from pipeline.engine_manager.policy import Backoff
from pipeline.engine_manager.progress import Lines, Progress, Tail, level_of


def test_an_engine_that_was_never_ready_is_given_up_after_three_tries() -> None:
    backoff = Backoff()
    assert [backoff.ended(None) for _ in range(3)] == [1.0, 2.0, None]


def test_an_engine_that_has_worked_is_started_for_ever_with_growing_pauses() -> None:
    backoff = Backoff()
    assert [backoff.ended(3.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.ended(None) == 60, "it did not become ready this time, but it can"
    assert backoff.ended(500.0) == 1, "it had worked for long"


def test_lines_are_whole_however_they_come() -> None:
    lines = Lines()
    text = "one\r\ntwo ü\n\r 10%\r 20%\rdone\n\x1b[32mgreen\x1b[0m\nrest".encode()
    found = [line for byte in text for line in lines.feed(bytes([byte]))]
    at_once = Lines().feed(text)
    assert at_once == [("one", False), ("two ü", False), ("10%", True), ("20%", True), ("done", False), ("green", False)]
    assert [line for line, _ in found] == [line for line, _ in at_once]
    assert lines.rest() == "rest"
    assert lines.rest() == ""


def test_an_endless_line_is_cut() -> None:
    lines = Lines()
    found = [line for _ in range(100) for line, _ in lines.feed(b"x" * 1000)]
    assert len(found) > 30
    assert max(map(len, found)) <= 2000


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Loading weights:  25%|##5       | 1/4 [00:01<00:03]", "Loading weights 25 %"),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", "Loading safetensors checkpoint shards 50 %"),
        ("model.safetensors: 100%|██████████| 2.1G/2.1G", "model.safetensors 100 %"),
        ("serving", "serving"),
        ("utilisation 250%", "utilisation 250%"),
    ],
)
def test_progress_is_read_from_what_engines_print(line: str, text: str) -> None:
    progress = Progress(0.0)
    progress.feed(line)
    assert progress.text == text


def test_progress_is_told_now_and_then() -> None:
    progress = Progress(100.0)
    assert progress.due(100.1) is None
    progress.feed("listening")
    assert progress.due(104.0) is None, "the log has whole lines already"
    progress = Progress(100.0)
    told = []
    for tenth in range(100):
        progress.feed(f"weights: {tenth}%")
        if line := progress.due(101 + tenth / 10):
            told.append(line)
    assert len(told) == 5, "one every two seconds"
    assert told[0] == "weights 0 % (1 s)"
    assert progress.due(112.5) == "weights 99 % (12 s)"
    assert progress.due(120.0) is None, "nothing new"
    assert progress.due(143.0) == "weights 99 % (43 s)", "a sign of life"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("INFO 11-21 engine started", "INFO"),
        ("WARNING 11-21 slow", "WARNING"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory", "ERROR"),
        ("Traceback (most recent call last):", "ERROR"),
        ("0 errors so far", "INFO"),
    ],
)
def test_levels(line: str, level: str) -> None:
    assert level_of(line) == level


def test_the_reason_of_an_end_is_the_error_and_not_what_follows_it() -> None:
    tail = Tail()
    assert tail.reason() == ""
    for line in ("Traceback (most recent call last):", "ValueError: no such model", "bye"):
        tail.add(line)
    assert tail.reason() == "ValueError: no such model"
    quiet = Tail()
    quiet.add("Killed")
    assert quiet.reason() == "Killed"
    assert quiet.reason(errors_only=True) == ""
