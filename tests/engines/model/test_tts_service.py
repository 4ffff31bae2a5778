"""Text to speech through real sockets and front-end processes, on a voice without weights."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Iterator

import aiohttp
import msgpack
import numpy as np
import psutil
import pytest
import sphn

from engines.kyutai.front.tts import MOST_MESSAGE
from engines.kyutai.front.tts_stream import MOST_TEXT
from engines.wire.kyutai import TTS_PATH, Cancel, Cancelled, Eos, OggOpus, Ready, Text, Voice, pack
from tests.engines.fake_tts import PER_WORD, frames, sample
from tests.engines.tiny_tts import _tokenizer as tokenizer
from tests.engines.tts_client import Client, Served, client, hear, served, wait_until_ready

FRAME = 1920
VOICES = ("ada", "ben", "den/cleo.wav")
SENTENCE = "one two three four five"


@pytest.fixture(scope="module")
def spelling() -> bytes:
    return tokenizer()


@pytest.fixture(scope="module")
def server(spelling) -> Iterator[Served]:
    with served(spelling, 1, 2, 4, voices=VOICES, queue=16) as one:
        yield one


@pytest.fixture
async def speaker(server) -> AsyncIterator[Client]:
    async with client(server.base) as one:
        yield one
        assert (await one.emptied())["sessions"] == 0, "a session was left behind"
        assert (await one.health())["slots_used"] == 0


def speech(seed: int, words: int) -> np.ndarray:
    return np.repeat(np.array([sample(seed, k) for k in range(frames(words))], np.float32), FRAME)


async def test_messages_bring_words_and_audio_and_a_normal_close(speaker):
    heard = await speaker.say(pack(Text("one two three")), pack(Text("four")), pack(Text("five")), pack(Eos()), seed="7")
    assert heard.messages[0] == Ready()
    assert np.array_equal(heard.pcm, speech(7, 5))
    assert [word.text for word in heard.words] == SENTENCE.split()
    for i, word in enumerate(heard.words[:-1]):
        assert word.start_s == pytest.approx(PER_WORD * 0.08 * i)
        assert word.stop_s == heard.words[i + 1].start_s
    assert heard.words[-1].stop_s == pytest.approx(len(heard.pcm) / 24_000)
    assert (heard.code, heard.errors) == (1000, [])


async def test_raw_text_frames_and_a_zero_byte_are_as_good(speaker):
    heard = await speaker.say("one two", "three four five", b"\0", seed="7", temperature="0.3", cfg_alpha="1.5", whatever="x")
    assert np.array_equal(heard.pcm, speech(7, 5))
    assert [word.text for word in heard.words] == SENTENCE.split()


async def test_bare_pcm(speaker):
    heard = await speaker.say(SENTENCE, b"\0", format="Pcm", seed="5")
    assert np.array_equal(np.frombuffer(heard.bare, "<f4"), speech(5, 5))
    assert heard.code == 1000


async def test_16_bits_where_they_were_asked_for(speaker):
    heard = await speaker.say(SENTENCE, b"\0", seed="5", extensions="pcm16,cancel,other")
    assert heard.messages[0] == Ready(["pcm16", "cancel"])
    assert np.abs(heard.pcm - speech(5, 5)).max() <= 1 / 32767


@pytest.mark.parametrize("query", [{}, {"format": "OggOpus"}, {"format": "OggOpusMessagePack"}])
async def test_opus_can_be_played_as_it_comes(speaker, query):
    structured = query.get("format", "").endswith("MessagePack")
    url = f"{speaker.base}{TTS_PATH}"
    async with speaker.session.ws_connect(url, params=query) as ws:
        await ws.send_str(SENTENCE)
        await ws.send_bytes(b"\0")
        heard = await hear(ws, structured=structured)
    pages = b"".join(one.data for one in heard.messages if isinstance(one, OggOpus)) if structured else heard.bare
    audio, rate_hz = sphn.read_opus_bytes(pages)
    assert audio.shape[-1] / rate_hz == pytest.approx(0.08 * frames(5))
    assert [word.text for word in heard.words] == (SENTENCE.split() if structured else [])


async def test_a_word_at_a_time_with_stalls_sounds_the_same(speaker):
    async with speaker.socket(seed="9") as ws:
        for word in SENTENCE.split():
            await ws.send_bytes(pack(Text(word)))
            await asyncio.sleep(0.1)
        await ws.send_bytes(pack(Eos()))
        heard = await hear(ws)
    assert np.array_equal(heard.pcm, speech(9, 5))
    starts = [word.start_s for word in heard.words]
    assert starts == sorted(set(starts))


async def test_twenty_sessions_share_four_slots(speaker):
    async def one(i: int):
        words = ["one"] * (1 + i % 5)
        return words, await speaker.say(*words, b"\0", seed=str(i))

    for i, (words, heard) in enumerate(await asyncio.gather(*(one(i) for i in range(20)))):
        assert np.array_equal(heard.pcm, speech(i, len(words)))
        assert [word.text for word in heard.words] == words
        assert heard.code == 1000


async def test_cancel_frees_the_slot_before_it_is_answered(speaker):
    async with speaker.socket(extensions="cancel") as ws:
        await ws.send_str("one " * 100)
        await hear(ws, frames=2)
        assert (await speaker.health())["slots_used"] == 1
        await ws.send_bytes(pack(Cancel()))
        heard = await hear(ws)
    assert (heard.messages[-1], heard.code) == (Cancelled(), 1000)
    assert (await speaker.health())["sessions"] == 0


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_who_goes_frees_the_slot(speaker, how):
    async with speaker.socket() as ws:
        await ws.send_str("one " * 100)
        await hear(ws, frames=2)
        assert (await speaker.health())["slots_used"] == 1
        if how == "abort":
            ws._response.connection.transport.abort()
        else:
            await ws.close()
        assert (await speaker.emptied())["slots_used"] == 0


VALUES = [0.5] * 20
GARBAGE = {
    "no MessagePack": (b"\xc1garbage", "not MessagePack"),
    "no map": (msgpack.packb([1, 2]), "not a map with a type"),
    "unknown type": (msgpack.packb({"type": "Sing"}), "unknown type 'Sing'; there are: Text, Voice, Eos, Cancel"),
    "no text": (msgpack.packb({"type": "Text"}), "Text: text is missing"),
    "text of numbers": (msgpack.packb({"type": "Text", "text": 5}), "Text.text: str is wanted, not int"),
    "long text": (pack(Text("a " * MOST_TEXT)), f"Text: {MOST_TEXT} characters are the most in one message"),
    "long word": (pack(Text("o" * 2000)), "Text: a word of more than 200 tokens"),
    "wrong shape": (pack(Voice(VALUES, [3, 5])), "Voice.embeddings: 20 values do not make the shape [3, 5]"),
    "late voice": (pack(Voice(VALUES, [1, 4, 5])), "Voice: it is wanted before any text"),
    "not granted": (pack(Cancel()), "Cancel: the extension was not asked for"),
    "empty": (b"", "not MessagePack"),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_is_answered_in_one_clear_line(speaker, name):
    sent, why = GARBAGE[name]
    before = [] if name == "wrong shape" else [pack(Text("one two three four five six"))]
    heard = await speaker.say(*before, sent)
    assert len(heard.errors) == 1
    assert heard.errors[0].startswith(why)
    assert heard.code == 1011
    bare = await speaker.say(*before, sent, format="Pcm")
    assert (bare.code, bare.reason.startswith(why[:60])) == (1011, True)


async def test_text_after_the_end_is_an_error(speaker):
    heard = await speaker.say("one two three four five six seven eight nine ten", b"\0", "more")
    assert heard.errors == ["Text: it came after Eos"]


async def test_a_giant_message_closes_the_socket(speaker):
    heard = await speaker.say("one", bytes(MOST_MESSAGE + 1))
    assert heard.code == 1009


async def test_more_text_than_may_wait_is_an_error(speaker):
    heard = await speaker.say("a b c d " * 1100)
    assert heard.errors == ["Text: more than 4096 words wait to be said"]


async def test_an_unknown_voice_is_told_with_those_that_there_are(speaker):
    heard = await speaker.say("one", voice="eve")
    assert heard.errors == ["unknown voice 'eve'; there are: ada, ben, den/cleo.wav"]
    bare = await speaker.say("one", voice="eve", format="Pcm")
    assert (bare.code, bare.reason) == (1011, "unknown voice 'eve'; there are: ada, ben, den/cleo.wav")
    async with speaker.session.get(f"{speaker.base}/api/voices") as answer:
        assert await answer.json() == {"default": "ada", "voices": sorted(VOICES)}


async def test_voices_reach_the_model_by_name_and_by_value(speaker, server):
    server.model.voices.clear()
    await speaker.say("one", b"\0", voice="den/cleo.wav")
    await speaker.say(pack(Voice(VALUES, [1, 4, 5])), "one", b"\0")
    named, own = server.model.voices
    assert named == "den/cleo.wav"
    assert np.array_equal(own, np.full((1, 4, 5), 0.5, np.float32))


async def test_the_end_alone_is_a_normal_end(speaker):
    heard = await speaker.say(b"\0")
    assert (heard.messages, heard.code) == ([Ready()], 1000)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"format": "Mp3"}, "unknown format 'Mp3'; there are: OggOpus, OggOpusMessagePack, Pcm, PcmMessagePack"),
        ({"seed": "-1"}, "seed: a whole number of up to 64 bits is wanted"),
        ({"seed": "9" * 4000}, "seed: a whole number of up to 64 bits is wanted"),
    ],
)
async def test_a_wrong_query_is_a_400(speaker, query, why):
    async with speaker.session.get(f"{speaker.base}{TTS_PATH}", params=query) as answer:
        assert (answer.status, (await answer.text()).strip()) == (400, why)


async def test_a_post_is_answered_with_a_wav(speaker):
    async with speaker.session.post(f"{speaker.base}{TTS_PATH}", json={"text": SENTENCE, "voice": "ben"}) as answer:
        assert (answer.status, answer.content_type) == (200, "audio/wav")
        body = await answer.read()
    assert body[:4] == b"RIFF"
    assert struct.unpack("<HHI", body[20:28]) == (1, 1, 24_000)
    pcm = np.frombuffer(body[44:], "<i2").reshape(-1, FRAME)
    assert len(pcm) == frames(5)
    assert (np.diff(pcm[:, 0]) == 1).all(), "every frame, in its order"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", ""),
        (b"[]", "a JSON object"),
        (b'{"text": 5, "voice": "ada"}', "a JSON object"),
        (b'{"text": "one", "voice": 5}', "voice: a name is wanted"),
        (b'{"text": "one", "voice": "eve"}', "unknown voice 'eve'"),
        (b'{"text": "' + b"o" * 2000 + b'"}', "Text: a word of more than 200 tokens"),
        (b'{"text": "' + b"o " * MOST_TEXT + b'"}', "text: 32768 characters"),
    ],
)
async def test_a_wrong_post_is_a_400(speaker, body, why):
    headers = {"Content-Type": "application/json"}
    async with speaker.session.post(f"{speaker.base}{TTS_PATH}", data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.text()).startswith(why)


async def test_who_leaves_a_post_frees_the_slot(speaker):
    async with speaker.session.post(f"{speaker.base}{TTS_PATH}", json={"text": "one " * 100, "voice": "ben"}) as answer:
        await answer.content.read(4000)
        assert (await speaker.health())["slots_used"] == 1
    assert (await speaker.emptied())["slots_used"] == 0


async def test_metrics_are_those_of_the_one_engine(speaker):
    await speaker.say(SENTENCE, b"\0")
    async with speaker.session.get(f"{speaker.base}/metrics") as answer:
        text = await answer.text()
    assert "kyutai_tts_slots 4.0" in text
    assert 'kyutai_tts_sessions_total{end="done"}' in text
    async with speaker.session.get(f"{speaker.base}/api/modules_info") as answer:
        (module,) = await answer.json()
    assert (module["type"], module["path"], module["total_slots"], module["used_slots"]) == ("py", TTS_PATH, "4", "0")


async def test_many_short_sessions_leave_nothing_behind(speaker, server):
    async def some(count: int) -> None:
        for i in range(count):
            if i % 3 == 0:
                await speaker.say("one", b"\0")
            elif i % 3 == 1:
                await speaker.say("one", b"\xc1")
            else:
                async with speaker.socket() as ws:
                    await ws.send_str("one two")

    def held() -> list[int]:
        return [psutil.Process(pid).num_fds() for pid in server.host.pids]

    await asyncio.gather(*(some(6) for _ in range(4)))
    await speaker.emptied()
    before = held()
    await asyncio.gather(*(some(30) for _ in range(4)))
    await speaker.emptied()
    await asyncio.sleep(0.3)
    # Connections of this client that stay open between requests may differ by some.
    assert sum(held()) <= sum(before) + 8


async def test_no_free_channels_and_a_key(spelling):
    with served(spelling, 1, keys=["secret"], front_ends=1, step_s=0.005) as one:
        async with client(one.base) as speaker:
            for how in ({}, {"headers": {"kyutai-api-key": "wrong"}}, {"params": {"auth_id": "wrong"}}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await speaker.session.ws_connect(f"{one.base}{TTS_PATH}", **how)
                assert refused.value.status == 401
            async with speaker.session.post(f"{one.base}{TTS_PATH}?auth_id=secret", json={"text": "one"}) as answer:
                assert answer.status == 401, "a POST has its key in the header"
            async with speaker.socket(auth_id="secret") as ws:
                await ws.send_str("one two three four")
                await hear(ws, frames=1)
                heard = await speaker.say("one", auth_id="secret")
                assert (heard.errors, heard.code) == (["no free channels"], 1013)
                bare = await speaker.say("one", auth_id="secret", format="OggOpus")
                assert (bare.bare, bare.code, bare.reason) == (b"", 1013, "no free channels")
                waiting = asyncio.create_task(whole(speaker, {"kyutai-api-key": "secret"}))
                await asyncio.sleep(0.3)
                assert not waiting.done()
            assert await waiting == (200, 44 + 2 * FRAME * frames(1))


async def whole(speaker: Client, headers: dict[str, str]) -> tuple[int, int]:
    async with speaker.session.post(f"{speaker.base}{TTS_PATH}", json={"text": "one"}, headers=headers) as answer:
        return answer.status, len(await answer.read())


async def test_who_does_not_answer_pings_is_let_go(spelling):
    with served(spelling, 1, front_ends=1, patience={"ping_s": 0.05, "silent_s": 0.4}) as one:
        async with client(one.base) as speaker:
            async with speaker.session.ws_connect(f"{one.base}{TTS_PATH}?format=PcmMessagePack", autoping=False) as dead:
                heard = []
                while (message := await dead.receive(10)).type != aiohttp.WSMsgType.CLOSE:
                    heard.append(message)
                assert heard[-1].type == aiohttp.WSMsgType.BINARY
                assert msgpack.unpackb(heard[-1].data) == {"type": "Error", "message": "the client does not answer"}
            async with speaker.socket() as alive:
                assert msgpack.unpackb(await alive.receive_bytes()) == {"type": "Ready"}
                # Its answers to pings go out while it waits for a message.
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1.2):
                        await alive.receive()
                await alive.send_str("one")
                await alive.send_bytes(b"\0")
                assert (await hear(alive)).code == 1000
            assert (await speaker.emptied())["sessions"] == 0


async def test_a_front_end_that_dies_takes_its_sessions_along_and_comes_back(spelling):
    with served(spelling, 1, 2, front_ends=1) as one:
        async with client(one.base) as speaker, speaker.socket() as ws:
            await ws.send_str("one " * 100)
            await hear(ws, frames=2)
            assert set(one.model.live) == {0}
            (pid,) = one.host.pids
            os.kill(pid, signal.SIGKILL)
            assert (await hear(ws)).code == 1006
        await asyncio.to_thread(wait_until_ready, one.base)
        assert one.host.pids != [pid]
        assert one.model.live == {}
        async with client(one.base) as speaker:
            assert (await speaker.say(SENTENCE, b"\0", seed="7")).pcm.tolist() == speech(7, 5).tolist()


async def test_who_says_nothing_for_long_loses_his_slot(spelling):
    with served(spelling, 1, front_ends=1, patience={"ping_s": 0.05, "idle_s": 0.4}) as one:
        async with client(one.base) as speaker, speaker.socket() as ws:
            # More than the limit in all, and never so long in one go.
            for word in ("one", "two", "three"):
                await ws.send_str(word)
                await asyncio.sleep(0.2)
            heard = await hear(ws)
            assert (heard.errors, heard.code) == (["nothing was said for 0.4 s"], 1011)
            assert (await speaker.health())["sessions"] == 0
