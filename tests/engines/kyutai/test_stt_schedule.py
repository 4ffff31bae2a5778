"""The ticks of the speech-to-text engine, carried out on slots that remember what they were fed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.kyutai.schedule.backlog import FRAME
from engines.kyutai.schedule.buckets import Buckets
from engines.kyutai.schedule.slots import NoFreeChannels
from engines.kyutai.schedule.stt import SttPlan, SttScheduler

DELAY = 3
BACKLOG = 4
WAITING = 2
SIZES = (1, 2, 4)
SESSIONS = "abcdefgh"


def cost(bucket: int) -> float:
    return 10.0 + bucket


def scheduler(budget: float = 40.0, **changed: object) -> SttScheduler:
    given = {"delay": DELAY, "budget_s": budget, "waiting": WAITING, "backlog": BACKLOG, "silent_s": 0.24, **changed}
    return SttScheduler(Buckets(SIZES), **given)  # type: ignore[arg-type]


class Slots:
    """Does with lists what an engine does with tensors: a slot's state is what it was fed since it was new."""

    def __init__(self) -> None:
        self.state: dict[int, list[object]] = defaultdict(list)
        self.kept: dict[int, list[object]] = {}
        self.of: dict[str, int] = {}
        self.fed: dict[str, list[int]] = defaultdict(list)  # frames by session
        self.begun: dict[str, int] = {}  # live steps when the last flush began
        self.branches: dict[str, list[object]] = {}  # states of complete flushes
        self.told: dict[str, list[int]] = defaultdict(list)

    def carry_out(self, plan: SttPlan) -> None:
        for session, slot in plan.admitted:
            self.of = {name: at for name, at in self.of.items() if at != slot}
            self.of[session] = slot
        holder = {slot: session for session, slot in self.of.items()}
        assert len(set(plan.resets)) == len(plan.resets)
        for slot in plan.resets:
            self.state[slot] = []
        for _, slot in plan.admitted:
            assert self.state[slot] == []
        for step in plan.live:
            assert len(set(step.batch.slots)) == len(step.batch.slots)
            for slot, frame, new in zip(step.batch.slots, step.frames, step.new, strict=True):
                if new:
                    self.told[holder[slot]].append(len(self.fed[holder[slot]]))
                self.state[slot].append((holder[slot], frame))
                self.fed[holder[slot]].append(frame)
        aside = {slot: list(self.state[slot]) for slot in plan.saved}
        for slot in plan.loaded:
            self.state[slot] = self.kept.pop(slot)
        for slot in set(plan.saved) - set(plan.loaded):
            self.begun[holder[slot]] = len(self.fed[holder[slot]])
        for ahead in plan.flush:
            assert set(ahead.batch.slots) <= set(plan.saved)
            assert len(set(ahead.batch.slots)) == len(ahead.batch.slots)
            for slot, index, rest in zip(ahead.batch.slots, ahead.indices, ahead.rests, strict=True):
                assert index == sum(isinstance(part, int) for part in self.state[slot])
                self.state[slot].append(rest)
        assert sorted([*plan.kept, *(self.of[session] for session in plan.flushed)]) == sorted(plan.saved)
        for slot in plan.kept:
            self.kept[slot] = list(self.state[slot])
        for session in plan.flushed:
            self.branches[session] = list(self.state[self.of[session]])
        self.state.update(aside)


OPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(SESSIONS), st.none()),
    st.tuples(st.just("leave"), st.sampled_from(SESSIONS), st.none()),
    *[st.tuples(st.just("audio"), st.sampled_from(SESSIONS), st.sampled_from([1, 700, 1920, 1920, 4000, 20000]))] * 3,
    st.tuples(st.just("stepped"), st.sampled_from(SESSIONS), st.booleans()),
)
FLUSHES = st.one_of(
    *[st.tuples(st.just("flush"), st.sampled_from(SESSIONS), st.none())] * 2,
    st.tuples(st.just("withdraw"), st.sampled_from(SESSIONS), st.none()),
    *[st.tuples(st.just("commit"), st.sampled_from(SESSIONS), st.none())] * 2,
)
BOTH = st.lists(st.lists(st.one_of(OPS, FLUSHES), max_size=6), min_size=1, max_size=25)
WITHOUT = st.lists(st.lists(OPS, max_size=6), min_size=1, max_size=25)


