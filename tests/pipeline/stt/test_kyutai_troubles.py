"""The Kyutai stage and servers that die, hang, are full, refuse or talk rubbish: the words come all the same, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import psutil
import pytest

from engines.wire.kyutai import Error, Flushed, Word, pack
from pipeline.settings.tree import PocketsphinxSettings
from pipeline.stt.pocketsphinx import PocketsphinxEngine
from pipeline.stt.recognition import NOTHING_HEARD
from tests.pipeline.stt.fake_kyutai import FakeKyutai
from tests.pipeline.stt.kyutai_call import SECOND, WORDS, StageCall, Wav, calling, sentence, until
from tests.pipeline.stt.speech import COFFEE, MARKET, read_pcm, room_tone


@pytest.fixture
async def spare() -> AsyncIterator[PocketsphinxEngine]:
    engine = PocketsphinxEngine(PocketsphinxSettings(workers=1, queue_deadline_s=30, utterance_timeout_s=60))
    await engine.load()
    yield engine
    await engine.close()


def unmarked(flite_wav: Wav, text: str) -> bytes:
    return read_pcm(flite_wav(text))


async def test_a_connection_lost_in_mid_sentence_costs_no_word(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url, answer_timeout_s=10)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        speech = sentence(flite_wav)
        middle = len(speech) // 1280 * 640
        await call.hear(speech[:middle])
        known = call.partials[-1]
        fake.break_all()
        await call.hear(speech[middle:], speed=4)
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert [w.text for w in call.finals[0].result.words] == MARKET.split()
        assert len(fake.sessions) == 2
        # What stood on the page does not vanish while it is told again.
        lengths = [len(p) for p in call.partials]
        assert lengths == sorted(lengths)
        assert len(known.split()) >= 2
        assert call.errors == []
        assert fake.problems == []


@pytest.mark.parametrize("breaks", [3, 6])
async def test_a_speech_longer_than_what_is_kept_is_put_together(flite_wav: Wav, breaks: int) -> None:
    """Only the last second can be sent again: the words of before stay, those of then are told once."""
    first, second = sentence(flite_wav), sentence(flite_wav, SECOND)
    speech = first + room_tone(0.3) + second
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url, answer_timeout_s=10, replay_s=1.5)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        cut = len(speech) * breaks // 8 // 640 * 640
        await call.hear(speech[:cut], speed=2)
        fake.break_all()
        await call.hear(speech[cut:], speed=2)
        await call.silence()
        await until(lambda: bool(call.finals))
        assert len(fake.sessions) == 2
        assert call.said == [f"{MARKET} {COFFEE}"]
        starts = [w.start_s for w in call.finals[0].result.words]
        assert starts == sorted(starts)


async def test_words_of_a_final_are_not_told_again(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await until(lambda: bool(call.eager))
        await call.flush(commit=True)
        fake.break_all()
        await call.silence()
        await until(lambda: len(fake.sessions) == 2)
        await call.speak(sentence(flite_wav, SECOND))
        await until(lambda: len(call.finals) == 3)
        assert [f.text for f in call.finals] == [MARKET, NOTHING_HEARD, COFFEE]


async def test_a_flush_that_died_with_its_connection_is_asked_again(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, answer_late_s=0.5) as fake, calling(StageCall(fake.url, answer_timeout_s=10)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.speak(sentence(flite_wav))
        await until(lambda: fake.sessions[0].flushes == 1)
        fake.answer_late_s = 0.0
        fake.break_all()
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert fake.sessions[1].flushes == 1


async def test_a_server_that_is_not_there_yet_hears_the_call_from_its_beginning(flite_wav: Wav) -> None:
    fake = FakeKyutai(WORDS)
    await fake.start()
    await fake.stop()  # the port is known now
    async with calling(StageCall(fake.url, answer_timeout_s=10)) as call:
        await call.hear(room_tone(0.6))
        await call.voice()
        speech = sentence(flite_wav)
        await call.hear(speech[:32_000])
        await until(lambda: call.stt.link_state == "down")
        async with fake:
            await call.connected()
            await call.hear(speech[32_000:])
            await call.silence()
            await until(lambda: bool(call.finals))
            assert call.said == [MARKET]


async def test_a_dead_server_is_replaced_for_a_sentence_and_comes_back(flite_wav: Wav, spare: PocketsphinxEngine) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url, spare=spare)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        speech = unmarked(flite_wav, MARKET)
        await call.hear(speech[:32_000], speed=4)
        await fake.stop()
        await call.hear(speech[32_000:] + room_tone(0.4), speed=4)
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        result = call.finals[0].result
        assert result.details["engine"] == "pocketsphinx"
        assert result.started_s == pytest.approx(100.1, abs=0.3)
        assert [w.text for w in result.words] == MARKET.split()
        assert call.shared.spare_finals == 1
        await fake.start()
        await call.hear(room_tone(0.5))
        await call.connected()
        await call.speak(sentence(flite_wav, SECOND))
        await until(lambda: len(call.finals) == 2)
        assert call.said == [MARKET, COFFEE]
        assert call.finals[1].result.details["engine"] == "kyutai"
        assert call.errors == []
    assert spare.pool.status()["calls"] == 0


async def test_a_full_server_is_replaced_until_it_has_a_slot(flite_wav: Wav, spare: PocketsphinxEngine) -> None:
    async with FakeKyutai(WORDS, slots=0) as fake, calling(StageCall(fake.url, spare=spare)) as call:
        await until(lambda: call.stt.link_state == "full")
        await call.hear(room_tone(0.6))
        await call.speak(unmarked(flite_wav, MARKET) + room_tone(0.3))
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert fake.refused >= 1
        assert call.shared.full_at is not None
        fake.slots = 1
        await call.voice()  # the learner is there again: nobody waits for the end of a pause between attempts
        await call.connected()
        await call.hear(sentence(flite_wav, SECOND))
        await call.silence()
        await until(lambda: len(call.finals) == 2)
        assert call.finals[1].result.details["engine"] == "kyutai"
        assert call.said[1].endswith(COFFEE)


async def test_a_server_that_hangs_is_given_up_in_time(flite_wav: Wav, spare: PocketsphinxEngine) -> None:
    async with FakeKyutai(WORDS, mute=True) as fake, calling(StageCall(fake.url, spare=spare, answer_timeout_s=0.3)) as call:
        await call.connected()
        fake.mute = False
        await call.hear(room_tone(0.6))
        await call.speak(unmarked(flite_wav, COFFEE) + room_tone(0.3))
        await until(lambda: bool(call.finals))
        assert call.said == [COFFEE]
        assert call.shared.spare_finals == 1
        # The connection that hung was left for another one.
        await until(lambda: len(fake.sessions) == 2 and call.stt.link_state == "up")
        await call.speak(sentence(flite_wav))
        await until(lambda: len(call.finals) == 2)
        assert call.said == [COFFEE, MARKET]


async def test_a_server_that_reads_nothing_holds_nobody_up(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, deaf=True, offered=()) as fake, calling(StageCall(fake.url, replay_s=1)) as call:
        await call.connected()
        heard = asyncio.create_task(call.hear(room_tone(60.0), speed=1000))
        await asyncio.wait_for(heard, 30)
        await call.voice()
        assert call.errors == []
        # More waited than could ever be caught up with: another connection was tried.
        await until(lambda: len(fake.sessions) >= 2)
        fake.deaf = False
        await call.connected()


async def test_without_anybody_to_stand_in_the_failure_is_told_and_the_turn_ends(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await fake.stop()
        await until(lambda: call.stt.link_state == "down")
        await call.speak(sentence(flite_wav))
        await until(lambda: bool(call.finals and call.errors))
        assert [f.text for f in call.finals] == [NOTHING_HEARD]
        assert call.errors[0].error == "speech to text: nobody listens there"
        assert not call.errors[0].fatal
        # What was known before the server died counts, as there is nothing better.
        await fake.start()
        await call.connected()
        await call.voice()
        speech = sentence(flite_wav)
        await call.hear(speech)
        await until(lambda: bool(call.partials))
        await fake.stop()
        await until(lambda: call.stt.link_state == "down")
        await call.silence()
        await until(lambda: len(call.finals) == 2)
        assert call.finals[1].text
        assert MARKET.startswith(call.finals[1].text)
        assert len(call.errors) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xc1\xff\xff",
        b"",
        "words as text",
        msgpack.packb({"type": "Nonsense"}),
        msgpack.packb({"type": "Word", "text": 5, "start_time": "soon"}),
        msgpack.packb(["Word"]),
        pack(Error("the model is out of memory")),
        bytes(2 << 20),
    ],
    ids=["bytes", "empty", "text", "unknown", "wrong types", "no map", "error", "giant"],
)
async def test_rubbish_costs_a_connection_and_no_word(flite_wav: Wav, garbage: bytes | str) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url, answer_timeout_s=10)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        speech = sentence(flite_wav)
        await call.hear(speech[:48_000])
        await fake.say(garbage)
        await until(lambda: len(fake.sessions) == 2)
        await call.hear(speech[48_000:])
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert call.errors == []


async def test_answers_that_nobody_asked_for_change_nothing(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await fake.say(pack(Flushed(4711, [])))
        await fake.say(pack(Word("  ", 0.1)))
        await call.hear(sentence(flite_wav))
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]


@pytest.mark.parametrize(
    ("first", "key", "reason"),
    [
        (pack(Word("early", 0.0)), None, "began with Word"),
        (b"\x00", None, "not a map"),
        (None, "secret", "refuses the key"),
    ],
)
async def test_who_is_no_such_server_is_named(first: bytes | None, key: str | None, reason: str) -> None:
    async with FakeKyutai(WORDS, first=first, key=key) as fake, calling(StageCall(fake.url)) as call:
        await until(lambda: call.stt.link_state == "down")
        await call.speak(room_tone(1.0))
        await until(lambda: bool(call.errors))
        assert reason in call.errors[0].error
        assert "secret" not in call.errors[0].error


async def test_the_key_opens_the_door(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, key="secret") as fake, calling(StageCall(fake.url, key="secret")) as call:
        await call.connected()
        await call.speak(sentence(flite_wav))
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]


async def test_many_short_calls_leave_no_socket_and_no_task(flite_wav: Wav, tmp_path: Path) -> None:
    async with FakeKyutai(WORDS, slots=2) as fake:
        speech = sentence(flite_wav)[:16_000]

        async def one() -> None:
            async with calling(StageCall(fake.url)) as call:
                await call.connected()
                await call.hear(speech, speed=50)
                await call.flush()

        await one()
        await until(lambda: fake.taken == 0)
        process = psutil.Process()
        tasks, files = len(asyncio.all_tasks()), process.num_fds()
        for _ in range(15):
            await one()
        await until(lambda: fake.taken == 0)
        assert len(fake.sessions) == 16
        await until(lambda: len(asyncio.all_tasks()) <= tasks and process.num_fds() <= files)
        assert fake.problems == []
