"""Engines are loaded one at a time, told apart by their states, and really released."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.engine import AtCapacity, NotLoaded, SimpleEngine
from pipeline.llm.scripted import ScriptedEngine
from pipeline.loading import EngineLoader, LoadFailed, memory_bytes
from pipeline.settings.tree import EspeakSettings, PocketsphinxSettings, TutorSettings
from pipeline.stt.pocketsphinx import PocketsphinxEngine
from pipeline.tts.espeak import EspeakEngine

ROOT = Path(__file__).resolve().parents[2]


def none(_: Any) -> Any:
    raise AssertionError("no call is made here")


class Heavy(SimpleEngine):
    """Takes some turns of the loop to load, and tells ``log`` what it does; ``fault`` is what its load raises."""

    def __init__(self, stage: Any, log: list[str]) -> None:
        super().__init__(f"heavy {stage}", stage, none)
        self.fault: Exception | None = None
        self.log = log
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> None:
        self.log.append(f"{self.stage} begins")
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.log.append(f"{self.stage} is there")

    async def close(self) -> None:
        self.log.append(f"{self.stage} closes")


@pytest.fixture
def heavy() -> tuple[EngineLoader, dict[str, Heavy], list[str]]:
    log: list[str] = []
    engines = {stage: Heavy(stage, log) for stage in ("stt", "llm", "tts")}
    return EngineLoader(engines), engines, log


def states(loader: EngineLoader) -> list[str]:
    return [loader.life(stage).state for stage in ("stt", "llm", "tts")]


async def test_engines_are_loaded_one_after_the_other_and_once(heavy):
    loader, _, log = heavy
    await asyncio.gather(loader.load(["tts", "llm"]), loader.load(), loader.load(["stt"]))
    assert log == ["llm begins", "llm is there", "tts begins", "tts is there", "stt begins", "stt is there"]
    await loader.load()
    assert len(log) == 6
    assert loader.ready
    assert all(loader.life(s).load_s is not None for s in ("stt", "llm", "tts"))


async def test_a_call_waits_for_an_engine_that_loads_and_is_told_of_one_that_is_unloaded(heavy):
    loader, engines, _ = heavy
    engines["llm"].gate.clear()
    loading = asyncio.create_task(loader.load())
    async with asyncio.timeout(10):
        while states(loader) != ["ready", "loading", "unloaded"]:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert loader.missing() is None
    with pytest.raises(AtCapacity, match="still loading") as refusal:
        loader.admit()
    assert not isinstance(refusal.value, NotLoaded)
    engines["llm"].gate.set()
    await loading
    loader.admit()
    await loader.unload(["tts"])
    with pytest.raises(NotLoaded, match=r"tts \(heavy tts\) is unloaded; POST /models/load") as gone:
        loader.admit()
    assert gone.value.retry_after_s > 0


async def test_one_that_fails_is_named_and_cleared_and_the_others_are_there(heavy):
    loader, engines, log = heavy
    engines["stt"].fault = RuntimeError("no such file: model.bin")
    with pytest.raises(LoadFailed) as failure:
        await loader.load()
    assert str(failure.value) == "stt (heavy stt): no such file: model.bin"
    assert log == ["stt begins", "stt closes", "llm begins", "llm is there", "tts begins", "tts is there"]
    assert states(loader) == ["failed", "ready", "ready"]
    assert loader.life("stt").error == "no such file: model.bin"
    with pytest.raises(NotLoaded, match=r"no such file"):
        loader.admit()
    engines["stt"].fault = None
    await loader.load()
    assert states(loader) == ["ready"] * 3
    assert loader.life("stt").error is None


async def test_a_load_that_is_given_up_leaves_nothing_behind(heavy):
    loader, engines, log = heavy
    engines["stt"].gate.clear()
    loading = asyncio.create_task(loader.load())
    async with asyncio.timeout(10):
        while "stt begins" not in log:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert log == ["stt begins", "stt closes"]
    assert states(loader) == ["unloaded"] * 3
    engines["stt"].gate.set()
    await loader.load()
    assert loader.ready


async def test_an_unload_may_be_refused_and_one_of_what_is_not_there_does_nothing(heavy):
    loader, _, log = heavy

    def refuse() -> None:
        raise RuntimeError("a call runs")

    await loader.load()
    with pytest.raises(RuntimeError, match="a call runs"):
        await loader.unload(check=refuse)
    assert states(loader) == ["ready"] * 3
    del log[:]
    await loader.unload(["llm"])
    await loader.unload(["llm", "tts"])
    assert log == ["llm closes", "tts closes"]
    assert states(loader) == ["ready", "unloaded", "unloaded"]
    assert loader.life("llm").memory_mb is None


def test_the_embedded_engines_give_their_processes_and_memory_back():
    # In a process of its own: the recogniser's fork server is one for a whole process, and other tests have theirs.
    code = "import asyncio; from tests.pipeline.test_loading import load_and_unload; asyncio.run(load_and_unload())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


async def load_and_unload() -> None:
    stt = PocketsphinxEngine(PocketsphinxSettings(workers=2))
    loader = EngineLoader({"stt": stt, "llm": ScriptedEngine(TutorSettings()), "tts": EspeakEngine(EspeakSettings())})
    pids: list[int] = []
    for _ in range(2):  # it can be loaded again, as often as one likes
        before = memory_bytes()
        await loader.load()
        workers = [psutil.Process(pid) for pid in stt.status().detail["pids"]]
        pids += [w.pid for w in workers]
        assert len(workers) == 2
        cost_mb = loader.life("stt").memory_mb
        assert cost_mb is not None
        assert cost_mb > 20, "two processes with a model each"
        loaded = memory_bytes()
        await loader.unload()
        assert not any(w.is_running() for w in workers)
        assert forkserver._forkserver._forkserver_pid is None  # type: ignore[attr-defined]
        assert loaded - memory_bytes() > 0.6 * cost_mb * 1e6
        assert memory_bytes() < before + 40e6, "what Python imported stays"
    assert len(set(pids)) == 4


async def test_garbage_collection_passes_over_what_was_loaded(heavy):
    loader, *_ = heavy
    gc.unfreeze()
    await loader.load()
    try:
        passed_over = gc.get_freeze_count()
        assert passed_over > 50_000, "modules, and what they made"
        assert len(gc.get_objects()) < passed_over / 10
        later = [[] for _ in range(1_000)]
        await loader.load()
        assert gc.get_freeze_count() <= passed_over, "calls may be running: nothing was to be loaded, and nothing is looked at"
        assert later
    finally:
        await loader.close()
    assert gc.get_freeze_count() == 0, "a process that ends, or goes on as another's test, forgets nothing"
