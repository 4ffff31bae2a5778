"""The Kyutai stage against a strict server: partials, flushes, commits, withdrawals, finals, and a server without flushes."""

from __future__ import annotations

import pytest
from pipecat.frames.frames import EndFrame, STTMuteFrame, UserStoppedSpeakingFrame, VADUserStoppedSpeakingFrame

from pipeline.stt.recognition import NOTHING_HEARD
from tests.pipeline.stt.fake_kyutai import FakeKyutai
from tests.pipeline.stt.kyutai_call import FIRST, SECOND, WORDS, StageCall, Wav, calling, sentence, until
from tests.pipeline.stt.speech import COFFEE, MARKET, room_tone

PLAIN: tuple[str, ...] = ()


async def test_a_sentence_becomes_partials_and_a_final_with_times(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(1.0))
        speech = sentence(flite_wav)
        await call.speak(speech)
        await until(lambda: bool(call.finals))
        (final,) = call.finals
        assert final.text == MARKET
        assert final.finalized
        assert not final.interruptible
        assert call.partials
        assert all(MARKET.startswith(p) for p in call.partials)
        assert call.partials == sorted(call.partials, key=len)
        words = final.result.words
        assert [w.text for w in words] == MARKET.split()
        # The sentence begins at 1 s of the call, whose own clock is 100 s on.
        length_s = (len(speech) / 32_000 - 0.1) / 9
        for i, word in enumerate(words):
            began_s = final.result.started_s - 100.0 + word.start_s
            assert began_s == pytest.approx(1.1 + i * length_s, abs=0.1)
            assert 0.08 <= word.end_s - word.start_s <= length_s + 0.1
        (session,) = fake.sessions
        assert session.extensions == ["flush", "pcm16"]
        assert (session.flushes, session.commits, session.zeros) == (1, 1, 0)
        assert fake.problems == []
        assert call.errors == []
    assert fake.taken == 0


