"""What is said of the machine, and how its cores are shared."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bench.machine import cpu_model, describe, split_cores


def test_it_says_what_it_should_and_no_names() -> None:
    said = describe()
    assert {"cores", "cpu", "python", "load_average", "date", "versions"} <= set(said)
    assert socket.gethostname() not in json.dumps(said)


def test_the_processor(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Sample CPU @ 2 GHz\n")
    assert cpu_model(info) == "Sample CPU @ 2 GHz"
    assert cpu_model(tmp_path / "absent")


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ([0, 1, 2, 3], ([0, 1], [2, 3])),
        ([3, 1, 2], ([1], [2, 3])),
        ([5], ([5], [5])),
    ],
)
def test_cores(cores: list[int], expected: tuple[list[int], list[int]]) -> None:
    assert split_cores(cores) == expected
