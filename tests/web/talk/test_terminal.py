"""A call in a terminal against a real server: a pseudo-terminal for the keyboard, files for the sound card."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import wave
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.web.talk.file_devices import FileDevices
from web.parley_client import ParleyClient
from web.talk.errors import TalkError
from web.talk.terminal import TerminalCall

WITHIN_S = 60.0


class Person:
    """Somebody at a terminal: presses keys, speaks, looks at the screen."""

    def __init__(self, url: str, speech: bytes, *, headphones: bool, **options: Any) -> None:
        self._master, slave = pty.openpty()
        self._slave = slave
        self.devices = FileDevices(speech)
        console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
        self.terminal = TerminalCall(
            ParleyClient(url, **options), self.devices, headphones=headphones, console=console, keyboard_fd=slave
        )
        self.task = asyncio.create_task(self.terminal.run())

    def press(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                while not condition():
                    if self.task.done():
                        self.task.result()
                        raise AssertionError(f"{what}: the call is over")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time; {self.terminal.screen.lines}") from None

    def said(self, who: str) -> list[str]:
        return [line.text for line in self.terminal.screen.lines if line.who == who and not line.partial]

    async def hear(self, seconds: float = 1.5) -> None:
        """Until the tutor has been heard for that long."""
        await self.until(lambda: (self.terminal._playback.position(0.1) or 0) > seconds * 24_000, "the tutor is heard")

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
async def sit_down(server) -> AsyncIterator[Callable[..., Person]]:
    people: list[Person] = []

    def make(speech: bytes = b"", *, headphones: bool = False, **options: Any) -> Person:
        people.append(Person(server.url, speech, headphones=headphones, **options))
        return people[-1]

    yield make
    for person in people:
        await person.leave()


def spoken(path: Any) -> bytes:
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


async def test_a_call_by_voice_from_greeting_to_report(sit_down, flite_wav):
    person = sit_down(spoken(flite_wav("Hello. My name is Anna, and I live in Berlin.")))
    screen = person.terminal.screen
    await person.until(lambda: screen.tutor > 0, "the tutor is heard")
    await person.until(lambda: person.said("tutor") and not person.terminal._playback.sounding, "the greeting ends")
    person.devices.speak.set()
    await person.until(lambda: screen.microphone > 0.3, "the meter moves")
    await person.until(lambda: person.said("you"), "the learner is understood")
    await person.until(lambda: len(person.said("tutor")) >= 2, "the tutor answers")
    person.press("q")
    report = await asyncio.wait_for(person.task, WITHIN_S)
    assert report["measures"]["learner_turns"]["value"] >= 1
    voice = np.frombuffer(bytes(person.devices.played), "<i2")
    assert np.abs(voice).max() > 2_000
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("talk", "parley"))]


async def test_without_headphones_the_tutor_does_not_hear_the_room(sit_down, flite_wav):
    """Speech that goes into the microphone while the tutor sounds, as its own voice from the loudspeaker would."""
    person = sit_down(spoken(flite_wav("Hello. My name is Anna.")) * 3)
    person.devices.speak.set()
    await person.until(lambda: person.terminal.screen.closed_microphone, "the microphone closes")
    await person.until(lambda: person.said("tutor"), "the whole greeting comes")
    await person.until(lambda: not person.terminal._playback.sounding, "the greeting is played")
    assert not any(line.cut for line in person.terminal.screen.lines)


async def test_with_headphones_a_voice_interrupts(sit_down, flite_wav):
    person = sit_down(spoken(flite_wav("Wait a moment please. I have got a question about this.")), headphones=True)
    await person.hear()
    person.devices.speak.set()
    await person.until(lambda: any(line.cut for line in person.terminal.screen.lines), "the tutor is interrupted")


async def test_keys_interrupt_mute_and_type(sit_down):
    person = sit_down(b"\x10\x27\xf0\xd8" * 160_000)  # a tone of 20 s
    screen = person.terminal.screen
    await person.hear()
    person.press("m")
    await person.until(lambda: screen.muted, "it is muted")
    person.press(" ")
    await person.until(lambda: any(line.cut for line in screen.lines), "the tutor is interrupted")
    assert not person.terminal._playback.sounding
    screen.microphone = 0.0
    blocks = person.devices.captured_blocks
    person.devices.speak.set()
    await person.until(lambda: person.devices.captured_blocks > blocks + 10, "the microphone runs")
    assert screen.microphone == 0.0
    person.press("tMy name is Bob.\x7f!\r")
    await person.until(lambda: "My name is Bob!" in person.said("you"), "the typed words are in the conversation")
    person.press("q")
    report = await asyncio.wait_for(person.task, WITHIN_S)
    assert report["measures"]["learner_turns"]["value"] == 1


async def test_a_server_that_ends_the_call_ends_it_here(own_server):
    running = own_server(PARLEY_LIMITS__MAX_CALL_S="3")
    person = Person(running.url, b"", headphones=True)
    try:
        assert "final_score" in await asyncio.wait_for(person.task, WITHIN_S)
    finally:
        await person.leave()


async def test_a_server_that_is_not_there():
    person = Person("http://127.0.0.1:1", b"", headphones=True)
    try:
        with pytest.raises(TalkError, match="cannot be reached"):
            await asyncio.wait_for(person.task, WITHIN_S)
    finally:
        await person.leave()