async def test_a_flush_gives_all_words_early_and_a_commit_makes_them_final(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        assert call.partials[-1] != MARKET  # the model's delay
        await call.flush()
        await until(lambda: bool(call.eager))
        assert call.eager == [MARKET]
        assert call.finals == []
        await call.flush(commit=True)
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert call.finals[0].finalized
        await call.silence()
        await call.hear(room_tone(1.0))
        # The voice detector's stop is answered, but not with the same words.
        assert [f.text for f in call.finals] == [MARKET, NOTHING_HEARD]
        assert fake.sessions[0].commits == 1
        # Nothing of the first sentence comes again with the second.
        await call.speak(sentence(flite_wav, SECOND))
        await until(lambda: len(call.finals) == 3)
        assert call.said == [MARKET, COFFEE]
        assert fake.problems == []


async def test_a_learner_who_goes_on_withdraws_what_was_asked(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await until(lambda: bool(call.eager))
        fake.answer_late_s = 0.3  # the final of the pause is still to come when the voice goes on
        await call.hear(room_tone(0.4))
        await call.tell(VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await call.voice()
        fake.answer_late_s = 0.0
        await call.hear(sentence(flite_wav, SECOND))
        await call.silence()
        await until(lambda: bool(call.finals) and call.finals[-1].finalized)
        assert call.said == [f"{MARKET} {COFFEE}"]
        (session,) = fake.sessions
        assert (session.withdrawn, session.commits, session.zeros) == (1, 1, 0)
        assert fake.problems == []


async def test_a_pause_within_one_voice_leaves_no_trace(flite_wav: Wav) -> None:
    """The detector asks at each pause; the voice detector notices none of them."""
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await call.hear(room_tone(0.1) + sentence(flite_wav, SECOND))
        await call.flush()
        await until(lambda: len(call.eager) == 2)
        assert call.eager == [MARKET, f"{MARKET} {COFFEE}"]
        await call.flush(commit=True)
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [f"{MARKET} {COFFEE}"]
        assert fake.sessions[0].commits == 1


async def test_a_commit_after_more_was_said_takes_nothing_too_early(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await until(lambda: bool(call.eager))
        await call.hear(sentence(flite_wav, SECOND))
        await call.flush(commit=True)
        assert call.finals == []
        await call.silence()
        await until(lambda: bool(call.finals))
        assert call.said == [f"{MARKET} {COFFEE}"]


async def test_a_commit_before_the_answer_waits_for_it(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, answer_late_s=0.3) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await call.flush(commit=True)
        assert call.finals == []
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert fake.sessions[0].flushes == 1


async def test_voices_without_words_end_with_a_blank_final() -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.speak(room_tone(1.0))
        await until(lambda: bool(call.finals))
        assert [f.text for f in call.finals] == [NOTHING_HEARD]
        assert call.finals[0].finalized
        assert call.errors == []
        assert fake.problems == []


async def test_words_from_outside_the_voice_are_nobodys(flite_wav: Wav) -> None:
    """The recogniser hears somebody whom the voice detector does not take for the learner."""
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(sentence(flite_wav) + room_tone(2.0))
        assert call.partials == []
        await call.speak(sentence(flite_wav, SECOND))
        await until(lambda: bool(call.finals))
        assert call.said == [COFFEE]


async def test_a_weak_short_filler_is_noise_and_a_weak_answer_is_not(flite_wav: Wav) -> None:
    words = ("um", "yes")
    async with FakeKyutai(words) as fake, calling(StageCall(fake.url, noise={"rms": 0.2, "peak": 0.9})) as call:
        await call.connected()
        await call.hear(room_tone(1.0))
        for number in (0, 1):
            clip = sentence(flite_wav, range(number, number + 1))[: 16_000 * 2]
            await call.hear(clip[:6400])
            await call.voice()
            await call.hear(clip[6400:])
            await call.flush()
            await call.silence()
            await until(lambda n=number: len(call.finals) == n + 1)  # type: ignore[misc]
            await call.hear(room_tone(1.0))
        assert [f.text for f in call.finals] == [NOTHING_HEARD, "yes"]
        assert call.finals[0].result.details["noise"] == "um"
        assert call.eager == ["yes"]
        assert call.shared.noise_dropped == 1


async def test_the_models_own_expectation_of_a_pause_is_handed_on(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, pause=0.75) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(2.0), speed=2)
        assert call.pauses == []
        await call.voice()
        await call.hear(sentence(flite_wav), speed=2)
        assert set(call.pauses) == {0.75}
        told = len(call.pauses)
        assert told >= 10
        await call.tell(UserStoppedSpeakingFrame())
        await call.hear(room_tone(0.5))
        assert len(call.pauses) == told


async def test_a_server_without_extensions_gets_what_it_knows(flite_wav: Wav) -> None:
    """As moshi-server: floats, a marker in the place of a flush, and no zeros among the learner's sound."""
    async with FakeKyutai(WORDS, offered=PLAIN) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.flush()
        await call.silence()
        assert call.finals == []
        await call.hear(room_tone(1.0))
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert call.finals[0].finalized
        assert call.eager == []
        (session,) = fake.sessions
        assert (session.markers, session.zeros) == (1, 0)
        assert fake.problems == []


@pytest.mark.parametrize("how", ["muted", "committed"])
async def test_zeros_stand_for_sound_that_does_not_come(flite_wav: Wav, how: str) -> None:
    async with FakeKyutai(WORDS, offered=PLAIN) as fake, calling(StageCall(fake.url, answer_timeout_s=10)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.voice()
        await call.hear(sentence(flite_wav))
        await call.silence()
        if how == "committed":
            await call.flush(commit=True)
        await until(lambda: bool(call.finals))
        assert call.said == [MARKET]
        assert fake.sessions[0].zeros > 0
        # What the server counts and what the call counts differ by these zeros from now on.
        began_s = call.heard_s
        await call.hear(room_tone(0.5))
        await call.speak(sentence(flite_wav, SECOND))
        await call.hear(room_tone(1.0))
        await until(lambda: len(call.finals) == 2)
        assert call.said == [MARKET, COFFEE]
        second = call.finals[1].result
        assert second.started_s - 100.0 + second.words[0].start_s == pytest.approx(began_s + 0.6, abs=0.12)
        assert fake.problems == []


async def test_a_muted_learner_is_not_heard(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.tell(STTMuteFrame(mute=True))
        await call.hear(sentence(flite_wav))
        await call.tell(STTMuteFrame(mute=False))
        await call.speak(sentence(flite_wav, SECOND))
        await until(lambda: bool(call.finals))
        assert call.said == [COFFEE]


async def test_what_was_said_before_the_end_is_still_delivered(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS, answer_late_s=0.3) as fake, calling(StageCall(fake.url)) as call:
        await call.connected()
        await call.hear(room_tone(0.6))
        await call.speak(sentence(flite_wav))
        await call.worker.queue_frame(EndFrame())
        await until(lambda: fake.taken == 0)
        assert call.said == [MARKET]


@pytest.mark.parametrize("numbers", [FIRST, SECOND])
async def test_a_call_that_ends_in_the_middle_of_a_word_leaves_nothing(flite_wav: Wav, numbers: range) -> None:
    async with FakeKyutai(WORDS) as fake:
        async with calling(StageCall(fake.url)) as call:
            await call.connected()
            await call.voice()
            await call.hear(sentence(flite_wav, numbers)[:32_000])
            await call.flush()
        await until(lambda: fake.taken == 0)
        assert call.finals == []
        assert call.shared.stages == set()
