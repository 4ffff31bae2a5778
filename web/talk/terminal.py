"""``run_agent.py talk --mic``: a call in a terminal, with this machine's microphone and loudspeaker."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live

from pipeline.messages import OUTPUT_RATE_HZ
from web.parley_client import Audio, ParleyClient
from web.talk.client import REPORT_S
from web.talk.devices import AudioDevices, SoundCard
from web.talk.errors import TalkError
from web.talk.keyboard import keys
from web.talk.playback import Playback
from web.talk.screen import Screen, level, report_lines

REFRESH_S = 0.1
ECHO_TAIL_S = 0.3
"""How long a room goes on sounding after the loudspeaker, as the server's own judgement of echoes has it."""
MAX_WAITING = 50
"""Captured blocks that wait to be sent, a second; a connection that stands still longer loses the oldest."""
FALL = 0.7
"""What is left of a meter from one drawing to the next."""


def terminal_command(url: str, lesson: str | None, *, headphones: bool) -> int:
    """Hold a call at the server at ``url`` until the learner or the server ends it, and print the report; the exit code.

    What goes wrong is one line on standard error and exit code 1. Ctrl-C hangs up without a report: 130.
    """
    try:
        call = ParleyClient(url, lesson=lesson)
        report = asyncio.run(TerminalCall(call, SoundCard(), headphones=headphones).run())
    except TalkError as e:
        print(f"talk: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(["", "Report", *(f"  {line}" for line in report_lines(report))]))
    return 0


class TerminalCall:
    """One call. Without ``headphones`` the microphone is closed while the tutor sounds and shortly after: an open loudspeaker
    would let the tutor hear itself, and there is no echo canceller here as a browser has one."""

    def __init__(
        self,
        call: ParleyClient,
        devices: AudioDevices,
        *,
        headphones: bool,
        console: Console | None = None,
        keyboard_fd: int | None = None,
    ) -> None:
        self._call = call
        self._devices = devices
        self._headphones = headphones
        self._console = console or Console()
        self._keyboard_fd = keyboard_fd
        self._playback = Playback(OUTPUT_RATE_HZ)
        self._captured: asyncio.Queue[bytes] = asyncio.Queue()
        self._pressed: asyncio.Queue[str] = asyncio.Queue()
        self._sounded_at = float("-inf")
        self._connections = 0
        self.screen = Screen(headphones=headphones)

    async def run(self) -> dict[str, Any]:
        """The whole call; its report.

        Raises:
            TalkError: there is no sound, or the call could not be made or went down.
        """
        loop = asyncio.get_running_loop()
        async with self._call:
            tasks = [
                asyncio.create_task(work, name=f"talk-{name}")
                for name, work in {
                    "events": self._follow(),
                    "microphone": self._speak(),
                    "playout": self._tell(),
                    "keys": self._obey(),
                }.items()
            ]
            try:
                self._devices.start(lambda pcm16: loop.call_soon_threadsafe(self._capture, pcm16), self._fill)
                with keys(self._pressed.put_nowait, self._keyboard_fd), Live(console=self._console, auto_refresh=False) as live:
                    drawing = asyncio.create_task(self._draw(live), name="talk-screen")
                    tasks.append(drawing)
                    # The events end with the call, the keys with the learner's wish; the others only by failing.
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                    self.screen.status = "the report is being made"
                    live.update(self.screen.render(), refresh=True)
                    self._devices.stop()
                    return await self._call.end()
            finally:
                self._devices.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    # The learner's side

    def _capture(self, pcm16: bytes) -> None:
        if self._captured.qsize() >= MAX_WAITING:
            self._captured.get_nowait()
        self._captured.put_nowait(pcm16)

    async def _speak(self) -> None:
        while True:
            pcm16 = await self._captured.get()
            self.screen.closed_microphone = not self._headphones and time.monotonic() - self._sounded_at < self._deaf_s
            if self.screen.muted or self.screen.closed_microphone:
                pcm16 = bytes(len(pcm16))
            self.screen.microphone = max(self.screen.microphone, level(pcm16))
            await self._call.send_audio(pcm16)

    @property
    def _deaf_s(self) -> float:
        return self._devices.output_latency_s + ECHO_TAIL_S

    async def _obey(self) -> None:
        """Act on keys until the learner wants to end."""
        while True:
            key = await self._pressed.get()
            if self.screen.typing is not None:
                if text := self.screen.type(key):
                    self._playback.flush()
                    await self._call.send_text(text)
                continue
            match key:
                case "q":
                    return
                case " ":
                    self._playback.flush()
                    await self._call.interrupt()
                case "m":
                    self.screen.muted = not self.screen.muted
                case "t":
                    self.screen.typing = ""

    # The tutor's side

    def _fill(self, samples: int) -> bytes:
        """Called by the sound card's thread."""
        if self._playback.sounding:
            self._sounded_at = time.monotonic()
        pcm16 = self._playback.read(samples)
        self.screen.tutor = max(self.screen.tutor, level(pcm16))
        return pcm16

    async def _follow(self) -> None:
        async for event in self._call:
            if isinstance(event, Audio):
                self._playback.add(event)
                continue
            match event["type"]:
                case "connected":
                    self._connections += 1
                    if self._connections > 1:
                        self._playback.restart()
                case "interrupted":
                    self._playback.flush()
                case "hold":
                    self._playback.hold()
                case "go_on":
                    self._playback.go_on()
            self.screen.take(event)

    async def _tell(self) -> None:
        """Say what has been played, while the tutor sounds and once after."""
        told: int | None = None
        while True:
            await asyncio.sleep(REPORT_S)
            position = self._playback.position(self._devices.output_latency_s)
            if position is not None and position != told:
                told = position
                await self._call.played(position)

    async def _draw(self, live: Live) -> None:
        while True:
            live.update(self.screen.render(), refresh=True)
            self.screen.microphone *= FALL
            self.screen.tutor *= FALL
            await asyncio.sleep(REFRESH_S)
