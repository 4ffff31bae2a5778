"""The recogniser that is told what is said, and the turn stops that are told the end."""

from __future__ import annotations

import asyncio
import os
import time

import numpy as np
import pytest
from pipecat.frames.frames import (
    EagerTranscriptionFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.tests.utils import SleepFrame, run_test

from bench.oracle import NOTHING_HEARD, TOLD_AFTER_S, Board, OracleSTT
from bench.oracle_turns import ToldDetector
from bench.sentences import Sentence, synthetic
from bench.servers import ServerProcess
from bench.speech import utterances
from bench.told_dialogue import ToldDialogue
from pipeline.stt.flush import FlushSTTFrame
from pipeline.turns.detector import Ended, MaybeEnded, Parameters, Tick, VoiceEdge, Words

AUDIO = InputAudioRawFrame(np.zeros(320, np.int16).tobytes(), 16_000, 1)


def told(board: Board, *, ago_s: float) -> Board:
    """Three words, the first over ``ago_s`` ago, the last 5 s from now."""
    board.say([("one", 0.0), ("two", 0.1), ("three", 5.0 + ago_s)], time.monotonic() - ago_s, voice_s=0.0, end_s=5.0)
    return board


def test_a_word_is_known_when_it_is_over_and_not_before() -> None:
    board = Board()
    board.say([("one", 0.5), ("two", 1.0)], 10.0, voice_s=0.0, end_s=1.0)
    assert board.spoken(10.49) == ()
    assert board.spoken(10.5) == ("one",)
    assert board.spoken(11.0) == ("one", "two")
    assert board.spoken(11.0, since=1) == ("two",)
    assert board.told_at is None
    board.row = "machine"
    assert board.told_at == 11.0 + TOLD_AFTER_S
    board.new_call("natural")
    assert (board.spoken(99.0), board.row, board.ends_at) == ((), "natural", None)


async def given(board: Board, *frames: Frame) -> list[Frame]:
    """What the recogniser gives, but for what it passes on."""
    stt = OracleSTT(Board())
    stt._board, stt._given = board, 0
    down, _ = await run_test(stt, frames_to_send=list(frames), frames_to_send_direction=FrameDirection.DOWNSTREAM)
    kinds = (TranscriptionFrame, InterimTranscriptionFrame, EagerTranscriptionFrame)
    return [frame for frame in down if isinstance(frame, kinds)]


async def test_a_stop_of_the_voice_is_answered_with_the_words_so_far() -> None:
    (final,) = await given(
        told(Board(), ago_s=0.3), VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), SleepFrame(0.4)
    )
    assert isinstance(final, TranscriptionFrame)
    assert (final.text, final.finalized) == ("one two", True)


async def test_a_second_stop_gives_what_came_since() -> None:
    stop = (VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), SleepFrame(0.4))
    finals = await given(told(Board(), ago_s=0.3), *stop, *stop)
    assert [f.text for f in finals if isinstance(f, TranscriptionFrame)] == ["one two", NOTHING_HEARD]


async def test_a_flush_is_answered_and_changes_nothing() -> None:
    frames = await given(
        told(Board(), ago_s=0.3),
        VADUserStartedSpeakingFrame(),
        FlushSTTFrame(),
        SleepFrame(0.4),
        VADUserStoppedSpeakingFrame(),
        SleepFrame(0.4),
    )
    assert [(type(f), f.text) for f in frames] == [(EagerTranscriptionFrame, "one two"), (TranscriptionFrame, "one two")]  # type: ignore[attr-defined]


async def test_words_appear_while_the_learner_speaks() -> None:
    (interim,) = await given(told(Board(), ago_s=1.0), VADUserStartedSpeakingFrame(), AUDIO, AUDIO, SleepFrame(0.1))
    assert isinstance(interim, InterimTranscriptionFrame)
    assert interim.text == "one two"


def detector(told_at: float | None) -> ToldDetector:
    return ToldDetector(Parameters(), told_at=lambda: told_at, sentence_end=lambda _: (-0.1, -0.1))


def test_a_turn_ends_when_it_is_told_not_before_and_once() -> None:
    turns = detector(1.2)
    turns.observe(VoiceEdge(0.2, True, 0.0))
    turns.observe(VoiceEdge(1.1, False, 1.0))
    assert not [d for d in turns.observe(Words(1.15, ("my", "sister"), final=True)) if isinstance(d, Ended)]
    assert turns.next_check_s is not None
    assert turns.next_check_s <= 1.2
    (end,) = [d for d in turns.observe(Tick(1.2)) if isinstance(d, Ended)]
    assert (end.time_s, end.end_s) == (1.2, 1.0)
    assert turns.observe(Tick(1.3)) == []
    assert not turns.in_turn


def test_a_told_turn_still_guesses() -> None:
    turns = detector(9.0)
    turns.observe(VoiceEdge(0.2, True, 0.0))
    turns.observe(VoiceEdge(1.1, False, 1.0))
    decisions = turns.observe(Words(1.15, ("my", "sister"), final=True)) + turns.observe(Tick(1.3))
    assert [d.revision for d in decisions if isinstance(d, MaybeEnded)] == [1]


def test_a_turn_is_not_over_while_the_voice_goes_on() -> None:
    turns = detector(1.2)
    turns.observe(VoiceEdge(0.2, True, 0.0))
    assert turns.observe(Tick(1.5)) == []
    assert [type(d) for d in turns.observe(VoiceEdge(1.6, False, 1.4)) if isinstance(d, Ended)] == [Ended]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> list[Sentence]:
    return synthetic(utterances(tmp_path_factory.mktemp("speech"), None))[5:6]


@pytest.mark.parametrize("subject", ["oracle", "oracle_peer"])
async def test_both_servers_answer_in_both_rows(subject: str, sentences: list[Sentence]) -> None:
    async with ServerProcess(subject, sorted(os.sched_getaffinity(0))) as server:
        for row in ("natural", "machine"):
            call = ToldDialogue(server.url, row)
            turns = await asyncio.wait_for(call.say_all(sentences), 60)
            assert [turn.utterance for turn in turns] == [s.name for s in sentences]
            assert len(call.arrivals_ms) == len(sentences)
            for turn in turns:
                assert not turn.cut
                assert turn.v2v_ms is not None
                if row == "machine":
                    assert turn.v2v_ms >= 1000 * TOLD_AFTER_S
                assert bool(turn.stages_ms) == (subject == "oracle")
