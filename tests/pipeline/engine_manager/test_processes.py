"""Real engines of the test's own: started in order, waited for, started again, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from loguru import logger

from pipeline.engine_manager import keeper
from pipeline.engine_manager.launch import Launch, free_port
from pipeline.engine_manager.manager import EngineManager, EngineServer, StartFailed
from pipeline.engine_manager.policy import Backoff

ROOT = Path(__file__).resolve().parents[3]
LITTLE = Path(__file__).with_name("little_engine.py")


def launch(name: str, *options: str, port: int | None = None, command: tuple[str, ...] = (), **kwargs: Any) -> Launch:
    port = port or free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    own = command or (sys.executable, str(LITTLE), str(port), *options)
    return Launch(
        name, own, dict(os.environ), url, f"{url}/ready", **{"start_timeout_s": 60.0, "stop_timeout_s": 5.0, **kwargs}
    )


@pytest.fixture
async def manage() -> AsyncIterator[Callable[..., EngineManager]]:
    made: list[EngineManager] = []

    def make(*launches: Launch) -> EngineManager:
        made.append(EngineManager(launches))
        return made[-1]

    yield make
    for manager in made:
        await manager.close()


@pytest.fixture
def log() -> Any:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(str(message).strip()), level="DEBUG", format="{level} {message}")
    yield lines
    logger.remove(handler)


async def get(launch: Launch, path: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(launch.url + path)).text


async def pids(launch: Launch) -> list[int]:
    return [int(pid) for pid in (await get(launch, "/pids")).split()]


async def until(condition: Callable[[], Any], what: str, within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_engines_start_in_order_and_each_waits_for_the_last_one(manage, log) -> None:
    first, second = launch("stt", "load_s=0.6"), launch("tts")
    manager = manage(first, second)
    assert manager.missing() == "engine stt is stopped; engine tts is stopped"
    await manager.start()
    assert manager.ready
    assert manager.missing() is None
    steps = [line for line in log if "starting at" in line or "ready after" in line]
    assert [line.split()[2] for line in steps] == ["stt:", "stt:", "tts:", "tts:"]
    await manager.start()
    assert [s.restarts for s in manager.statuses()] == [0, 0], "what runs is left alone"


async def test_what_an_engine_prints_is_in_the_log_under_its_name_and_its_progress_is_told(manage, log) -> None:
    manager = manage(launch("stt", "load_s=5"))
    starting = asyncio.create_task(manager.start())
    seen = set()
    while not starting.done():
        seen |= {s.progress for s in manager.statuses()}
        await asyncio.sleep(0.05)
    await starting
    assert {"Loading weights 0 %", "Loading weights 50 %"} <= seen
    assert any(line.startswith("INFO engine stt: Loading weights ") for line in log), log
    assert "INFO stt | serving" in log or "DEBUG stt | serving" in log
    assert not any("| Loading weights: 25" in line for line in log), "bars that move are not logged"


async def test_an_engine_that_dies_is_started_again_and_the_reason_is_kept(log) -> None:
    one = launch("tts", "child=session")
    server = EngineServer(one, Backoff(first_s=0.5))
    try:
        await server.start()
        before = await pids(one)
        with contextlib.suppress(httpx.HTTPError):
            await get(one, "/die?3")
        await until(lambda: server.status().state == "restarting", "its end is noticed")
        assert server.status().error == "it ended with exit code 3: RuntimeError: asked to die"
        assert all(gone(pid) for pid in before), "what it left was killed before it is started again"
        await until(lambda: server.status().state == "ready", "it works again")
        assert server.status().restarts == 1
        assert server.status().error is None
        assert set(await pids(one)).isdisjoint(before)
        os.kill((await pids(one))[0], signal.SIGKILL)
        await until(lambda: server.status().restarts == 2 and server.status().state == "ready", "and again")
        assert any("engine tts: it was killed (signal 9)" in line for line in log)
    finally:
        await server.stop()


async def test_one_that_cannot_load_is_given_up_with_its_own_words_and_the_next_is_started(manage, tmp_path) -> None:
    bad, good = launch("llm", "die=2"), launch("tts")
    manager = manage(bad, good)
    with pytest.raises(StartFailed) as raised:
        await manager.start()
    assert str(raised.value) == "llm: it ended with exit code 2: ValueError: no such model: little"
    assert [s.state for s in manager.statuses()] == ["failed", "ready"]
    assert manager.failures() == "engine llm: it ended with exit code 2: ValueError: no such model: little"


async def test_one_that_fails_the_first_time_is_tried_again(manage, tmp_path) -> None:
    manager = manage(launch("stt", "die=1", f"once={tmp_path / 'once'}"))
    await manager.start()
    assert [s.restarts for s in manager.statuses()] == [1]


async def test_a_failed_one_can_be_started_once_its_trouble_is_over(manage, tmp_path) -> None:
    wanted = tmp_path / "weights"
    port = free_port("127.0.0.1")
    code = f"import os, sys; os.path.exists({str(wanted)!r}) or sys.exit('Error: no weights'); sys.argv[:] = ['', '{port}']; "
    one = launch("stt", port=port, command=(sys.executable, "-c", code + f"exec(open({str(LITTLE)!r}).read())"))
    manager = EngineManager([one])
    try:
        with pytest.raises(StartFailed, match="Error: no weights"):
            await manager.start()
        wanted.write_text("")
        await manager.start(["stt"])
        assert manager.ready
    finally:
        await manager.close()


async def test_a_command_that_is_not_there_is_one_clear_line_without_further_tries(manage) -> None:
    manager = manage(launch("stt", command=("/nowhere/engine",)))
    with pytest.raises(StartFailed) as raised:
        await manager.start()
    assert str(raised.value) == "stt: it could not be started: /nowhere/engine: No such file or directory"
    assert manager.statuses()[0].restarts == 0


async def test_a_port_in_use_is_one_clear_line(manage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        manager = manage(launch("stt", port=port))
        with pytest.raises(StartFailed) as raised:
            await manager.start()
    said = f"stt: engines.stt.url: 127.0.0.1 port {port}: address already in use; leave launch out where"
    assert str(raised.value).startswith(said)


async def test_one_that_never_gets_ready_is_ended_when_its_time_is_over(manage) -> None:
    slow = launch("stt", "load_s=600", start_timeout_s=0.7)
    server = EngineServer(slow, Backoff(tries=1))
    with pytest.raises(StartFailed, match=r"stt: it was not ready within 0\.7 s"):
        await server.start()
    await server.stop()
    assert server.status().pid is None


async def test_stopping_ends_every_process_even_one_that_ignores_it(manage) -> None:
    one = launch("tts", "child=session", "deaf=1", stop_timeout_s=0.5)
    manager = manage(one)
    await manager.start()
    processes = [*await pids(one), manager.statuses()[0].pid]
    assert len(processes) == 3
    await manager.stop(["tts"])
    assert all(gone(pid) for pid in processes)
    assert manager.statuses()[0].state == "stopped"
    await manager.stop(["tts"])


async def test_a_stop_during_the_start_leaves_nothing(manage) -> None:
    one = launch("stt", "load_s=600")
    manager = manage(one)
    starting = asyncio.create_task(manager.start())
    await until(lambda: manager.statuses()[0].pid, "it was started")
    keeper = manager.statuses()[0].pid
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    await manager.close()
    assert gone(keeper)


SERVER = """
import asyncio, os, sys
sys.path[:0] = [{root!r}, {here!r}]
from pipeline.engine_manager import keeper
from pipeline.engine_manager.launch import Launch
from pipeline.engine_manager.manager import EngineManager