class Run:
    """A scheduler driven by a script, each session under a new name whenever it comes back."""

    def __init__(self, engine: SttScheduler) -> None:
        self.engine = engine
        self.slots = Slots()
        self.names: dict[str, str] = {}
        self.came: list[str] = []
        self.gone: set[str] = set()
        self.received: dict[str, int] = {}
        self.dropped: dict[str, list[int]] = defaultdict(list)
        self.plans: list[SttPlan] = []
        self.complete: set[str] = set()
        self.admitted: list[str] = []

    def do(self, op: str, letter: str, arg: object) -> None:
        if op == "join":
            if letter in self.names:
                return
            name = f"{letter}{len(self.came)}"
            try:
                self.engine.joined(name)
            except NoFreeChannels:
                assert len(self.names) >= max(SIZES) + WAITING
                return
            self.came.append(name)
            self.names[letter] = name
            self.received[name] = 0
            return
        if letter not in self.names:
            return
        name = self.names[letter]
        if op == "leave":
            self.engine.left(name)
            del self.names[letter]
            self.gone.add(name)
            self.complete.discard(name)
        elif op == "audio":
            assert isinstance(arg, int)
            self.received[name] += arg
            self.dropped[name] += self.engine.audio(name, arg)
        elif op == "stepped":
            self.engine.stepped(name, loud=True, wrote=bool(arg))
        elif op in ("flush", "withdraw"):
            getattr(self.engine, op)(name)
            self.complete.discard(name)
        elif name in self.complete:
            self.slots.told[name] += [self.slots.begun[name] + index for index in self.engine.commit(name)]
            self.complete.discard(name)
        else:
            with pytest.raises(ValueError):
                self.engine.commit(name)

    def waiting(self, name: str) -> int:
        """Whole frames that wait."""
        return self.received[name] // FRAME - len(self.slots.fed[name]) - len(self.dropped[name])

    def tick(self) -> SttPlan:
        held = set(self.names.values())
        before = {name: self.waiting(name) for name in held}
        plan = self.engine.tick(len(self.plans), cost)
        self.admitted += [session for session, _ in plan.admitted]
        self.slots.of = {name: slot for name, slot in self.slots.of.items() if name in held}
        self.slots.carry_out(plan)
        assert all(waits <= BACKLOG for waits in before.values())
        for name in held & set(self.slots.of):
            assert before[name] == 0 or self.waiting(name) < before[name]  # everybody with a whole frame has stepped
        assert len(set(self.slots.of)) == min(len(held), max(SIZES))  # nobody waits beside a free slot
        self.complete = (self.complete - set(plan.restarted)) | set(plan.flushed)
        self.plans.append(plan)
        return plan


@given(BOTH, st.sampled_from([11.0, 25.0, 40.0, 400.0]))
@settings(max_examples=300, deadline=None)
def test_whatever_happens(script, budget):
    run = Run(scheduler(budget))
    for ops in script:
        for op in ops:
            run.do(*op)
        plan = run.tick()
        spent = sum(cost(step.batch.bucket) for step in (*plan.live, *plan.flush))
        assert spent <= budget or (len(plan.live) <= 1 and not plan.flush)
    assert run.admitted == [name for name in run.came if name in run.admitted]  # in the order in which they came
    for name in run.came:
        fed, dropped = run.slots.fed[name], run.dropped[name]
        assert fed == sorted(set(fed))  # once, and in order
        assert sorted([*fed, *dropped]) == list(range(len(fed) + len(dropped)))
        told = sorted(run.slots.told[name])
        assert told == list(range(len(told)))  # every step's words once
        assert len(told) >= len(fed)
    for slot, state in run.slots.state.items():
        assert not any(isinstance(part, int) for part in state), f"zeros of a flush stayed in slot {slot}"
        assert len({part[0] for part in state}) <= 1, f"slot {slot} remembers two sessions"


@given(BOTH)
@settings(max_examples=200, deadline=None)
def test_flushes_change_no_live_step(script):
    with_flushes, without = Run(scheduler()), Run(scheduler())
    for ops in script:
        for op in ops:
            if op[0] != "commit":  # what a commit changes is told apart below
                with_flushes.do(*op)
            if op[0] not in ("flush", "withdraw", "commit"):
                without.do(*op)
        nothing = {"saved": (), "loaded": (), "flush": (), "kept": (), "flushed": (), "overtaken": ()}
        assert replace(with_flushes.tick(), **nothing) == without.tick()
    assert with_flushes.slots.state == without.slots.state


