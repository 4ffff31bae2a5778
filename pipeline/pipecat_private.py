"""The one place that touches private fields of pipecat.

Stock analyzers load their ONNX model anew for every call (about 60 ms of a blocked loop and 45 MB). These subclasses take a
session that the process has loaded once. What they rely on is checked by ``tests/pipeline/test_pipecat_private.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, resources
from typing import Any, cast

import numpy as np
import onnxruntime
from loguru import logger
from pipecat.audio.turn.smart_turn.base_smart_turn import BaseSmartTurn, SmartTurnParams
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroOnnxModel, SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat.frames.frames import AudioRawFrame, Frame, InputAudioRawFrame
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.turns.speculation_gate import SpeculationGate

from pipeline.turns.onset import Onset

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


def import_the_rest() -> None:
    """Import what pipecat would only while the first call is built: a third of a second in which no call is served."""
    import_module("pipecat.adapters.llm.services.open_ai_adapter")


def load_silero() -> onnxruntime.InferenceSession:
    """The Silero VAD model of pipecat's wheel."""
    return load_session(*_SILERO)


def load_smart_turn() -> onnxruntime.InferenceSession:
    """The smart-turn v3.2 model of pipecat's wheel."""
    return load_session(*_SMART_TURN)


WindowListener = Callable[[float, bytes], None]
"""Takes a window of the learner's audio: the probability of speech in it, and its pcm16."""


_SILENT_RMS = 16.0
"""-66 dBFS: less than a quiet room at a microphone, and what noise suppression leaves of a louder one."""
_SILENT_WINDOWS = 16
_CATCH_UP_WINDOWS = 16
"""Half a second, after which nothing older shows in what the model says."""
_VOLUME_EVERY = 8


class _SharedSileroModel(SileroOnnxModel):
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.sample_rates = [8000, 16000]
        self.reset_states()


class SharedSileroVAD(SileroVADAnalyzer):
    """Silero VAD on a shared session, run on the event loop itself.

    One 32 ms window costs about 0.2 ms, less than the two thread hops that the stock analyzer spends on it. Windows of lasting
    silence, below what a voice can be, are put off: the last of them are judged before the first one that is louder, so that
    the model's memory is then what it would have been.
    """

    def __init__(self, session: onnxruntime.InferenceSession, params: VADParams) -> None:
        VADAnalyzer.__init__(self, params=params)
        self._model = _SharedSileroModel(session)
        self._windows_since_reset = 0
        self._low_confidence_windows = 0
        self._listeners: list[WindowListener] = []
        self._silent_windows = 0
        self._volume = 0.0
        self._put_off: deque[bytes] = deque(maxlen=_CATCH_UP_WINDOWS)
        self._probability = 0.0

    def on_window(self, listener: WindowListener) -> None:
        """Call ``listener`` with every further window, before the state that follows from it is known."""
        self._listeners.append(listener)

    def voice_confidence(self, buffer: bytes) -> float:
        """The probability that ``buffer`` (one window of pcm16) holds speech."""
        if self._is_lasting_silence(buffer):
            self._put_off.append(buffer)
            self._maybe_reset_model(self._probability)
            if not self._windows_since_reset:
                self._put_off.clear()
        else:
            while self._put_off:
                window = np.frombuffer(self._put_off.popleft(), np.int16).astype(np.float32) / 32768.0
                self._model(window, self.sample_rate)
            self._probability = float(np.ravel(super().voice_confidence(buffer))[0])
        for listener in self._listeners:
            listener(self._probability, buffer)
        return self._probability

    def _is_lasting_silence(self, buffer: bytes) -> bool:
        samples = np.frombuffer(buffer, np.int16).astype(np.float32)
        silent = float(np.dot(samples, samples)) < _SILENT_RMS * _SILENT_RMS * len(samples)
        self._silent_windows = self._silent_windows + 1 if silent else 0
        return self._silent_windows > _SILENT_WINDOWS and self._vad_state is VADState.QUIET and self._probability < 0.1

    def _get_smoothed_volume(self, audio: bytes) -> float:
        self._volume_tracker.update(audio, self.sample_rate)
        if self._silent_windows <= _SILENT_WINDOWS or self._silent_windows % _VOLUME_EVERY == 0:
            self._volume = float(self._volume_tracker.volume)
        # Else it hardly changes, and measuring it over 0.4 s costs a quarter of what the model does.
        return self._prev_volume + self._smoothing_factor * (self._volume - self._prev_volume)

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """The VAD's state after ``buffer`` (pcm16 mono at the analyzer's rate)."""
        return self._run_analyzer(buffer)


