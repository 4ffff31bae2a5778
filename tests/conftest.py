"""What all tests share: their own ``data_dir``, speech to listen to, and a check that nothing is left running."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
SPEECH_DIR = Path(os.environ.get("PARLEY_SPEECH_DIR") or ROOT.parent / "shared" / "speech").expanduser().resolve()

# How long tasks and processes that are already on their way out may take. Liveness, not speed.
TASKS_END_WITHIN_S = 5.0
PROCESSES_END_WITHIN_S = 15.0

_state = pytest.StashKey[Path]()
_not_run = pytest.StashKey[list[str]]()


# Settings of the person who runs the tests must not reach them, nor they that person's calls.


def pytest_configure(config: pytest.Config) -> None:
    for name in [n for n in os.environ if n.startswith("PARLEY_") and n != "PARLEY_SPEECH_DIR"]:
        del os.environ[name]
    state = Path(tempfile.mkdtemp(prefix="parley-tests-"))
    config.stash[_state] = state
    os.environ["PARLEY_DATA_DIR"] = str(state / "data")
    # How long an example takes says how busy the machine is.
    settings.register_profile("parley", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("parley")


def pytest_unconfigure(config: pytest.Config) -> None:
    state = config.stash.get(_state, None)
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``data_dir`` of this test's own, also for the processes that it starts."""
    path = tmp_path / "data"
    monkeypatch.setenv("PARLEY_DATA_DIR", str(path))
    return path


# Human speech: tests that need recordings which are not there are listed as not run.


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needing = [item for item in items if "speech_dir" in getattr(item, "fixturenames", ())]
    for item in needing:
        item.add_marker(pytest.mark.speech)
    if needing and not SPEECH_DIR.is_dir():
        items[:] = [item for item in items if item not in needing]
        config.stash[_not_run] = [item.nodeid for item in needing]
        config.hook.pytest_deselected(items=needing)


# Where several processes share the tests (pytest-xdist), each tells the one that prints.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.sharing import LongestFirst

    return LongestFirst(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["not_run"] = session.config.stash.get(_not_run, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    names = getattr(node, "workeroutput", {}).get("not_run", [])
    if names:
        node.config.stash[_not_run] = sorted({*node.config.stash.get(_not_run, []), *names})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if names := config.stash.get(_not_run, []):
        terminalreporter.section(f"not run: no recordings of human speech in {SPEECH_DIR} (PARLEY_SPEECH_DIR)")
        for name in names:
            terminalreporter.line(name)


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """The folder of recorded human speech, with its ``manifest.jsonl``. Never copied into the repository."""
    return SPEECH_DIR


@pytest.fixture(scope="session")
def flite_wav(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``flite_wav(text, voice="slt")``: a WAV (pcm16, mono, 16 kHz) of ``text``, spoken once per session."""
    folder = tmp_path_factory.mktemp("flite")

    def speak(text: str, voice: str = "slt") -> Path:
        path = folder / f"{hashlib.sha256(f'{voice}:{text}'.encode()).hexdigest()[:16]}.wav"
        if not path.exists():
            subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], check=True, stdin=subprocess.DEVNULL)
        return path

    return speak


# Nothing is left running.


def _helpers() -> set[int]:
    """Processes of multiprocessing itself, one each for the life of the test run."""
    pids = (getattr(forkserver._forkserver, "_forkserver_pid", None), getattr(resource_tracker._resource_tracker, "_pid", None))
    return {pid for pid in pids if pid is not None}


def _children() -> dict[int, psutil.Process]:
    return {child.pid: child for child in psutil.Process().children(recursive=True)}


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.fixture
async def _tasks_end() -> AsyncIterator[None]:
    """Set up first and torn down last of a test's asynchronous fixtures, while their loop still runs."""
    before = asyncio.all_tasks()
    yield
    own = asyncio.current_task()
    left = {t for t in asyncio.all_tasks() - before if t is not own and not t.done()}
    if left:
        _, left = await asyncio.wait(left, timeout=TASKS_END_WITHIN_S)
    for task in left:
        task.cancel()
    if left:
        pytest.fail("asyncio tasks still pending after the test:\n" + "\n".join(f"  {t!r}" for t in left), pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: its tasks have ended and so have the processes that it started.

    ``@pytest.mark.leaves_running(reason="…")`` says that they need not. What a fixture of a wider scope started before the test
    does not count.
    """
    marker = request.node.get_closest_marker("leaves_running")
    if marker is not None:
        assert marker.kwargs.get("reason"), "leaves_running needs a reason"
        yield
        return
    before = set(_children())
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_tasks_end")
    yield
    deadline = time.monotonic() + PROCESSES_END_WITHIN_S
    while True:
        left = [p for pid, p in _children().items() if pid not in before | _helpers() and _is_running(p)]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    names = [_describe(p) for p in left]
    for process in left:
        process.kill()
    if left:
        pytest.fail("child processes still running after the test:\n" + "\n".join(f"  {n}" for n in names), pytrace=False)
