"""``python -m bench faults``: every stage fails or stalls in every way of ``bench.faulty``, a thousand times, in spoken calls.

One exchange: a fault is switched on, the learner says a sentence, and what matters is whether anything audible comes back, or
the call is ended with its report, within 10 s of the sentence's end. Then the fault is switched off, and the next sentence must
be answered. A call in which neither happens is *stuck*. The peer is a stock pipecat bot on the same fakes with the same faults.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from bench.faulty import FAULTS
from bench.servers import ServerProcess
from bench.speech import synthesise
from bench.stats import percentile
from web.talk.client import Server, TalkClient
from web.talk.errors import TalkError
from web.talk.listening import Pcm16
from web.talk.rtc_client import RTCClient
from web.talk.ws_client import WSClient

INJECTIONS = 1_000
QUICK_INJECTIONS = 63
PEER_INJECTIONS = 63
QUICK_PEER_INJECTIONS = 21
SERVERS = 3
CALLS_A_SERVER = 5
STUCK_S = 10.0
SEED = 7
GOOD_AFTER = 0.6
"""Share of faults after which a sentence without a fault is said; the others follow one another, up to the call's end."""
SENTENCE = ("flite", "slt", "My sister works in a large hospital.")
LEAD_S = 0.6
POLL_S = 0.02
MOST_S = 20.0
"""A sentence has been sent by then, or never will be."""

