"""A recogniser's stage used for one piece of speech, outside any call."""

from __future__ import annotations

import asyncio
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from agent.record import Word
from pipeline.messages import INPUT_RATE_HZ
from pipeline.stt.recognition import RecogniserError, Recognition

CHUNK_S = 0.1
WORDS_WITHIN_S = 60.0
STOP_TIMEOUT_S = 5.0


async def recognise_once(stt: FrameProcessor, pcm16: bytes, *, within_s: float = WORDS_WITHIN_S) -> Recognition:
    """Have ``stt``, a stage fresh from its engine, recognise speech (16 kHz mono, one utterance or several).

    Raises:
        RecogniserError: it failed, or gave no final words ``within_s``.
    """
    heard: list[Recognition] = []
    done = asyncio.Event()
    failed: list[str] = []

    def pushed(_processor: Any, frame: Frame) -> None:
        if isinstance(frame, TranscriptionFrame):
            heard.append(frame.result if isinstance(frame.result, Recognition) else Recognition(frame.text.strip()))
            if frame.finalized:
                done.set()
        elif isinstance(frame, ErrorFrame):
            failed.append(str(frame.error))
            done.set()

    stt.add_event_handler("on_before_push_frame", pushed)
    worker = PipelineWorker(
        Pipeline([stt]),
        params=PipelineParams(audio_in_sample_rate=INPUT_RATE_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda _worker, _frame: started.set())
    run = asyncio.create_task(_run(worker), name="recognise once")
    try:
        async with asyncio.timeout(within_s):
            await started.wait()
            step = int(CHUNK_S * INPUT_RATE_HZ) * 2
            await worker.queue_frame(VADUserStartedSpeakingFrame())
            for start in range(0, len(pcm16), step):
                frame = InputAudioRawFrame(pcm16[start : start + step], INPUT_RATE_HZ, 1)
                frame.metadata["capture_end_s"] = (start + len(frame.audio)) / 2 / INPUT_RATE_HZ
                await worker.queue_frame(frame)
            await worker.queue_frame(VADUserStoppedSpeakingFrame())
            await done.wait()
    except TimeoutError:
        raise RecogniserError(f"no words came within {within_s:g} s") from None
    finally:
        await worker.cancel()
        _, pending = await asyncio.wait({run}, timeout=STOP_TIMEOUT_S)
        if pending:
            logger.warning("a recogniser's stage did not stop in time")
            run.cancel()
            await asyncio.wait({run})
    if failed:
        raise RecogniserError(failed[0])
    return _joined(heard)


async def _run(worker: PipelineWorker) -> None:
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    await runner.run()


def _joined(parts: list[Recognition]) -> Recognition:
    words: list[Word] = []
    audio_s = 0.0
    for part in parts:
        words += [Word(w.text, w.start_s + audio_s, w.end_s + audio_s, w.confidence) for w in part.words]
        audio_s += part.audio_s
    text = " ".join(part.text.strip() for part in parts if part.text.strip())
    confidences = [part.confidence for part in parts if part.confidence is not None and part.text.strip()]
    return Recognition(
        text,
        tuple(words),
        min(confidences) if confidences else None,
        parts[-1].source if parts else "free",
        audio_s,
        sum(part.decode_ms for part in parts),
        started_s=0.0,
    )
