"""The example of ``docs/python-client.md``, as it stands there, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_holds_a_call(server, flite_wav, tmp_path):
    text = (ROOT / "docs" / "python-client.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert example.count("http://127.0.0.1:7860") == 1
    script = tmp_path / "example.py"
    script.write_text(example.replace("http://127.0.0.1:7860", server.url))
    shutil.copy(flite_wav("Hello. My name is Anna, and I live in Berlin."), tmp_path / "hello.wav")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    lines = said.splitlines()
    kinds = [line.split(":")[0] for line in lines]
    assert kinds[0] == "tutor"
    assert "you" in kinds[1:-2]
    assert kinds[-2:] == ["tutor", "score"]
    assert len(done.stdout) > 2 * 48_000  # the greeting and the answer are more than two seconds of sound


def test_the_module_needs_nothing_else_of_parley(tmp_path):
    """What the page promises to whoever copies it."""
    shutil.copy(ROOT / "web" / "parley_client.py", tmp_path / "parley_client.py")
    code = "import sys, parley_client; assert not {'web', 'pipeline', 'agent', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
