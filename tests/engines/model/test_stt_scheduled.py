"""The batched speech to text under the real scheduler: whatever else goes on, a session's tokens are those of it alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.kyutai.model.checkpoint import load_stt
from engines.kyutai.model.interface import FRAME_SAMPLES, Floats
from engines.kyutai.model.stt import BatchedStt
from engines.kyutai.schedule.buckets import Batch, Buckets
from engines.kyutai.schedule.slots import NoFreeChannels
from engines.kyutai.schedule.stt import FlushStep, LiveStep, SttScheduler
from tests.engines.moshi_stt import MoshiStt, sound
from tests.engines.tiny_stt import write_tiny_stt

SIZES = (1, 2, 4)
NAMES = "abcdef"
FRAMES = 60
KINDS = ("audio", "audio", "audio", "join", "leave", "flush", "withdraw", "commit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_stt(tmp_path_factory.mktemp("stt"), seed=5))


@cache
def oracle(folder: str) -> MoshiStt:
    return MoshiStt(load_stt(folder))


@cache
def voice(name: str) -> Floats:
    """What a session of this name hears: ``[FRAMES, 1920]``."""
    return sound(NAMES.index(name) + 100, FRAMES)


@cache
def whole(folder: str, name: str) -> list[int]:
    return oracle(folder).hears(voice(name))[0]


def alone(folder: str, name: str, fed: tuple[int, ...]) -> list[int]:
    """What a session writes that hears these frames of its voice, as moshi's own loop has it."""
    if fed == tuple(range(len(fed))):
        return whole(folder, name)[: len(fed)]
    return oracle(folder).hears(voice(name)[list(fed)])[0]


@cache
def ahead(folder: str, name: str, fed: tuple[int, ...], rest: int, length: int) -> list[int]:
    """What its flush writes after ``fed``."""
    frames = np.zeros((length, FRAME_SAMPLES), np.float32)
    if rest:
        frames[0, :rest] = voice(name)[fed[-1] + 1 if fed else 0, :rest]
    return oracle(folder).hears([*voice(name)[list(fed)], *frames])[0][len(fed) :]


@dataclass
class Speaker:
    name: str
    sent: int = 0  # samples
    fed: list[int] = field(default_factory=list)
    wrote: list[int] = field(default_factory=list)
    begun: int = 0
    rest: int = 0
    branch: list[int] = field(default_factory=list)


