"""Stands in for faster-whisper, which needs weights: it hears as many words as the audio has loud tenths of a second."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

MADE: list[WhisperModel] = []


class WhisperModel:
    def __init__(self, model: str, **options: Any) -> None:
        if model == "missing":
            raise ValueError("Invalid model size 'missing'")
        self.model, self.options = model, options
        self.threads: set[str] = set()
        MADE.append(self)

    def transcribe(self, audio: np.ndarray, **options: Any):
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert options == {"language": "en", "word_timestamps": True, "condition_on_previous_text": False}
        self.threads.add(threading.current_thread().name)
        loud = [i for i in range(len(audio) // 1600) if np.abs(audio[i * 1600 : (i + 1) * 1600]).max() > 0.1]
        words = [SimpleNamespace(word=f" w{i}", start=i / 10, end=(i + 1) / 10, probability=0.5) for i in range(len(loud))]
        said = SimpleNamespace(text="".join(w.word for w in words), words=words, no_speech_prob=0.1)
        noise = SimpleNamespace(text=" Thanks for watching!", words=[], no_speech_prob=0.9)
        return iter([said, noise]), SimpleNamespace(language="en")
