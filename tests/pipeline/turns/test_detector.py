"""When turns begin and end: observations in, decisions out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.turns.detector import (
    AskVoice,
    AskWords,
    Decision,
    Ended,
    MaybeEnded,
    Observation,
    Parameters,
    Pause,
    SmartTurn,
    Started,
    Tick,
    TurnDetector,
    Voice,
    Withdrawn,
    Words,
)
from pipeline.turns.endpoint import MAX_WAIT_S

STEP_S = 0.032
SURE, UNSURE = (-0.1, -0.1), (-4.0, -4.0)


class Player:
    """Feeds windows of speech and silence, answers questions after a while, and follows the detector's timer."""

    def __init__(self, *, smart: float = 0.9, sentence: tuple[float, float] = SURE, answer: bool = True) -> None:
        self.detector = TurnDetector(Parameters(), sentence_end=lambda _words: sentence)
        self.now_s = 0.0
        self.seen: list[Decision] = []
        self._later: list[Observation] = []
        self._smart, self._answer = smart, answer

    def observe(self, what: Observation) -> None:
        for decision in self.detector.observe(what):
            self.seen.append(decision)
            if isinstance(decision, AskVoice) and self._answer:
                at_s = decision.time_s
                self._later.append(SmartTurn(at_s + 0.06, at_s, self._smart))
            if isinstance(decision, AskWords) and self._answer:
                self._later.append(Words(decision.time_s + 0.1, ("i", "like", "tea"), complete=True))

    def play(self, seconds: float, probability: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            for later in sorted([x for x in self._later if x.time_s <= self.now_s], key=lambda x: x.time_s):
                self._later.remove(later)
                self.observe(later)
            check_s = self.detector.next_check_s
            if check_s is not None and check_s <= self.now_s:
                self.observe(Tick(check_s))
            self.observe(Voice(self.now_s, probability))

    def of(self, kind: type) -> list[Decision]:
        return [d for d in self.seen if isinstance(d, kind)]


def test_a_sure_end_comes_soon() -> None:
    player = Player()
    player.play(0.5, 0.0)
    player.play(1.0, 0.95)
    player.play(2.5, 0.0)
    (started,), (ended,) = player.of(Started), player.of(Ended)
    assert started.onset_s == pytest.approx(0.5, abs=0.05)
    assert ended.end_s == pytest.approx(1.5, abs=0.05)
    assert 0.19 <= ended.time_s - ended.end_s <= 0.3
    assert not player.detector.in_turn


def test_an_unsure_end_comes_late_but_by_the_ceiling() -> None:
    player = Player(smart=0.05, sentence=UNSURE)
    player.play(1.0, 0.95)
    player.play(3.0, 0.0)
    (ended,) = player.of(Ended)
    assert 1.2 < ended.time_s - ended.end_s <= MAX_WAIT_S + 1e-6


def test_without_any_answer_the_ceiling_holds() -> None:
    player = Player(answer=False)
    player.play(1.0, 0.95)
    player.play(3.0, 0.0)
    (ended,) = player.of(Ended)
    assert ended.time_s - ended.end_s <= MAX_WAIT_S + 1e-6


def test_who_goes_on_in_time_is_not_cut_and_the_guess_is_withdrawn() -> None:
    player = Player(smart=0.6, sentence=(-1.0, -1.1))
    player.play(1.0, 0.95)
    player.play(0.4, 0.0)
    guesses = player.of(MaybeEnded)
    ended_early = bool(player.of(Ended))
    player.play(1.0, 0.95)
    if guesses and not ended_early:
        assert [w.revision for w in player.of(Withdrawn)] == [g.revision for g in guesses]
    player.play(3.0, 0.0)
    assert len(player.of(Ended)) == 1 + ended_early


def test_a_guess_is_confirmed_by_its_number() -> None:
    player = Player()
    player.play(1.0, 0.95)
    player.play(3.0, 0.0)
    (guess,), (ended,) = player.of(MaybeEnded), player.of(Ended)
    assert guess.time_s <= ended.time_s
    assert ended.revision == guess.revision == 1


def test_words_are_asked_for_once_a_pause_and_before_the_voice() -> None:
    player = Player()
    player.play(1.0, 0.95)
    player.play(0.16, 0.0)
    player.play(0.5, 0.95)
    player.play(3.0, 0.0)
    words, voice = player.of(AskWords), player.of(AskVoice)
    assert len(words) == len(voice) == 2
    assert all(w.time_s < v.time_s for w, v in zip(words, voice, strict=True))


def test_a_guess_holds_the_words_that_it_answers_and_falls_with_them() -> None:
    detector = TurnDetector(sentence_end=lambda _words: SURE)
    now = 0.0
    for probability in [0.95] * 30 + [0.0] * 4:
        now += STEP_S
        detector.observe(Voice(now, probability))
    (guess,) = [d for d in detector.observe(Words(now, ("i", "like"), complete=True)) if isinstance(d, MaybeEnded)]
    assert guess.words == ("i", "like")
    assert detector.observe(Words(now, ("i", "like"), final=True)) == []
    withdrawn, again = detector.observe(Words(now, ("i", "like", "tea"), final=True))
    assert withdrawn == Withdrawn(now, 1)
    assert isinstance(again, MaybeEnded)
    assert (again.revision, again.words) == (2, ("i", "like", "tea"))


def test_nothing_is_guessed_without_words() -> None:
    detector = TurnDetector(sentence_end=lambda _words: SURE)
    now = 0.0
    seen: list[Decision] = []
    for probability in [0.95] * 30 + [0.0] * 60:
        now += STEP_S
        seen += detector.observe(Voice(now, probability))
        if probability == 0.0:
            seen += detector.observe(SmartTurn(now, now, 0.99))
            seen += detector.observe(Words(now, (), complete=True))
    assert [d for d in seen if isinstance(d, MaybeEnded)] == []
    assert len([d for d in seen if isinstance(d, Ended)]) == 1


def test_a_click_begins_no_turn() -> None:
    player = Player()
    player.play(0.06, 0.95)
    player.play(1.0, 0.0)
    assert player.seen == []


def test_an_answer_about_audio_before_the_learner_went_on_is_dropped() -> None:
    detector = TurnDetector()
    now = 0.0
    for _ in range(30):
        now += STEP_S
        detector.observe(Voice(now, 0.95))
    asked = now
    for _ in range(8):
        now += STEP_S
        detector.observe(Voice(now, 0.0))
    for _ in range(10):
        now += STEP_S
        detector.observe(Voice(now, 0.95))
    for _ in range(4):
        now += STEP_S
        detector.observe(Voice(now, 0.0))
    late = detector.next_check_s
    detector.observe(SmartTurn(now, asked, 0.99))
    assert detector.next_check_s == late


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["voice", "smart", "words", "tick"]), st.floats(0.0, 0.4), st.floats(0.0, 1.0), st.booleans()
        ),
        max_size=120,
    )
)
def test_decisions_are_in_order_whatever_comes(events: Sequence[tuple[str, float, float, bool]]) -> None:
    detector = TurnDetector(sentence_end=lambda _words: (-1.0, -1.0))
    now = 0.0
    in_turn, open_guess, guesses = False, 0, 0
    for kind, pause_s, probability, flag in events:
        now += pause_s
        what: Observation = {
            "voice": Voice(now, probability),
            "smart": SmartTurn(now, now - 0.1, probability),
            "words": Words(now, ("one", "two") if probability < 0.7 else ("one",), final=flag, complete=probability > 0.2),
            "tick": Tick(now),
        }[kind]
        for decision in detector.observe(what):
            assert decision.time_s <= now + 1e-9
            match decision:
                case Started():
                    assert not in_turn
                    assert decision.onset_s <= decision.time_s
                    in_turn, open_guess, guesses = True, 0, 0
                case MaybeEnded():
                    assert in_turn
                    assert open_guess == 0
                    guesses += 1
                    assert decision.revision == guesses <= Parameters().max_guesses
                    open_guess = decision.revision
                case Withdrawn():
                    assert decision.revision == open_guess != 0
                    open_guess = 0
                case Ended():
                    assert in_turn
                    assert decision.revision == open_guess
                    assert decision.end_s <= decision.time_s
                    in_turn = False
        assert detector.in_turn == in_turn
        check_s = detector.next_check_s
        assert check_s is None or check_s >= now - 1e-9


