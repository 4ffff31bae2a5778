"""The turn detector as a pipecat strategy: frames become observations, decisions end the turn. Thin.

It is told of the voice by pipecat's own voice detector, of words by the transcripts, and judges with smart-turn. A turn whose
words are still to come is not ended before they are there: an answer to half of it would be worse than a late one. Where the
detector guesses that the turn is over, an answer is begun (``pipeline.speculation``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    EagerTranscriptionFrame,
    Frame,
    InputAudioRawFrame,
    LLMRunFrame,
    ProposedUserStoppedSpeakingFrame,
    SpeechControlParamsFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy

from agent.analysis.english.usage import log10_p
from agent.analysis.words import tokens
from pipeline.pipecat_private import SharedSileroVAD, SharedSmartTurn
from pipeline.speculation import Speculation
from pipeline.stt.flush import FlushSTTFrame
from pipeline.turns.detector import (
    AskVoice,
    AskWords,
    Decision,
    Ended,
    MaybeEnded,
    Observation,
    Parameters,
    Pause,
    SmartTurn,
    Tick,
    TurnDetector,
    Voice,
    VoiceEdge,
    Withdrawn,
    Words,
)
from pipeline.turns.echo import level_db
from pipeline.turns.endpoint import Pace
from pipeline.turns.fading import Fading

NO_WINDOWS_S = 0.2
"""Without a window for this long (a muted microphone sends none) the voice detector's own word is taken for a pause."""
AUDIO_LATE_S = 0.08
"""Silence lasts no longer than the audio that it was heard in, and this: a process that stood still has audio waiting, in which
the learner may have gone on."""
NO_AUDIO_S = 1.0
"""Unless there is none for this long, which is when pipecat's voice detector takes a voice to be over."""
CHECK_AGAIN_S = 0.005


def sentence_end(words: tuple[str, ...]) -> tuple[float, float]:
    """log10 P(end of sentence) after the last two words, and after the last one, by the embedded recogniser's trigram model."""
    return log10_p(*words[-2:], "</s>"), log10_p(words[-1], "</s>")


