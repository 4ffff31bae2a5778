"""Servers under test as processes: the peer starts, answers, and ends without a trace; one that fails says why."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from bench import servers
from bench.dialogue import first_packet_ms
from bench.servers import ServerFailed, ServerProcess


async def test_the_peer_takes_its_cores_and_calls_and_goes() -> None:
    cores = sorted(os.sched_getaffinity(0))[:1]
    async with ServerProcess("peer", cores) as server:
        facts = server.facts()
        assert facts.processes == 1
        assert facts.memory_mb > 10
        assert server._process is not None
        process = psutil.Process(server._process.pid)
        assert process.cpu_affinity() == cores
        assert (await first_packet_ms(server.url, timeout_s=60.0) or 0) > 0
        assert server._folder is not None
        folder = Path(server._folder.name)
        server.check()
    assert not process.is_running()
    assert not folder.exists()  # noqa: ASYNC240 - once, after everything


async def test_a_server_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(servers.SUBJECTS, "peer", "bench.no_such_module")
    with pytest.raises(ServerFailed, match="no_such_module"):
        async with ServerProcess("peer", [0]):
            pass
