"""What ``python -m bench abuse`` makes of what its callers measured, what its crowds send, and both at a real server."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from bench.abuse import DOORS, Attack, Gaps, GoodCalls, check, summarise
from bench.abuse_attacker import FLOODS, GIANT_BYTES, OVER_BYTES, crumbs, doors, framed, giant, noise
from bench.abuse_caller import ParleyWire, PipecatWire, Window
from bench.servers import ServerProcess

SDP = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"


def row(door: str, kind: str, p99: float, **more: Any) -> dict[str, Any]:
    nothing = {"lost": 0, "silent": 0, "caller_late_p99_ms": 1.0}
    return {"door": door, "kind": kind, "gap_p99_ms": p99, "gap_max_ms": p99 + 10, **nothing, **more}


def frames(data: bytes) -> list[Frame]:
    """What a server reads of ``data``."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while not at_end(reader):
        parsing = Frame.parse(reader.read_exact, mask=True)
        with pytest.raises(StopIteration) as done:
            next(parsing)
        found.append(done.value.value)
    return found


def at_end(reader: StreamReader) -> bool:
    with pytest.raises(StopIteration) as done:
        next(reader.at_eof())
    return bool(done.value.value)


def test_a_pause_between_two_answers_is_no_gap_but_a_wait_for_an_answer():
    window = Window()
    for at in (1.0, 1.02, 1.05):
        window.heard(at)
    window.asked(1.06)
    window.heard(1.4)
    window.heard(1.42)
    assert window.take(2.0) == {"gaps_ms": [20.0, 30.0, 20.0], "answers_ms": [340.0]}
    window.heard(1.52)
    window.asked(1.6)
    assert window.take(3.6) == {"gaps_ms": [100.0], "answers_ms": [2000.0]}


def test_windows_are_taken_together_and_a_silent_or_lost_call_is_counted():
    gaps = Gaps()
    talks = {"lost": None, "gaps_ms": [20.0] * 99 + [80.0], "answers_ms": [300.0]}
    gaps.add({"late_p99_ms": 1.0, "calls": [talks, {"lost": None, "gaps_ms": [], "answers_ms": []}]})
    gaps.add({"late_p99_ms": 4.0, "calls": [talks, {"lost": "gone", "gaps_ms": [20.0], "answers_ms": []}]})
    found = gaps.figures()
    assert (found["gap_p50_ms"], found["gap_max_ms"], found["packets"]) == (20.0, 80.0, 201)
    assert (found["answer_p95_ms"], found["caller_late_p99_ms"]) == (300.0, 4.0)
    assert (found["lost"], found["silent"]) == (1, 1)


def test_the_worst_crowd_is_named_and_judged():
    control = {"gap_p99_ms": 20.0}
    found = summarise(control, [row("ws", "drops", 24.0), row("rtvi", "garbage", 60.0), row("start", "giants", 31.0)])
    assert (found["worst"], found["worst_ratio"], found["gap_max_ms"]) == ("rtvi garbage", 3.0, 70.0)
    assert found["over_limit"] == ["rtvi garbage", "start giants"]
    left = {"memory_mb_more": 5.0, "tasks_more": 0, "calls_left": 0}
    judged = check(found | left)
    assert [name for name, entry in judged.items() if not entry["ok"]] == ["worst_ratio"]
    good = check(summarise(control, [row("ws", "drops", 24.0)]) | left)
    assert all(entry["ok"] for entry in good.values())
    assert not check(left)["worst_ratio"]["ok"], "what was not measured does not hold"


@pytest.mark.parametrize("payload", [b"", b"x" * 125, b"x" * 126, b"x" * 65_536, "text", "ü" * 100])
def test_frames_are_those_of_a_client(payload):
    [frame] = frames(framed(payload))
    assert frame.opcode is (Opcode.TEXT if isinstance(payload, str) else Opcode.BINARY)
    assert bytes(frame.data) == (payload.encode() if isinstance(payload, str) else payload)


def test_crumbs_are_thousands_of_the_smallest_messages():
    draw = random.Random(0)
    kinds = [frames(crumbs(draw, index)) for index in range(4)]
    assert [found[0].opcode for found in kinds] == [Opcode.BINARY, Opcode.TEXT, Opcode.PING, Opcode.BINARY]
    assert all(len(found) >= 5_000 and len(found[0].data) <= 1 for found in kinds)
    assert not any(frame.fin for frame in kinds[3])


@pytest.mark.parametrize("name", DOORS)
def test_every_door_has_its_own_words_and_giants(name):
    door = doors(SDP)[name]
    draw = random.Random(1)
    said = [noise(draw, door) for _ in range(100)]
    assert len({str(one) for one in said}) > 50
    sizes = [len(giant(index, door, SDP)) for index in range(7)]
    assert max(sizes) == OVER_BYTES
    assert min(sizes) > GIANT_BYTES / 4


def test_both_servers_are_understood():
    assert [ParleyWire().read(raw) for raw in (b"\0\0", '{"type":"turn_complete"}', '{"type":"pong"}')] == [
        "voice",
        "over",
        "other",
    ]
    pipecat = PipecatWire()
    assert pipecat.read(pipecat.sound()) == "voice"
    assert pipecat.read(pipecat.ask()) == "other"


async def test_a_crowd_at_the_peer_beside_good_calls():
    cores = sorted(os.sched_getaffinity(0))
    async with ServerProcess("abuse_peer", cores) as server, GoodCalls(server.url, "peer", cores[0]) as calls:
        async with asyncio.timeout(60):
            while not all(call["gaps_ms"] for call in (await calls.window())["calls"]):  # noqa: ASYNC110 - it is asked for
                await asyncio.sleep(0.5)
        attack = Attack(server.url, None, "peer", FLOODS[0], cores[-1], network=60, one_address=False)
        found = await attack.measured(calls, 1.0, 10)
        assert (found["door"], found["kind"], found["lost"]) == ("peer", "garbage", 0)
        assert found["attack"]["opened"] > 0
        assert found["attack"]["mb"] > 0
        server.check()
