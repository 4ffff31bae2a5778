"""The watch over a call, with times handed in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.faults.watch import Fault, Limits, Silence, Watch

LIMITS = Limits(stt_s=4, llm_first_s=6, llm_gap_s=4, tts_s=3, silence_s=20, period_s=0.1)


class Clock:
    """Ticks a watch in its period and collects what was due, with its time."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.watch = Watch(limits)
        self.now = 100.0
        self.due: list[tuple[float, Fault | Silence]] = []
        self.watch.ready(self.now)
        self.watch.tick(self.now)

    def run(self, seconds: float) -> list[tuple[float, Fault | Silence]]:
        found = []
        for _ in range(round(seconds / 0.1)):
            self.now = round(self.now + 0.1, 3)
            due = self.watch.tick(self.now)
            if due is not None:
                found.append((round(self.now, 1), due))
        self.due += found
        return found

    def speak(self) -> None:
        """The learner says something for a second."""
        self.watch.voice_started(self.now)
        self.run(1)
        self.watch.voice_stopped(self.now, words_owed=True)

    def answer(self, *, seconds: float = 2.0) -> None:
        """The tutor's whole answer, spoken."""
        self.watch.text(self.now, "All right.", clause=True)
        self.watch.text_ended(self.now)
        self.watch.voice_began(self.now)
        self.watch.audio(self.now, seconds)
        self.watch.voice_ended(self.now)
        self.watch.speaking(self.now, True)
        self.run(seconds)
        self.watch.speaking(self.now, False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_good_turn_is_no_fault(clock):
    clock.speak()
    clock.run(0.5)
    clock.watch.words(clock.now)
    clock.watch.asked(clock.now)
    clock.run(1)
    clock.answer()
    assert clock.run(10) == []


def test_words_that_never_come(clock):
    clock.speak()
    at = clock.now
    assert clock.run(10) == [(pytest.approx(at + 4, abs=0.11), Fault("stt", "stalled"))]


def test_a_cough_owes_no_words(clock):
    clock.watch.voice_started(clock.now)
    clock.run(0.3)
    clock.watch.voice_stopped(clock.now, words_owed=False)
    assert clock.run(15) == []


def test_words_that_are_still_coming_put_the_debt_off(clock):
    clock.speak()
    clock.run(3)
    clock.watch.words_coming(clock.now)
    assert clock.run(3.5) == []
    assert [due for _, due in clock.run(1)] == [Fault("stt", "stalled")]


def test_an_answer_that_never_begins(clock):
    clock.watch.asked(clock.now)
    at = clock.now
    assert clock.run(10) == [(pytest.approx(at + 6, abs=0.11), Fault("llm", "stalled"))]


def test_an_answer_that_stops_in_the_middle_counts_from_the_end_of_what_was_spoken(clock):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "One moment, ", clause=True)
    clock.watch.voice_began(clock.now)
    clock.watch.audio(clock.now, 3.0)
    clock.watch.speaking(clock.now, True)
    at = clock.now
    clock.run(3)
    clock.watch.speaking(clock.now, False)
    clock.run(6)
    assert clock.due == [(pytest.approx(at + 7, abs=0.11), Fault("llm", "stalled"))]


def test_an_answer_without_a_word(clock):
    clock.watch.asked(clock.now)
    clock.watch.text_ended(clock.now)
    assert [due for _, due in clock.run(8)] == [Fault("llm", "empty")]


def test_text_without_audio(clock):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "Hello.", clause=True)
    clock.watch.text_ended(clock.now)
    at = clock.now
    assert clock.run(10) == [(pytest.approx(at + 3, abs=0.11), Fault("tts", "stalled"))]


def test_audio_that_stops_in_the_middle(clock):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "Hello there, my friend.", clause=True)
    clock.watch.text_ended(clock.now)
    clock.watch.voice_began(clock.now)
    clock.watch.audio(clock.now, 0.5)
    at = clock.now
    assert clock.run(10) == [(pytest.approx(at + 3.5, abs=0.11), Fault("tts", "stalled"))]


@pytest.mark.parametrize("silent_audio", [False, True])
def test_a_voice_that_ends_without_a_sound(clock, silent_audio):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "Hello.", clause=True)
    clock.watch.text_ended(clock.now)
    clock.watch.voice_began(clock.now)
    if silent_audio:
        clock.watch.audio(clock.now, 0.5, silent=True)
    clock.watch.voice_ended(clock.now)
    assert [due for _, due in clock.run(0.2)] == [Fault("tts", "empty")]


def test_an_emoji_needs_no_sound(clock):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "🙂", clause=False)
    clock.watch.text_ended(clock.now)
    clock.watch.voice_began(clock.now)
    clock.watch.audio(clock.now, 0.02, silent=True)
    clock.watch.voice_ended(clock.now)
    assert clock.run(10) == []


