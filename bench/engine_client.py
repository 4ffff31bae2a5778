"""``python -m bench.engine_client --url URL --kind stt|tts --side ours|moshi``: one process of speakers or of listeners.

Commands are lines of JSON on its input, each is answered by a line:

================================  ======================================================================================
``{"do": "add", "count": n}``     so many sessions more; they speak, or listen, from now on
``{"do": "measure", "s": t}``     what they saw in the next ``t`` seconds, see ``Hearing.seen`` and ``Speaking.seen``
``{"do": "ttfa", "times": n}``    (text to speech) so many further sessions, one after the other, each until its first audio
================================  ======================================================================================

It speaks the wire of ``engines/wire`` and knows nothing of the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

import aiohttp
import numpy as np

from engines.wire.kyutai import (
    STT_PATH,
    TTS_PATH,
    Error,
    Flush,
    Flushed,
    Pcm16,
    Ready,
    Step,
    SttOut,
    Text,
    TtsOut,
    Withdraw,
    pack,
    unpack,
)

FRAME_S = 0.08
FRAME = 1920
FLUSH_EVERY_S = 5.0
UNDERRUN_S = 0.02
"""A player hands out 20 ms at a time: what comes later than that leaves a hole."""
WORDS_AHEAD = 40
_WORDS = ("the", "quick", "brown", "fox", "reads", "a", "good", "book", "and", "goes", "to", "school", "every", "day")
_READY_WITHIN_S = 30.0
_FIRST_AUDIO_WITHIN_S = 10.0
_LATE_ANSWERS_S = 1.0


class Crowd:
    """What both kinds share: the window of a measurement, and how late this process itself is."""

    def __init__(self, http: aiohttp.ClientSession, url: str, side: str, seed: int) -> None:
        self.http, self.url, self.side = http, url, side
        self.random = random.Random(seed)
        self.tasks: list[asyncio.Task[None]] = []
        self.errors: list[str] = []
        self.late_ms: list[float] = []
        self.begun_s = self.ended_s = float("inf")

    def within(self, at_s: float) -> bool:
        return self.begun_s <= at_s < self.ended_s

    async def add(self, count: int) -> None:
        new = [asyncio.Event() for _ in range(count)]
        for up in new:
            self.tasks.append(asyncio.create_task(self._guarded(up)))
            await asyncio.sleep(0.005)
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                for up in new:
                    await up.wait()
        except TimeoutError:
            self.errors.append(f"{sum(not up.is_set() for up in new)} sessions were not served within {_READY_WITHIN_S:g} s")

    async def window(self, seconds: float) -> None:
        self.late_ms.clear()
        self.begun_s = time.perf_counter()
        self.ended_s = self.begun_s + seconds
        while (left_s := self.ended_s - time.perf_counter()) > 0:
            asked_s = min(0.02, left_s)
            before_s = time.perf_counter()
            await asyncio.sleep(asked_s)
            self.late_ms.append(1000 * (time.perf_counter() - before_s - asked_s))
        await asyncio.sleep(_LATE_ANSWERS_S)

    async def _guarded(self, up: asyncio.Event) -> None:
        try:
            await self.session(up)
        except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as e:
            self.errors.append(f"{type(e).__name__}: {e}")
        finally:
            up.set()

    async def session(self, up: asyncio.Event) -> None:
        raise NotImplementedError


class Hearing(Crowd):
    """Speakers: 80 ms of sound every 80 ms, and a flush every 5 s, at moments of their own.

    A flush of ours is the extension. moshi-server knows none, so it is fed zeros for the model's delay, as Unmute does, and
    the flush is over with the step of the last. Frames that a session sends while it waits for its flush are not timed: with
    moshi-server they stand behind the zeros.
    """

    def __init__(self, *arguments: Any, delay: int) -> None:
        super().__init__(*arguments)
        self.delay = delay
        noise = np.random.default_rng(0).normal(0, 3000, (64, FRAME)).clip(-20_000, 20_000).astype("<i2")
        self.frames = [pack(Pcm16(frame.tobytes())) for frame in noise]
        self.silence = pack(Pcm16(bytes(2 * FRAME)))
        self.step_ms: list[float] = []
        self.flush_ms: list[float] = []
        self.sent = 0
        self.unanswered = 0

    async def session(self, up: asyncio.Event) -> None:
        extensions = "pcm16,flush"
        async with self.http.ws_connect(f"{self.url}{STT_PATH}?extensions={extensions}", max_msg_size=0) as ws:
            first = unpack((await ws.receive()).data, SttOut)
            if not isinstance(first, Ready):
                raise ValueError(first.message if isinstance(first, Error) else str(first))
            up.set()
            waiting: deque[tuple[float, str]] = deque()
            asked: dict[int, float] = {}
            sending = asyncio.create_task(self._send(ws, waiting, asked))
            try:
                await self._receive(ws, waiting, asked)
            finally:
                sending.cancel()

    async def _send(self, ws: Any, waiting: deque[tuple[float, str]], asked: dict[int, float]) -> None:
        due_s = time.perf_counter() + self.random.random() * FRAME_S
        flush_s = due_s + self.random.random() * FLUSH_EVERY_S
        number = 0
        while True:
            await asyncio.sleep(due_s - time.perf_counter())
            now_s = time.perf_counter()
            flushing = bool(asked) or any(what == "flush" for _, what in waiting)
            waiting.append((now_s, "behind" if flushing else "live"))
            self.sent += self.within(now_s) and not flushing
            await ws.send_bytes(self.frames[number % len(self.frames)])
            number += 1
            if due_s >= flush_s:
                flush_s += FLUSH_EVERY_S
                if self.side == "ours":
                    asked[number] = time.perf_counter()
                    await ws.send_bytes(pack(Flush(number)))
                else:
                    begun_s = time.perf_counter()
                    waiting.extend([(begun_s, "zero")] * self.delay)
                    waiting.append((begun_s, "flush"))
                    for _ in range(self.delay + 1):
                        await ws.send_bytes(self.silence)
            due_s += FRAME_S

    async def _receive(self, ws: Any, waiting: deque[tuple[float, str]], asked: dict[int, float]) -> None:
        async for message in ws:
            if message.type != aiohttp.WSMsgType.BINARY:
                continue
            one = unpack(message.data, SttOut)
            now_s = time.perf_counter()
            if isinstance(one, Step):
                sent_s, what = waiting.popleft()
                if self.within(sent_s) and what in ("live", "flush"):
                    (self.step_ms if what == "live" else self.flush_ms).append(round(1000 * (now_s - sent_s), 2))
            elif isinstance(one, Flushed):
                sent_s = asked.pop(one.id)
                if self.within(sent_s):
                    self.flush_ms.append(round(1000 * (now_s - sent_s), 2))
                if not one.overtaken:
                    await ws.send_bytes(pack(Withdraw(one.id)))
            elif isinstance(one, Error):
                raise ValueError(one.message)
        raise ValueError("the server closed a session")

    async def seen(self, seconds: float) -> dict[str, Any]:
        """``step_ms``: from a frame sent to its ``Step``. ``flush_ms``: from a flush asked for to its words. ``missing``:
        frames without an answer a second after the window."""
        self.step_ms, self.flush_ms, self.sent = [], [], 0
        await self.window(seconds)
        answered = len(self.step_ms)
        return {"step_ms": self.step_ms.copy(), "flush_ms": self.flush_ms.copy(), "missing": max(0, self.sent - answered)}


class Speaking(Crowd):
    """Listeners: each is spoken to without end, and plays what comes from the moment that its first frame came."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.underruns_ms: list[float] = []
        self.played = 0
        self.frames = 0
        self.ahead_s: list[float] = []

    def _text(self, count: int) -> bytes:
        return pack(Text(" ".join(self.random.choice(_WORDS) for _ in range(count))))

    def _url(self) -> str:
        return f"{self.url}{TTS_PATH}?format=PcmMessagePack&extensions=pcm16,cancel"

    async def session(self, up: asyncio.Event) -> None:
        async with self.http.ws_connect(self._url(), max_msg_size=0) as ws:
            await ws.send_bytes(self._text(WORDS_AHEAD))
            due_s: float | None = None
            async for message in ws:
                if message.type != aiohttp.WSMsgType.BINARY:
                    continue
                now_s = time.perf_counter()
                # What stands at the beginning tells a frame from a word, and saves most of reading it.
                if message.data[:12].endswith(b"Pcm16"):
                    up.set()
                    due_s = now_s if due_s is None else due_s
                    late_s = now_s - due_s
                    if self.within(now_s):
                        self.frames += 1
                        self.ahead_s.append(round(-late_s, 3))
                        if late_s > UNDERRUN_S:
                            self.underruns_ms.append(round(1000 * late_s, 1))
                    due_s = max(due_s, now_s if late_s > UNDERRUN_S else due_s) + FRAME_S
                    continue
                one = unpack(message.data, TtsOut)
                if isinstance(one, Text):
                    await ws.send_bytes(self._text(1))
                elif isinstance(one, Error):
                    raise ValueError(one.message)
        raise ValueError("the server closed a stream")

    async def ttfa(self, times: int) -> dict[str, Any]:
        """From text sent to the first audio, of sessions that come one after the other; no more come after three that heard
        nothing."""
        found: list[float] = []
        for _ in range(times):
            if sum(one >= 1000 * _FIRST_AUDIO_WITHIN_S for one in found) == 3:
                break
            async with self.http.ws_connect(self._url(), max_msg_size=0) as ws:
                await ws.receive()
                await asyncio.sleep(0.1 + 0.08 * self.random.random())
                begun_s = time.perf_counter()
                await ws.send_bytes(self._text(10))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FIRST_AUDIO_WITHIN_S):
                        async for message in ws:
                            if message.type == aiohttp.WSMsgType.BINARY and message.data[:12].endswith(b"Pcm16"):
                                break
                # Who hears nothing is counted with the time that he waited.
                found.append(round(1000 * (time.perf_counter() - begun_s), 1))
        return {"ttfa_ms": found}

    async def seen(self, seconds: float) -> dict[str, Any]:
        """``underruns_ms``: by how much frames came too late to be played. ``ahead_s``: what was still to be played when a
        frame came. ``real_time``: seconds of audio for a second of each stream."""
        self.underruns_ms, self.ahead_s, self.frames = [], [], 0
        await self.window(seconds)
        return {
            "underruns_ms": self.underruns_ms.copy(),
            "ahead_s": self.ahead_s.copy(),
            "audio_s": round(self.frames * FRAME_S, 2),
        }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--kind", choices=["stt", "tts"], required=True)
    parser.add_argument("--side", choices=["ours", "moshi"], required=True)
    parser.add_argument("--delay", type=int, default=0)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.cpu is not None:
        os.sched_setaffinity(0, {chosen.cpu})
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as http:
        about = (http, chosen.url, chosen.side, chosen.seed)
        crowd: Any = Hearing(*about, delay=chosen.delay) if chosen.kind == "stt" else Speaking(*about)
        while line := await reader.readline():
            command = json.loads(line)
            answer: dict[str, Any] = {}
            if command["do"] == "add":
                await crowd.add(command["count"])
            elif command["do"] == "measure":
                answer = await crowd.seen(command["s"])
            elif command["do"] == "ttfa":
                answer = await crowd.ttfa(command["times"])
            late = sorted(crowd.late_ms)
            answer |= {"errors": crowd.errors, "late_p99_ms": round(late[int(0.99 * (len(late) - 1))], 2) if late else 0.0}
            print(json.dumps(answer), flush=True)
        for task in crowd.tasks:
            task.cancel()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