class Engine:
    """Carries plans out on the model, as the service does, and compares."""

    def __init__(self, folder: str, model: BatchedStt, budget_s: float) -> None:
        self.folder = folder
        self.model = model
        self.scheduler = SttScheduler(Buckets(SIZES), delay=model.delay, budget_s=budget_s, waiting=2, backlog=3, silent_s=1e9)
        self.speakers: dict[str, Speaker] = {}
        self.holders: dict[int, str] = {}
        self.ticks = 0
        self.seen: Counter[str] = Counter()

    def act(self, kind: str, name: str, amount: int) -> None:
        one = self.speakers.get(name)
        if kind == "join" and one is None:
            try:
                self.scheduler.joined(name)
            except NoFreeChannels:
                return
            self.speakers[name] = Speaker(name)
        elif one is None:
            return
        elif kind == "leave":
            self.scheduler.left(name)
            self.holders = {slot: holder for slot, holder in self.holders.items() if holder != name}
            self.check(self.speakers.pop(name))
        elif kind == "audio":
            amount = min(amount, FRAMES * FRAME_SAMPLES - one.sent)
            one.sent += amount
            if amount:
                self.seen["dropped"] += len(self.scheduler.audio(name, amount))
        elif kind == "flush":
            self.scheduler.flush(name)
        elif kind == "withdraw":
            self.scheduler.withdraw(name)
            self.seen["withdrawn begun"] += bool(one.branch)
            one.branch = []
        elif kind == "commit":
            try:
                self.scheduler.commit(name)
            except ValueError:
                return
            self.seen["committed"] += 1

    def tick(self) -> None:
        plan = self.scheduler.tick(self.ticks, lambda bucket: 1.0 + bucket)
        self.ticks += 1
        for name, slot in plan.admitted:
            self.holders[slot] = name
        self.seen["slots used again"] += len(plan.resets)
        self.model.reset(plan.resets)
        for live in plan.live:
            self.live(live)
        if plan.flush:
            self.model.save(plan.saved)
            self.model.load(plan.loaded)
            for slot in set(plan.saved) - set(plan.loaded):
                one = self.speakers[self.holders[slot]]
                one.begun, one.branch = len(one.fed), []
            for step in plan.flush:
                self.flush(step)
            self.model.keep(plan.kept)
            self.model.restore(plan.saved)
        self.seen["flushes taken up again"] += len(plan.loaded)
        for name in plan.flushed:
            one = self.speakers[name]
            fed = tuple(one.fed[: one.begun])
            assert one.branch == ahead(self.folder, one.name, fed, one.rest, len(one.branch))
            assert len(one.branch) == self.model.delay + (one.rest > 0)
            self.seen["flushed"] += 1
            self.seen["flushed while it heard on"] += one.begun < len(one.fed)

    def live(self, step: LiveStep) -> None:
        ones = [self.speakers[self.holders[slot]] for slot in step.batch.slots]
        out = self.step(step.batch, [voice(one.name)[frame] for one, frame in zip(ones, step.frames, strict=True)])
        for one, frame, token in zip(ones, step.frames, out, strict=True):
            one.fed.append(frame)
            one.wrote.append(token)
        self.seen["gathered"] += step.batch.rows != tuple(range(step.batch.bucket))

    def flush(self, step: FlushStep) -> None:
        ones = [self.speakers[self.holders[slot]] for slot in step.batch.slots]
        sounds = []
        for one, index, rest in zip(ones, step.indices, step.rests, strict=True):
            if index == 0:
                one.rest = rest
            sounds.append(np.zeros(FRAME_SAMPLES, np.float32))
            if rest:
                sounds[-1][:rest] = voice(one.name)[one.fed[-1] + 1 if one.fed else 0, :rest]
        for one, token in zip(ones, self.step(step.batch, sounds), strict=True):
            one.branch.append(token)

    def step(self, batch: Batch, sounds: list[Floats]) -> list[int]:
        pcm = np.full((batch.bucket, FRAME_SAMPLES), 0.5, np.float32)
        for slot, content in zip(batch.slots, sounds, strict=True):
            pcm[batch.rows.index(slot)] = content
        self.seen["stalled"] += batch.bucket - len(batch.slots)
        return self.model.step(batch, pcm).tokens.tolist()

    def check(self, one: Speaker) -> None:
        assert one.wrote == alone(self.folder, one.name, tuple(one.fed))
        self.seen["went round the ring"] += len(one.fed) > 12
        self.seen["kinds"] = max(self.seen["kinds"], len(set(one.wrote)))

    def end(self) -> None:
        for one in self.speakers.values():
            self.check(one)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES), st.integers(1, 3 * FRAME_SAMPLES)), min_size=1, max_size=7
)


@given(ticks=st.lists(ACTIONS, min_size=1, max_size=40), budget_s=st.sampled_from([5.0, 8.0, 30.0]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
def test_a_session_writes_what_it_would_alone(folder: str, ticks: list[list[tuple[str, str, int]]], budget_s: float) -> None:
    engine = Engine(folder, BatchedStt(load_stt(folder), Buckets(SIZES)), budget_s)
    for name in NAMES[:3]:
        engine.act("join", name, 0)
    for actions in ticks:
        for kind, name, amount in actions:
            engine.act(kind, name, amount)
        engine.tick()
    engine.end()


@pytest.mark.parametrize("budget_s", [6.0, 30.0])
def test_a_long_day_has_all_that_can_happen(folder: str, budget_s: float) -> None:
    noise = np.random.default_rng(11)
    engine = Engine(folder, BatchedStt(load_stt(folder), Buckets(SIZES)), budget_s)
    weights = {"audio": 60, "join": 8, "leave": 2, "flush": 14, "withdraw": 5, "commit": 4}
    chances = np.array(list(weights.values())) / sum(weights.values())
    for _ in range(160):
        for kind in noise.choice(list(weights), size=8, p=chances):
            engine.act(str(kind), NAMES[noise.integers(len(NAMES))], int(noise.integers(400, 2400)))
        engine.tick()
    engine.end()
    wanted = ["slots used again", "flushed", "withdrawn begun", "committed", "stalled", "gathered", "went round the ring"]
    if budget_s < 10:
        wanted += ["flushes taken up again", "flushed while it heard on", "dropped"]
    assert all(engine.seen[what] for what in wanted), engine.seen
    assert engine.seen["kinds"] >= 12, "random weights say the same all the time"
