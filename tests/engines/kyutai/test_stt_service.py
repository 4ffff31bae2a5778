"""The loop of speech to text on a model whose words can be foretold: records in, records out, no clock but the test's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.kyutai.link.channel import ERROR, OPEN
from engines.kyutai.schedule.backlog import FRAME
from engines.kyutai.stt_metrics import SttMetrics
from engines.kyutai.stt_records import (
    COMMIT,
    FLUSH,
    INIT,
    MARKER,
    PCM16,
    PCM32,
    STEP,
    TAKEN,
    TOLD,
    WITHDRAW,
    Stepped,
    floats,
    number,
    read_stepped,
    read_taken,
    samples,
)
from engines.kyutai.stt_service import SttService
from engines.wire.kyutai import Committed, EndWord, Flushed, Marker, Ready, SttOut, TimedWord, Word, unpack
from tests.engines.fake_stt import DELAY, FakeStt, spoken, written

FRAME_S = 0.08


class Desk:
    """A service, its clock and what it said. A step takes no time unless ``step_s`` says so."""

    def __init__(self, *, step_s: float = 0.0, **options: Any) -> None:
        self.model = FakeStt(options.pop("sizes", (1, 2, 4)))
        self.now_s = 0.0
        self.step_s = step_s
        self.said: dict[str, list[Any]] = {}
        inner = self.model.step
        self.model.step = self._slowly(inner)  # type: ignore[method-assign]
        self.metrics = SttMetrics()
        self.service = SttService(
            self.model, written, self._send, clock=lambda: self.now_s, metrics=self.metrics, gather_s=0.02, **options
        )
        self.service.warm()
        self.model.steps = 0

    def _slowly(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            self.now_s += self.step_s
            return inner(*arguments)

        return step

    def _send(self, session: str, kind: int, payload: bytes) -> None:
        said = self.said.setdefault(session, [])
        if kind == STEP:
            said.append(read_stepped(payload))
        elif kind == TOLD:
            said.append(unpack(payload, SttOut))
        elif kind == TAKEN:
            said.append(read_taken(payload))
        else:
            assert kind == ERROR
            said.append(payload.decode())

    def open(self, session: str) -> None:
        self.service.heard(session, OPEN, json.dumps({"extensions": None}).encode())
        self.run()

    def says(self, session: str, text: str) -> None:
        self.service.heard(session, PCM32, floats(spoken(text)))

    def run(self, most: int = 1000) -> None:
        """Until it has nothing more to do."""
        for _ in range(most):
            wait_s = self.service.tick()
            if wait_s is None:
                return
            self.now_s += wait_s
        pytest.fail("the service does not come to rest")

    def told(self, session: str, *kinds: type) -> list[Any]:
        return [one for one in self.said.get(session, []) if isinstance(one, kinds)]

    def text(self, session: str) -> str:
        return " ".join(one.text for one in self.told(session, Word))


def test_words_come_with_the_times_of_their_own_session() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", "." * 20)
    desk.run()
    desk.open("b")
    desk.says("b", " one two " + "." * DELAY)
    desk.run()
    # The frame of a word's end is its own: " one" begins when frame 0 has ended, "two" when frame 4 has.
    assert desk.told("b", Word, EndWord) == [
        Word("one", pytest.approx(0.08)),
        EndWord(pytest.approx(5 * FRAME_S)),
        Word("two", pytest.approx(5 * FRAME_S)),
        EndWord(pytest.approx(9 * FRAME_S)),
    ]
    assert desk.told("a", Word) == []
    assert [one.step for one in desk.told("b", Stepped)] == list(range(1, 16))


def test_who_comes_first_is_told_that_it_is_ready_and_who_finds_no_slot_is_refused() -> None:
    desk = Desk(sizes=(1, 2))
    for session in "abc":
        desk.open(session)
    assert desk.said["a"] == [Ready()]
    assert desk.said["c"] == ["no free channels"]
    desk.service.left("a")
    desk.open("d")
    assert desk.said["d"] == [Ready()]
    assert desk.service.status() == {"slots": 2, "slots_used": 2, "queue": 0}


def test_a_slot_is_new_for_its_next_session() -> None:
    desk = Desk(sizes=(1,))
    desk.open("a")
    desk.says("a", " secret")
    desk.run()
    desk.service.left("a")
    desk.open("b")
    desk.says("b", "." * 30)
    desk.run()
    assert desk.told("b", Word) == []


def test_a_marker_comes_back_when_all_before_it_was_written() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " words")
    desk.service.heard("a", PCM32, floats(spoken(" ")[:100]))
    desk.service.heard("a", MARKER, number(77))
    desk.says("a", "." * (DELAY - 1))
    desk.run()
    assert desk.told("a", Marker) == []
    desk.says("a", "..")
    desk.run()
    steps = [i for i, one in enumerate(desk.said["a"]) if isinstance(one, Stepped)]
    at = desk.said["a"].index(Marker(77))
    # The unfinished frame is the seventh; it is written after DELAY further ones.
    assert sum(i < at for i in steps) == 7 + DELAY
    assert desk.text("a") == "words"
    assert desk.said["a"].index(Word("words", pytest.approx(FRAME_S))) < at


@pytest.mark.parametrize("at_once", [True, False])
def test_a_marker_is_due_alike_whether_all_before_it_was_heard_already_or_not(at_once: bool) -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " words ")
    if not at_once:
        desk.run()
    desk.service.heard("a", MARKER, number(1))
    desk.says("a", "." * (DELAY + 3))
    desk.run()
    before = desk.said["a"][: desk.said["a"].index(Marker(1))]
    assert sum(isinstance(one, Stepped) for one in before) == 7 + DELAY


def test_no_more_markers_wait_than_can_be_kept() -> None:
    desk = Desk()
    desk.open("a")
    for name in range(257):
        desk.service.heard("a", MARKER, number(name))
    assert desk.said["a"] == [Ready(), "Marker: 256 wait, which is the most"]
    assert desk.service.status()["slots_used"] == 0


def test_init_begins_anew_with_the_same_extensions() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " gone")
    desk.run()
    desk.service.heard("a", PCM32, floats(spoken("x")[:500]))
    desk.service.heard("a", INIT, b"")
    desk.run()
    assert desk.told("a", int) == [4 * FRAME + FRAME + 500]
    desk.says("a", " new " + "." * DELAY)
    desk.run()
    assert desk.told("a", Ready) == [Ready(), Ready()]
    assert desk.told("a", Word) == [Word("new", pytest.approx(FRAME_S))]
    assert desk.told("a", Stepped)[-1].taken == 5 * FRAME + 500 + 11 * FRAME


def test_a_flush_tells_the_words_that_are_owed_and_leaves_no_trace() -> None:
    desk = Desk()
    for session in ("a", "b"):
        desk.open(session)
        desk.says(session, " hello you")
    desk.run()
    desk.service.heard("a", FLUSH, number(5))
    desk.run()
    assert desk.told("a", Flushed) == [
        Flushed(5, [TimedWord("hello", pytest.approx(0.08), pytest.approx(0.56)), TimedWord("you", pytest.approx(0.56))])
    ]
    desk.service.heard("a", WITHDRAW, number(5))
    for session in ("a", "b"):
        desk.says(session, " there " + "." * DELAY)
    desk.run()
    assert desk.told("a", Word, EndWord) == desk.told("b", Word, EndWord)
    assert desk.text("a") == "hello you there"


def test_a_flush_hears_the_unfinished_frame() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " it is")
    desk.service.heard("a", PCM32, floats(spoken("x")[:7]))
    desk.service.heard("a", FLUSH, number(1))
    desk.run()
    assert [one.text for one in desk.told("a", Flushed)[0].words] == ["it", "isx"]


def test_what_a_flush_told_and_was_committed_is_not_told_again() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " hello you")
    desk.run()
    desk.service.heard("a", FLUSH, number(1))
    desk.run()
    desk.service.heard("a", COMMIT, number(1))
    desk.says("a", " and then " + "." * DELAY)
    desk.run()
    assert desk.told("a", Committed) == [Committed(1, desk.told("a", Flushed)[0].words)]
    # The end of "you" is told by nobody: it was not written when the flush ended.
    assert desk.text("a") == "and then"


def test_a_commit_that_comes_late_brings_only_what_live_steps_have_not_told() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " hello you")
    desk.run()
    desk.service.heard("a", FLUSH, number(1))
    desk.run()
    desk.says("a", "...")
    desk.run()
    assert desk.text("a") == "hello"
    desk.service.heard("a", COMMIT, number(1))
    desk.says("a", "." * DELAY)
    desk.run()
    assert [one.text for one in desk.told("a", Committed)[0].words] == ["you"]
    assert desk.text("a") == "hello"


def test_a_commit_before_its_flush_is_complete_holds_once_it_is() -> None:
    desk = Desk()
    desk.open("a")
    desk.says("a", " hello")
    desk.service.heard("a", FLUSH, number(1))
    desk.service.heard("a", COMMIT, number(1))
    desk.service.heard("a", COMMIT, number(9))
    desk.run()
    assert [type(one) for one in desk.told("a", Flushed, Committed)] == [Committed, Flushed, Committed]
    assert desk.told("a", Committed) == [Committed(9, []), Committed(1, [TimedWord("hello", pytest.approx(0.08))])]


def test_a_flush_that_live_steps_overtook_says_so() -> None:
    # A step costs so much that a flush finds time only where no audio waits.
    desk = Desk(step_s=0.05)
    desk.open("a")
    desk.open("b")
    desk.says("a", " hello")
    desk.says("a", "." * 40)
    desk.service.heard("b", PCM32, floats(spoken(" hi")))
    desk.service.heard("b", FLUSH, number(3))
    desk.says("b", "." * 40)
    desk.run()
    (flushed,) = desk.told("b", Flushed)
    assert flushed == Flushed(3, [], True)
    assert desk.text("b") == "hi"


def test_a_deaf_slot_is_made_new_and_its_flush_is_over() -> None:
    desk = Desk(silent_s=1.0)
    desk.open("a")
    desk.model.deaf.add(0)
    desk.says("a", "loud" * 4)
    desk.run()
    desk.service.heard("a", FLUSH, number(1))
    desk.says("a", "." + " again " + "." * DELAY)
    desk.run()
    assert desk.model.deaf == set()
    assert desk.told("a", Flushed) == [Flushed(1, [], True)]
    assert desk.text("a") == "again"
    assert b"kyutai_stt_deaf_restarts_total 1.0" in desk.service.answer("metrics")


def test_more_than_the_backlog_is_dropped_and_counted() -> None:
    desk = Desk(backlog=10)
    desk.open("a")
    desk.says("a", "x" * 25 + " end " + "." * DELAY)
    desk.run()
    assert b"kyutai_stt_dropped_frames_total 26.0" in desk.service.answer("metrics")
    assert desk.told("a", Stepped)[-1].taken == (25 + 5 + DELAY) * FRAME
    assert desk.told("a", Stepped)[-1].step == 10


def test_audio_of_16_bits_is_heard_as_loud_as_it_is() -> None:
    full = np.array([-32768, 0, 16384], np.int16)
    assert samples(PCM16, full.tobytes()).tolist() == [-1.0, 0.0, 0.5]
    with pytest.raises(ValueError, match="finite"):
        floats([0.0, float("nan")])


def test_what_comes_late_of_a_session_that_went_is_no_error() -> None:
    desk = Desk()
    desk.open("a")
    desk.service.left("a")
    desk.service.left("a")
    for kind in (PCM32, INIT, FLUSH, COMMIT, MARKER):
        desk.service.heard("a", kind, number(1))
    desk.run()
    assert desk.service.status()["slots_used"] == 0


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.sampled_from(["says", "says", "says", "flush", "withdraw", "commit", "marker", "init", "leave"]),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(COMMANDS, st.sampled_from([0.0, 0.011, 0.05]), st.randoms(use_true_random=False))
def test_every_word_is_told_once_whatever_others_do(commands: list[tuple[str, str]], step_s: float, random: Any) -> None:
    """Words that live steps tell and words of committed flushes make up, together and in order, what was said."""
    desk = Desk(step_s=step_s, backlog=10_000)
    voices: dict[str, str] = {}
    flushes: dict[str, int] = {}
    plain: set[str] = set()
    for session, command in commands:
        if session not in voices:
            if command == "leave":
                continue
            desk.said.pop(session, None)
            desk.open(session)
            if desk.said[session] == ["no free channels"]:
                continue
            voices[session] = ""
            plain.add(session)
        if command == "says":
            word = "".join(random.choice("abcdefg") for _ in range(random.randint(1, 4)))
            voices[session] += f" {word} "
            desk.says(session, f" {word} ")
        elif command == "flush":
            flushes[session] = flushes.get(session, 0) + 1
            desk.service.heard(session, FLUSH, number(flushes[session]))
        elif command in ("withdraw", "commit") and session in flushes:
            desk.service.heard(session, WITHDRAW if command == "withdraw" else COMMIT, number(flushes[session]))
        elif command == "marker":
            desk.service.heard(session, MARKER, number(1))
        elif command == "init":
            voices[session] = ""
            desk.service.heard(session, INIT, b"")
            desk.run()
            desk.said[session] = []
        elif command == "leave":
            desk.service.left(session)
            del voices[session]
        for _ in range(random.randint(0, 3)):
            desk.now_s += desk.service.tick() or 0.0
    for session in voices:
        desk.says(session, "." * (DELAY + 1))
    desk.run()
    for session, voice in voices.items():
        told: list[str] = []
        for one in desk.said[session]:
            if isinstance(one, Word):
                told.append(one.text)
            elif isinstance(one, Committed):
                told += [word.text for word in one.words]
        assert told == voice.split()
    for session in voices:
        desk.service.left(session)
    assert desk.service.status() == {"slots": 4, "slots_used": 0, "queue": 0}
