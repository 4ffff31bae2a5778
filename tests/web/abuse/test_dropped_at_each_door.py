"""Connections that are opened and dropped at each door: nothing is left, memory is bounded, and the next call is served."""

from __future__ import annotations

import asyncio
import re

import psutil
import pytest
from websockets.sync.client import connect

from bench.abuse_attacker import AT_ONCE, Crowd, doors
from tests.running_server import RunningServer

pytestmark = pytest.mark.leaves_running(reason="the server starts its process for reports anew when one has taken too long")
WITHIN_S = 120.0
WARM_UP = 40
MAX_MEMORY_MB_MORE = 60
"""What one dropped call leaked would be 10 MB and more; what one of a thousand connections did, 60 kB."""
MAX_FDS_MORE = 4
NUMBER = {"realtime": 1_000, "rtvi": 1_000, "twilio": 1_000, "audiosocket": 1_000}
SOME = 200
"""Of doors whose streams are read by the code of another one in the list."""


def audiosocket_port(server: RunningServer) -> int:
    listening = re.search(r"listening: AudioSocket on \S+?:(\d+)", server.log.read_text())
    assert listening is not None
    return int(listening[1])


async def drop(server: RunningServer, door: str, connections: int, network: int) -> int:
    """How many connections the door took."""
    crowd = Crowd(server.url, audiosocket_port(server), doors("")[door], "drops", "", network=network, one_address=False)
    told = await crowd.run(WITHIN_S, connections, AT_ONCE)
    assert told.opened + told.refused + told.failed == connections
    assert told.failed < connections / 20
    return told.opened


def at_rest(server: RunningServer, process: psutil.Process, fds: int | None) -> bool:
    status = server.get("/status")
    left = int(status["active_calls"]) + int(status["detached_calls"])
    return left == 0 and (fds is None or process.num_fds() <= fds)


@pytest.mark.parametrize("door", ["realtime", "rtvi", "twilio", "telnyx", "plivo", "vonage", "exotel", "audiosocket"])
async def test_dropped_connections_leave_nothing_behind(nothing_broke, door):
    server = nothing_broke
    process = psutil.Process(server.process.pid)
    await drop(server, door, WARM_UP, network=40)
    await asyncio.to_thread(server.wait_for, lambda: at_rest(server, process, None), "the first are gone", 60)
    memory, fds = process.memory_info().rss, process.num_fds()
    assert await drop(server, door, NUMBER.get(door, SOME), network=41) > 0
    await asyncio.to_thread(server.wait_for, lambda: at_rest(server, process, fds + MAX_FDS_MORE), "all are gone", 60)
    more_mb = (process.memory_info().rss - memory) / 1e6
    assert more_mb < MAX_MEMORY_MB_MORE
    with connect(f"ws://127.0.0.1:{server.port}/ws/conversation", compression=None) as socket:
        assert '"connected"' in str(socket.recv(30))
