"""``python -m bench.engine_server ours|moshi stt|tts --config FILE``: one speech engine to be measured, in the engines' own
environment. What is ours is loaded and served as ``python -m engines.kyutai`` does; the peer's loop takes its place behind the
same doors. The answer to ``/health`` also has the times of the steps since it was asked last.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from engines.kyutai.link.host import Engine, Host, Send, listeners, stop_on_signals
from engines.kyutai.settings import EngineSettings, SttSettings, TtsSettings, read_settings

MOST_TIMES = 20_000


class Watched:
    """An engine that says of itself what the bench wants to know. ``steps_ms``: is added to by whoever times the steps."""

    def __init__(self, engine: Engine, facts: dict[str, Any], steps_ms: list[float]) -> None:
        self._engine = engine
        self._facts = facts
        self._steps_ms = steps_ms
        self.heard = engine.heard
        self.left = engine.left
        self.tick = engine.tick

    def answer(self, question: str) -> bytes:
        if question != "status":
            return self._engine.answer(question)
        steps = self._steps_ms.copy()
        self._steps_ms.clear()
        return json.dumps({**json.loads(self._engine.answer("status")), **self._facts, "steps_ms": steps}).encode()


def _timed(owner: Any, name: str) -> list[float]:
    """Times this method of the class from now on. Returns where the times go, in ms."""
    times: list[float] = []
    inner = getattr(owner, name)

    def outer(*arguments: Any, **named: Any) -> Any:
        begun_s = time.perf_counter()
        made = inner(*arguments, **named)
        if len(times) < MOST_TIMES:
            times.append(round(1000 * (time.perf_counter() - begun_s), 2))
        return made

    setattr(owner, name, outer)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.engine_server", description=__doc__)
    parser.add_argument("side", choices=["ours", "moshi"])
    parser.add_argument("kind", choices=["stt", "tts"])
    parser.add_argument("--config", type=Path, required=True)
    chosen = parser.parse_args()
    kind: type[EngineSettings] = SttSettings if chosen.kind == "stt" else TtsSettings
    settings = read_settings(chosen.config, kind)
    sockets = listeners(settings.host, settings.port, settings.front_ends)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    host = Host(sockets, settings.door_spec())
    print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)
    try:
        host.start()
        engine, facts, steps_ms = _load(chosen.side, chosen.kind, settings, host.send)
        steps_ms.clear()  # those of warming up
        stop_on_signals(host)
        host.ready({"type": f"{chosen.side}_{chosen.kind}", "path": ""})
        host.run(Watched(engine, facts, steps_ms))
        return 0
    finally:
        host.close()


def _load(side: str, kind: str, settings: Any, send: Send) -> tuple[Engine, dict[str, Any], list[float]]:
    """The engine, what the bench is to know of it, and where the times of its steps are."""
    import torch

    facts = {"torch": torch.__version__, "moshi": metadata.version("moshi"), "device": "CPU"}
    if settings.device != "cpu":
        facts["device"] = torch.cuda.get_device_name()
    if side == "ours":
        model = import_module(f"engines.kyutai.model.{kind}")
        steps_ms = _timed(model.BatchedStt if kind == "stt" else model.BatchedTts, "step")
        engine, about = import_module(f"engines.kyutai.{kind}_engine").load(settings, send)
        return engine, facts | {"delay": about.get("delay", 0)}, steps_ms
    if kind == "stt":
        from bench.peers.moshi_stt import MoshiSttEngine
        from engines.kyutai.model.checkpoint import load_stt

        parts = load_stt(settings.model, device=settings.device, dtype=getattr(torch, settings.dtype))
        steps_ms = _timed(MoshiSttEngine, "step")
        hearing = MoshiSttEngine(parts, settings.slots, send)
        return hearing, facts | {"delay": hearing.delay}, steps_ms
    from bench.peers.moshi_tts import MoshiTtsEngine

    steps_ms = _timed(MoshiTtsEngine, "forward")
    speaking = MoshiTtsEngine(
        Path(settings.model),
        settings.slots,
        send,
        device=settings.device,
        dtype=getattr(torch, settings.dtype),
        cfg=settings.cfg_coef,
    )
    return speaking, facts, steps_ms


if __name__ == "__main__":
    sys.exit(main())