@given(WITHOUT, BOTH, st.lists(st.sampled_from(SESSIONS), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_withdrawn_flush_was_never_asked_for(before, after, who):
    asked, never = Run(scheduler()), Run(scheduler())
    for number, ops in enumerate(before):
        for run in (asked, never):
            for op in ops:
                run.do(*op)
        if number == len(before) // 2:
            for letter in who:
                asked.do("flush", letter, None)
        asked.tick()
        never.tick()
    for letter in who:
        asked.do("withdraw", letter, None)
    for ops in after:
        for run in (asked, never):
            for op in ops:
                run.do(*op)
        assert asked.tick() == never.tick()
    assert asked.slots.state == never.slots.state
    assert asked.slots.told == never.slots.told


@given(st.lists(st.lists(st.sampled_from("abcd"), unique=True), min_size=1, max_size=20), st.integers(0, FRAME - 1))
@settings(max_examples=150, deadline=None)
def test_every_flush_ends_within_the_delay_where_a_step_is_left_for_it(asked, rest):
    run = Run(scheduler(budget=cost(4) * 2))
    since: dict[str, int] = {}
    for letter in "abcd":
        run.do("join", letter, None)
        run.do("audio", letter, rest)
    for tick, letters in enumerate([*asked, *[[]] * (DELAY + 2)]):
        for letter in "abcd":
            run.do("audio", letter, FRAME)
        for letter in letters:
            if run.names[letter] not in since:
                run.do("flush", letter, None)
                since[run.names[letter]] = tick
        plan = run.tick()
        for session in (*plan.flushed, *plan.overtaken):
            assert tick - since.pop(session) <= DELAY + 1
    assert not since


def test_a_frame_steps_in_the_tick_in_which_it_is_whole():
    run = Run(scheduler())
    run.do("join", "a", None)
    run.do("audio", "a", FRAME - 1)
    assert run.tick().live == ()
    run.do("audio", "a", 1)
    (step,) = run.tick().live
    assert (step.batch.slots, step.frames, step.batch.bucket) == ((0,), (0,), 1)


def test_what_a_flush_is_fed_and_when_its_words_were_said():
    run = Run(scheduler(budget=1000.0))
    run.do("join", "a", None)
    run.do("audio", "a", FRAME * 3)
    run.tick()
    run.do("audio", "a", FRAME * 2 + 500)
    run.do("flush", "a", None)
    plan = run.tick()
    assert plan.flushed == ("a0",)
    assert run.slots.branches["a0"] == [("a0", 0), ("a0", 1), ("a0", 2), ("a0", 3), ("a0", 4), 500, 0, 0, 0]
    assert [step.heard for step in plan.flush] == [(2,), (3,), (4,), (5,)]
    assert list(run.engine.commit("a0")) == [0, 1, 2, 3]
    run.do("audio", "a", FRAME * 4)
    plan = run.tick()
    run.do("audio", "a", FRAME)
    plans = (plan, run.tick())
    steps = [(step.heard[0], step.new[0]) for each in plans for step in each.live]
    assert steps == [(2, False), (3, False), (4, False), (5, False), (6, True)]


def test_words_that_came_while_a_flush_was_judged_are_not_told_twice():
    run = Run(scheduler(budget=1000.0))
    run.do("join", "a", None)
    run.do("audio", "a", FRAME * 4)
    run.do("flush", "a", None)
    assert run.tick().flushed == ("a0",)
    run.do("audio", "a", FRAME)
    (live,) = run.tick().live
    assert live.new == (True,)
    assert list(run.engine.commit("a0")) == [1, 2]


def test_time_counts_what_was_dropped():
    run = Run(scheduler())
    run.do("join", "a", None)
    run.do("audio", "a", FRAME * 2)
    run.tick()
    assert run.engine.audio("a0", FRAME * 10) == range(2, 8)  # the oldest go, so many that the bound is kept
    heard = [step.heard[0] for tick in (1, 2) for step in run.engine.tick(tick, cost).live]
    assert heard == [0, 0, 1, 8]


def test_flushes_are_served_in_the_order_of_asking():
    run = Run(scheduler(budget=cost(1)))  # one step a tick
    for letter in "abcd":
        run.do("join", letter, None)
        run.do("audio", letter, FRAME)
    run.tick()
    for letter in "cad":
        run.do("flush", letter, None)
    ends = [run.tick().flushed for _ in range(DELAY * 3)]
    assert ends == [(), (), ("c2",), (), (), ("a0",), (), (), ("d3",)]


def test_where_live_steps_leave_nothing_the_flush_ends_when_they_have_written_all():
    run = Run(scheduler(budget=cost(1)))
    run.do("join", "a", None)
    run.do("audio", "a", FRAME)
    run.do("flush", "a", None)
    ends = []
    for _ in range(DELAY + 1):
        plan = run.tick()
        assert plan.flush == ()
        ends.append(plan.overtaken)
        run.do("audio", "a", FRAME)
    assert ends == [(), (), (), ("a0",)]
    with pytest.raises(ValueError):
        run.engine.commit("a0")


def test_a_deaf_slot_is_made_new():
    run = Run(scheduler())
    run.do("join", "a", None)
    restarted = []
    for loud, wrote in [(1, 0), (1, 0), (0, 0), (1, 1), (1, 0), (0, 0), (1, 0), (0, 0), (1, 0), (0, 0)]:
        run.do("audio", "a", FRAME)
        plan = run.tick()
        run.engine.stepped("a0", loud=bool(loud), wrote=bool(wrote))
        restarted.append(bool(plan.restarted))
        assert plan.resets == ((0,) if plan.restarted else ())
    assert restarted == [False] * 9 + [True]  # three loud frames after the last word; silence counts for nothing
    assert run.slots.state[0] == [("a0", 9)]
    assert plan.live[0].heard == (9,)  # the frames before are forgotten


def test_a_flush_begins_when_all_it_asked_for_was_stepped():
    run = Run(scheduler(budget=cost(1) * 2))
    run.do("join", "a", None)
    run.do("audio", "a", FRAME * 4)
    run.do("flush", "a", None)
    made = [(len(plan.live), len(plan.flush)) for plan in (run.tick() for _ in range(4))]
    assert made == [(2, 0), (2, 0), (0, 2), (0, 1)]


def test_keeping_states_aside_comes_out_of_the_budget():
    run = Run(scheduler(budget=cost(1) * 2))
    run.do("join", "a", None)
    run.do("audio", "a", FRAME)
    run.do("flush", "a", None)
    assert run.engine.tick(0, cost, swap_s=1.0).flush == ()
    assert len(run.engine.tick(1, cost, swap_s=1.0).flush) == 1


def test_who_finds_the_line_full_is_told_in_the_words_of_the_wire():
    engine = scheduler()
    for session in "abcdef":
        engine.joined(session)
    with pytest.raises(NoFreeChannels, match=r"^no free channels$"):
        engine.joined("g")
    engine.left("b")
    engine.joined("g")
    assert [session for session, _ in engine.tick(0, cost).admitted] == ["a", "c", "d", "e"]
    engine.left("d")
    assert engine.free == 0  # promised to the line
    assert engine.tick(1, cost).admitted == (("f", 2),)


def test_who_comes_twice_or_ticks_backwards_is_told():
    engine = scheduler()
    engine.joined("a")
    with pytest.raises(ValueError):
        engine.joined("a")
    engine.tick(4, cost)
    with pytest.raises(ValueError):
        engine.tick(4, cost)
    with pytest.raises(KeyError):
        engine.audio("b", 1)
    engine.left("b")
    engine.stepped("b", loud=True, wrote=False)
    with pytest.raises(ValueError):
        scheduler(delay=0)
    with pytest.raises(ValueError):
        scheduler(backlog=0)


def test_a_bounded_share_of_a_tick_goes_to_flushes_and_they_end_all_the_same():
    """Frames that become whole in the meantime wait for no more than that, but for a first step that takes longer."""
    for flush_s, steps in ((cost(1) * 2, 2), (cost(1) / 2, 1)):
        run = Run(scheduler(budget=cost(1) * 4, flush_s=flush_s))
        run.do("join", "a", None)
        run.do("audio", "a", FRAME)
        run.do("flush", "a", None)
        plans = [run.tick() for _ in range(DELAY + 1)]
        assert len(plans[0].flush) == steps
        assert [len(plan.flush) <= steps for plan in plans] == [True] * len(plans)
        assert sum(len(plan.flush) for plan in plans) == DELAY
        assert [plan.flushed for plan in plans if plan.flushed] == [("a0",)]
