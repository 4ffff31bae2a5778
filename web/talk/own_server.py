"""The server of ``talk --lesson FILE``: a lesson file can be tried without a server that knows it."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings.load import ROOT, SettingsError
from pipeline.settings.tree import TutorSettings
from web.cli.lesson import lesson_file, read_own_lessons

DEFAULT_URL = "http://127.0.0.1:7860"
READY_WITHIN_S = 90.0
END_WITHIN_S = 30.0
_POLL_S = 0.1


@contextlib.contextmanager
def own_server(url: str | None, lesson: str | None) -> Iterator[tuple[str, str | None]]:
    """The server to call and the name of the lesson to take there.

    Where ``lesson`` is a file, they are those of a server that lives as long as this context: on a free port of this machine,
    with a token and a folder for its state that end with it. Any other ``lesson`` is for the server at ``url`` to know.

    Raises:
        SettingsError: the file holds no lesson, there is a ``url`` beside it, or the server does not start.
    """
    path = lesson_file(lesson) if lesson is not None else None
    if path is None:
        yield url or DEFAULT_URL, lesson
        return
    if url is not None:
        raise SettingsError(f"--lesson: talk starts a server for a file; leave out --url, or serve --lesson {path} there")
    read_own_lessons(TutorSettings(lesson=path.stem, lesson_file=path))
    with tempfile.TemporaryDirectory(prefix="parley-") as folder, _serving(path, Path(folder)) as address:
        yield address, path.stem


@contextlib.contextmanager
def _serving(lesson: Path, folder: Path) -> Iterator[str]:
    token = secrets.token_urlsafe()
    command = [sys.executable, str(ROOT / "run_agent.py"), "serve", "--lesson", str(lesson)]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--no-https"],
            env={**os.environ, "PARLEY_DATA_DIR": str(folder / "data"), "PARLEY_AUTH__TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            port = _listening(process)
            if port is None or not _ready(process, port, token):
                log.seek(0)
                said = log.read().splitlines() or ["it said nothing"]
                raise SettingsError(f"the server for {lesson} did not start: {said[-1].removeprefix('parley: ')}")
            yield f"http://127.0.0.1:{port}/?token={token}"
        finally:
            process.terminate()
            try:
                process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _listening(process: subprocess.Popen[str]) -> int | None:
    """The port that the server prints, or ``None`` where it ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listening: http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    return None


def _ready(process: subprocess.Popen[str], port: int, token: str) -> bool:
    """Wait until calls can begin; false where they never will."""
    until = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN_S)
        try:
            connection.request("GET", "/ready", headers={"Authorization": f"Bearer {token}"})
            if connection.getresponse().status == 200:
                return True
        except OSError:
            return False
        finally:
            connection.close()
        time.sleep(_POLL_S)
    return False
