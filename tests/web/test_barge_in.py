"""Voices over the tutor, in whole calls with the real voice detector and turn strategies; ears, mind and mouth are stand-ins.

What the ears make of each stretch of voice is written down, so that words come when a test wants them; what the mouth says is
the same noise each time, so that a sample that were lost or said twice would show.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from agent.record import Word
from pipeline.metrics import prometheus
from pipeline.stt.recognition import Recognition
from tests.web.conftest import Chat, Running, StandIn
from web.talk.wavs import read_wav

SAID = np.random.default_rng(3).normal(0, 3_000, 24_000 * 6).astype(np.int16).tobytes()
"""What the mouth says: six seconds."""
TEXT = "One two three four five six seven eight nine ten eleven twelve."


class Ears(FrameProcessor):
    """Hears in each stretch of voice what ``script`` says: for each final, the seconds since the last one, and the words."""

    def __init__(self, script: list[list[tuple[float, str]]]) -> None:
        super().__init__()
        self._script = list(script)
        self._tasks: list[asyncio.Task[None]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            finals = self._script.pop(0) if self._script else [(0.0, "")]
            self._tasks.append(asyncio.create_task(self._tell(finals)))

    async def _tell(self, finals: list[tuple[float, str]]) -> None:
        for delay_s, text in finals:
            await asyncio.sleep(delay_s)
            words = tuple(Word(w, 0.1 * i, 0.1 * i + 0.1, 0.9) for i, w in enumerate(text.split()))
            result = Recognition(text, words=words)
            frame = TranscriptionFrame(text or " ", "", "", result=result, finalized=True)
            frame.interruptible = False
            await self.push_frame(frame)

    async def cleanup(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().cleanup()


class Mind(FrameProcessor):
    """Answers with ``TEXT``, whatever was said."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            for part in (LLMFullResponseStartFrame(), LLMTextFrame(TEXT), LLMFullResponseEndFrame()):
                await self.push_frame(part)
        else:
            await self.push_frame(frame, direction)