Outcome = Literal["answered", "ended", "stuck", "lost"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One sentence and what came of it; ``after_s`` from the sentence's end. ``fault`` is ``None`` for a plain exchange."""

    fault: str | None
    outcome: Outcome
    after_s: float | None = None


@dataclass(slots=True)
class Talked:
    """All exchanges of one subject."""

    exchanges: list[Exchange] = field(default_factory=list)
    reports: int = 0
    told: int = 0
    """Faults that the page was told of in words."""


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        ServerFailed, TalkError: a server did not start, or refused a call.
    """
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        clips = {rate: synthesise(SENTENCE, Path(folder) / "sentence.wav", rate) for rate in (16_000, 48_000)}
    ours = await _subject("faulty", server_cores, clips[16_000], QUICK_INJECTIONS if quick else INJECTIONS)
    peer = await _subject("faulty_peer", server_cores, clips[48_000], QUICK_PEER_INJECTIONS if quick else PEER_INJECTIONS)
    figures, peer_figures = tell(ours), tell(peer)
    return {
        "figures": figures,
        "peer": peer_figures,
        "ratios": {},
        "checks": {
            "stuck": {"value": figures["stuck"], "limit": 0, "ok": figures["stuck"] == 0},
            "plain_stuck": {"value": figures["plain_stuck"], "limit": 0, "ok": figures["plain_stuck"] == 0},
        },
        "input": {
            "injections": figures["injections"],
            "servers": SERVERS,
            "calls_a_server": CALLS_A_SERVER,
            "stuck_s": STUCK_S,
        },
    }


def tell(talked: Talked) -> dict[str, Any]:
    """The figures of one subject; times from the end of the learner's sentence to the first voiced packet, or to the report."""
    injected = [e for e in talked.exchanges if e.fault is not None]
    plain = [e for e in talked.exchanges if e.fault is None]
    times = [e.after_s for e in injected if e.after_s is not None]
    table: dict[str, Any] = {}
    by_fault: defaultdict[str, list[Exchange]] = defaultdict(list)
    for exchange in injected:
        by_fault[str(exchange.fault)].append(exchange)
    for fault, found in sorted(by_fault.items()):
        known = [e.after_s for e in found if e.after_s is not None]
        counts = Counter(e.outcome for e in found)
        table[fault] = {"n": len(found), **counts, "p50_s": percentile(known, 50), "max_s": _rounded(max(known, default=None))}
    return {
        "injections": len(injected),
        "stuck": sum(e.outcome == "stuck" for e in injected),
        "lost": sum(e.outcome == "lost" for e in injected),
        "ended_politely": talked.reports,
        "told_on_the_page": talked.told,
        "after_p50_s": percentile(times, 50),
        "after_p95_s": percentile(times, 95),
        "after_max_s": _rounded(max(times, default=None)),
        "plain": len(plain),
        "plain_stuck": sum(e.outcome in ("stuck", "lost") for e in plain),
        "by_fault": table,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


async def _subject(subject: str, cores: list[int], clip: Pcm16, injections: int) -> Talked:
    names = list(FAULTS)
    rng = random.Random(SEED)
    queue = [names[i % len(names)] for i in range(injections)]
    rng.shuffle(queue)
    talked = Talked()
    at_once = CALLS_A_SERVER if subject == "faulty" else 1
    async with asyncio.TaskGroup() as group:
        for _ in range(SERVERS):
            group.create_task(_server(subject, cores, clip, queue, talked, at_once))
    return talked


async def _server(subject: str, cores: list[int], clip: Pcm16, queue: list[str], talked: Talked, at_once: int) -> None:
    async with (
        ServerProcess(subject, cores) as server,
        httpx.AsyncClient(timeout=20, trust_env=False) as http,
        asyncio.TaskGroup() as group,
    ):
        for number in range(at_once):
            learner = Learner(subject, server.url, http, clip, talked, random.Random(SEED + number))
            group.create_task(learner.work(queue))


class Learner:
    """Makes calls, one after the other, until the queue of faults is empty."""

    def __init__(
        self, subject: str, url: str, http: httpx.AsyncClient, clip: Pcm16, talked: Talked, rng: random.Random
    ) -> None:
        self._subject = subject
        self._url = url
        self._http = http
        self._clip = clip
        self._talked = talked
        self._rng = rng
        self._client: TalkClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._session = ""
        self._known = asyncio.Event()
        self._over_at: float | None = None

    async def work(self, queue: list[str]) -> None:
        """Take faults off ``queue`` until none is left."""
        try:
            while queue:
                fault = queue.pop()
                if not await self._ready():
                    await self._connect()
                await self._switch(fault)
                injected = await self._exchange(fault)
                await self._switch(None)
                self._talked.exchanges.append(injected)
                if self._rng.random() < GOOD_AFTER and await self._ready():
                    await self._quiet()
                    if await self._ready():
                        self._talked.exchanges.append(await self._exchange(None))
                if injected.outcome == "stuck":
                    await self._hang_up()
        finally:
            await self._hang_up()

    async def _ready(self) -> bool:
        return self._client is not None and self._client.lost is None and self._over_at is None

    async def _connect(self) -> None:
        await self._hang_up()
        server = Server(self._url)
        ours = self._subject == "faulty"
        self._client = WSClient(server) if ours else RTCClient(server, messages="rtvi", request_data={})
        self._known, self._over_at = asyncio.Event(), None
        await self._client.connect()
        self._reader = asyncio.create_task(self._read(self._client))
        if ours:
            await asyncio.wait_for(self._known.wait(), 20)
        await asyncio.sleep(LEAD_S if ours else 2.0)

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        reader, self._reader = self._reader, None
        if client is not None:
            await client.close()
        if reader is not None:
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, client: TalkClient) -> None:
        while True:
            try:
                item = await client.receive(5.0)
            except TalkError:
                return
            if item is None:
                continue
            message, at = item
            match message.get("type"):
                case "connected":
                    self._session = str(message.get("session_id", ""))
                    self._known.set()
                case "error":
                    self._talked.told += 1
                case "analysis":
                    self._talked.reports += 1
                    self._over_at = at

    async def _switch(self, fault: str | None) -> None:
        query = {"session": self._session, **({"fault": fault} if fault else {})}
        (await self._http.post(f"{self._url}/bench/fault", params=query)).raise_for_status()

    async def _exchange(self, fault: str | None) -> Exchange:
        client = self._client
        assert client is not None
        utterance = client.microphone.say(self._clip)
        begun = time.monotonic()
        while not utterance.done.is_set():
            if client.lost is not None or time.monotonic() - begun > MOST_S:
                # Hung up while the learner spoke: politely, with the report, or not.
                return Exchange(fault, "ended", 0.0) if self._over_at is not None else Exchange(fault, "lost")
            await asyncio.sleep(POLL_S)
        end = client.microphone.ended_at(utterance)
        assert end is not None
        while time.monotonic() - end < STUCK_S:
            first = client.heard.first_voiced(end)
            if first is not None:
                return Exchange(fault, "answered", first - end)
            if self._over_at is not None:
                return Exchange(fault, "ended", max(0.0, self._over_at - end))
            if client.lost is not None:
                return Exchange(fault, "lost")
            await asyncio.sleep(POLL_S)
        return Exchange(fault, "stuck")

    async def _quiet(self) -> None:
        """Until the tutor has been silent for half a second, for at most 15 s."""
        client = self._client
        assert client is not None
        begun = time.monotonic()
        while time.monotonic() - begun < 15 and client.lost is None:
            if time.monotonic() - (client.heard.last_voiced() or begun) > 0.5:
                return
            await asyncio.sleep(POLL_S)