@given(st.floats(0.0, 1.0), st.floats(-6.0, 0.0))
def test_a_silent_learner_never_keeps_the_turn(smart: float, sentence: float) -> None:
    player = Player(smart=smart, sentence=(sentence, sentence))
    player.play(0.5, 0.9)
    player.play(MAX_WAIT_S + 0.2, 0.0)
    assert len(player.of(Ended)) == 1


def test_words_that_came_while_the_voice_died_away_are_known_when_it_is_silent() -> None:
    detector = TurnDetector(sentence_end=lambda _words: SURE)
    now = 0.0
    for _ in range(30):
        now += STEP_S
        detector.observe(Voice(now, 0.95))
    now += STEP_S
    (asked,) = detector.observe(Voice(now, 0.9, quiet=True))
    assert isinstance(asked, AskWords)
    assert detector.observe(Voice(now + STEP_S, 0.8, quiet=True)) == []
    assert detector.observe(Words(now + STEP_S, ("i", "like", "tea"), complete=True)) == []
    (guess,) = [d for d in detector.observe(Voice(now + 2 * STEP_S, 0.1)) if isinstance(d, MaybeEnded)]
    assert guess.words == ("i", "like", "tea")


def test_words_from_before_a_voice_went_on_are_not_known_at_its_end() -> None:
    detector = TurnDetector(sentence_end=lambda _words: SURE)
    now = 0.0
    for _ in range(30):
        now += STEP_S
        detector.observe(Voice(now, 0.95))
    detector.observe(Voice(now + 0.03, 0.9, quiet=True))
    detector.observe(Words(now + 0.05, ("i", "like"), complete=True))
    detector.observe(Voice(now + 0.06, 0.95))
    assert not [d for d in detector.observe(Voice(now + 0.1, 0.1)) if isinstance(d, MaybeEnded)]


@pytest.mark.parametrize(("expected", "sooner"), [(0.99, True), (0.6, False), (0.01, False)])
def test_a_recogniser_that_expects_a_pause_ends_the_turn_sooner(expected: float, sooner: bool) -> None:
    def ended_after(probability: float | None) -> float:
        player = Player(smart=0.5, sentence=(-1.2, -1.2))
        player.play(1.0, 0.95)
        for _ in range(40):
            player.play(0.08, 0.0)
            if probability is not None:
                player.observe(Pause(player.now_s, probability))
        (ended,) = player.of(Ended)
        assert isinstance(ended, Ended)
        return ended.time_s - ended.end_s

    without, with_it = ended_after(None), ended_after(expected)
    assert (with_it < without - 0.01) is sooner
    assert (with_it > without + 0.01) is (expected < 0.5)


def test_a_pause_that_was_expected_while_the_voice_went_on_is_none() -> None:
    player, other = Player(), Player()
    for one in (player, other):
        one.play(1.0, 0.95)
        if one is player:
            one.observe(Pause(one.now_s, 0.99))
        one.play(3.0, 0.0)
    assert player.of(Ended) == other.of(Ended)
