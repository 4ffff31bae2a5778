"""The Kyutai voice inside a running pipeline, against a server on its wire."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from pipecat.frames.frames import (
    CancelFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)

from engines.wire import kyutai as wire
from pipeline.engine import NotLoaded
from pipeline.settings.tree import KyutaiTTSSettings
from pipeline.speculation import HeldReply, WithdrawnFrame
from pipeline.tts.kyutai import KyutaiEngine
from pipeline.tts.kyutai_client import EngineError
from tests.pipeline.tts.collector import LIVE_S
from tests.pipeline.tts.kyutai_call import Bench, speaking
from tests.pipeline.tts.kyutai_server import LEVEL, WORD_FRAMES, KyutaiServer

REPLY = "Good morning, my friend. What did you eat today?"


Make = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
async def server() -> AsyncIterator[KyutaiServer]:
    server = KyutaiServer()
    async with server.running():
        yield server
    assert server.faults == []


@pytest.fixture
def bench(server: KyutaiServer) -> Make:
    return functools.partial(speaking, server.url)


@pytest.mark.parametrize("plain", [False, True], ids=["extensions", "as moshi-server"])
@pytest.mark.parametrize("rate_hz", [24_000, 48_000, 16_000])
async def test_a_reply_is_one_context_of_20_ms_frames(bench: Make, server: KyutaiServer, rate_hz: int, plain: bool) -> None:
    server.plain = plain
    async with bench(rate_hz, voice="cosette") as b:
        context_id = await b.reply(REPLY)
        frames = b.out.of(TTSAudioRawFrame)
        assert {f.context_id for f in frames} == {context_id}
        assert {(f.sample_rate, f.num_channels, len(f.audio)) for f in frames} == {(rate_hz, 1, 2 * rate_hz // 50)}
        assert [f.context_id for f in b.out.of(TTSStartedFrame)] == [context_id]
        audio = b.audio(context_id).astype(float)
        words = len(REPLY.split())
        assert len(audio) / rate_hz == pytest.approx(words * WORD_FRAMES * 0.08, abs=0.021)
        # The server's tone, whole and at its pitch: 1 kHz in the middle two seconds.
        middle = audio[len(audio) // 2 - rate_hz : len(audio) // 2 + rate_hz]
        tone = 2 * abs(np.mean(middle * np.exp(-2j * np.pi * 1_000 * np.arange(len(middle)) / rate_hz)))
        assert tone == pytest.approx(LEVEL, rel=0.05)
        assert b.text(context_id) == REPLY
        assert b.errors == []
    (visit,) = server.visits
    assert (visit.end, visit.text, visit.query["voice"]) == ("said", REPLY, ["cosette"])


async def test_words_are_timed_as_the_engine_says(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        context_id = await b.reply("It costs $3.50 😀 (not £4), e.g. for **two**.")
        words = b.words[context_id]
        assert b.text(context_id) == "It costs $3.50 😀 (not £4), e.g. for **two**."
        step = WORD_FRAMES * 0.08
        # "three dollars and fifty cents" are five words of the engine's.
        starts = {w.text: round(w.start_s / step, 2) for w in words}
        assert starts == {
            "It": 0, "costs": 1, "$3.50": 2, "😀": 7, "(not": 7, "£4),": 8, "e.g.": 10, "for": 12, "**two**.": 13,
        }  # fmt: skip
        assert words[2].end_s == pytest.approx(7 * step)
        assert " ".join(f.text for f in b.out.of(TTSTextFrame)) == b.text(context_id)
    (visit,) = server.visits
    assert visit.text == "It costs three dollars and fifty cents not four pounds, for example for two."


async def test_the_connection_is_there_before_the_text(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame())
        await server.until(lambda: len(server.visits) == 1)
        assert server.visits[0].messages == []
        await b.send(LLMTextFrame("Well"), LLMTextFrame(" done"))
        await server.until(lambda: server.visits[0].text == "Well")
        await b.out.wait(lambda: len(b.out.of(TTSAudioRawFrame)) > 0)  # spoken while the rest is being written
        await b.send(LLMTextFrame(", my friend."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        assert server.visits[0].text == "Well done, my friend."
        assert len(server.visits) == 1


@pytest.mark.parametrize("frame", [InterruptionFrame, WithdrawnFrame])
@pytest.mark.parametrize("plain", [False, True], ids=["extensions", "as moshi-server"])
async def test_an_interruption_is_seen_by_the_server_and_nothing_follows(
    bench: Make, server: KyutaiServer, frame: type[InterruptionFrame], plain: bool
) -> None:
    server.pace_s, server.plain = 0.005, plain
    async with bench() as b:
        interrupted = False

        async def interrupt(seen: Frame) -> None:
            nonlocal interrupted
            if isinstance(seen, TTSAudioRawFrame) and not interrupted:
                interrupted = True
                await b.send(frame())

        b.out.on_frame = interrupt
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("Once upon a time there was a king " * 40))
        await b.out.wait(lambda: len(b.out.of(InterruptionFrame)) > 0)
        await server.until(lambda: server.visits[0].end is not None, within_s=5)
        assert server.visits[0].end == ("gone" if plain else "cancelled")
        assert server.visits[0].frames < 320 * WORD_FRAMES / 2
        b.out.on_frame = None
        at = b.out.frames.index(b.out.of(InterruptionFrame)[0])
        told = sum(map(len, b.words.values()))

        context_id = await b.reply("Sorry. Go on.")
        after = [f.context_id for f in b.out.frames[at:] if isinstance(f, TTSAudioRawFrame | TTSTextFrame)]
        assert set(after) == {context_id}
        assert b.text(context_id) == "Sorry. Go on."
        assert sum(map(len, b.words.values())) == told + 3
        assert b.errors == []


async def test_an_answer_that_was_begun_early_is_held_and_let_go(bench: Make, server: KyutaiServer) -> None:
    gate = HeldReply()
    async with bench(gate=gate) as b:
        gate.hold()
        await b.write(REPLY)
        await server.until(lambda: server.open == 0 and len(server.visits) == 1)
        # An interruption would have passed by now; the answer has been made, and nobody was told.
        await asyncio.sleep(0.1)
        assert b.out.of(TTSAudioRawFrame) == []
        assert b.words == {}
        await gate.release()
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        (context_id,) = b.words
        assert b.text(context_id) == REPLY
        assert len(b.audio(context_id)) == len(REPLY.split()) * WORD_FRAMES * 1_920


async def test_an_answer_that_was_begun_too_early_is_cancelled_and_forgotten(bench: Make, server: KyutaiServer) -> None:
    server.pace_s = 0.005
    gate = HeldReply()
    async with bench(gate=gate) as b:
        gate.hold()
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame(REPLY * 10))
        await server.until(lambda: len(server.visits) == 1 and server.visits[0].frames > 0)
        gate.withdraw()
        await b.send(WithdrawnFrame())
        await server.until(lambda: server.open == 0, within_s=5)
        assert server.visits[0].end == "cancelled"
        context_id = await b.reply("Here I am.")
        assert {f.context_id for f in b.out.of(TTSAudioRawFrame)} == {context_id}
        assert b.words.keys() == {context_id}
        assert b.out.of(InterruptionFrame) == []
        assert b.errors == []


async def test_an_interruption_before_any_text_gives_the_slot_back(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame())
        await server.until(lambda: len(server.visits) == 1)
        await b.send(InterruptionFrame())
        await server.until(lambda: server.open == 0, within_s=5)
        assert b.errors == []


async def test_a_caller_who_goes_in_mid_reply_ends_the_pipeline_at_once(bench: Make, server: KyutaiServer) -> None:
    server.pace_s = 0.005
    async with bench() as b:
        await b.write(REPLY * 10)
        await b.out.wait(lambda: bool(b.out.of(TTSAudioRawFrame)))
        await b.worker.cancel()
        await b.out.wait(lambda: bool(b.out.of(CancelFrame)))
        await server.until(lambda: server.open == 0, within_s=5)
        assert b.errors == []


async def test_an_answer_without_text_gives_the_slot_back(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(LLMFullResponseEndFrame)) == 1)
        await server.until(lambda: server.open == 0, within_s=5)
        assert b.out.of(TTSStartedFrame) == []
        assert b.errors == []


async def test_text_that_nobody_can_say_is_a_frame_of_silence(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        for text in ("😀", "...", "🎉 🎉", "?!", "---"):
            context_id = await b.reply(text)
            assert not b.audio(context_id).any()
            assert len(b.audio(context_id)) == 480
            assert b.text(context_id) == text
        context_id = await b.reply("Now 😀 we speak.")
        assert b.text(context_id) == "Now 😀 we speak."
        await server.until(lambda: server.open == 0, within_s=5)
        assert b.errors == []
        assert b.service.is_usable


async def test_a_speak_frame_is_a_reply_of_its_own(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        await b.send(TTSSpeakFrame("Welcome back. Shall we begin?"))
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        (context_id,) = b.words
        assert b.text(context_id) == "Welcome back. Shall we begin?"


async def test_replies_in_a_row_come_one_after_the_other(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        lines = [f"This is line {n}." for n in ("one", "two", "three", "four")]
        for line in lines:
            await b.write(line)
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 4)
        order = [f.context_id for f in b.out.of(TTSStoppedFrame)]
        assert [b.text(str(context_id)) for context_id in order] == lines
        spoken = [f.context_id for f in b.out.of(TTSAudioRawFrame)]
        assert spoken == sorted(spoken, key=order.index)
        assert len(server.visits) == 4


async def test_a_long_answer_and_one_in_other_scripts(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        long = " ".join(f"word{'abcdefghij'[n % 10]}" for n in range(600)) + "."
        context_id = await b.reply(long)
        assert b.text(context_id) == long
        assert len(b.audio(context_id)) == 600 * WORD_FRAMES * 1_920
        context_id = await b.reply("“Привет” means hello. 你好，世界。مرحبا!")
        assert b.text(context_id).replace(" ", "") == "“Привет”meanshello.你好，世界。مرحبا!"
        assert b.errors == []


async def test_a_reply_that_goes_on_after_pipecat_closed_it(bench: Make, server: KyutaiServer) -> None:
    """The words' own times go on, and those of pipecat start anew with the context that it opens again."""
    async with bench() as b:
        b.service._stop_frame_timeout_s = 0.2
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("I need a moment. "))
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        await b.send(LLMTextFrame("Here it is."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 2)
        (context_id,) = b.words
        assert b.text(context_id) == "I need a moment. Here it is."
        assert [round(w.start_s / (WORD_FRAMES * 0.08), 2) for w in b.words[context_id]] == list(range(7))
        frames = [f for f in b.out.of(TTSTextFrame) if f.text in ("Here", "is.")]
        assert (frames[1].pts - frames[0].pts) / 1e9 == pytest.approx(2 * WORD_FRAMES * 0.08, abs=0.01)
        assert len(server.visits) == 1
        assert b.errors == []


async def test_a_line_in_the_middle_of_a_reply(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("Good morning, "), TTSSpeakFrame("One moment."))
        await b.send(LLMTextFrame("my friend."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 2)
        assert {b.text(context_id) for context_id in b.words} == {"Good morning, my friend.", "One moment."}
        assert len({f.context_id for f in b.out.of(TTSAudioRawFrame)}) == 2
        assert b.errors == []


async def test_a_crowd_of_lines_loses_none(bench: Make, server: KyutaiServer) -> None:
    async with bench() as b:
        lines = [f"Line {chr(97 + n)}." for n in range(24)]
        await b.send(*(TTSSpeakFrame(line) for line in lines))
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == len(lines))
        assert [b.text(str(f.context_id)) for f in b.out.of(TTSStoppedFrame)] == lines


@pytest.mark.parametrize("trouble", ["full", "drop_before", "words_only"])
async def test_what_fails_before_any_sound_is_tried_once_more(bench: Make, server: KyutaiServer, trouble: str) -> None:
    setattr(server, trouble, 1)
    async with bench() as b:
        context_id = await b.reply(REPLY)
        assert b.text(context_id) == REPLY
        assert len(b.audio(context_id)) == len(REPLY.split()) * WORD_FRAMES * 1_920
        assert b.errors == []
    assert [visit.end for visit in server.visits] == ["dropped", "said"]


@pytest.mark.parametrize(
    ("trouble", "told"), [("full", wire.NO_FREE_CHANNELS), ("drop_before", "broke off"), ("drop_after", "broke off")]
)
async def test_what_fails_for_good_is_an_error_and_the_next_turn_tries_again(
    bench: Make, server: KyutaiServer, trouble: str, told: str
) -> None:
    setattr(server, trouble, 1 if trouble == "drop_after" else 2)
    async with bench() as b:
        await b.write(REPLY)
        await asyncio.wait_for(b.failed.wait(), LIVE_S)
        assert told in b.errors[0]
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        assert b.service.is_usable
        context_id = await b.reply("Here I am.")
        assert b.text(context_id) == "Here I am."
        assert b.audio(context_id).any()


async def test_an_engine_that_fails_while_the_text_comes_leaves_no_context_open(bench: Make, server: KyutaiServer) -> None:
    server.drop_after = 1
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("Hello there, my friend. "))
        await asyncio.wait_for(b.failed.wait(), LIVE_S)
        await b.send(LLMTextFrame("And this is "), LLMTextFrame("the rest."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(LLMFullResponseEndFrame)) == 1)
        assert b.service.get_audio_contexts() == []
        assert b.text(await b.reply("Here I am.")) == "Here I am."