class Mouth(FrameProcessor):
    """Says ``SAID``, whatever there is to say."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, LLMFullResponseEndFrame):
            self._count += 1
            name = f"utterance-{self._count}"
            await self.push_frame(TTSStartedFrame(context_id=name))
            for start in range(0, len(SAID), 9_600):
                audio = SAID[start : start + 9_600]
                await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=24_000, num_channels=1, context_id=name))
            await self.push_frame(TTSStoppedFrame(context_id=name))


class Microphone:
    """Room tone, and clips when they are played, in real time."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._waiting = np.zeros(0, np.int16)
        self._rng = np.random.default_rng(1)

    async def run(self) -> None:
        due = asyncio.get_running_loop().time()
        while True:
            frame = self._rng.normal(0, 8, 320).astype(np.int16)
            clip, self._waiting = self._waiting[:320], self._waiting[320:]
            frame[: len(clip)] += clip
            await self._chat.send(frame.tobytes())
            due += 0.02
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    def play(self, clip: Path) -> None:
        self._waiting = np.concatenate([self._waiting, read_wav(clip, 16_000) // 2])


@contextlib.asynccontextmanager
async def call(server: Running) -> AsyncIterator[tuple[Chat, Microphone, Any]]:
    async with server.chat("?extras=1") as chat:
        session = server.state.sessions.get(chat.seen[0]["session_id"])
        microphone = Microphone(chat)
        task = asyncio.create_task(microphone.run())
        try:
            yield chat, microphone, session
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def engines() -> Callable[..., dict[str, StandIn]]:
    def make(*script: list[tuple[float, str]]) -> dict[str, StandIn]:
        makers = {"stt": lambda: Ears(list(script)), "llm": Mind, "tts": Mouth}
        return {stage: StandIn(stage, makers[stage]) for stage in makers}  # type: ignore[arg-type]

    return make


def verdicts(which: str) -> float:
    return prometheus.REGISTRY.get_sample_value("parley_barge_in_verdicts_total", {"verdict": which}) or 0.0


async def test_a_backchannel_is_recorded_and_the_tutor_goes_on_at_the_very_sample(serve, engines, flite_wav):
    server = await serve(engines=engines([(0.05, "mm hmm")], [(0.05, "i like tea")]))
    before = verdicts("backchannel")
    async with call(server) as (chat, microphone, session):
        await chat.until("speaking", who="tutor", active=True)
        await asyncio.sleep(1.0)
        microphone.play(flite_wav("okay"))
        await chat.until("hold")
        held = len(chat.audio)
        assert held < len(SAID)
        await chat.until("go_on")
        await chat.until("turn_complete")
        assert "interrupted" not in chat.kinds
        assert bytes(chat.audio) == SAID
        assert verdicts("backchannel") == before + 1
        (greeting,) = session.record.turns
        assert [w.text for w in greeting.backchannels] == ["mm hmm"]
        assert 1.0 <= greeting.backchannels[0].start_s <= 5.0
        assert not greeting.interrupted
        microphone.play(flite_wav("I like tea very much."))
        await chat.until("ai_text", is_complete=True)
        assert session.record.turns[1].text == "i like tea"
        assert session.context.messages[1]["content"] == "i like tea"


async def test_a_sentence_stops_the_tutor_for_good(serve, engines, flite_wav):
    server = await serve(engines=engines([(0.05, "wait please")]))
    before = verdicts("real")
    async with call(server) as (chat, microphone, session):
        await chat.until("speaking", who="tutor", active=True)
        await asyncio.sleep(1.0)
        microphone.play(flite_wav("Could you say that once more, a little slower, for me?"))
        await chat.until("hold")
        await chat.until("interrupted")
        heard = bytes(chat.audio)
        assert SAID.startswith(heard)
        assert len(heard) < len(SAID) // 2
        await chat.until("ai_text", is_complete=True)
        tutor, learner = session.record.turns[:2]
        assert tutor.interrupted
        assert TEXT.startswith(tutor.text)
        # Without times of words they are taken to be spread evenly; what had not left was not heard.
        assert 1 <= len(tutor.text.split()) <= 12 * len(heard) / len(SAID)
        assert session.context.messages[0]["content"] == tutor.text
        assert learner.text == "wait please"
        assert verdicts("real") == before + 1
        row = await chat.until("metrics")
        while row["row"]["barge_in_ms"] is None:
            row = await chat.until("metrics")
        assert row["row"]["onset"] <= row["row"]["ducked"] <= row["row"]["stopped"]


@pytest.mark.parametrize("end", ["patient", "stock"])
async def test_a_short_word_that_wants_the_turn_gets_it_late(serve, engines, flite_wav, end):
    server = await serve(engines=engines([(0.6, "stop")]), turns={"end": end})
    async with call(server) as (chat, microphone, session):
        await chat.until("speaking", who="tutor", active=True)
        await asyncio.sleep(1.0)
        microphone.play(flite_wav("stop"))
        await chat.until("go_on")
        await chat.until("interrupted")
        await chat.until("speaking", who="learner", active=False)
        await chat.until("ai_text", is_complete=True)
        await chat.until("speaking", who="tutor", active=True)
        assert [t.text for t in session.record.turns][1:] == ["stop"]
        assert [m["role"] for m in session.context.messages[:2]] == ["assistant", "user"]
        await asyncio.sleep(0.5)
        assert [m["type"] for m in chat.seen].count("interrupted") == 1


async def test_words_that_come_after_the_answer_began_belong_to_the_turn_before(serve, engines, flite_wav):
    server = await serve(engines=engines([(0.05, "i like tea"), (1.5, "with milk")]), tutor={"greet": False})
    async with call(server) as (chat, microphone, session):
        await asyncio.sleep(0.5)
        microphone.play(flite_wav("I like tea very much."))
        await chat.until("speaking", who="tutor", active=True)
        assert session.record.turns[0].text == "i like tea"
        await chat.until("transcript", text="i like tea with milk")
        await chat.until("turn_complete")
        assert "interrupted" not in chat.kinds
        assert bytes(chat.audio) == SAID
        assert [t.text for t in session.record.turns if t.role == "learner"] == ["i like tea with milk"]
        assert [w.text for w in session.record.turns[0].words] == ["i", "like", "tea", "with", "milk"]
        assert session.context.messages[0]["content"] == "i like tea with milk"


async def test_stock_barge_in_stops_at_once(serve, engines, flite_wav):
    server = await serve(engines=engines([(0.05, "mm hmm")]), turns={"barge_in": "stock"})
    async with call(server) as (chat, microphone, _):
        await chat.until("speaking", who="tutor", active=True)
        await asyncio.sleep(1.0)
        microphone.play(flite_wav("okay"))
        await chat.until("interrupted")
        assert "hold" not in chat.kinds
