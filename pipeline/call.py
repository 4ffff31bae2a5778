"""One call: the pipeline that runs while a client is attached to a session.

The chain reads top to bottom in ``Call.start``. What the call makes of the frames that pass (captions, record, metrics) is in
``pipeline.observing``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    LLMConfigureOutputFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from agent.record import Word
from pipeline.brief import AnswerEnd, Brief, FunctionCall
from pipeline.faults.guard import guard_stt
from pipeline.faults.keeper import Keeper
from pipeline.faults.watch import Stage
from pipeline.metrics import prometheus
from pipeline.observing.observer import CallObserver
from pipeline.pipecat_private import AudioPath, guard_answers, quieten_observers
from pipeline.speculation import Speculation
from pipeline.transports.base import CallTransport
from pipeline.turn_start import VerdictTurnStart
from pipeline.turn_taking import make_aggregators, make_speculation, make_start

if TYPE_CHECKING:
    from pipeline.session import Session

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
INTERRUPT_TIMEOUT_S = 1.0
INPUT_RATE_HZ = 16_000
FAREWELL_TIMEOUT_S = 12.0
SPARE_CHUNK_S = 0.02


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
        self._stages: dict[Stage, FrameProcessor] = {}
        self._keeper: Keeper | None = None
        self._speculation: Speculation | None = None
        self._spare_lines = 0
        self._asked = False

    async def start(self) -> None:
        """Build the pipeline and run it; returns once every stage has started.

        Raises:
            BuildFailed: a stage could not be made or did not start in time. Nothing is left running.
        """
        session, transport = self._session, self._transport
        services = session.services
        try:
            stt, llm, tts = (services.engines[stage].create(session.call_state) for stage in ("stt", "llm", "tts"))
            guard_stt(stt, services.settings.faults.stt_timeout_s)
            gate, speculation = make_speculation(session, llm)
            self._speculation = speculation
            vad = services.models.vad(session.call_state.vad or services.settings.vad)
            start = make_start(session, transport, vad, self.interrupt)
            user, assistant = make_aggregators(session, vad, start, speculation)
            guard_answers(user, self._may_answer, self._unanswered)
            chain: list[FrameProcessor] = [
                transport.input(),
                stt,
                user,
                llm,
                tts,
                *([gate] if gate is not None else []),
                transport.output(),
                assistant,
            ]
            AudioPath(transport.input(), stt, user)
            self._stages = {"stt": stt, "llm": llm, "tts": tts}
            self._keeper = Keeper(self, session, services.settings.faults, services.settings.silence)
            self._observer = CallObserver(
                session, transport, self._keeper.watch, stt=stt, user=user, llm=llm, tts=tts, assistant=assistant, gate=gate
            )
            if isinstance(start, VerdictTurnStart):
                self._observer.learner.judges_voices = True
                start.audience = self._observer
            if speculation is not None:
                speculation.audience = self._observer
            self._worker = PipelineWorker(
                Pipeline(chain),
                params=PipelineParams(audio_in_sample_rate=INPUT_RATE_HZ, audio_out_sample_rate=transport.playout.rate_hz),
                enable_rtvi=transport.speaks_rtvi,
                enable_turn_tracking=False,
                idle_timeout_secs=None,
            )
            quieten_observers(self._worker)
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
        self._keeper.start()

    @property
    def died(self) -> bool:
        """Whether the pipeline ended by itself."""
        return self._run is not None and self._run.done()

    def _may_answer(self) -> bool:
        asked, self._asked = self._asked, False
        state, observer = self._session.call_state, self._observer
        # A voice that cannot stop the tutor gets no second answer beside the one that it spoke over.
        busy = not state.interruptible and observer is not None and observer.tutor.answering
        return asked or (state.answers and not busy)

    async def _unanswered(self) -> None:
        if self._observer is not None:
            await self._observer.learner.turn_in_context()

    async def _run_worker(self) -> None:
        assert self._worker is not None
        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(self._worker)
        await runner.run()

    async def _on_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        stage = next((name for name, processor in self._stages.items() if processor is frame.processor), None)
        prometheus.ERRORS.labels(stage or "transport").inc()
        logger.warning("{} failed: {}", stage or "transport", frame.error)
        if self._speculation is not None and self._speculation.open and stage in ("llm", "tts"):
            # Nobody is owed what was begun early. When the turn is over, the stage is asked again.
            await self._speculation.withdraw()
            await self._use_all()
            return
        if stage is not None and self._keeper is not None:
            self._keeper.watch.failed(stage, str(frame.error), time.monotonic())

    async def on_ready(self) -> None:
        """The client can hear: the tutor speaks first, or takes up its interrupted line in a resumed call."""
        if self._worker is None or self._observer is None:
            return
        if self._keeper is not None:
            self._keeper.watch.ready(time.monotonic())
        messages = self._session.context.messages
        if self._resumed and messages:
            last = self._session.record.turns[-1] if self._session.record.turns else None
            if last is not None and last.role == "tutor" and not last.interrupted:
                return
        elif messages or not self._session.services.settings.tutor.greet:
            return
        self._observer.tutor_first()
        await self._worker.queue_frame(LLMRunFrame())

    def when_said(self, action: Callable[[], None]) -> None:
        """Do ``action``, which follows from the tutor's answer, as soon as that is sure to be given."""
        if self._observer is None:
            action()
        else:
            self._observer.when_said(action)

    # What the client asks

    async def interrupt(self) -> bool:
        """Stop the tutor, as if the learner had spoken over it; returns when the context holds only what was heard.

        False if the pipeline did not take the interruption in time.
        """
        if self._worker is None or self._observer is None:
            return False
        settled = self._observer.expect_interruption()
        await self._worker.queue_frame(InterruptionFrame())
        try:
            await asyncio.wait_for(settled.wait(), INTERRUPT_TIMEOUT_S)
        except TimeoutError:
            logger.warning("the pipeline did not take the interruption in time")
            return False
        return True

    async def typed(self, text: str) -> None:
        """A turn that the learner typed."""
        await self._answer_to(text, None)

    async def uploaded(self, text: str, words: Sequence[Word]) -> None:
        """A turn whose sound came as a file, with the ``words`` that were recognised in it."""
        await self._answer_to(text, words)

    async def _answer_to(self, text: str, words: Sequence[Word] | None) -> None:
        if self._worker is None or self._observer is None:
            return
        observer, worker = self._observer, self._worker
        await self.interrupt()
        if self._worker is None:
            return  # the call has ended meanwhile
        observer.learner.entered(words)
        await worker.queue_frame(LLMMessagesAppendFrame([{"role": "user", "content": text}], run_llm=True))

    async def respond(self) -> None:
        """The client wants the tutor to speak, to whatever the conversation now is."""
        if self._worker is None or self._observer is None:
            return
        last = self._session.context.messages[-1] if self._session.context.messages else None
        if not isinstance(last, dict) or last.get("role") != "user":
            self._observer.tutor_first()
        self._asked = True
        await self._worker.queue_frame(LLMRunFrame())

    def aside(
        self,
        brief: Brief,
        *,
        max_tokens: int | None,
        on_calls: Callable[[Sequence[FunctionCall]], None],
        on_end: Callable[[AnswerEnd], None],
    ) -> AsyncGenerator[str, None] | None:
        """What the LLM answers to ``brief`` beside the call, which goes on; ``None``: it is one that answers nobody but a call.

        As ``pipeline.llm.tutor_service.TutorLLMService.aside``, with the conversation of the call.
        """
        ask = getattr(self._stages.get("llm"), "aside", None)
        if ask is None:
            return None
        messages = list(self._session.context.messages)
        answer: AsyncGenerator[str, None] = ask(messages, brief, max_tokens=max_tokens, on_calls=on_calls, on_end=on_end)
        return answer

    async def take_in(self, text: str, words: Sequence[Word] | None = None) -> dict[str, Any] | None:
        """A turn of the learner that is not to be answered yet: typed, or with the ``words`` that were recognised in it.

        Returns its message in the conversation.
        """
        if self._observer is None:
            return None
        self._observer.learner.entered(words)
        message: dict[str, Any] = {"role": "user", "content": text}
        self._session.context.add_message(message)  # type: ignore[arg-type]
        await self._observer.learner.turn_in_context()
        return message

    def insert_message(self, index: int, message: dict[str, Any]) -> None:
        """Put a message into the conversation that was not said in this call: history, instructions, a function's output."""
        if self._observer is not None:
            self._observer.insert_message(index, message)

    def remove_message(self, message: dict[str, Any]) -> None:
        """Take a message out of the conversation; the record keeps what was said."""
        if self._observer is not None:
            self._observer.remove_message(message)

    def truncate(self, number: int, heard_s: float) -> str | None:
        """Keep of the session's reply ``number`` what was heard in its first ``heard_s`` seconds; returns that.

        ``None``: there is no such reply any more.
        """
        return self._observer.tutor.truncate(number, heard_s) if self._observer is not None else None

    def acted(self) -> None:
        """The LLM asks for functions to be run."""
        if self._observer is not None:
            self._observer.tutor.acted()

    async def speak(self, aloud: bool) -> None:
        """Whether the next answers are spoken, or only written."""
        if self._worker is not None and self._observer is not None and self._observer.tutor.silent == aloud:
            self._observer.tutor.silent = not aloud
            await self._worker.queue_frame(LLMConfigureOutputFrame(skip_tts=not aloud))

    async def unheard(self) -> None:
        """The learner spoke, but nothing could be made out: the tutor is given an empty turn to react to."""
        if self._worker is not None:
            await self._worker.queue_frame(LLMMessagesAppendFrame([{"role": "user", "content": ""}], run_llm=True))

    async def restart_lesson(self) -> None:
        """Forget the conversation and greet anew; the record keeps what was said."""
        if self._worker is None or self._observer is None:
            return
        observer, worker = self._observer, self._worker
        await self.interrupt()
        if self._worker is None:
            return  # the call has ended meanwhile
        self._session.context.set_messages([])
        observer.conversation.forget()
        observer.tutor_first()
        await worker.queue_frame(LLMRunFrame())

    # When something goes wrong

    async def ask_again(self) -> None:
        """The learner is silent: the tutor asks once more."""
        if self._worker is not None and self._observer is not None:
            self._observer.tutor_first()
            await self._worker.queue_frame(LLMRunFrame())

    async def leave_on_screen(self) -> None:
        """The tutor's words cannot be spoken: its turn ends with them on the page."""
        if self._observer is not None:
            await self._observer.tutor.leave_on_screen()

    async def recover(self, stage: Stage) -> bool:
        """Cancel what the stages are at, after ``stage`` failed; false if the pipeline no longer moves."""
        if self._observer is None:
            return False
        self._observer.learner.excuse_turn()
        await self._use_all()
        return await self.interrupt()

    async def _use_all(self) -> None:
        for processor in self._stages.values():
            # A service that pipecat has written off is tried again: how often is the keeper's to decide.
            if not processor.is_usable:
                await processor.set_usable(True)

    async def say(self, text: str, *, spare: bool = False) -> None:
        """Say one line of the house, outside the lesson; ``spare``: with the spare voice, not the tutor's."""
        if self._observer is None:
            return
        if spare:
            await self._say_spare(text)
            return
        self._observer.tutor.house_line()
        llm = self._stages["llm"]
        for frame in (LLMFullResponseStartFrame(), LLMTextFrame(text), LLMFullResponseEndFrame()):
            await llm.push_frame(frame)

    async def say_again(self, text: str) -> None:
        """Stop the tutor and say ``text``, which it has said before."""
        if await self.interrupt():
            await self.say(text)

    async def _say_spare(self, text: str) -> None:
        assert self._observer is not None
        rate_hz = self._transport.playout.rate_hz
        pcm = self._session.services.models.spare_voice.pcm(text, rate_hz)
        self._spare_lines += 1
        context_id = f"spare-{self._spare_lines}"
        await self._observer.tutor.spare_line(text)
        tts, step = self._stages["tts"], round(SPARE_CHUNK_S * rate_hz) * 2
        await tts.push_frame(TTSStartedFrame(context_id=context_id))
        for start in range(0, len(pcm), step):
            await tts.push_frame(TTSAudioRawFrame(pcm[start : start + step], rate_hz, 1, context_id=context_id))
        await tts.push_frame(TTSStoppedFrame(context_id=context_id))
        await tts.push_frame(LLMFullResponseEndFrame())

    async def farewell(self, text: str, *, spare: bool = False) -> None:
        """Stop the tutor, say ``text`` and return when it was said, or could not be."""
        observer = self._observer
        if observer is None or not await self.interrupt() or self._observer is None:
            return
        done = observer.tutor.expect_reply_end()
        await self.say(text, spare=spare)
        try:
            await asyncio.wait_for(done.wait(), FAREWELL_TIMEOUT_S)
        except TimeoutError:
            logger.warning("the farewell was not spoken in time")

    # The end

    async def finish(self) -> None:
        """Silence the tutor and record what is still unrecorded; the transport stays open for the report."""
        if self._keeper is not None:
            await self._keeper.close()
        if self._run is not None and not self._run.done():
            await self.interrupt()
        if self._observer is not None:
            await self._observer.finish()

    async def stop(self) -> None:
        """Cancel the pipeline and wait for every task of the call. Safe to call twice."""
        if self._keeper is not None:
            await self._keeper.close()
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
