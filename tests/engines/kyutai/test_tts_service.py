"""The loop of the text-to-speech engine on a voice without weights, in a time of its own."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from engines.kyutai.schedule.slots import NoFreeChannels
from engines.kyutai.text import PADDING
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_records import Done, Failed, Frame, WordBegun
from engines.kyutai.tts_service import MOST_TOKENS, MOST_WORDS, Refused, TtsService
from tests.engines.fake_tts import LEAD_IN, PER_WORD, FakeTts, frames, sample

STEP_S = 0.01


class Engine:
    """A service whose steps take ``STEP_S`` each, and what its listeners hear."""

    def __init__(self, *sizes: int, voices: tuple[str, ...] = (), ahead: int = 0, queue: int = 0) -> None:
        self.now_s = 100.0
        self.registry = CollectorRegistry()
        self.model = FakeTts(*(sizes or (1, 2, 4)))
        step = self.model.step

        def timed(batch):
            self.now_s += STEP_S
            return step(batch)

        self.model.step = timed  # type: ignore[method-assign]
        self.service = TtsService(
            self.model, clock=lambda: self.now_s, metrics=TtsMetrics(self.registry), voices=voices, ahead=ahead, queue=queue
        )
        self.service.warm([7])
        self.model.said.clear()
        self.model.voices.clear()
        self.model.batches.clear()
        self.heard: dict[str, list[object]] = defaultdict(list)

    def tick(self) -> float | None:
        ticked = self.service.tick()
        for session, event in ticked.events:
            self.heard[session].append(event)
        return ticked.wait_s

    def run(self, limit: int = 5000) -> None:
        """Until it would wait for somebody."""
        for _ in range(limit):
            wait_s = self.tick()
            if wait_s is None:
                return
            self.now_s += wait_s
        raise AssertionError("it never rests")

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def pcm(events: list[object]) -> list[float]:
    return [float(event.pcm[0]) for event in events if isinstance(event, Frame)]


def speech(seed: int, words: int) -> list[float]:
    return [sample(seed, k) for k in range(frames(words))]


def test_what_is_said_is_heard_in_order_with_the_steps_of_its_words():
    engine = Engine()
    engine.service.opened("a", None, 3)
    engine.service.words("a", [[1], [2, 3]])
    engine.service.ended("a")
    engine.run()

    heard = engine.heard["a"]
    assert pcm(heard) == speech(3, 2)
    assert [event.step for event in heard if isinstance(event, WordBegun)] == [0, PER_WORD]
    assert heard[-1] == Done(frames(2))
    assert engine.model.said == [(3, [1]), (3, [2, 3])]
    assert (engine.service.sessions, engine.service.used, engine.model.live) == (0, 0, {})


def test_it_begins_with_the_first_word_and_waits_for_the_next():
    engine = Engine()
    engine.service.opened("a", None, 1)
    engine.run()
    assert engine.service.used == 0, "a slot without a word"
    for word in range(10):
        engine.service.words("a", [[word]])
        engine.run()
        assert engine.model.said[-1] == (1, [word]), "a word waited for another"
    engine.service.ended("a")
    engine.run()
    assert pcm(engine.heard["a"]) == speech(1, 10)


def test_the_end_without_a_word_is_the_end():
    engine = Engine()
    engine.service.opened("a", None, 1)
    engine.service.ended("a")
    engine.run()
    assert engine.heard["a"] == [Done(0)]
    assert engine.service.sessions == 0


def test_a_cancelled_session_leaves_its_slot_in_the_same_tick():
    engine = Engine(1, queue=1)
    engine.service.opened("a", None, 1)
    engine.service.words("a", [[1]] * 50)
    engine.service.opened("b", None, 2)
    engine.service.words("b", [[2]])
    engine.tick()
    assert engine.model.said[-1] == (1, [1])

    engine.service.cancelled("a")
    assert (engine.service.used, engine.model.live) == (0, {})
    engine.tick()
    assert engine.model.said[-1] == (2, [2])
    engine.service.cancelled("a")  # again, and late: no harm
    engine.service.words("a", [[1]])
    engine.service.ended("b")
    engine.run()
    assert pcm(engine.heard["b"]) == speech(2, 1)
    assert len(engine.heard["a"]) == 1, "a word begun, and nothing after the end"


def test_an_unknown_voice_is_refused_and_the_known_ones_are_named():
    engine = Engine(voices=tuple(f"v{i}" for i in range(9)))
    with pytest.raises(Refused, match=r"unknown voice 'nobody'; there are: v0, v1, v2, v3, v4, …"):
        engine.service.opened("a", "nobody", 1)
    assert engine.service.sessions == 0
    engine.service.opened("a", "v8", 1)
    engine.service.words("a", [[1]])
    engine.tick()
    assert engine.model.voices == ["v8"]


def test_a_voice_that_cannot_be_used_fails_its_own_session_only():
    engine = Engine()
    for session, voice in (("a", "bad"), ("b", "good")):
        engine.service.opened(session, voice, 5)
        engine.service.words(session, [[1]])
        engine.service.ended(session)
    engine.run()
    assert engine.heard["a"] == [Failed("the file of the voice bad is broken")]
    assert pcm(engine.heard["b"]) == speech(5, 1)
    assert engine.service.sessions == engine.service.used == 0


def test_an_own_voice_is_taken_before_the_words_only():
    engine = Engine()
    own = np.ones((1, 4, 5), np.float32)
    engine.service.opened("a", None, 1)
    engine.service.voiced("a", own)
    engine.service.words("a", [[1]])
    engine.tick()
    assert engine.model.voices[0] is own
    with pytest.raises(Refused, match="before any text"):
        engine.service.voiced("a", own)
    assert engine.service.sessions == engine.service.used == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [([[1]] * (MOST_WORDS + 1), "words wait"), ([[1] * (MOST_TOKENS + 1)], "tokens")],
    ids=["many words", "a long word"],
)
def test_too_much_text_is_refused(words, why):
    engine = Engine()
    engine.service.opened("a", None, 1)
    with pytest.raises(Refused, match=why):
        engine.service.words("a", words)
    assert engine.service.sessions == 0
    engine.run()


def test_text_after_the_end_is_refused():
    engine = Engine()
    engine.service.opened("a", None, 1)
    engine.service.words("a", [[1]])
    engine.service.ended("a")
    engine.service.ended("a")
    with pytest.raises(Refused, match="after Eos"):
        engine.service.words("a", [[1]])


def test_more_sessions_than_may_be_open_find_no_free_channel():
    engine = Engine(1, 2, queue=1)
    for session in "abc":
        engine.service.opened(session, None, 1)
    with pytest.raises(NoFreeChannels):
        engine.service.opened("d", None, 1)
    engine.service.cancelled("a")
    engine.service.opened("d", None, 1)


def test_a_model_that_looks_ahead_begins_a_word_when_it_knows_what_follows():
    engine = Engine(ahead=2)
    engine.service.opened("a", None, 1)
    for word, said in enumerate([[], [], [0], [0, 1], [0, 1, 2]]):
        engine.service.words("a", [[word + 10]])
        engine.run()
        assert [word - 10 for _, (word,) in engine.model.said] == said
    engine.service.words("a", [[PADDING] * 4])
    engine.run()
    assert len(engine.model.said) == 3, "a pause is no word that could be looked at"
    engine.service.ended("a")
    engine.run()
    assert len(engine.model.said) == 6
    assert pcm(engine.heard["a"]) == speech(1, 6)


def test_a_word_that_the_model_cannot_take_fails_its_session():
    engine = Engine()
    engine.service.opened("a", None, 1)
    engine.service.words("a", [[1]])
    engine.tick()
    with pytest.raises(Refused, match="Text: a word without tokens"):
        engine.service.words("a", [[]])
    engine.service.opened("b", None, 1)
    engine.service.words("b", [[]])
    engine.tick()
    assert engine.heard["b"] == [Failed("a word without tokens")]
    assert (engine.service.sessions, engine.service.used, engine.model.live) == (0, 0, {})


def test_the_first_audio_gaps_and_slots_are_told():
    engine = Engine()
    engine.service.opened("a", None, 1)
    engine.service.words("a", [[1]])
    engine.run()
    assert engine.value("kyutai_tts_slots_used") == 1
    assert engine.value("kyutai_tts_slots") == 4
    assert engine.value("kyutai_tts_first_audio_seconds_count") == 0, "the word's end is not known yet"
    engine.now_s += 0.5
    engine.service.words("a", [[2], [3]])
    engine.run()
    assert engine.value("kyutai_tts_first_audio_seconds_sum") == pytest.approx(0.5 + (LEAD_IN + 1) * STEP_S)
    engine.now_s += 3.0
    engine.service.words("a", [[4]])
    engine.service.ended("a")
    engine.run()
    assert engine.value("kyutai_tts_gaps_total", cause="text") == 1
    ahead_s = 3 * (0.08 - STEP_S)  # of the three frames that were made
    assert engine.value("kyutai_tts_gap_seconds_total", cause="text") == pytest.approx(3.0 - ahead_s)
    assert engine.value("kyutai_tts_gaps_total", cause="engine") == 0
    assert engine.value("kyutai_tts_slots_used") == 0
    assert engine.value("kyutai_tts_headroom") == 1
    assert engine.value("kyutai_tts_sessions_total", end="done") == 1
    assert engine.value("kyutai_tts_step_seconds_count", bucket="1", kind="text") == LEAD_IN
    assert engine.value("kyutai_tts_step_seconds_count", bucket="1", kind="full") == frames(4)


def test_a_late_engine_is_told_as_such():
    engine = Engine(1)
    engine.service.opened("a", None, 1)
    engine.service.words("a", [[1]] * 9)
    engine.service.ended("a")
    for _ in range(LEAD_IN + 2):
        engine.tick()
    engine.now_s += 2.0
    engine.run()
    assert engine.value("kyutai_tts_gaps_total", cause="engine") == 1
    assert engine.value("kyutai_tts_gaps_total", cause="text") == 0


def test_warming_measures_every_size_and_leaves_nothing_behind():
    engine = Engine(1, 3, 8)
    assert engine.model.live == {}
    assert engine.value("kyutai_tts_slots") == 8
    assert {size: engine.service.cost_s(size) for size in (1, 3, 8)} == pytest.approx({1: STEP_S, 3: STEP_S, 8: STEP_S})


ACTIONS = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(["word", "words", "end", "cancel", "tick", "pass"])), max_size=120
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS, st.sampled_from([0, 2]))
def test_whoever_comes_and_goes_everybody_hears_his_own_words(actions, ahead):
    engine = Engine(1, 2, 4, ahead=ahead, queue=4)
    given_words: dict[str, int] = {}
    seeds: dict[str, int] = {}
    ended: set[str] = set()
    gone: set[str] = set()
    lives: dict[int, int] = defaultdict(int)
    for who, action in actions:
        session = f"{who}.{lives[who]}"
        over = session in gone or any(isinstance(event, Done) for event in engine.heard[session])
        if over:
            lives[who] += 1
            session = f"{who}.{lives[who]}"
        if session not in given_words and action in ("word", "words", "end"):
            seeds[session] = who
            given_words[session] = 0
            engine.service.opened(session, None, who)
        if action in ("word", "words") and session not in ended:
            count = 1 if action == "word" else 20
            engine.service.words(session, [[who]] * count)
            given_words[session] += count
        elif action == "end" and session not in ended:
            ended.add(session)
            engine.service.ended(session)
        elif action == "cancel" and session in given_words:
            gone.add(session)
            engine.service.cancelled(session)
        elif action == "tick":
            engine.tick()
        elif action == "pass":
            engine.now_s += 0.5
    for session in given_words:
        if session not in ended | gone:
            engine.service.ended(session)
    engine.run()

    for session, count in given_words.items():
        heard = pcm(engine.heard[session])
        if session in gone:
            assert heard == speech(seeds[session], count)[: len(heard)]
            assert not any(isinstance(event, Done) for event in engine.heard[session])
            continue
        assert heard == (speech(seeds[session], count) if count else [])
        steps = [event.step for event in engine.heard[session] if isinstance(event, WordBegun)]
        assert steps == [PER_WORD * i for i in range(count)]
    assert (engine.service.sessions, engine.service.used, engine.model.live) == (0, 0, {})


def test_one_slow_step_does_not_keep_newcomers_out_for_ever():
    """The size of batch that is slow is not used, so nothing else would show that it was an exception."""
    engine = Engine(1, 2)
    engine.service._costs.measured(2, 0.5)
    for name in "ab":
        engine.service.opened(name, None, 1)
        engine.service.words(name, [[5]] * 20)
    begun_s = engine.now_s
    while not any(isinstance(event, Frame) for event in engine.heard["b"]):
        wait_s = engine.tick()
        assert wait_s is not None
        engine.now_s += wait_s
        assert engine.now_s < begun_s + 2.0
