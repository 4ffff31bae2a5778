"""The first gate: who waits, in which order, and who is sent away."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from web.turnstile import FREE, MAX_OF_ADDRESS, MAX_WAITING, Line, Turnstile


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_everybody_has_a_turn_in_the_order_of_their_address(coming: list[str]) -> None:
    line: Line[tuple[str, int]] = Line(most=1_000, most_of_one=1_000)
    for number, address in enumerate(coming):
        assert line.put(address, (address, number))
    assert len(line) == len(coming)
    left = list(iter(line.take, None))
    assert sorted(left) == sorted((a, n) for n, a in enumerate(coming))
    for address in "abc":
        own = [n for a, n in left if a == address]
        assert own == sorted(own)
    # As long as two addresses wait, none has two turns before the other has one.
    for address in set(coming):
        for other in set(coming) - {address}:
            turns = [a for a, _ in left if a in (address, other)]
            both = 2 * min(turns.count(address), turns.count(other))
            assert abs(turns[:both].count(address) - turns[:both].count(other)) <= 1
    assert line.take() is None


def test_a_line_has_an_end_for_one_and_for_all() -> None:
    line: Line[int] = Line(most=5, most_of_one=3)
    assert [line.put("a", n) for n in range(4)] == [True, True, True, False]
    assert [line.put(address, 9) for address in "bcd"] == [True, True, False]
    assert [line.take() for _ in range(6)] == [0, 9, 9, 1, 2, None]
    assert line.put("a", 7)


class Crowd:
    """An app behind a turnstile, and what became of the requests."""

    def __init__(self) -> None:
        self.let_in: list[str] = []
        self.gate = Turnstile(self._app)

    async def _app(self, scope: Any, _receive: Any, _send: Any) -> None:
        self.let_in.append(scope["client"][0])

    async def come(self, address: str, kind: str = "http") -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        extensions: dict[str, Any] = {"websocket.http.response": {}} if kind == "websocket" else {}
        await self.gate({"type": kind, "client": (address, 1), "extensions": extensions}, receive, send)
        return sent


async def test_a_few_pass_at_once_and_a_newcomer_does_not_wait_for_a_crowd() -> None:
    crowd = Crowd()
    coming = [asyncio.create_task(crowd.come("crowd")) for _ in range(FREE + 30)]
    await asyncio.sleep(0)
    assert len(crowd.let_in) == FREE
    await crowd.come("newcomer")
    assert crowd.let_in.index("newcomer") <= FREE + 3
    await asyncio.gather(*coming)
    assert len(crowd.let_in) == FREE + 31


async def test_too_many_of_one_address_are_told_to_come_again() -> None:
    crowd = Crowd()
    more = 10
    coming = [
        asyncio.create_task(crowd.come("crowd", "websocket" if n % 2 else "http")) for n in range(FREE + MAX_OF_ADDRESS + more)
    ]
    answers = [answer for answer in await asyncio.gather(*coming) if answer]
    assert len(answers) == more
    for start, body in answers:
        assert start["type"].endswith("http.response.start")
        assert start["status"] == 429
        assert (b"retry-after", b"3") in start["headers"]
        assert b"too many requests" in body["body"]


async def test_whoever_leaves_the_line_leaves_no_hole() -> None:
    crowd = Crowd()
    coming = [asyncio.create_task(crowd.come(f"crowd {n % 8}")) for n in range(FREE + MAX_WAITING)]
    await asyncio.sleep(0)
    for task in coming[FREE : FREE + 200]:
        task.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    assert len(crowd.let_in) == FREE + MAX_WAITING - 200
    assert await crowd.come("newcomer") == []
