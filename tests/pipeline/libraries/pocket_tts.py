"""Stands in for pocket-tts, which needs weights: it says every word as 0.2 s of a tone."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

MADE: list[TTSModel] = []


class TTSModel:
    sample_rate = 24_000

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.said: list[str] = []
        self.busy = threading.Lock()
        self.made = 0
        MADE.append(self)

    @classmethod
    def load_model(cls, **options: Any) -> TTSModel:
        return cls(options)

    def get_state_for_audio_prompt(self, voice: str) -> dict[str, str]:
        if voice == "nobody":
            raise ValueError("no such voice: nobody")
        return {"voice": voice}

    def generate_audio_stream(self, state: dict[str, str], text: str, copy_state: bool, stop: threading.Event):
        assert copy_state
        assert self.busy.acquire(blocking=False), "a model is not for two threads at once"
        try:
            self.said.append(text)
            if "cannot" in text:
                raise RuntimeError("cannot say it")
            for _ in text.split():
                if stop.is_set():
                    return
                time.sleep(0.01)
                self.made += 1
                t = np.arange(4800) / 24_000
                yield (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        finally:
            self.busy.release()