class CallVAD(SharedSileroVAD):
    """The voice detector of a call: an ``Onset`` decides which windows count, pipecat's states follow from that.

    ``params.start_secs`` is the least length of a voice that begins, ``params.confidence`` what is likely.
    """

    def __init__(self, session: onnxruntime.InferenceSession, params: VADParams, *, sure: float) -> None:
        super().__init__(session, params)
        self._sure = sure
        self._onset = Onset(1, params.confidence, sure)

    def set_params(self, params: VADParams) -> None:
        """Take ``params``; the windows that start a voice are counted by the onset alone."""
        super().set_params(params)
        self._onset = Onset(self._vad_start_frames, params.confidence, max(params.confidence, self._sure))
        self._vad_start_frames = 1

    def voice_confidence(self, buffer: bytes) -> float:
        """1.0 where ``buffer`` (one window of pcm16) counts as voice, else 0.0. Listeners get Silero's probability."""
        probability = super().voice_confidence(buffer)
        speaking = self._vad_state in (VADState.SPEAKING, VADState.STOPPING)
        return float(self._onset.voiced(probability, speaking=speaking))

    def _get_smoothed_volume(self, audio: bytes) -> float:
        # A loudness after BS.1770 for every window, which nobody asks for.
        return float(super()._get_smoothed_volume(audio)) if self._params.min_volume > 0 else 0.0


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
        return None if result is None else float(cast(Any, result).probability)

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


class AudioPath:
    """The learner's audio on its way to the two stages that need it: the recogniser, and the voice detector in ``user``.

    On pipecat's own way a frame of 20 ms passes every processor of the pipeline, each with a queue, a task switch and events,
    which costs a call more than recognising voice in it. Here it is put into the queues of those two, and they hand on nothing
    of it. The order of frames within each of them stays what it was. Neither waits for the other.

    Args:
        source: The transport's input. What it pushes, other than audio, goes the usual way; its handlers of
            ``on_before_push_frame`` are called with each frame of audio, and must be plain functions.
        stt: The recogniser.
        user: The user aggregator.
    """

    def __init__(self, source: FrameProcessor, stt: FrameProcessor, user: FrameProcessor) -> None:
        self._source = source
        self._sinks: tuple[Any, ...] = (stt, user)
        if hasattr(source, "audio_path"):
            source.audio_path = self  # it has frames at hand where nothing can be awaited
        self._push: Any = source.push_frame
        source.push_frame = self._push_from_source  # type: ignore[method-assign]
        for sink in self._sinks:
            sink.push_frame = _without_audio(sink.push_frame)  # type: ignore[method-assign]

    def put(self, frame: InputAudioRawFrame, limit: int | None = None) -> bool:
        """Hand a frame on; ``False``, and not handed on, when ``limit`` frames wait for the recogniser."""
        if limit is not None and self._sinks[0]._FrameProcessor__input_queue.qsize() >= limit:
            return False
        for handler in self._source._event_handlers["on_before_push_frame"].handlers:
            try:
                handler(self._source, frame)
            except Exception as e:  # as pipecat does it: a listener's failure is not the audio's
                logger.opt(exception=e).error("a listener to the learner's audio failed")
        for sink in self._sinks:
            _run_now(sink.queue_frame(frame, FrameDirection.DOWNSTREAM))
        return True

    async def _push_from_source(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        # Audio that came as a message of RTVI, and that of transports which push it.
        if isinstance(frame, InputAudioRawFrame):
            self.put(frame)
        else:
            await self._push(frame, direction)


def _without_audio(push: Any) -> Any:
    async def push_others(frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if not isinstance(frame, InputAudioRawFrame):
            await push(frame, direction)

    return push_others


def _run_now(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits: putting into a queue without a bound."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("the processor's queue made its caller wait")


def quieten_observers(worker: PipelineWorker) -> None:
    """Tell the observers of ``worker`` only what they listen to.

    pipecat queues every push and every processed frame for each of them, audio included, whether or not anything becomes of it.
    """
    hub: Any = worker._observer
    listening = [o for o in hub._observers if type(o).on_process_frame is not BaseObserver.on_process_frame]
    tell = hub.on_push_frame

    async def on_push_frame(data: FramePushed) -> None:
        if not isinstance(data.frame, AudioRawFrame):
            await tell(data)

    async def on_process_frame(_data: Any) -> None:
        return

    if not listening:
        hub.on_process_frame = on_process_frame
    hub.on_push_frame = on_push_frame


def guard_answers(user: Any, may: Callable[[], bool], otherwise: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Have ``user``, an aggregator of the learner's turns, give the LLM its context only where ``may`` says so.

    ``otherwise`` is awaited in its place: the turn stands in the context and is not answered.
    """
    give = user.push_context_frame

    async def push_context_frame(direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if may():
            await give(direction)
        else:
            await otherwise()

    user.push_context_frame = push_context_frame
