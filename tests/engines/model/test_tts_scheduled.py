"""Many sessions on one batched model, planned by the real scheduler: each says what it says alone.

Words come in pieces, so that sessions run dry and wait; sessions are cancelled; slots are used again; speeches are longer than
what the model remembers, so that its rings wrap around. Tokens are compared, and the audio that is made of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from engines.kyutai.model.interface import TtsOutput
from engines.kyutai.model.machine import Column
from engines.kyutai.model.tts import BatchedTts
from engines.kyutai.model.tts_checkpoint import load_tts
from engines.kyutai.model.voices import voice_names
from engines.kyutai.schedule.buckets import Batch, Buckets
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_records import Done, Frame, WordBegun
from engines.kyutai.tts_service import TtsService
from engines.kyutai.tts_text import Splitter
from tests.engines.tiny_tts import VOICES, write_tiny_tts

STEP_S = 0.01
CODEBOOKS = 4
SIZES = (1, 2, 4)
TEXT = 'hello there my friend, how are you <break time="0.3s"/> today? she goes to school and reads a lazy book'


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Logged(BatchedTts):
    """Keeps what each session was fed and made, by its seed; a clock of its own moves with each step."""

    def start(self) -> None:
        self.now_s = 0.0
        self.seeds: dict[int, int] = {}
        self.said: dict[int, list[tuple[int, ...]]] = {}
        self.sizes: Counter[tuple[int, bool]] = Counter()

    def admit(self, slot, voice, seed) -> None:
        super().admit(slot, voice, seed)
        self.seeds[slot] = seed
        self.said[seed] = []

    def step(self, batch: Batch) -> TtsOutput:
        before = [self._live[slot].steps for slot in batch.slots]
        out = super().step(batch)
        self.now_s += STEP_S
        self.sizes[batch.bucket, batch.rows[-1] == batch.bucket - 1] += 1
        for slot, steps in zip(batch.slots, before, strict=True):
            if self._live[slot].steps > steps:
                row = self._desk[slot]
                codes = row[self._starts[1] : self._starts[2]].view(self.n_q, self._history)[:, steps % self._history]
                self.said[self.seeds[slot]].append((int(row[Column.MAIN]), int(row[Column.SECOND]), *codes.tolist()))
        return out


@dataclass
class Session:
    """``pieces``: after how many ticks so many words come, one after the other. ``cancelled``: the tick at which it is, if it
    is then still open."""

    seed: int
    voice: str
    begins: int
    pieces: list[tuple[int, int]]
    cancelled: int | None
    began: list[int] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    done: bool = False

    @property
    def words(self) -> int:
        return sum(count for _, count in self.pieces)

    def comes(self) -> list[tuple[int, int]]:
        """At which tick how many words come."""
        ticks, at = [], self.begins
        for gap, count in self.pieces:
            at += gap
            ticks.append((at, count))
        return ticks


@cache
def folder(made: str) -> Path:
    return write_tiny_tts(Path(made), codebooks=CODEBOOKS)


@cache
def logged(made: str, sizes: tuple[int, ...]) -> Logged:
    parts = load_tts(folder(made))
    voices = voice_names(folder(made) / "voices", parts.voice_suffix)
    model = Logged(parts, Buckets(sizes), voices=voices, default_voice=VOICES[0], temp=1.0)
    model.start()
    return model


@cache
def words(made: str) -> list[list[int]]:
    return [tokens for _, tokens in Splitter(load_tts(folder(made)).tokenizer.encode)(TEXT)]


@cache
def alone(made: str, seed: int, voice: str, count: int) -> tuple[list[tuple[int, ...]], list[int], np.ndarray]:
    """What it is fed and makes, the steps of its words, and its audio ``[frames, 1920]``."""
    model = logged(made, (1,))
    model.admit(0, voice, seed)
    model.give(0, words(made)[:count])
    model.end(0)
    began: list[int] = []
    frames: list[np.ndarray] = []
    while True:
        out = model.step(Batch((0,), (0,)))
        began += [int(out.step_index[0])] * int(out.words[0])
        if out.has_audio[0]:
            frames.append(out.pcm[0])
        if out.done[0]:
            model.free(0)
            return model.said[seed], began, np.stack(frames)


def sessions() -> st.SearchStrategy[list[Session]]:
    piece = st.tuples(st.integers(0, 30), st.integers(1, 4))
    one = st.builds(
        Session,
        seed=st.integers(0, 3),
        voice=st.sampled_from(VOICES),
        begins=st.integers(0, 60),
        pieces=st.lists(piece, min_size=1, max_size=3),
        cancelled=st.none() | st.integers(5, 150),
    )
    return st.lists(one, min_size=2, max_size=7)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("tts"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=sessions())
def test_each_session_says_what_it_says_alone(made, drawn):
    model = logged(made, SIZES)
    for i, one in enumerate(drawn):
        one.seed += 10 * i  # the log knows sessions by their seeds
    run(made, model, drawn)
    for one in drawn:
        said, began, pcm = alone(made, one.seed, one.voice, one.words)
        ours = model.said.get(one.seed, [])
        assert ours == said[: len(ours)]
        assert one.began == began[: len(one.began)]
        if one.frames:
            np.testing.assert_allclose(np.stack(one.frames), pcm[: len(one.frames)], atol=1e-4)
        if one.cancelled is None:
            assert one.done
            assert (len(ours), len(one.began), len(one.frames)) == (len(said), len(began), len(pcm))


def run(made: str, model: Logged, drawn: list[Session]) -> None:
    """The sessions on the model, until all are over."""
    model.start()
    service = TtsService(
        model,
        clock=lambda: model.now_s,
        metrics=TtsMetrics(CollectorRegistry()),
        ahead=model.ahead,
        queue=len(drawn),
    )
    service.warm(words(made)[0])
    model.start()
    by_name = {str(i): one for i, one in enumerate(drawn)}
    over: set[str] = set()
    for tick in range(5000):
        for name, one in by_name.items():
            if name in over:
                continue
            if tick == one.begins:
                service.opened(name, one.voice, one.seed)
            given = sum(count for at, count in one.comes() if at < tick)
            for at, count in one.comes():
                if at == tick:
                    service.words(name, words(made)[given : given + count])
                    given += count
            if tick == one.comes()[-1][0]:
                service.ended(name)
            if one.cancelled is not None and tick >= max(one.cancelled, one.begins):
                service.cancelled(name)
                over.add(name)
        before_s = model.now_s
        for name, event in service.tick().events:
            match event:
                case WordBegun(step=step):
                    by_name[name].began.append(step)
                case Frame(pcm=pcm):
                    by_name[name].frames.append(pcm)
                case Done():
                    by_name[name].done = True
                    over.add(name)
        if model.now_s == before_s:
            model.now_s += STEP_S
        if len(over) == len(by_name):
            break
    assert len(over) == len(by_name)
    assert service.used == 0


def test_what_is_compared_is_varied(made):
    drawn = [Session(i, VOICES[i % 3], 3 * i, [(0, 5), (10, 5)], None) for i in range(7)]
    model = logged(made, SIZES)
    run(made, model, drawn)
    for one in drawn:
        assert len(model.said[one.seed]) > 60  # the rings hold 24, and Mimi's 20 at two a frame
        made_codes = np.array(model.said[one.seed])[:, 2:]
        for codebook in made_codes.T[:, 20:]:
            assert len(set(codebook)) > 6
            assert Counter(codebook).most_common(1)[0][1] < len(codebook) / 2
    assert len({tuple(model.said[one.seed][20]) for one in drawn}) > 3
    # Batches were gathered from scattered rows, and were the lowest ones, and of every size.
    assert {size for size, _ in model.sizes} == set(SIZES)
    assert {lowest for _, lowest in model.sizes} == {True, False}