async def test_an_engine_that_is_down_comes_back(bench: Make, server: KyutaiServer) -> None:
    await server.stop()
    async with bench() as b:
        for _ in range(4):
            b.failed.clear()
            await b.write("Hello there.")
            await asyncio.wait_for(b.failed.wait(), LIVE_S)
            await b.passed()
        assert b.service.is_usable
        assert b.out.of(TTSAudioRawFrame) == []
        await server.start()
        context_id = await b.reply("Here I am.")
        assert b.text(context_id) == "Here I am."


async def test_nobody_is_told_of_a_failure_before_there_is_text(bench: Make, server: KyutaiServer) -> None:
    server.full = 2
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame())
        await server.until(lambda: [visit.end for visit in server.visits] == ["dropped"] * 2)
        await b.send(LLMTextFrame("Hello there."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        assert b.errors == []
        assert server.visits[2].end == "said"


@pytest.mark.parametrize("trouble", ["garbage", "silent", "mute"])
async def test_an_engine_that_makes_no_sense_is_an_error(bench: Make, server: KyutaiServer, trouble: str) -> None:
    setattr(server, trouble, True)
    async with bench(connect_timeout_s=0.2) as b:
        await b.write(REPLY)
        await asyncio.wait_for(b.failed.wait(), LIVE_S)
        told = {"garbage": "cannot be read", "silent": "without any sound", "mute": "no answer within"}[trouble]
        assert told in b.errors[0]
        await server.until(lambda: server.open == 0, within_s=5)
        await b.passed()


async def test_a_door_that_wants_a_key(bench: Make, server: KyutaiServer) -> None:
    server.key = "public_token"
    async with bench() as b:
        await b.write("Hello.")
        await asyncio.wait_for(b.failed.wait(), LIVE_S)
        assert "401" in b.errors[0]
        assert b.service.is_usable
    async with bench(key="public_token") as b:
        assert b.text(await b.reply("Hello.")) == "Hello."


async def test_many_interruptions_leave_nothing(bench: Make, server: KyutaiServer) -> None:
    server.pace_s = 0.002
    async with bench() as b:
        await b.reply("Hello.")
        tasks = len(asyncio.all_tasks())
        for n in range(40):
            seen, visits = len(b.out.of(InterruptionFrame)), len(server.visits)
            texts = [LLMTextFrame(REPLY * 5)] if n % 4 else []
            ends = [LLMFullResponseEndFrame()] if n % 2 else []
            await b.send(LLMFullResponseStartFrame(), *texts, *ends)
            if n % 3:
                await server.until(lambda visits=visits: len(server.visits) > visits, within_s=5)
            await b.send(InterruptionFrame())
            await b.out.wait(lambda seen=seen: len(b.out.of(InterruptionFrame)) > seen)
        await b.write("Good.")
        await b.out.wait(lambda: any(b.text(str(f.context_id)) == "Good." for f in b.out.of(TTSStoppedFrame)))
        await server.until(lambda: server.open == 0, within_s=5)
        async with asyncio.timeout(5):
            while len([t for t in asyncio.all_tasks() if t.get_name().startswith("kyutai")]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gc.collect()
        assert len(asyncio.all_tasks()) <= tasks
        assert len(b.service._replies) <= 16
        assert b.errors == []


async def test_the_call_ends_in_the_middle_of_a_reply(bench: Make, server: KyutaiServer) -> None:
    server.pace_s = 0.002
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("Goodbye for now,"), LLMTextFrame(" my friend."))
        await b.out.wait(lambda: len(b.out.of(TTSAudioRawFrame)) > 0)
    # What was written is said before the pipeline ends.
    (words,) = b.words.values()
    assert " ".join(w.text for w in words) == "Goodbye for now, my friend."
    assert server.visits[0].end == "said"


async def test_the_engine_says_whether_its_server_is_there(server: KyutaiServer) -> None:
    engine = KyutaiEngine(KyutaiTTSSettings(url=server.url.replace("ws:", "http:") + wire.TTS_PATH))
    with pytest.raises(NotLoaded):
        engine.admit()
    await engine.load()
    engine.admit()
    assert (engine.status().state, engine.status().detail["url"]) == ("ready", server.url)
    await server.until(lambda: server.open == 0, within_s=5)
    server.full = 1
    await engine.load()  # it is there, and busy
    engine.admit()
    await server.stop()
    with pytest.raises(EngineError, match=r"text to speech at ws://127.0.0.1"):
        await engine.load()
    assert engine.status().state == "failed"
    await engine.close()
    await engine.close()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8089", "ftp://host", "ws://"])
def test_a_wrong_address_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"^tts\.kyutai\.url: "):
        KyutaiEngine(KyutaiTTSSettings(url=url))