def test_a_failure_is_told_at_once_and_once(clock):
    clock.watch.asked(clock.now)
    clock.watch.failed("llm", "boom", clock.now)
    clock.watch.failed("llm", "boom", clock.now)
    assert [due for _, due in clock.run(0.5)] == [Fault("llm", "failed", "boom")]
    clock.watch.failed("llm", "the same, told again", clock.now)
    assert clock.run(5) == []


def test_a_deaf_recogniser_waits_for_the_end_of_the_learners_sentence(clock):
    clock.watch.voice_started(clock.now)
    clock.watch.failed("stt", "boom", clock.now)
    assert clock.watch.deaf
    assert clock.run(2) == []
    clock.watch.voice_stopped(clock.now, words_owed=True)
    assert [due for _, due in clock.run(0.2)] == [Fault("stt", "failed", "boom")]
    assert clock.run(5) == []


def test_a_deaf_recogniser_is_told_although_the_voice_never_ends(clock):
    clock.watch.voice_started(clock.now)
    clock.watch.failed("stt", "boom", clock.now)
    assert [due for _, due in clock.run(5)] == [Fault("stt", "failed", "boom")]


def test_a_recognisers_failure_is_forgotten_once_the_turn_is_answered_all_the_same(clock):
    clock.watch.voice_started(clock.now)
    clock.watch.failed("stt", "boom", clock.now)
    clock.watch.voice_stopped(clock.now, words_owed=True)
    clock.watch.asked(clock.now)
    clock.answer()
    assert clock.run(5) == []


def test_an_interrupted_answer_owes_nothing(clock):
    clock.watch.asked(clock.now)
    clock.watch.text(clock.now, "Hello.", clause=True)
    clock.watch.interrupted(clock.now)
    assert clock.run(15) == []


def test_a_loop_that_stood_still_is_nobodys_fault(clock):
    clock.watch.asked(clock.now)
    clock.run(5)
    clock.now += 30
    assert clock.run(0.5) == []
    assert [due for _, due in clock.run(1)] == [Fault("llm", "stalled")]


def test_silence_is_counted_until_the_learner_says_something(clock):
    at = clock.now
    assert clock.run(65) == [
        (pytest.approx(at + 20, abs=0.2), Silence(1)),
        (pytest.approx(at + 40, abs=0.3), Silence(2)),
        (pytest.approx(at + 60, abs=0.4), Silence(3)),
    ]
    clock.speak()
    clock.watch.words(clock.now)
    clock.watch.heard_learner(clock.now)
    clock.watch.asked(clock.now)
    clock.answer()
    assert [due for _, due in clock.run(21)] == [Silence(1)]


def test_the_tutors_own_voice_is_no_silence(clock):
    clock.watch.asked(clock.now)
    clock.answer(seconds=30)
    assert clock.due == []
    assert [due for _, due in clock.run(20.5)] == [Silence(1)]


def test_before_the_client_can_hear_there_is_no_silence():
    watch = Watch(LIMITS)
    assert all(watch.tick(n / 10) is None for n in range(1, 600))


def test_silence_can_be_switched_off():
    clock = Clock(Limits(silence_s=0))
    assert clock.run(300) == []


_EVENTS = st.sampled_from(
    ["voice", "pause", "words", "asked", "text", "end", "open", "audio", "close", "on", "off", "cut", "stt", "llm", "tts"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_EVENTS, st.floats(0, 3)), max_size=40))
def test_whatever_happens_something_is_due_in_the_end(events):
    """After any history, nothing can go on for ever: a fault or a silence comes within the longest limits together."""
    clock = Clock()
    watch = clock.watch
    played = 0.0
    for event, wait in events:
        now = clock.now
        match event:
            case "voice":
                watch.voice_started(now)
            case "pause":
                watch.voice_stopped(now, words_owed=True)
            case "words":
                watch.words(now)
            case "asked":
                watch.asked(now)
            case "text":
                watch.text(now, "word, ", clause=True)
            case "end":
                watch.text_ended(now)
            case "open":
                watch.voice_began(now)
            case "audio":
                watch.audio(now, 1.0)
                played += 1
            case "close":
                watch.voice_ended(now)
            case "on" | "off":
                watch.speaking(now, event == "on")
            case "cut":
                watch.interrupted(now)
            case stage:
                watch.failed(stage, "boom", now)
        clock.run(wait)
    # The transport always ends what it began, and the detector what it heard.
    watch.speaking(clock.now, False)
    watch.voice_stopped(clock.now, words_owed=False)
    assert clock.run(played + 6 + 4 + 3 + 20 + 2)
