"""The steps of the text-to-speech engine, in a time of their own, with listeners who play what is made."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.kyutai.schedule.backlog import FRAME_S
from engines.kyutai.schedule.buckets import Buckets
from engines.kyutai.schedule.playout import Playout
from engines.kyutai.schedule.slots import NoFreeChannels
from engines.kyutai.schedule.tts import TtsPlan, TtsScheduler

SIZES = (1, 2, 4, 8)
QUEUE = 4
LEAD_IN = 5
"""Steps before the first audio."""
PER_WORD = 3
"""Steps that one word takes."""
ADMISSION_S = 0.004
SLACK_S = 1e-9


def cost(bucket: int) -> float:
    return 0.010 + 0.007 * bucket


@dataclass
class Speech:
    """What one session is to say, in words; a part of them comes late."""

    words: int
    late: int = 0
    given: int = 0
    used: int = 0
    steps: int = 0
    ended: bool = False


class Run:
    """A scheduler and its engine. Time passes as steps do."""

    def __init__(self, step_cost=cost, sizes=SIZES) -> None:
        self.engine = TtsScheduler(Buckets(sizes), queue=QUEUE)
        self.cost = step_cost
        self.now_s = 100.0
        self.speech: dict[str, Speech] = {}
        self.of: dict[str, int] = {}
        self.state: dict[int, str] = {}
        self.players: dict[str, Playout] = defaultdict(Playout)
        self.lined: list[str] = []
        self.admitted: list[str] = []
        self.gaps: dict[str, float] = defaultdict(float)
        self.first_s: dict[str, float] = {}
        self.said: dict[str, int] = {}

    def open(self, words: int, late: int = 0) -> str | None:
        name = f"s{len(self.first_s)}"
        try:
            self.engine.opened(name)
        except NoFreeChannels:
            assert len(self.speech) >= max(SIZES) + QUEUE
            return None
        self.first_s[name] = self.now_s
        self.speech[name] = Speech(words, late)
        self.give(name, words - late)
        return name

    def give(self, name: str, words: int) -> None:
        one = self.speech[name]
        if words and not one.given:
            self.lined.append(name)
        self.engine.text(name, words)
        one.given += words
        if one.given == one.words:
            self.engine.end(name)
            one.ended = True

    def cancel(self, name: str) -> None:
        self.engine.cancelled(name)
        self.speech.pop(name)
        self.of.pop(name, None)
        if name not in self.admitted and name in self.lined:
            self.lined.remove(name)

    def able(self) -> list[str]:
        """Those with a slot and text."""
        return [name for name in self.of if self.speech[name].ended or self.speech[name].given > self.speech[name].used]

    def dry_s(self, name: str) -> float:
        dry_s = self.players[name].dry_s
        return float("-inf") if dry_s is None else dry_s

    def step(self) -> TtsPlan:
        plan = self.engine.plan(self.now_s, self.cost, admission_s=ADMISSION_S)
        for name, slot in plan.admitted:
            assert slot not in self.of.values()
            assert self.speech[name].given, "a slot for somebody without a word"
            assert slot not in self.state or slot in plan.resets
            self.of[name] = slot
            self.state[slot] = name
            self.admitted.append(name)
        for name in plan.finished:
            assert self.speech.pop(name).words == 0
            self.said[name] = 0
        self.now_s += ADMISSION_S * len(plan.admitted)
        near = [name for name in self.able() if self.dry_s(name) - 1.0 <= self.now_s]
        if plan.step is None:
            assert not near
            return plan
        names = [{slot: name for name, slot in self.of.items()}[slot] for slot in plan.step.slots]
        assert len(set(names)) == len(names)
        assert set(names) <= set(near)
        assert [self.dry_s(name) for name in names] == sorted(self.dry_s(name) for name in near)[: len(names)]
        self.now_s += self.cost(plan.step.bucket)
        for name in set(near) - set(names):
            assert self.dry_s(name) >= self.now_s, "left out although its listener waits"
        for name in names:
            self._stepped(name)
        return plan

    def _stepped(self, name: str) -> None:
        one = self.speech[name]
        one.steps += 1
        takes = int(one.steps % PER_WORD == 1 and one.used < one.given)
        one.used += takes
        audio = one.steps > LEAD_IN
        done = one.ended and one.used == one.given and one.steps >= LEAD_IN + PER_WORD * one.words
        gap_s = self.engine.stepped(name, self.now_s, audio=audio, words=takes, done=done)
        if audio:
            assert gap_s == self.players[name].made(self.now_s)
            self.gaps[name] = max(self.gaps[name], gap_s)
        if done:
            self.said[name] = one.steps
            del self.speech[name], self.of[name]

    def until_quiet(self, steps: int) -> None:
        """Until all have said all that they can say."""
        for _ in range(steps):
            plan = self.step()
            if plan.step is None and plan.wake_s is None:
                return
            if plan.step is None:
                assert plan.wake_s is not None
                assert plan.wake_s > self.now_s
                self.now_s = plan.wake_s
        raise AssertionError("it does not come to an end")


ARRIVALS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=24)


@given(ARRIVALS, st.sampled_from([0.004, 0.0075, 0.02]))
@settings(max_examples=150, deadline=None)
def test_who_has_his_text_is_heard_without_a_gap(arrivals, per_slot_s):
    run = Run(lambda bucket: 0.010 + per_slot_s * bucket)
    for steps, words in arrivals:
        for _ in range(steps):
            run.step()
        run.open(words)
    run.until_quiet(20_000)
    assert not run.speech
    assert set(run.said) == set(run.first_s)  # nobody starves
    assert run.admitted == run.lined
    assert max(run.gaps.values()) <= SLACK_S


@given(st.lists(st.tuples(st.sampled_from(["open", "open", "give", "cancel", "step", "step", "pause"]), st.integers(0, 11))))
@settings(max_examples=300, deadline=None)
def test_whatever_happens(script):
    run = Run()
    for op, number in script:
        names = sorted(run.speech)
        if op == "open":
            run.open(number, late=min(number, number % 5))
        elif op == "step":
            run.step()
        elif op == "pause":
            run.now_s += number / 10
        elif names:
            name = names[number % len(names)]
            if op == "cancel":
                free = run.engine.free + (name in run.of)
                run.cancel(name)
                assert run.engine.free == free
            elif not run.speech[name].ended:
                run.give(name, 1)
    for name in sorted(run.speech):
        if not run.speech[name].ended:
            run.give(name, run.speech[name].words - run.speech[name].given)
    run.until_quiet(20_000)
    assert not run.speech
    assert run.admitted == run.lined  # in the order of their first words


def test_a_slot_is_taken_with_the_first_word():
    run = Run()
    run.open(3, late=3)
    run.open(3)
    assert run.step().admitted == (("s1", 0),)
    run.give("s0", 1)
    assert run.step().admitted == (("s0", 1),)


def test_a_cancelled_slot_is_used_in_the_next_step():
    run = Run()
    for _ in range(9):
        run.open(12)
    while len(run.of) < 8 or min(run.dry_s(name) for name in run.of) < run.now_s + 0.5:
        run.step()
    run.cancel("s3")
    assert run.step().admitted == (("s8", 3),)


def test_a_new_one_waits_until_those_who_speak_can_wait_for_it():
    engine = TtsScheduler(Buckets((1, 2)))
    for name in "ab":
        engine.opened(name)
    engine.text("a", 9)
    assert engine.plan(0.0, cost).admitted == (("a", 0),)
    engine.stepped("a", 0.0, audio=True, words=0, done=False)  # plays until 0.08
    engine.text("b", 1)
    assert engine.plan(0.05, cost, admission_s=0.01).admitted == ()  # 0.05 + 0.01 + cost(2) = 0.084
    assert engine.plan(0.04, cost, admission_s=0.01).admitted == (("b", 1),)


def test_who_waits_for_words_still_keeps_his_listener():
    engine = TtsScheduler(Buckets((1, 2)))
    for name in "ab":
        engine.opened(name)
        engine.text(name, 1)
        assert len(engine.plan(0.0, lambda bucket: 0.05 * bucket).admitted) == (name == "a")
    engine.stepped("a", 0.0, audio=True, words=1, done=False)  # plays until 0.08; its next word may come at any time
    assert engine.plan(0.06, cost).admitted == ()
    assert engine.plan(0.09, cost).admitted == (("b", 1),)  # it has run dry, and not for want of steps


def test_who_has_no_audio_yet_steps_alone_while_the_others_can_wait():
    for now_s, slots in ((0.025, (1,)), (0.035, (1, 0))):  # now_s + 0.01 + cost(1) + cost(2) = 0.076, 0.086
        engine = TtsScheduler(Buckets((1, 2)))
        engine.opened("a")
        engine.text("a", 9)
        engine.plan(0.0, cost)
        engine.stepped("a", 0.0, audio=True, words=0, done=False)  # plays until 0.08
        engine.opened("b")
        engine.text("b", 9)
        step = engine.plan(now_s, cost, admission_s=0.01).step
        assert step is not None
        assert step.slots == slots


def test_a_new_one_waits_where_steps_of_all_would_take_longer_than_real_time():
    engine = TtsScheduler(Buckets((1, 2)))
    for name in "ab":
        engine.opened(name)
        engine.text(name, 1)
    assert engine.plan(0.0, lambda bucket: 0.05 * bucket).admitted == (("a", 0),)
    assert engine.plan(0.0, lambda bucket: 0.036 * bucket).admitted == (("b", 1),)


def test_who_is_a_second_ahead_is_left_out_until_he_is_not():
    engine = TtsScheduler(Buckets((1,)))
    engine.opened("a")
    engine.text("a", 99)
    for _ in range(14):
        assert engine.plan(0.0, cost).step is not None or _ == 13
        engine.stepped("a", 0.0, audio=True, words=0, done=False)
    plan = engine.plan(0.0, cost)
    assert plan.step is None
    assert plan.wake_s == pytest.approx(0.12)
    assert engine.plan(plan.wake_s, cost).step is not None
    engine.playing("a", 0.05)  # the player began later than was thought
    assert engine.plan(plan.wake_s, cost).wake_s == pytest.approx(0.17)


def test_a_half_empty_bucket_is_not_computed_where_the_last_can_wait():
    engine = TtsScheduler(Buckets((1, 2, 4)))
    for name in "abc":
        engine.opened(name)
        engine.text(name, 99)
    engine.plan(0.0, cost)
    for name, frames in (("a", 1), ("b", 6), ("c", 3)):
        for _ in range(frames):
            engine.stepped(name, 0.0, audio=True, words=0, done=False)
    step = engine.plan(0.0, cost).step
    assert step is not None
    assert (step.slots, step.bucket) == ((0, 2), 2)
    step = engine.plan(0.45, cost).step
    assert step is not None
    assert (step.slots, step.bucket) == ((0, 2, 1), 4)  # now the last cannot


def test_a_listener_who_waited_hears_a_gap():
    player = Playout()
    assert [player.made(at_s) for at_s in (1.0, 1.05, 1.5)] == [0.0, 0.0, pytest.approx(0.34)]
    assert player.dry_s == pytest.approx(1.5 + FRAME_S)
    assert player.made_s == pytest.approx(3 * FRAME_S)


def test_the_end_of_the_text_and_refusals():
    engine = TtsScheduler(Buckets((1,)), queue=1)
    engine.opened("a")
    with pytest.raises(ValueError):
        engine.opened("a")
    engine.opened("b")
    with pytest.raises(NoFreeChannels, match=r"^no free channels$"):
        engine.opened("c")
    engine.end("a")  # never had a word
    assert engine.plan(0.0, cost).finished == ("a",)
    assert engine.plan(0.0, cost).finished == ()
    engine.text("b", 1)
    engine.end("b")
    with pytest.raises(ValueError):
        engine.text("b", 1)
    assert engine.plan(0.0, cost).step is not None
    engine.stepped("b", 0.02, audio=True, words=1, done=False)
    assert engine.plan(0.02, cost).step is not None  # all words are taken, and still it speaks on to its end
    engine.stepped("b", 0.04, audio=True, words=0, done=True)
    assert engine.stepped("b", 0.06, audio=True, words=0, done=False) == 0.0  # too late to matter
    assert engine.plan(0.06, cost).step is None
    with pytest.raises(KeyError):
        engine.text("b", 1)
    engine.cancelled("b")
    with pytest.raises(ValueError):
        TtsScheduler(Buckets((1,)), headroom=0.0)
