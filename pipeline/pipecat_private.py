"""The one place that touches private fields of pipecat.

Stock analyzers load their ONNX model anew for every call (about 60 ms of a blocked loop and 45 MB). These subclasses take a
session that the process has loaded once. What they rely on is checked by ``tests/pipeline/test_pipecat_private.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import numpy as np
import onnxruntime
from pipecat.audio.turn.smart_turn.base_smart_turn import BaseSmartTurn, SmartTurnParams
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroOnnxModel, SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.turns.speculation_gate import SpeculationGate

SUPPORTED_PIPECAT = "1.14.0"
_SILERO = ("pipecat.audio.vad.data", "silero_vad.onnx")
_SMART_TURN = ("pipecat.audio.turn.smart_turn.data", "smart-turn-v3.2-cpu.onnx")


def load_session(package: str, name: str) -> onnxruntime.InferenceSession:
    """An ONNX session on one CPU thread; sessions may be shared, ``run`` is thread-safe and releases the GIL."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    path = str(resources.files(package).joinpath(name))
    return onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])


def load_silero() -> onnxruntime.InferenceSession:
    """The Silero VAD model of pipecat's wheel."""
    return load_session(*_SILERO)


def load_smart_turn() -> onnxruntime.InferenceSession:
    """The smart-turn v3.2 model of pipecat's wheel."""
    return load_session(*_SMART_TURN)


WindowListener = Callable[[float, bytes], None]
"""Takes a window of the learner's audio: the probability of speech in it, and its pcm16."""


class _SharedSileroModel(SileroOnnxModel):
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.sample_rates = [8000, 16000]
        self.reset_states()


class SharedSileroVAD(SileroVADAnalyzer):
    """Silero VAD on a shared session, run on the event loop itself.

    One 32 ms window costs about 0.2 ms, less than the two thread hops that the stock analyzer spends on it.
    """

    def __init__(self, session: onnxruntime.InferenceSession, params: VADParams) -> None:
        VADAnalyzer.__init__(self, params=params)
        self._model = _SharedSileroModel(session)
        self._windows_since_reset = 0
        self._low_confidence_windows = 0
        self._listeners: list[WindowListener] = []

    def on_window(self, listener: WindowListener) -> None:
        """Call ``listener`` with every further window, before the state that follows from it is known."""
        self._listeners.append(listener)

    def voice_confidence(self, buffer: bytes) -> float:
        """The probability that ``buffer`` (one window of pcm16) holds speech."""
        probability = float(np.ravel(super().voice_confidence(buffer))[0])
        for listener in self._listeners:
            listener(probability, buffer)
        return probability

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """The VAD's state after ``buffer`` (pcm16 mono at the analyzer's rate)."""
        return self._run_analyzer(buffer)


class SharedSmartTurn(LocalSmartTurnAnalyzerV3):
    """smart-turn v3.2 on a shared session and a shared executor (50 ms of CPU per judgement)."""

    def __init__(
        self, session: onnxruntime.InferenceSession, executor: ThreadPoolExecutor, *, incomplete_wait_s: float = 3.0
    ) -> None:
        BaseSmartTurn.__init__(self, params=SmartTurnParams(stop_secs=incomplete_wait_s))
        self._session: Any = session
        self._log_data = False
        self._shared_executor = executor

    @property
    def _model_executor(self) -> ThreadPoolExecutor:
        return self._shared_executor

    async def probability(self) -> float | None:
        """How likely the audio so far is a whole turn; ``None`` where there is none. Forgets nothing, whatever the answer."""
        audio = list(self._audio_buffer)
        if not audio:
            return None
        loop = asyncio.get_running_loop()
        _, result = await loop.run_in_executor(self._model_executor, self._process_speech_segment, audio)
        return None if result is None else float(result.probability)

    def warm_up(self) -> None:
        """Judge eight seconds of silence once, so that the first real judgement is not the slow one."""
        self.set_sample_rate(16_000)
        self._predict_endpoint(np.zeros(16_000, np.float32))


class SpeculationGuard(SpeculationGate):
    """In place of an LLM's own gate: holds nothing, since that is done behind the voice, but still stops tools from being run
    for a guess (``LLMService.run_function_calls`` asks ``is_speculating`` and then withdraws the guess)."""

    def begin_speculation(self, speculation: bool) -> None:
        """An inference begins."""
        self._speculating = speculation

    def process(self, frame: Frame, direction: FrameDirection) -> list[tuple[Frame, FrameDirection]]:
        """Everything goes on."""
        return [(frame, direction)]

    def settle(self) -> None:
        """The guess was confirmed or withdrawn."""
        self._speculating = False


def watch_speculation(llm: FrameProcessor) -> SpeculationGuard:
    """Give ``llm`` a guard in place of its gate; a stage that is none of pipecat's LLM services has no tools to guard."""
    guard = SpeculationGuard()
    if isinstance(llm, LLMService):
        llm._speculation_gate = guard
    return guard
