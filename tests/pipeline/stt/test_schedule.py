"""The bookkeeping of the recogniser's workers, without any worker."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.stt.sphinx_schedule import Assign, Fail, Finish, Release, Replace, Schedule

DEADLINE_S = 3.0
TIMEOUT_S = 15.0


def ready(workers: int, **options: bool) -> Schedule:
    schedule = Schedule(workers, DEADLINE_S, TIMEOUT_S, **options)
    for worker in range(workers):
        assert schedule.worker_ready(worker, 0.0) == []
    return schedule


def final(schedule: Schedule, worker: int, utterance: int, now: float, factor: float = 0.2) -> list[object] | None:
    return schedule.finished(worker, utterance, now, audio_s=1.0, decode_s=factor)


def test_an_utterance_keeps_its_worker_from_opening_to_final() -> None:
    s = ready(2)
    assert s.open(1, 0.0) == [Assign(0, 1)]
    assert s.open(2, 0.1) == [Assign(1, 2)]
    assert s.finish(1, 1.0) == [Finish(0, 1)]
    assert final(s, 0, 1, 1.1) == []
    assert s.open_utterances == 1
    assert s.counters.finals == 1


def test_a_third_speaker_gets_no_partials_but_a_final() -> None:
    s = ready(2)
    s.open(1, 0.0)
    s.open(2, 0.1)
    assert s.open(3, 0.2) == []
    assert s.counters.partials_dropped == 1
    # Its final takes the worker of whoever began last, who goes on without partials.
    assert s.finish(3, 1.0) == [Release(1, 2), Assign(1, 3)]
    assert s.counters.partials_dropped == 2
    assert s.worker_of(2) is None
    # As soon as there is a free worker, the robbed one streams again.
    assert final(s, 1, 3, 1.5) == [Assign(1, 2)]


def test_finals_wait_in_order_and_no_longer_than_their_deadline() -> None:
    s = ready(1)
    s.open(1, 0.0)
    s.finish(1, 1.0)
    for utterance in (2, 3, 4):
        s.open(utterance, 1.0 + utterance / 10)
    assert s.finish(3, 2.0) == []
    assert s.finish(2, 2.5) == []
    assert s.queue_depth == 2
    assert s.next_tick() == 2.0 + DEADLINE_S
    assert final(s, 0, 1, 4.0) == [Assign(0, 3)]
    assert s.tick(5.4) == []
    (failed,) = s.tick(5.5)
    assert isinstance(failed, Fail)
    assert (failed.utterance, failed.busy) == (2, True)
    assert s.counters.busy == 1
    assert final(s, 0, 3, 6.0) == [Assign(0, 4)]


def test_a_dead_worker_is_replaced_and_its_utterance_decoded_again() -> None:
    s = ready(1)
    s.open(1, 0.0)
    s.finish(1, 1.0)
    assert s.worker_lost(0, 1.1) == [Replace(0, 0.0)]
    assert s.queue_depth == 1
    assert s.worker_ready(0, 1.5) == [Assign(0, 1)]
    assert final(s, 0, 1, 2.0) == []
    assert s.counters.restarts == 1


def test_an_utterance_that_costs_two_workers_fails() -> None:
    s = ready(2)
    s.open(1, 0.0)
    assert s.worker_lost(0, 0.5) == [Replace(0, 0.0), Assign(1, 1)]
    replace, failed = s.worker_lost(1, 0.6)
    assert replace == Replace(1, 0.0)
    assert isinstance(failed, Fail)
    assert not failed.busy
    assert s.open_utterances == 0
    assert s.worker_ready(0, 1.0) == []


def test_a_worker_that_never_starts_is_tried_less_and_less_often() -> None:
    s = Schedule(1, DEADLINE_S, TIMEOUT_S)
    delays = [action.delay_s for _ in range(5) for action in s.worker_lost(0, 0.0) if isinstance(action, Replace)]
    assert delays == sorted(delays)
    assert delays[0] > 0
    assert delays[-1] == 5.0
    s.worker_ready(0, 9.0)
    assert s.worker_lost(0, 10.0) == [Replace(0, 0.0)]


def test_a_worker_without_a_sign_of_life_is_replaced() -> None:
    s = ready(1)
    s.open(1, 0.0)
    assert s.next_tick() is None
    s.fed(1, 1.0)
    s.progress(0, 1, 2.0)
    assert s.tick(100.0) == []
    s.finish(1, 100.0)
    assert s.next_tick() == 100.0 + TIMEOUT_S
    s.progress(0, 1, 110.0)  # the final itself is what is due
    assert s.tick(114.9) == []
    assert s.tick(115.0) == [Replace(0, 0.0)]
    assert s.worker_ready(0, 116.0) == [Assign(0, 1)]
    replace, failed = s.tick(131.0)
    assert isinstance(replace, Replace)
    assert isinstance(failed, Fail)
    assert "hung" in failed.reason


def test_a_final_that_nobody_waits_for_changes_nothing() -> None:
    s = ready(1)
    s.open(1, 0.0)
    s.finish(1, 1.0)
    assert s.cancel(1, 1.1) == [Release(0, 1)]
    assert s.open(2, 1.2) == [Assign(0, 2)]
    assert final(s, 0, 1, 1.3) is None
    assert s.worker_of(2) == 0


def test_without_partials_a_worker_is_taken_only_for_the_final() -> None:
    s = ready(1, partials=False)
    assert s.open(1, 0.0) == []
    assert s.counters.partials_dropped == 0
    assert s.finish(1, 1.0) == [Assign(0, 1)]


def test_calls_are_refused_by_measured_speed() -> None:
    s = ready(2)
    assert s.refusal(s.capacity() - 1) is None
    assert "real-time factor" in (s.refusal(s.capacity()) or "")
    before = s.capacity()
    for utterance in range(60):
        s.open(utterance, float(utterance))
        s.finish(utterance, utterance + 0.5)
        final(s, 0, utterance, utterance + 0.6, factor=1.0)
    assert s.capacity() < before
    assert s.capacity() == int(0.7 * 2 / (0.5 * s.real_time_factor))
    s.real_time_factor = 50.0
    assert s.capacity() == 1  # one call is always worth a try


def test_calls_are_refused_while_finals_queue() -> None:
    s = ready(1)
    for utterance in (1, 2):
        s.open(utterance, 0.0)
        s.finish(utterance, 0.1)
    assert s.queue_depth == 1
    assert "wait" in (s.refusal(0) or "")
    final(s, 0, 1, 0.5)
    assert s.refusal(0) is None


class Pool(RuleBasedStateMachine):
    """Any order of events. The model: which worker was told to do what, and how each utterance ended."""

    @initialize(workers=st.integers(1, 3), partials=st.booleans())
    def start(self, workers: int, partials: bool) -> None:
        self.now = 0.0
        self.ids = itertools.count(1)
        self.s = Schedule(workers, DEADLINE_S, TIMEOUT_S, partials)
        self.alive: set[int] = set()
        self.has: dict[int, int] = {}
        self.asked: set[int] = set()  # utterances whose worker was asked for the final
        self.live: dict[int, bool] = {}  # utterance: due
        self.ended: dict[int, str] = {}

    def apply(self, actions: list[object]) -> None:
        for action in actions:
            match action:
                case Assign(worker, utterance):
                    assert worker in self.alive
                    assert worker not in self.has
                    assert utterance in self.live
                    assert utterance not in self.has.values()
                    self.has[worker] = utterance
                    if self.live[utterance]:
                        self.asked.add(utterance)
                case Release(worker, utterance):
                    assert self.has.pop(worker) == utterance
                    self.asked.discard(utterance)
                case Finish(worker, utterance):
                    assert self.has[worker] == utterance
                    assert utterance not in self.asked
                    self.asked.add(utterance)
                case Fail(utterance, _reason, busy):
                    assert self.live.pop(utterance) or not busy
                    self.ended[utterance] = "busy" if busy else "failed"
                case Replace(worker, delay_s):
                    assert delay_s >= 0
                    self.alive.discard(worker)
                    lost = self.has.pop(worker, None)
                    if lost is not None:
                        self.asked.discard(lost)

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 2.9, 16.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.s.tick(self.now))
        at = self.s.next_tick()
        assert at is None or at > self.now

    @rule(worker=st.integers(0, 2))
    def comes_up(self, worker: int) -> None:
        if worker < self.s.workers and worker not in self.alive:
            self.alive.add(worker)
            self.apply(self.s.worker_ready(worker, self.now))

    @rule(worker=st.integers(0, 2))
    def dies(self, worker: int) -> None:
        if worker < self.s.workers:
            self.apply(self.s.worker_lost(worker, self.now))

    @rule()
    def speaks(self) -> None:
        utterance = next(self.ids)
        self.live[utterance] = False
        self.apply(self.s.open(utterance, self.now))

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def pauses(self, pick: int) -> None:
        utterance = sorted(self.live)[pick % len(self.live)]
        self.live[utterance] = True
        self.apply(self.s.finish(utterance, self.now))

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def hangs_up(self, pick: int) -> None:
        utterance = sorted(self.live)[pick % len(self.live)]
        actions = self.s.cancel(utterance, self.now)
        self.apply(actions[:1] if actions and isinstance(actions[0], Release) else [])
        del self.live[utterance]
        self.apply([a for a in actions if not isinstance(a, Release)])

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 99), well=st.booleans())
    def is_decoded(self, pick: int, well: bool) -> None:
        utterance = sorted(self.asked)[pick % len(self.asked)]
        worker = next(w for w, u in self.has.items() if u == utterance)
        del self.has[worker]
        self.asked.discard(utterance)
        if well:
            assert utterance not in self.ended
            actions = self.s.finished(worker, utterance, self.now, audio_s=1.0, decode_s=0.2)
            assert actions is not None
            self.ended[utterance] = "final"
            del self.live[utterance]
            self.apply(actions)
        else:
            self.apply(self.s.refused(worker, utterance, self.now, "bad audio"))
            assert self.ended[utterance] == "failed"

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "s"):
            return
        assert self.s.open_utterances == len(self.live)
        assert self.s.busy_workers == len(self.has)
        assert {u: self.s.worker_of(u) for u in self.live} == {
            u: next((w for w, has in self.has.items() if has == u), None) for u in self.live
        }
        for utterance, due in self.live.items():
            assert self.s.is_due(utterance) == due
            assert (utterance in self.asked) == (due and utterance in self.has.values())

    @invariant()
    def no_final_waits_for_partials_or_an_idle_worker(self) -> None:
        if hasattr(self, "s") and self.s.queue_depth:
            assert all(worker in self.has and self.live[self.has[worker]] for worker in self.alive)

    def teardown(self) -> None:
        """However it went, all that is due comes to an end once workers work."""
        if not hasattr(self, "s"):
            return
        for worker in range(self.s.workers):
            self.comes_up(worker)
        while self.asked:
            self.is_decoded(0, True)
        assert not any(self.live.values())


Pool.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPool = Pool.TestCase