async def main():
    url = "http://127.0.0.1:{port}"
    command = (sys.executable, {little!r}, "{port}", "child=session", "deaf=1")
    manager = EngineManager([Launch("stt", command, dict(os.environ), url, url + "/ready", 60, 1)])
    await manager.start()
    print("up", manager.statuses()[0].pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_nothing_survives_the_server_however_it_ends(number: signal.Signals) -> None:
    port = free_port("127.0.0.1")
    code = SERVER.format(root=str(ROOT), here=str(LITTLE.parent), little=str(LITTLE), port=port)
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    up = (await asyncio.wait_for(server.stdout.readline(), 60)).split()
    assert up[0] == b"up"
    one = launch("stt", port=port)
    processes = [int(up[1]), *await pids(one)]
    assert not any(gone(pid) for pid in processes)
    server.send_signal(number)
    await server.wait()
    await until(lambda: all(gone(pid) for pid in processes), "every process of the engine ends")


def test_signals_on_the_heels_of_one_another_do_not_stop_a_keeper_from_stopping_its_engine() -> None:
    sleeper = [sys.executable, "-I", "-S", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    command = [sys.executable, "-I", "-S", str(Path(keeper.__file__)), str(os.getpid()), "5", *sleeper]
    for _ in range(10):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            engine = psutil.Process(int(process.stdout.readline()))
            try:
                with contextlib.suppress(ProcessLookupError):
                    for i in range(2_000):
                        os.kill(process.pid, (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[i % 3])
                process.stdin.close()
                process.wait(60)
                assert not engine.is_running()
            finally:
                process.kill()


async def test_an_engine_does_not_survive_its_keeper(manage) -> None:
    one = launch("stt", "child=session")
    server = EngineServer(one, Backoff(first_s=30))
    await server.start()
    engine, child = await pids(one)
    os.kill(server.status().pid, signal.SIGKILL)
    await until(lambda: gone(engine), "the engine dies with it")
    os.kill(child, signal.SIGKILL)  # Nobody is left who could know of it.
    await server.stop()
