"""The pool with real worker processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.engine import AtCapacity
from pipeline.stt import sphinx_pool
from pipeline.stt.recognition import RecogniserBusy, RecogniserFailed, Recognition, UtteranceCancelled
from pipeline.stt.sphinx_pool import BYTES_PER_S, SphinxPool, Utterance
from tests.pipeline.stt.speech import COFFEE, MARKET, YEARS, room_tone

Say = Callable[..., bytes]

# Liveness only.
SOON_S = 60.0


async def speak(utterance: Utterance, pcm: bytes, speed: float = 4.0) -> None:
    """20 ms at a time, ``speed`` times as fast as real speech."""
    for at in range(0, len(pcm), 640):
        utterance.feed(pcm[at : at + 640])
        await asyncio.sleep(0.02 / speed)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  (what is waited for tells nobody)
            await asyncio.sleep(0.02)


def pids(pool: SphinxPool) -> list[int]:
    found = pool.status()["pids"]
    assert all(isinstance(pid, int) for pid in found)
    return found


async def final(utterance: Utterance) -> Recognition:
    async with asyncio.timeout(SOON_S):
        return await utterance.finish()


async def test_partials_come_while_speaking_then_the_final(pool: SphinxPool, say: Say) -> None:
    partials: list[str] = []
    utterance = pool.open(on_partial=partials.append)
    await speak(utterance, say(MARKET), speed=1)
    before_final = len(partials)
    result = await final(utterance)
    assert result.text == MARKET
    assert before_final >= 2
    assert len(partials) == before_final
    assert len(set(partials[-1].split()) & set(MARKET.split())) >= 2
    assert len(partials[0]) < len(partials[-1])


async def test_utterances_at_the_same_time_do_not_mix(pool: SphinxPool, say: Say) -> None:
    texts = [MARKET, COFFEE, YEARS, COFFEE, MARKET]
    utterances = [pool.open() for _ in texts]
    await asyncio.gather(*(speak(u, say(t)) for u, t in zip(utterances, texts, strict=True)))
    results = await asyncio.gather(*(final(u) for u in utterances))
    assert [r.text for r in results] == texts
    assert pool.status()["finals"] == len(texts)
    assert pool.status()["open_utterances"] == 0
    assert pool.status()["real_time_factor"] > 0


async def test_expected_replies_reach_the_worker(pool: SphinxPool, say: Say) -> None:
    utterance = pool.open(["I'd like a tea.", "I would like a cup of coffee, please."])
    await speak(utterance, say(COFFEE), speed=50)
    result = await final(utterance)
    assert (result.text, result.source) == ("I would like a cup of coffee, please.", "expected")


async def test_a_killed_worker_costs_nothing_but_time(pool: SphinxPool, say: Say) -> None:
    before = set(pids(pool))
    utterance = pool.open(on_partial=lambda _text: None)
    pcm = say(MARKET)
    half = len(pcm) // 2 // 640 * 640
    await speak(utterance, pcm[:half])
    worker = pool._schedule.worker_of(utterance._key)
    assert worker is not None
    os.kill(pool._links[worker].pid or 0, signal.SIGKILL)
    await speak(utterance, pcm[half:])
    assert (await final(utterance)).text == MARKET
    await until(lambda: pool.status()["ready"] == 2)
    assert pool.status()["restarts"] == 1
    after = set(pids(pool))
    assert len(after) == 2
    assert len(after & before) == 1
    again = pool.open()
    again.feed(say(COFFEE))
    assert (await final(again)).text == COFFEE


async def test_an_utterance_that_kills_two_workers_is_given_up(say: Say) -> None:
    async with SphinxPool(1, queue_deadline_s=60, utterance_timeout_s=60) as pool:
        utterance = pool.open()
        utterance.feed(say(YEARS))
        for restarts in range(2):
            await until(lambda: pool._schedule.worker_of(utterance._key) is not None)
            os.kill(pids(pool)[0], signal.SIGKILL)
            await until(lambda n=restarts: pool.status()["restarts"] == n + 1)
        with pytest.raises(RecogniserFailed, match="as did the one before"):
            await final(utterance)
        await until(lambda: pool.status()["ready"] == 1)
        assert pool.status()["failed"] == 1
        another = pool.open()
        another.feed(say(COFFEE))
        assert (await final(another)).text == COFFEE


async def test_a_hung_worker_is_replaced(say: Say) -> None:
    async with SphinxPool(1, queue_deadline_s=60, utterance_timeout_s=5.0) as pool:
        (hung,) = pids(pool)
        os.kill(hung, signal.SIGSTOP)
        utterance = pool.open()
        utterance.feed(say(COFFEE))
        utterance.finish()
        await until(lambda: pool.status()["restarts"] == 1)
        assert (await final(utterance)).text == COFFEE
        assert not psutil.pid_exists(hung) or psutil.Process(hung).status() == psutil.STATUS_ZOMBIE


async def test_busy_partials_go_first_then_finals_expire_then_calls_are_refused(say: Say) -> None:
    async with SphinxPool(1, queue_deadline_s=1.0, utterance_timeout_s=60) as pool:
        pool.admit()
        os.kill(pids(pool)[0], signal.SIGSTOP)  # a worker that is as busy as can be
        try:
            first, second = pool.open(), pool.open(on_partial=lambda _text: pytest.fail("a partial without a worker"))
            assert pool.status()["partials_dropped"] == 1
            first.feed(say(COFFEE))
            second.feed(say(MARKET))
            waiting = (first.finish(), second.finish())
            assert pool.status()["queue_depth"] == 1
            with pytest.raises(AtCapacity, match="wait"):
                pool.admit()
            with pytest.raises(RecogniserBusy, match="came free within"):
                await asyncio.wait_for(waiting[1], SOON_S)
            assert pool.status()["refused_busy"] == 1
        finally:
            os.kill(pids(pool)[0], signal.SIGCONT)
        assert (await asyncio.wait_for(waiting[0], SOON_S)).text == COFFEE
        pool.admit()


async def test_calls_are_counted(pool: SphinxPool) -> None:
    capacity = pool.status()["capacity_calls"]
    for _ in range(capacity):
        pool.admit()
        pool.join()
    with pytest.raises(AtCapacity) as refused:
        pool.admit()
    assert refused.value.retry_after_s > 0
    pool.leave()
    pool.admit()


async def test_the_event_loop_runs_while_workers_decode(pool: SphinxPool, say: Say) -> None:
    pcm = say(MARKET) + say(COFFEE) + say(YEARS)
    gaps: list[float] = []

    async def heartbeat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    beating = asyncio.create_task(heartbeat())
    utterance = pool.open()
    utterance.feed(pcm)
    started = time.monotonic()
    await final(utterance)
    took = time.monotonic() - started
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert max(gaps) < took / 3
    assert len(gaps) > 20


async def test_more_than_an_utterance_takes_goes_into_the_next(say: Say) -> None:
    async with SphinxPool(1, max_utterance_s=5.0, queue_deadline_s=60, utterance_timeout_s=60) as pool:
        utterance = pool.open()
        pcm = say(MARKET) + room_tone(5.0)
        taken = utterance.feed(pcm)
        assert taken == 5 * BYTES_PER_S
        assert utterance.full
        assert utterance.feed(b"\0\0") == 0
        result = await final(utterance)
        assert result.audio_s == 5.0
        assert result.text.startswith(MARKET)


async def test_a_cancelled_utterance_frees_its_worker(say: Say) -> None:
    async with SphinxPool(1, queue_deadline_s=60, utterance_timeout_s=60) as pool:
        long = pool.open()
        long.feed(say(MARKET) * 5)
        waiting = long.finish()
        long.cancel()
        with pytest.raises(UtteranceCancelled):
            await waiting
        with pytest.raises(RuntimeError):
            long.feed(b"\0\0")
        unfinished = pool.open()
        unfinished.feed(say(COFFEE))
        unfinished.cancel()
        unfinished.cancel()
        with pytest.raises(UtteranceCancelled):
            await unfinished.finish()
        assert pool.status()["open_utterances"] == 0
        after = pool.open()
        after.feed(say(YEARS))
        assert (await final(after)).text == YEARS


async def test_finish_twice_gives_one_final_and_nothing_is_fed_after(pool: SphinxPool, say: Say) -> None:
    utterance = pool.open()
    utterance.feed(say(COFFEE))
    assert utterance.finish() is utterance.finish()
    with pytest.raises(RuntimeError):
        utterance.feed(b"\0\0")
    assert (await final(utterance)).text == COFFEE
    utterance.cancel()


async def test_an_empty_utterance_is_nothing(pool: SphinxPool) -> None:
    assert (await final(pool.open())).text == ""


async def test_close_leaves_nothing_behind(say: Say) -> None:
    warm = SphinxPool(1)  # what multiprocessing keeps for the whole program is there before counting
    await warm.load()
    await warm.close()
    own = psutil.Process()
    fds, threads = own.num_fds(), threading.active_count()
    for _ in range(3):
        pool = SphinxPool(2)
        await pool.load()
        workers = pids(pool)
        utterance = pool.open()
        utterance.feed(say(MARKET) * 5)
        waiting = utterance.finish()
        await pool.close()
        await pool.close()
        with pytest.raises(UtteranceCancelled):
            await waiting
        with pytest.raises(RecogniserFailed, match="not running"):
            pool.open()
        assert not any(_runs(pid) for pid in workers)
    assert own.num_fds() == fds
    assert threading.active_count() == threads
    assert not [t for t in asyncio.all_tasks() if "sphinx" in t.get_name()]


async def test_a_closed_pool_can_be_loaded_again(say: Say) -> None:
    pool = SphinxPool(1, queue_deadline_s=60, utterance_timeout_s=60)
    for _ in range(2):
        await pool.load()
        utterance = pool.open()
        utterance.feed(say(COFFEE))
        assert (await final(utterance)).text == COFFEE
        await pool.close()


async def test_closing_while_it_loads(say: Say) -> None:
    pool = SphinxPool(2)
    loading = asyncio.create_task(pool.load())
    await asyncio.sleep(0.01)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    await pool.close()
    assert not [t for t in asyncio.all_tasks() if "sphinx" in t.get_name()]


async def test_workers_ignore_ctrl_c(pool: SphinxPool, say: Say) -> None:
    for pid in pids(pool):
        os.kill(pid, signal.SIGINT)
    utterance = pool.open()
    utterance.feed(say(COFFEE))
    assert (await final(utterance)).text == COFFEE
    assert pool.status()["restarts"] == 0


def test_workers_end_when_their_program_is_killed(tmp_path: Path) -> None:
    """Also one that is decoding."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, sys
            from pipeline.stt.sphinx_pool import SphinxPool

            async def main():
                pool = SphinxPool(2)
                await pool.load()
                utterance = pool.open()
                utterance.feed(bytes(range(256)) * 3700)
                utterance.finish()
                print(*pool.status()["pids"], flush=True)
                await asyncio.sleep(600)

            if __name__ == "__main__":
                asyncio.run(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env) as program:
        assert program.stdout is not None
        workers = [int(pid) for pid in program.stdout.readline().split()]
        family = {p.pid for p in psutil.Process(program.pid).children(recursive=True)}
        assert len(workers) == 2
        assert set(workers) <= family
        program.kill()
    deadline = time.monotonic() + SOON_S
    while any(_runs(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if _runs(pid)]


@pytest.mark.parametrize("length", [40, 110], ids=["short", "too long for a socket below it"])
def test_workers_start_whatever_the_length_of_tmpdir(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """The fork server listens at a path, and the system limits the length of such paths to about 100 bytes."""
    top = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    place = top / ("x" * (length - len(str(top)) - 1))
    place.mkdir()
    script = tmp_path_factory.mktemp("program") / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio
            from multiprocessing import util
            from pipeline.stt.sphinx_pool import SphinxPool

            async def main():
                async with asyncio.timeout(30), SphinxPool(2) as pool:
                    print(pool.status()["ready"], util.get_temp_dir())

            if __name__ == "__main__":
                asyncio.run(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "TMPDIR": str(place)}
    try:
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        ready, folder = done.stdout.split()
        assert ready == "2"
        assert (Path(folder).parent == place) == (length == 40)
        assert not Path(folder).exists()
        assert list(place.iterdir()) == []
    finally:
        shutil.rmtree(top)


async def test_a_pool_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(sphinx_pool, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(sphinx_pool.WorkerLink, "start", start)
    with pytest.raises(RuntimeError, match=r"not ready within 0\.2 s: no more processes$"):
        await SphinxPool(1).load()


def test_the_program_itself_never_loads_pocketsphinx() -> None:
    code = (
        "import sys, pipeline.stt.pocketsphinx; "
        "bad = [m for m in sys.modules if m == 'pocketsphinx' or m.startswith('pocketsphinx.')]; sys.exit(bool(bad))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_is_light() -> None:
    code = "import sys; before = set(sys.modules); import pipeline.stt; print(len(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(added) <= 2


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
