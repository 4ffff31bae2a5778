"""The turn detector as a pipecat strategy: frames become observations, decisions end the turn. Thin.

It is told of the voice by pipecat's own voice detector, of words by the transcripts, and judges with smart-turn. A turn whose
words are still to come is not ended before they are there: an answer to half of it would be worse than a late one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    SpeechControlParamsFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy

from agent.analysis.english.usage import log10_p
from agent.analysis.words import tokens
from pipeline.pipecat_private import SharedSmartTurn
from pipeline.turns.detector import (
    AskVoice,
    Decision,
    Ended,
    Observation,
    Parameters,
    SmartTurn,
    Tick,
    TurnDetector,
    VoiceEdge,
    Words,
)
from pipeline.turns.endpoint import Pace


def sentence_end(words: tuple[str, ...]) -> tuple[float, float]:
    """log10 P(end of sentence) after the last two words, and after the last one, by the embedded recogniser's trigram model."""
    return log10_p(*words[-2:], "</s>"), log10_p(words[-1], "</s>")


class PatientTurnStop(BaseUserTurnStopStrategy):
    """Ends a turn when voice and words say so; waits longer for who pauses longer.

    ``expected`` gives the replies that are expected now; ``pace`` is the learner's, and outlives a connection.
    """

    def __init__(
        self, analyzer: SharedSmartTurn, parameters: Parameters, *, expected: Callable[[], Sequence[str]], pace: Pace
    ) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._detector = TurnDetector(parameters, sentence_end=sentence_end, pace=pace)
        self._expected = expected
        self._speaking = False
        self._parts: list[str] = []
        self._is_final = False
        self._over = False  # but for its words
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Called once, when the pipeline starts."""
        await super().setup(setup)
        self._analyzer.set_sample_rate(setup.audio_in_sample_rate)

    async def cleanup(self) -> None:
        """Ends the timer and what is under way."""
        await super().cleanup()
        self._set_timer(None)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._analyzer.cleanup()

    async def handle_user_turn_started(self) -> None:
        """A new turn has no words yet."""
        self._parts, self._is_final, self._over = [], False, False

    async def handle_user_turn_stopped(self) -> None:
        """However it was ended."""
        self._parts, self._is_final, self._over = [], False, False
        self._detector.abandon()
        self._analyzer.clear()
        self._set_timer(None)

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Takes in what the frame tells."""
        await super().process_frame(frame)
        now_s = time.monotonic()
        match frame:
            case StartFrame():
                await self.broadcast_frame(SpeechControlParamsFrame, turn_params=self._analyzer.params)
            case InputAudioRawFrame():
                self._analyzer.append_audio(frame.audio, self._speaking)
            case VADUserStartedSpeakingFrame():
                self._analyzer.update_vad_start_secs(frame.start_secs)
                self._speaking, self._is_final, self._over = True, False, False
                self._detector.expect(tuple(tuple(tokens(reply)) for reply in self._expected()))
                await self._observe(VoiceEdge(now_s, True, now_s - frame.start_secs))
            case VADUserStoppedSpeakingFrame():
                self._speaking = False
                await self._observe(VoiceEdge(now_s, False, now_s - frame.stop_secs))
            case TranscriptionFrame():
                self._parts.append(frame.text)
                self._is_final = self._is_final or bool(frame.finalized)
                await self._observe(Words(now_s, tuple(tokens(" ".join(self._parts))), final=self._is_final))
                if self._over and self._is_final:
                    await self._end()
        return ProcessFrameResult.CONTINUE

    async def _observe(self, what: Observation) -> None:
        await self._act(self._detector.observe(what))

    async def _act(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case AskVoice():
                    self._spawn(self._ask(decision.time_s))
                case Ended():
                    self._over = True
                    if self._is_final:
                        await self._end()
                        return
        self._set_timer(self._detector.next_check_s)

    async def _ask(self, asked_s: float) -> None:
        probability = await self._analyzer.probability()
        if probability is not None:
            await self._observe(SmartTurn(time.monotonic(), asked_s, probability))

    async def _tick(self) -> None:
        await self._observe(Tick(time.monotonic()))

    async def _end(self) -> None:
        self._over = False
        self._set_timer(None)
        await self.trigger_user_turn_stopped()

    def _set_timer(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            delay_s = max(0.0, at_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, lambda: self._spawn(self._tick()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
