"""``run_agent.py`` as people start it: every way to fail is one line and exit code 2, and an end in order is a success."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets

ROOT = Path(__file__).resolve().parents[3]
RUN = [sys.executable, str(ROOT / "run_agent.py")]
WITHIN_S = 120


def run(cwd: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=cwd,
        env={**os.environ, "PARLEY_DATA_DIR": str(cwd / "data"), **(env or {})},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        stdin=subprocess.DEVNULL,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line on stderr of a start that was refused."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("parley: ")
    return line


WRONG_FILES = {
    "unknown key": ("server:\n  prot: 1", "my.yaml:2: server.prot: unknown key; did you mean 'port'?"),
    "wrong type": ("server: {https: maybe}", "my.yaml:1: server.https: must be true or false, not 'maybe'"),
    "bad port": ("server: {port: 70000}", "my.yaml:1: server.port: must be a whole number from 0 to 65535, not 70000"),
    "broken": ("server: [", "my.yaml:1:10: not valid YAML"),
    "unknown engine": ("tts: {engine: none}", "tts.engine: must be one of: espeak, kyutai, pocket, not 'none'"),
    "unknown lesson": ("tutor: {lesson: none}", "tutor.lesson: must be one of: "),
    "data_dir": ("data_dir: my.yaml/data", "data_dir: cannot write in 'my.yaml/data'"),
    "no such certificate": ("server: {https: true, cert_file: no.pem}", "server.cert_file: 'no.pem' does not exist"),
    "no certificate": ("server: {https: true, cert_file: my.yaml}", "server.cert_file: 'my.yaml' holds no PEM certificate"),
    "key alone": ("server: {https: true, key_file: my.yaml}", "server.key_file: needs server.cert_file beside it"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    env = {"PARLEY_DATA_DIR": ""} if text.startswith("data_dir") else {}
    assert message in one_line(run(tmp_path, "serve", "--config", "my.yaml", env=env))


WRONG_ARGUMENTS = {
    "missing file": (["--config", "none.yaml"], {}, "none.yaml: no such configuration file"),
    "folder": (["--config", "."], {}, "cannot be read: is a directory"),
    "port that is no number": (["--port", "many"], {}, "--port: must be a whole number from 0 to 65535, not 'many'"),
    "port out of range": (["--port", "65536"], {}, "--port: must be a whole number from 0 to 65535, not '65536'"),
    "unknown variable": ([], {"PARLEY_PORT": "1"}, "PARLEY_PORT: unknown setting; did you mean PARLEY_SERVER__PORT?"),
    "wrong variable": ([], {"PARLEY_LOG__LEVEL": "x"}, "PARLEY_LOG__LEVEL: must be one of: TRACE"),
    "open without token": (["--host", "0.0.0.0"], {}, "export PARLEY_AUTH__TOKEN="),
    "unknown host": (["--host", "no-such-host.invalid"], {}, "server.host: unknown address 'no-such-host.invalid'"),
    "somebody else's address": (
        ["--host", "192.0.2.77", "--port", "0"],
        {"PARLEY_AUTH__TOKEN": "x"},
        "192.0.2.77 is no address of this machine",
    ),
    "options before the command": (["--port", "1", "serve"], {}, "options belong after the command"),
}


@pytest.mark.parametrize(("arguments", "env", "message"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_wrong_argument(tmp_path: Path, arguments: list[str], env: dict[str, str], message: str) -> None:
    assert message in one_line(run(tmp_path, *arguments, env=env))


def test_port_taken_names_the_next_free_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = one_line(run(tmp_path, "--port", str(port)))
    named = re.search(rf"server\.port: {port} on 127\.0\.0\.1 is taken; port (\d+) is free: --port \1$", line)
    assert named
    assert port < int(named[1]) <= 65535


def test_another_python_is_one_line() -> None:
    code = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, RUN[1]], capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "tested with Python 3.11, not 3.9" in line


def test_without_packages_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-S", RUN[1]], capture_output=True, text=True, timeout=WITHIN_S, cwd=ROOT.parent)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "make run" in line


# check


def test_check_finds_nothing_wrong_here(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--port", "0", "--json")
    found = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    problems = {name for name, row in found.items() if row["outcome"] == "problem"}
    assert problems <= {"page"}, done.stdout  # Only `make` builds the page.
    assert done.returncode == (1 if problems else 0)
    assert not (tmp_path / "data").exists()
    assert {"Python", "configuration", "packages", "stt: pocketsphinx", "tts: espeak", "port", "data_dir"} <= set(found)


def test_check_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(
            tmp_path,
            "check",
            "--port",
            str(taken.getsockname()[1]),
            "--json",
            env={"PARLEY_DATA_DIR": str(tmp_path / "file/x")},
        )
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    problems = {row["name"]: row for row in report["checks"] if row["outcome"] == "problem"}
    assert {"port", "data_dir"} <= set(problems)
    assert all(row["hint"] for row in problems.values())


def test_check_of_a_broken_file_is_a_table_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("server: {prot: 1}")
    done = run(tmp_path, "check", "--config", "my.yaml", env={"COLUMNS": "200"})
    assert done.returncode == 1
    assert "server.prot: unknown key" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_check_lists_everything_that_is_wrong_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("server: {prot: 1}\nlimits: {max_calls: many}")
    done = run(tmp_path, "check", "--config", "my.yaml", "--json")
    details = [row["detail"] for row in json.loads(done.stdout)["checks"] if row["name"] == "configuration"]
    assert len(details) == 2
    assert "server.prot: unknown key" in details[0]
    assert "limits.max_calls: must be a whole number" in details[1]


# serve


@contextlib.contextmanager
def serving(cwd: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own, and the URL that it printed."""
    with (cwd / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*RUN, "serve", "--port", "0", *arguments],
            cwd=cwd,
            env={**os.environ, "PARLEY_DATA_DIR": str(cwd / "data"), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := re.search(r"listening: (\S+)", line):
                    yield process, match[1]
                    return
            raise AssertionError(f"it never listened: {(cwd / 'stderr').read_text()}")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()


def status(url: str, context: ssl.SSLContext | None = None) -> int:
    with urllib.request.urlopen(url, timeout=WITHIN_S, context=context) as answer:
        return int(answer.status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_and_ends_in_order(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as (process, url):
        assert status(url + "health") == 200
        process.send_signal(number)
        assert process.wait(WITHIN_S) == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_https_makes_one_certificate_and_keeps_it(tmp_path: Path) -> None:
    certificate = tmp_path / "data" / "tls" / "cert.pem"
    held = []
    for _ in range(2):
        with serving(tmp_path, "--https") as (process, url):
            assert url.startswith("https://127.0.0.1:")
            context = ssl.create_default_context(cafile=str(certificate))
            assert status(url + "health", context) == 200
            process.terminate()
            assert process.wait(WITHIN_S) == 0
        held.append(certificate.read_bytes())
    assert held[0] == held[1]
    assert (certificate.parent / "key.pem").stat().st_mode & 0o777 == 0o600


def test_open_address_shows_where_to_go(tmp_path: Path) -> None:
    with serving(tmp_path, "--host", "0.0.0.0", env={"PARLEY_AUTH__TOKEN": "hunter2"}) as (process, url):
        assert url.startswith("http://localhost:")
        process.terminate()
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait(WITHIN_S) == 0
    assert "PARLEY_AUTH__TOKEN" in printed
    assert "hunter2" not in printed + (tmp_path / "stderr").read_text()


def test_health_command(tmp_path: Path) -> None:
    def ask(port: int) -> int:
        return subprocess.run(
            [sys.executable, "-m", "web.cli.health"],
            cwd=ROOT,
            env={**os.environ, "PARLEY_SERVER__PORT": str(port)},
            timeout=WITHIN_S,
        ).returncode

    with serving(tmp_path) as (process, url):
        port = int(url.rsplit(":", 1)[1].strip("/"))
        assert ask(port) == 0
        process.terminate()
        assert process.wait(WITHIN_S) == 0
    assert ask(port) == 1


HANGING = """
import asyncio, socket, sys, uvicorn
from web.cli.server import Server

async def app(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})

async def drain():
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    print("draining", child.pid, flush=True)
    await asyncio.sleep(1000)

listener = socket.create_server(("127.0.0.1", 0))
config = uvicorn.Config(app, lifespan="on", log_config=None)
Server(config, on_listening=lambda: print("listening", flush=True), drain=drain).run(sockets=[listener])
"""


def test_second_signal_ends_it_and_its_workers_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "listening\n"
        process.send_signal(signal.SIGINT)
        word, child = process.stdout.readline().split()
        assert word == "draining"
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + WITHIN_S
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


async def test_calls_end_with_their_report(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        deadline = time.monotonic() + WITHIN_S
        async with httpx.AsyncClient() as http:
            while (await http.get(url + "ready")).status_code != 200:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        async with websockets.connect(url.replace("http", "ws") + "ws/conversation") as call:
            assert json.loads(await call.recv())["type"] == "connected"
            process.terminate()
            types = [json.loads(message)["type"] async for message in call if isinstance(message, str)]
        assert types.count("analysis") == 1
        assert await asyncio.to_thread(process.wait, WITHIN_S) == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()
