"""What counts as left behind."""

from __future__ import annotations

from typing import Any

import pytest

from bench.connections import MAX_FDS_MORE, MAX_MEMORY_MB_MORE, MAX_THREADS_MORE, check

CLEAN: dict[str, Any] = {
    "failed": 0,
    "threads_more": 0,
    "fds_more": -1,
    "processes_more": 0,
    "memory_mb_more": 3.0,
    "tasks_more": 0,
    "active_calls_more": 0,
    "detached_calls_more": 0,
}


def test_a_clean_server_passes() -> None:
    assert all(entry["ok"] for entry in check(CLEAN).values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failed", 1),
        ("threads_more", MAX_THREADS_MORE + 1),
        ("fds_more", MAX_FDS_MORE + 1),
        ("processes_more", 1),
        ("memory_mb_more", MAX_MEMORY_MB_MORE + 1),
        ("memory_mb_more", None),
        ("tasks_more", 1),
        ("active_calls_more", 1),
        ("detached_calls_more", 1),
    ],
)
def test_each_leak_is_named(name: str, value: float | None) -> None:
    assert [n for n, entry in check({**CLEAN, name: value}).items() if not entry["ok"]] == [name]