class PatientTurnStop(BaseUserTurnStopStrategy):
    """Ends a turn when voice and words say so; waits longer for who pauses longer.

    ``vad`` is the call's voice detector, whose windows it follows; ``expected`` gives the replies that are expected now;
    ``pace`` is the learner's, and outlives a connection. Without ``speculation`` no answer is begun before a turn is over.

    A turn may be opened some time after its voice began, where the tutor was speaking: what was heard since then counts.
    """

    def __init__(
        self,
        analyzer: SharedSmartTurn,
        parameters: Parameters,
        *,
        vad: SharedSileroVAD,
        speculation: Speculation | None,
        expected: Callable[[], Sequence[str]],
        pace: Pace,
    ) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._detector = TurnDetector(parameters, sentence_end=sentence_end, pace=pace)
        self._speculation = speculation
        self._expected = expected
        self._windows: list[Voice | Pause] = []
        self._fading = Fading()
        self._window_s = 0.0
        self._open = False  # whether the turn is open, and not only the learner's mouth
        self._speaking = False  # as the voice detector has it
        self._proposed = False  # to end the turn before the voice detector has seen it
        self._parts: list[str] = []
        self._eager = ""
        self._is_final = False
        self._over = False  # but for its words
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        vad.on_window(self._on_window)

    @property
    def resolves_proposed_turn_stop_frames(self) -> bool:
        """Its own proposals come back to it, and go no further."""
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as pipecat overrides it
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
        """The turn is open."""
        self._open = True
        if self._over:
            # Its voice is over already: it was made sure first that it is a turn.
            self._spawn(self._end())
        elif not self._detector.in_turn:
            # A voice that went on behind a turn that was ended before the voice detector had seen the end.
            now_s = self._now()
            self._spawn(self._observe(VoiceEdge(now_s, True, now_s)))

    async def handle_user_turn_stopped(self) -> None:
        """However it was ended."""
        self._open = False
        self._forget()
        self._detector.abandon()
        self._analyzer.clear()
        self._set_timer(None)

    def _forget(self) -> None:
        self._parts, self._eager, self._is_final = [], "", False
        self._over = self._proposed = False

    def _now(self) -> float:
        now_s = time.monotonic()
        return now_s if now_s - self._window_s > NO_AUDIO_S else min(now_s, self._window_s + AUDIO_LATE_S)

    def _on_window(self, probability: float, window: bytes) -> None:
        self._window_s = time.monotonic()
        if self._detector.in_turn:
            self._windows.append(Voice(self._window_s, probability, self._fading.quiet(level_db(window))))

    def pause_expected(self, probability: float) -> None:
        """The recogniser expects, with this probability, that the voice pauses for 2 s; see ``CallState.on_pause``."""
        if self._detector.in_turn:
            self._windows.append(Pause(self._now(), probability))

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Takes in what the frame tells."""
        await super().process_frame(frame)
        now_s = self._now()
        match frame:
            case StartFrame():
                await self.broadcast_frame(SpeechControlParamsFrame, turn_params=self._analyzer.params)
            case InputAudioRawFrame():
                self._analyzer.append_audio(frame.audio, self._speaking)
                windows, self._windows = self._windows, []
                for window in windows:
                    await self._observe(window)
            case VADUserStartedSpeakingFrame():
                await self._voice_started(now_s, frame.start_secs)
            case VADUserStoppedSpeakingFrame():
                self._speaking = False
                if time.monotonic() - self._window_s > NO_WINDOWS_S:
                    await self._observe(VoiceEdge(now_s, False, now_s - frame.stop_secs))
                await self._end()
            case EagerTranscriptionFrame():
                if frame.text.strip():
                    self._eager = frame.text
                    await self._observe(Words(now_s, self._words(), complete=True))
            case TranscriptionFrame():
                self._parts.append(frame.text)
                self._eager = ""
                self._is_final = self._is_final or bool(frame.finalized)
                await self._observe(Words(now_s, self._words(), final=self._is_final))
                await self._end()
            case ProposedUserStoppedSpeakingFrame():
                self._proposed = True
                await self._end()
            case EagerEndOfTurnCancelFrame():
                # The model wants to use a tool, which it may not for a guess.
                self._detector.guess_no_more()
                await self._withdraw()
        return ProcessFrameResult.CONTINUE

    async def _voice_started(self, now_s: float, start_s: float) -> None:
        self._analyzer.update_vad_start_secs(start_s)
        if not self._open and not self._detector.in_turn:
            # Words of before were of a turn that is closed, or of none.
            self._forget()
        self._speaking, self._is_final = True, False
        self._over = self._proposed = False
        self._detector.expect(tuple(tuple(tokens(reply)) for reply in self._expected()))
        if not self._detector.in_turn:
            await self._withdraw()
        await self._observe(VoiceEdge(now_s, True, now_s - start_s))

    def _text(self) -> str:
        return " ".join([*self._parts, self._eager]).strip()

    def _words(self) -> tuple[str, ...]:
        return tuple(tokens(self._text()))

    async def _observe(self, what: Observation) -> None:
        for decision in self._detector.observe(what):
            await self._act(decision)
        self._set_timer(self._detector.next_check_s)

    async def _act(self, decision: Decision) -> None:
        match decision:
            case AskWords():
                await self.push_frame(FlushSTTFrame(), FrameDirection.UPSTREAM)
            case AskVoice():
                self._spawn(self._ask(decision.time_s))
            case MaybeEnded():
                await self._guess()
            case Withdrawn():
                await self._withdraw()
            case Ended():
                self._over = True
                if not self._is_final:
                    await self.push_frame(FlushSTTFrame(commit=True), FrameDirection.UPSTREAM)
                    if self._eager:
                        # What is still to come are the same words, as the recogniser's last.
                        await self._guess()
                await self._end()

    async def _guess(self) -> None:
        if self._speculation is not None and self._open and not self._speculation.open:
            await self._speculation.begin(self._text())

    async def _withdraw(self) -> None:
        if self._speculation is not None:
            await self._speculation.withdraw()

    async def _ask(self, asked_s: float) -> None:
        probability = await self._analyzer.probability()
        if probability is not None:
            await self._observe(SmartTurn(self._now(), asked_s, probability))

    async def _tick(self) -> None:
        await self._observe(Tick(self._now()))

    async def _end(self) -> None:
        """End the turn, where it is over, open, and all its words are there."""
        if not (self._over and self._open and self._is_final):
            return
        if self._speaking and not self._proposed:
            # The voice detector is slower to tell. pipecat ends no turn in which somebody speaks by what it was told.
            await self.push_frame(ProposedUserStoppedSpeakingFrame())
            return
        self._over = False
        self._set_timer(None)
        speculation = self._speculation
        if speculation is None or not speculation.open:
            await self.trigger_user_turn_stopped()
        elif not speculation.answers(self._text()):
            await speculation.withdraw()
            await self.trigger_user_turn_stopped()
        else:
            await self.trigger_user_turn_finalized(confirms_speculation=True)
            if not await speculation.confirm():
                await self.push_frame(LLMRunFrame())

    def _set_timer(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            delay_s = max(CHECK_AGAIN_S, at_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, lambda: self._spawn(self._tick()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
