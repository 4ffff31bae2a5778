"""A sound card made of files: what it captures is given, what it plays is kept."""

from __future__ import annotations

import threading
import time

from web.talk.devices import Captured, Fill

BLOCK_S = 0.02


class FileDevices:
    """Runs in real time in a thread of its own, as a sound card's callbacks do. ``speech`` is mono pcm16 at 16 kHz, said once
    ``speak`` is set; before and after it there is silence."""

    output_latency_s = 0.05

    def __init__(self, speech: bytes = b"") -> None:
        self._left = speech
        self.speak = threading.Event()
        self.played = bytearray()
        self.captured_blocks = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, captured: Captured, fill: Fill) -> None:
        self._thread = threading.Thread(target=self._run, args=(captured, fill))
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, captured: Captured, fill: Fill) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due += BLOCK_S
            block, self._left = (self._left[:640], self._left[640:]) if self.speak.is_set() else (b"", self._left)
            captured(block + bytes(640 - len(block)))
            self.captured_blocks += 1
            self.played += fill(480)
