"""One call: the pipeline that runs while a client is attached to a session.

The chain reads top to bottom in ``Call.start``. What the call makes of the frames that pass (captions, record, metrics) is in
``pipeline.observing``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loguru import logger
from pipecat.frames.frames import ErrorFrame, InterruptionFrame, LLMMessagesAppendFrame, LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy, TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from pipeline.messages import Error
from pipeline.metrics import prometheus
from pipeline.observing import CallObserver
from pipeline.transports.base import CallTransport

if TYPE_CHECKING:
    from pipeline.session import Session

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
INTERRUPT_TIMEOUT_S = 1.0
INPUT_RATE_HZ = 16_000
_FAILED = {
    "stt": "I could not make out what you said. Please say it again.",
    "llm": "The tutor could not think of an answer. Please say it again.",
    "tts": "The tutor's voice failed. Its words are on the screen.",
}


class BuildFailed(RuntimeError):
    """A call could not be built; the text says why."""


class Call:
    """One connection of a session, from its first frame to its last."""

    def __init__(self, session: Session, transport: CallTransport, *, resumed: bool) -> None:
        self._session = session
        self._transport = transport
        self._resumed = resumed
        self._observer: CallObserver | None = None
        self._worker: PipelineWorker | None = None
        self._run: asyncio.Task[None] | None = None
        self._stages: dict[str, object] = {}

    async def start(self) -> None:
        """Build the pipeline and run it; returns once every stage has started.

        Raises:
            BuildFailed: a stage could not be made or did not start in time. Nothing is left running.
        """
        session, transport = self._session, self._transport
        services = session.services
        try:
            stt, llm, tts = (services.engines[stage].create(session.call_state) for stage in ("stt", "llm", "tts"))
            user, assistant = self._aggregators()
            chain: list[FrameProcessor] = [
                transport.input(),
                stt,
                user,
                llm,
                tts,
                transport.output(),
                assistant,
            ]
            self._stages = {"stt": stt, "llm": llm, "tts": tts}
            self._observer = CallObserver(session, transport, stt=stt, user=user, llm=llm, tts=tts, assistant=assistant)
            self._worker = PipelineWorker(
                Pipeline(chain),
                params=PipelineParams(audio_in_sample_rate=INPUT_RATE_HZ, audio_out_sample_rate=transport.playout.rate_hz),
                enable_rtvi=transport.speaks_rtvi,
                enable_turn_tracking=False,
                idle_timeout_secs=None,
            )
        except Exception as e:
            prometheus.ERRORS.labels("build").inc()
            raise BuildFailed(f"the call could not be built: {e}") from e
        started = asyncio.Event()
        self._worker.add_event_handler("on_pipeline_started", lambda _worker, _frame: started.set())
        self._worker.add_event_handler("on_pipeline_error", self._on_error)
        self._run = asyncio.create_task(self._run_worker(), name=f"call-{session.id}")
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({self._run, waiting}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not started.is_set():
                prometheus.ERRORS.labels("build").inc()
                raise BuildFailed("the call did not start in time")
        except BaseException:
            await self.stop()
            raise
        finally:
            waiting.cancel()

    def _aggregators(self) -> tuple[FrameProcessor, FrameProcessor]:
        settings, models = self._session.services.settings, self._session.services.models
        stop = (
            TurnAnalyzerUserTurnStopStrategy(turn_analyzer=models.smart_turn(settings.turns))
            if settings.turns.smart_turn
            else SpeechTimeoutUserTurnStopStrategy()
        )
        params = LLMUserAggregatorParams(
            vad_analyzer=models.vad(settings.vad),
            # Only the voice starts a turn: words that come late belong to the turn before.
            user_turn_strategies=UserTurnStrategies(start=[VADUserTurnStartStrategy()], stop=[stop]),
            user_turn_stop_timeout=settings.turns.stop_timeout_s,
            empty_user_turn=None,
        )
        pair = LLMContextAggregatorPair(self._session.context, user_params=params)
        return pair.user(), pair.assistant()

    async def _run_worker(self) -> None:
        assert self._worker is not None
        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(self._worker)
        await runner.run()

    async def _on_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        stage = next((name for name, processor in self._stages.items() if processor is frame.processor), "transport")
        prometheus.ERRORS.labels(stage).inc()
        logger.warning("{} failed: {}", stage, frame.error)
        if stage in _FAILED:
            await self._session.send(Error(message=_FAILED[stage]))

    async def on_ready(self) -> None:
        """The client can hear: the tutor speaks first, or takes up its interrupted line in a resumed call."""
        if self._worker is None or self._observer is None:
            return
        messages = self._session.context.messages
        if self._resumed and messages:
            last = self._session.record.turns[-1] if self._session.record.turns else None
            if last is not None and last.role == "tutor" and not last.interrupted:
                return
        elif messages or not self._session.services.settings.tutor.greet:
            return
        self._observer.tutor_first()
        await self._worker.queue_frame(LLMRunFrame())

    # What the client asks

    async def interrupt(self) -> None:
        """Stop the tutor, as if the learner had spoken over it; returns when the context holds only what was heard."""
        if self._worker is None or self._observer is None:
            return
        settled = self._observer.expect_interruption()
        await self._worker.queue_frame(InterruptionFrame())
        try:
            await asyncio.wait_for(settled.wait(), INTERRUPT_TIMEOUT_S)
        except TimeoutError:
            logger.warning("the pipeline did not take the interruption in time")

    async def typed(self, text: str) -> None:
        """A turn that the learner typed."""
        if self._worker is None or self._observer is None:
            return
        await self.interrupt()
        self._observer.typed()
        await self._worker.queue_frame(LLMMessagesAppendFrame([{"role": "user", "content": text}], run_llm=True))

    async def unheard(self) -> None:
        """The learner spoke, but nothing could be made out: the tutor is given an empty turn to react to."""
        if self._worker is not None:
            await self._worker.queue_frame(LLMMessagesAppendFrame([{"role": "user", "content": ""}], run_llm=True))

    async def restart_lesson(self) -> None:
        """Forget the conversation and greet anew; the record keeps what was said."""
        if self._worker is None or self._observer is None:
            return
        await self.interrupt()
        self._session.context.set_messages([])
        self._observer.forget_conversation()
        self._observer.tutor_first()
        await self._worker.queue_frame(LLMRunFrame())

    # The end

    async def finish(self) -> None:
        """Silence the tutor and record what is still unrecorded; the transport stays open for the report."""
        if self._run is not None and not self._run.done():
            await self.interrupt()
        if self._observer is not None:
            await self._observer.finish()

    async def stop(self) -> None:
        """Cancel the pipeline and wait for every task of the call. Safe to call twice."""
        observer, worker, run = self._observer, self._worker, self._run
        if observer is not None:
            await observer.finish()
        self._observer = self._worker = self._run = None
        if worker is not None and run is not None:
            await worker.cancel()
            _, pending = await asyncio.wait({run}, timeout=STOP_TIMEOUT_S)
            if pending:
                logger.warning("the pipeline did not stop in time")
                run.cancel()
                await asyncio.wait({run}, timeout=STOP_TIMEOUT_S)
            elif not run.cancelled() and run.exception() is not None:
                logger.opt(exception=run.exception()).error("the pipeline failed")
        if observer is not None:
            await observer.close()
