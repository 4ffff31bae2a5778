"""espeak-ng for many calls: audio, words, cancelling, fairness, bad input."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.record import Word
from pipeline.tts.espeak_engine import MAX_TEXT_CHARS, EspeakSynthesizer, SpeechChunk, Utterance
from pipeline.tts.espeak_library import EspeakError, EspeakLibrary, UnknownVoice

LIVE_S = 60
SENTENCE = "The quick brown fox jumps over the lazy dog, and then it goes home. "


@pytest.fixture
async def synthesizer() -> AsyncIterator[EspeakSynthesizer]:
    s = EspeakSynthesizer()
    await s.load()
    yield s
    await s.close()


async def collect(utterance: Utterance) -> tuple[np.ndarray, list[Word]]:
    """int16 (samples,) and the words."""
    pcm, words = bytearray(), []
    async with asyncio.timeout(LIVE_S):
        async for chunk in utterance:
            pcm += chunk.pcm
            words += chunk.words
    return np.frombuffer(bytes(pcm), dtype=np.int16), words


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x.astype(np.float64))))) if len(x) else 0.0


def espeak_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("espeak")]


async def test_speech_is_heard_and_its_words_are_timed(synthesizer: EspeakSynthesizer) -> None:
    text = "Hello there, my friend. I've got 25 apples and three pears! How are you?"
    audio, words = await collect(synthesizer.synthesize(text))
    rate = synthesizer.rate_hz
    assert rate == 22_050
    assert rms(audio) > 500
    assert [w.text for w in words] == text.split()
    times = [t for w in words for t in (w.start_s, w.end_s)]
    assert times == sorted(times)
    assert all(w.end_s > w.start_s for w in words)
    assert words[-1].end_s == pytest.approx(len(audio) / rate, abs=0.1)
    # 14 words at 150 a minute; "25" counts as two.
    assert 4 < len(audio) / rate < 9


async def test_word_times_match_the_energy(synthesizer: EspeakSynthesizer) -> None:
    audio, words = await collect(synthesizer.synthesize("Bananas. Doors. Tables. Good."))
    rate = synthesizer.rate_hz

    def level(from_s: float, to_s: float) -> float:
        return rms(audio[max(0, int(from_s * rate)) : int(to_s * rate)])

    assert len(words) == 4
    for word, following in pairwise(words):
        assert level(word.start_s, word.end_s) > 500
        assert following.start_s - word.end_s > 0.2  # the pause of a full stop
        assert level(word.end_s + 0.005, following.start_s - 0.005) < 50
    for word in words:
        assert level(word.start_s, word.start_s + 0.12) > 200


async def test_rate_pitch_and_voice_change_the_speech(synthesizer: EspeakSynthesizer) -> None:
    slow, _ = await collect(synthesizer.synthesize(SENTENCE, rate_wpm=100))
    fast, _ = await collect(synthesizer.synthesize(SENTENCE, rate_wpm=200))
    assert 1.6 < len(slow) / len(fast) < 2.6
    for voice in ("en-gb", "EN-US", "en-us+f3", "English (America)"):
        audio, words = await collect(synthesizer.synthesize("Good morning.", voice=voice))
        assert rms(audio) > 300
        assert len(words) == 2


async def test_a_pitch_is_heard(synthesizer: EspeakSynthesizer) -> None:
    def fundamental(x: np.ndarray) -> float:
        x = x.astype(np.float64)
        spectrum = np.fft.rfft(x, 2 * len(x))
        autocorrelation = np.fft.irfft(np.abs(spectrum) ** 2)
        shortest, longest = 22_050 // 300, 22_050 // 50
        return 22_050 / (shortest + int(np.argmax(autocorrelation[shortest:longest])))

    low, _ = await collect(synthesizer.synthesize("Aaah, aaah, aaah.", pitch=0))
    high, _ = await collect(synthesizer.synthesize("Aaah, aaah, aaah.", pitch=99))
    assert fundamental(high) > 1.2 * fundamental(low)


async def test_a_long_text_is_spoken_whole(synthesizer: EspeakSynthesizer) -> None:
    text = (SENTENCE * 30)[:2000].strip()
    audio, words = await collect(synthesizer.synthesize(text))
    assert [w.text for w in words] == text.split()
    assert 100 < len(audio) / synthesizer.rate_hz < 200


async def test_pauses_between_sentences_are_espeaks_own(synthesizer: EspeakSynthesizer) -> None:
    """Spoken piece by piece, a text lasts as long as espeak-ng makes it in one go."""
    text = "I like the sea. You like the hills, my friend. Do they like it? Yes!"
    for rate_wpm in (110, 150):
        audio, _ = await collect(synthesizer.synthesize(text, rate_wpm=rate_wpm))
        whole: list[int] = []
        library = EspeakLibrary.open()
        library.speak(
            text,
            voice=library.voice_name("en-us"),
            rate_wpm=rate_wpm,
            pitch=50,
            sink=lambda pcm, _, whole=whole: bool(whole.append(len(pcm) // 2)),
        )
        assert len(audio) == pytest.approx(sum(whole), rel=0.05)


@pytest.mark.parametrize("text", ["", " \n\t ", "😀🎉", "...", "?!", "\x00\x01\x02", "—"])
async def test_nothing_to_say_gives_nothing(synthesizer: EspeakSynthesizer, text: str) -> None:
    audio, words = await collect(synthesizer.synthesize(text))
    assert len(audio) == 0
    assert words == []
    assert synthesizer.active == 0


async def test_markup_and_control_codes_are_plain_text(synthesizer: EspeakSynthesizer) -> None:
    plain, _ = await collect(synthesizer.synthesize("good day"))
    for text in ("good\x01300S day", "**good** day 😀", "good\x00day", "good \ud800 day"):
        audio, words = await collect(synthesizer.synthesize(text))
        assert rms(audio) > 300, text
        if "300S" not in text:
            assert len(audio) == pytest.approx(len(plain), rel=0.15), text
        assert words
    # Read as SSML, the break would last 30 s; read as phonemes, the brackets would be one word.
    pause, _ = await collect(synthesizer.synthesize('good <break time="30s"/> day'))
    assert len(pause) / synthesizer.rate_hz < 12
    phonemes, _ = await collect(synthesizer.synthesize("[[h@loU]] day"))
    spelled, _ = await collect(synthesizer.synthesize("h @ lo U day"))
    assert len(phonemes) == pytest.approx(len(spelled), rel=0.4)
    # A command hidden behind U+0001 would have changed the speed of everything behind it.
    after, _ = await collect(synthesizer.synthesize("good day"))
    assert len(after) == pytest.approx(len(plain), rel=0.02)


async def test_an_unknown_voice_names_the_known_ones(synthesizer: EspeakSynthesizer) -> None:
    for voice in ("klingon-9", "", "../../../etc/passwd", "mb-us1"):
        with pytest.raises(UnknownVoice, match=r"has no voice .*en-us.*fr-fr"):
            synthesizer.synthesize("x", voice=voice)
    with pytest.raises(UnknownVoice, match=r"variant '../x'; it has .*f3"):
        synthesizer.synthesize("x", voice="en-us+../x")
    assert synthesizer.active == 0


async def test_values_out_of_range_are_named(synthesizer: EspeakSynthesizer) -> None:
    with pytest.raises(ValueError, match="rate_wpm must be 80 to 450, not 20"):
        synthesizer.synthesize("x", rate_wpm=20)
    with pytest.raises(ValueError, match="pitch must be 0 to 100, not 101"):
        synthesizer.synthesize("x", pitch=101)
    with pytest.raises(ValueError, match=f"{MAX_TEXT_CHARS} characters, not {MAX_TEXT_CHARS + 1}"):
        synthesizer.synthesize("x" * (MAX_TEXT_CHARS + 1))


async def test_it_must_be_loaded() -> None:
    with pytest.raises(EspeakError, match="not loaded"):
        EspeakSynthesizer().synthesize("x")


async def test_cancel_stops_at_once(synthesizer: EspeakSynthesizer) -> None:
    utterance = synthesizer.synthesize(SENTENCE * 30)
    await anext(utterance)
    utterance.cancel()
    at_cancel = utterance.produced
    assert [chunk async for chunk in utterance] == []
    # The next text comes behind whatever the thread still does for the cancelled one.
    await collect(synthesizer.synthesize("Next."))
    assert utterance.produced <= at_cancel + 1
    assert synthesizer.active == 0


async def test_a_chunk_that_crosses_the_cancellation_is_dropped(synthesizer: EspeakSynthesizer) -> None:
    utterance = synthesizer.synthesize(SENTENCE)
    await anext(utterance)
    utterance.cancel()
    utterance._emit(SpeechChunk(bytes(2)))  # as the thread may just do
    assert [chunk async for chunk in utterance] == []


async def test_an_unread_utterance_does_not_pile_up(synthesizer: EspeakSynthesizer) -> None:
    utterance = synthesizer.synthesize((SENTENCE * 60)[:4000])
    for _ in range(5):
        await collect(synthesizer.synthesize(SENTENCE))
    # At most the 4 s that may wait and one piece more: 160 characters, some 12 s.
    assert utterance.produced < 20 / 0.06
    audio, _ = await collect(utterance)
    assert len(audio) / synthesizer.rate_hz > 200


@pytest.mark.parametrize("long", [SENTENCE * 28, "and then we go home again " * 80], ids=["sentences", "no marks"])
async def test_calls_take_turns(synthesizer: EspeakSynthesizer, long: str) -> None:
    """Short texts behind a long one wait for one piece of it, not for all of it."""
    order: list[str] = []

    async def speak(name: str, text: str) -> None:
        async for _ in synthesizer.synthesize(text):
            order.append(name)  # noqa: PERF401  # as it comes, not when all has come
        order.append(f"{name} ends")

    async with asyncio.timeout(LIVE_S):
        await asyncio.gather(speak("long", long), *(speak(f"short{i}", "Hi there, you.") for i in range(5)))
    total = order.count("long")
    assert total > 1000
    for i in range(5):
        assert order[: order.index(f"short{i}")].count("long") < total / 4
        assert f"short{i} ends" in order[: order.index("long ends")]


async def test_many_starts_and_cancels_leave_nothing(synthesizer: EspeakSynthesizer) -> None:
    tasks_before = asyncio.all_tasks()
    threads_before = threading.active_count()

    async def start_and_cancel(i: int) -> None:
        utterance = synthesizer.synthesize(SENTENCE * 5)
        for _ in range(i % 4):
            await anext(utterance, None)
        if i % 3:
            utterance.cancel()
        else:
            waiting = asyncio.ensure_future(anext(utterance, None))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            await utterance.aclose()

    async with asyncio.timeout(LIVE_S):
        await asyncio.gather(*(start_and_cancel(i) for i in range(200)))
    await collect(synthesizer.synthesize("Done."))  # behind all that was queued
    assert synthesizer.active == 0
    assert asyncio.all_tasks() == tasks_before
    assert threading.active_count() == threads_before
    gc.collect()
    left = [u for u in gc.get_objects() if isinstance(u, Utterance) and u._in_flight]
    assert left == []


async def test_close_ends_the_thread_and_open_utterances() -> None:
    before = len(espeak_threads())
    synthesizer = EspeakSynthesizer()
    await synthesizer.load()
    await synthesizer.load()
    utterance = synthesizer.synthesize(SENTENCE * 20)
    await anext(utterance)
    assert len(espeak_threads()) == before + 1
    await synthesizer.close()
    await synthesizer.close()
    assert len(espeak_threads()) == before
    assert [chunk async for chunk in utterance] == []
    with pytest.raises(EspeakError, match="not loaded"):
        synthesizer.synthesize("x")


async def test_two_synthesizers_share_the_library() -> None:
    a, b = EspeakSynthesizer(), EspeakSynthesizer()
    await a.load()
    await b.load()
    try:
        (slow, words_a), (fast, words_b) = await asyncio.gather(
            collect(a.synthesize(SENTENCE * 3, rate_wpm=100)), collect(b.synthesize(SENTENCE * 3, rate_wpm=200))
        )
        assert 1.6 < len(slow) / len(fast) < 2.6
        assert len(words_a) == len(words_b) == len(SENTENCE.split()) * 3
    finally:
        await a.close()
        await b.close()


def test_an_error_in_the_sink_comes_out() -> None:
    library = EspeakLibrary.open()

    def sink(pcm: bytes, events: list[object]) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        library.speak("Hello.", voice=library.voice_name("en-us"), rate_wpm=150, pitch=50, sink=sink)
    chunks: list[bytes] = []
    library.speak(
        "Hello.",
        voice=library.voice_name("en-us"),
        rate_wpm=150,
        pitch=50,
        sink=lambda pcm, _: bool(chunks.append(pcm)),
    )
    assert sum(map(len, chunks)) > 10_000


def test_an_utterance_whose_loop_is_gone_does_no_harm() -> None:
    synthesizer = EspeakSynthesizer()

    async def abandon() -> None:
        await synthesizer.load()
        synthesizer.synthesize(SENTENCE * 20)

    asyncio.run(abandon())

    async def finish() -> None:
        audio, _ = await collect(synthesizer.synthesize("Hello."))
        assert rms(audio) > 300
        await synthesizer.close()

    asyncio.run(finish())


@pytest.fixture(scope="module")
def runner() -> Iterator[tuple[asyncio.Runner, EspeakSynthesizer]]:
    synthesizer = EspeakSynthesizer()
    with asyncio.Runner() as r:
        r.run(synthesizer.load())
        yield r, synthesizer
        r.run(synthesizer.close())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=300),
        st.text(st.characters(max_codepoint=0x7F), max_size=300),
        st.text(st.sampled_from("a\x01\x02[]<>/&;0123456789S%.,!?'\"-😀\n "), max_size=200),
    )
)
def test_any_text_is_spoken_or_skipped(runner: tuple[asyncio.Runner, EspeakSynthesizer], text: str) -> None:
    loop, synthesizer = runner

    async def speak() -> None:
        audio, words = await collect(synthesizer.synthesize(text, rate_wpm=450))
        assert "".join("".join(w.text for w in words).split()) in ("", "".join(text.split()))
        times = [t for w in words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
        assert not times or times[-1] <= len(audio) / synthesizer.rate_hz + 0.001

    loop.run(speak())
