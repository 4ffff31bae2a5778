"""M2 files, and bench grammar on a set of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.m2 import BadM2, read_m2

M2 = """S She go to school , because she do n't have an car .
A 1 2|||R:VERB:SVA|||goes|||REQUIRED|||-NONE-|||0
A 7 8|||R:VERB:SVA|||does|||REQUIRED|||-NONE-|||0
A 10 11|||R:DET|||a|||REQUIRED|||-NONE-|||0
A 1 2|||R:VERB:TENSE|||went|||REQUIRED|||-NONE-|||1
A 4 5|||U:PUNCT||||||REQUIRED|||-NONE-|||1

S It is fine .
A -1 -1|||noop|||-NONE-|||REQUIRED|||-NONE-|||0
"""


def test_sentences_and_one_correction_an_annotator() -> None:
    first, second = read_m2(M2)
    assert first["text"] == "She go to school, because she don't have an car."
    assert first["corrections"] == [
        "She goes to school, because she doesn't have a car.",
        "She went to school, because she don't have an car.",
    ]
    assert second == {"text": "It is fine.", "corrections": ["It is fine."]}


@pytest.mark.parametrize("text", ["S a b\nA one two|||X|||y|||R|||-|||0\n", "hello\n", "S a\nA 0 1|||X\n"])
def test_what_is_no_m2_names_its_line(text: str) -> None:
    with pytest.raises(BadM2, match=r"line [12]"):
        list(read_m2(text))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "grammar", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_checker_on_another_set(tmp_path: Path) -> None:
    path = tmp_path / "other.m2"
    path.write_text(M2, encoding="utf-8")
    done = bench("--set", str(path), "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["figures"]["sentences"] == 2
    assert (result["figures"]["right"], result["figures"]["wrong"]) == (3, 0)
    assert result["checks"] == {}


def test_a_file_that_is_no_set_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"text": "x"}\n', encoding="utf-8")
    done = bench("--set", str(path))
    assert done.returncode == 1
    assert "other.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
