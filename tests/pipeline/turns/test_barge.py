"""Whether who speaks over the tutor wants the turn: observations in, verdicts out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.turns.barge import (
    BACKCHANNELS,
    Backchannel,
    BargeIn,
    Decision,
    Ducked,
    Interrupted,
    Observation,
    Parameters,
    Resumed,
    Speech,
    Started,
    Tick,
    Tutor,
    Voice,
    VoiceEdge,
    Words,
    is_backchannel,
    repeats,
)

STEP_S = 0.032
VOICE, SILENCE = (0.95, -25.0), (0.02, -65.0)


class Player:
    """Plays windows to a ``BargeIn`` and follows its timer; a detector of 0.2 s beside it gives the edges."""

    def __init__(self, parameters: Parameters | None = None, *, tutor: bool = True) -> None:
        self.barge = BargeIn(parameters)
        self.now_s = 100.0
        self.seen: list[Decision] = []
        self._speaking, self._run = False, 0
        if tutor:
            self.observe(Tutor(self.now_s, True))
        self.play(0.5, *SILENCE)

    def observe(self, what: Observation) -> None:
        self.seen += self.barge.observe(what)

    def play(self, seconds: float, probability: float, level_db: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            check_s = self.barge.next_check_s
            self.now_s += STEP_S
            if check_s is not None and check_s <= self.now_s:
                self.observe(Tick(check_s))
            self.observe(Voice(self.now_s, probability, level_db))
            self._run = self._run + 1 if (probability >= 0.7) != self._speaking else 0
            if self._run == 6:
                self._speaking, self._run = not self._speaking, 0
                self.observe(VoiceEdge(self.now_s, self._speaking, self.now_s - 0.2))

    def voice(self, seconds: float) -> None:
        self.play(seconds, *VOICE)

    def silence(self, seconds: float) -> None:
        self.play(seconds, *SILENCE)

    def words(self, text: str, *, final: bool = False, confidence: float | None = None) -> None:
        self.observe(Words(self.now_s, tuple(text.split()), final, confidence))

    def kinds(self) -> list[type]:
        return [type(d) for d in self.seen]


def test_a_voice_that_goes_on_interrupts_within_the_time_of_a_verdict() -> None:
    player = Player()
    begun_s = player.now_s
    player.voice(1.0)
    ducked, interrupted = player.seen
    assert isinstance(ducked, Ducked)
    assert isinstance(interrupted, Interrupted)
    assert ducked.onset_s == pytest.approx(begun_s, abs=STEP_S)
    assert ducked.time_s - begun_s <= 0.13
    assert interrupted.time_s - ducked.time_s == pytest.approx(0.6, abs=STEP_S)
    assert player.barge.in_turn


@pytest.mark.parametrize(("seconds", "why"), [(0.13, "noise"), (0.2, "noise"), (0.35, "backchannel"), (0.5, "backchannel")])
def test_a_short_voice_lets_the_tutor_go_on(seconds: float, why: str) -> None:
    player = Player()
    player.voice(seconds)
    player.silence(3.0)
    ducked, resumed = player.seen
    assert isinstance(ducked, Ducked)
    assert resumed == Resumed(resumed.time_s, why)  # type: ignore[arg-type]
    assert resumed.time_s - ducked.time_s <= 0.6 + 1e-6
    assert not player.barge.in_turn


def test_a_voice_that_the_detector_does_not_report_is_none() -> None:
    player = Player()
    for _ in range(40):
        player.now_s += STEP_S
        player.observe(Voice(player.now_s, 0.65, -45.0))
    assert Interrupted not in player.kinds()
    assert player.kinds()[:2] == [Ducked, Resumed]


def test_who_insists_is_believed_before_the_detector_does() -> None:
    player = Player()
    player.play(0.9, 0.65, -55.0)
    assert player.kinds() == [Ducked, Resumed, Ducked]
    player.play(0.6, 0.65, -55.0)
    assert player.kinds() == [Ducked, Resumed, Ducked, Interrupted]


def test_one_word_of_the_tutors_own_overturns_no_verdict() -> None:
    for word, after in (("market", [Ducked, Resumed]), ("sorry", [Ducked, Resumed, Interrupted])):
        player = Player()
        player.barge.speech = Speech(("at", "the", "market", "on"))
        player.voice(0.3)
        player.silence(0.5)
        player.words(word, final=True, confidence=0.9)
        assert player.kinds() == after


def test_a_click_does_not_even_duck() -> None:
    player = Player()
    player.voice(0.06)
    player.silence(1.0)
    assert player.seen == []


def test_words_that_are_no_backchannel_interrupt_at_once() -> None:
    player = Player()
    player.voice(0.35)
    player.words("wait a moment")
    assert player.kinds() == [Ducked, Interrupted]
    assert player.seen[1].time_s - player.seen[0].time_s < 0.3


@pytest.mark.parametrize("text", ["mm hmm", "i see", "yeah okay", "that's right"])
def test_a_backchannel_is_recorded_and_takes_no_turn(text: str) -> None:
    player = Player()
    player.voice(0.45)
    player.silence(0.4)
    player.words(text, final=True, confidence=0.9)
    player.silence(1.0)
    assert player.kinds() == [Ducked, Resumed, Backchannel]
    assert player.seen[-1] == Backchannel(player.seen[-1].time_s, tuple(text.split()))
    assert not player.barge.in_turn


def test_one_or_two_words_that_may_still_change_are_no_reason() -> None:
    player = Player()
    player.voice(0.35)
    player.words("anna")
    player.words("and the")
    player.silence(1.0)
    assert player.kinds() == [Ducked, Resumed]


def test_a_backchannel_that_goes_on_is_a_turn() -> None:
    player = Player()
    player.voice(0.4)
    player.words("yeah")
    player.voice(0.5)
    assert player.kinds() == [Ducked, Interrupted]


def test_short_words_that_come_late_interrupt_after_all() -> None:
    player = Player()
    player.voice(0.3)
    player.silence(0.5)
    assert player.kinds() == [Ducked, Resumed]
    player.words("stop", final=True, confidence=0.9)
    assert player.kinds() == [Ducked, Resumed, Interrupted]
    assert isinstance(player.seen[-1], Interrupted)
    assert player.seen[-1].late


@pytest.mark.parametrize(("seconds", "confidence"), [(0.3, 0.6), (0.15, 0.9)])
def test_words_that_a_recogniser_makes_of_a_noise_do_not(seconds: float, confidence: float) -> None:
    player = Player()
    player.voice(seconds)
    player.silence(0.5)
    player.words("the", final=True, confidence=confidence)
    player.silence(1.0)
    assert player.kinds() == [Ducked, Resumed]


def test_words_of_the_turn_before_interrupt_nothing() -> None:
    player = Player(tutor=False)
    player.voice(1.0)
    player.silence(0.3)
    assert player.kinds() == [Started]
    player.barge.turn_over()
    player.observe(Tutor(player.now_s, True))
    player.silence(0.3)
    assert player.barge.owner(now_s=player.now_s) == "before"
    player.words("with my sister", final=True)
    player.silence(1.0)
    assert player.kinds() == [Started]
    assert not player.barge.in_turn


def test_words_of_the_turn_before_do_not_decide_about_a_cough() -> None:
    player = Player(tutor=False)
    player.voice(1.0)
    player.silence(0.3)
    player.barge.turn_over()
    player.observe(Tutor(player.now_s, True))
    player.voice(0.3)
    player.words("with my sister", final=True, confidence=0.9)
    player.silence(1.0)
    assert player.kinds() == [Started, Ducked, Resumed]


def test_whose_words_are() -> None:
    player = Player()
    player.voice(0.4)
    player.silence(0.3)
    assert player.barge.owner(now_s=player.now_s) == "nobody"
    player.words("mm", final=True)
    player.observe(Tutor(player.now_s, False))
    player.voice(0.5)
    assert player.barge.owner(now_s=player.now_s) == "turn"


def test_a_turn_keeps_the_words_with_which_it_began_hesitantly() -> None:
    player = Player()
    player.voice(0.3)
    player.silence(0.35)
    player.voice(1.0)
    assert player.kinds() == [Ducked, Resumed, Ducked, Interrupted]
    assert player.barge.owner(now_s=player.now_s) == "turn"


def test_yes_to_the_end_of_a_question_is_an_answer() -> None:
    player = Player()
    player.barge.speech = Speech(left_s=0.3)
    player.voice(0.35)
    player.silence(0.5)
    assert player.kinds() == [Ducked, Interrupted]


def test_a_learner_who_speaks_when_the_tutor_is_silent_starts_at_once() -> None:
    player = Player(tutor=False)
    player.voice(0.25)
    assert player.kinds() == [Started]


def test_who_still_speaks_when_the_tutor_ends_has_the_turn() -> None:
    player = Player()
    player.voice(0.2)
    player.observe(Tutor(player.now_s, False))
    assert player.kinds() == [Ducked, Started]


def speechlike_levels(count: int) -> list[float]:
    """Levels in dBFS that change as syllables and pauses do."""
    pattern = [-70.0, -32.0, -22.0, -26.0, -45.0, -20.0, -24.0, -30.0, -60.0, -18.0, -21.0, -40.0, -28.0]
    return [pattern[(i * 7 + i // 13) % 13] if i % 3 else pattern[i % 13] for i in range(count)]


def play_with_echo(player: Player, levels: list[float], *, lag: int, loss_db: float, other: list[float | None]) -> None:
    """The tutor's levels (20 ms each) are played and come back; ``other`` are a learner's own levels over it."""
    start_s = player.now_s
    for i, level in enumerate(levels):
        player.now_s = start_s + 0.02 * (i + 1)
        silent = player.barge.held
        player.barge.echo.played(player.now_s, -75.0 if silent else level)
        levels[i] = -75.0 if silent else level
        back = max(-75.0, levels[i - lag] - loss_db) if i >= lag else -75.0
        own = other[i]
        heard = max(back, own) if own is not None else back
        if own is not None and (other[i - 5] is None) and other[i - 4] is not None:
            player.observe(VoiceEdge(player.now_s, True, player.now_s - 0.1))
        player.observe(Voice(player.now_s, 0.9 if heard > -60.0 else 0.05, heard, 0.02))


def test_an_echo_is_learnt_and_then_does_not_even_duck() -> None:
    player = Player()
    levels = speechlike_levels(500)
    play_with_echo(player, levels, lag=8, loss_db=20.0, other=[None] * 500)
    assert not [d for d in player.seen if isinstance(d, (Interrupted, Started))]
    echo = player.barge.echo
    assert echo.delay_s == pytest.approx(0.16, abs=0.041)
    assert echo.loss_db == pytest.approx(20.0, abs=3.0)
    late = [d for d in player.seen if isinstance(d, Ducked) and d.time_s > player.now_s - 5.0]
    assert late == []


def test_a_learner_is_heard_through_the_echo() -> None:
    player = Player()
    play_with_echo(player, speechlike_levels(400), lag=8, loss_db=20.0, other=[None] * 400)
    player.seen.clear()
    own: list[float | None] = [None] * 50 + [-20.0] * 60
    play_with_echo(player, speechlike_levels(110), lag=8, loss_db=20.0, other=own)
    assert player.kinds() == [Ducked, Interrupted]


def test_backchannels() -> None:
    assert all(is_backchannel(phrase) for phrase in BACKCHANNELS)
    assert is_backchannel(("Mm-hmm",))
    assert is_backchannel(("yeah", "i", "see"))
    assert not is_backchannel(("yeah", "i", "think"))
    assert not is_backchannel(())
    assert not is_backchannel(("yes",) * 5)
    assert is_backchannel(("i",), unfinished=True)
    assert not is_backchannel(("i",))


def test_what_repeats_the_tutor() -> None:
    said = ("do", "you", "like", "tea")
    assert repeats(("you", "like"), said)
    assert not repeats(("tea",), said)
    assert not repeats(("like", "you"), said)
    assert not repeats((), said)


OBSERVATIONS = st.lists(
    st.tuples(
        st.sampled_from(["voice", "edge", "words", "tutor", "over", "tick"]),
        st.floats(0.005, 0.3),
        st.floats(0.0, 1.0),
        st.booleans(),
        st.sampled_from(["mm", "yes", "stop now", "i", "", "the"]),
        st.floats(-75.0, 0.0),
    ),
    max_size=150,
)


@given(OBSERVATIONS)
def test_every_hold_ends_in_time_and_once(steps: list[tuple[str, float, float, bool, str, float]]) -> None:
    barge = BargeIn()
    now_s = 10.0
    held_since: float | None = None
    tutor = False
    for kind, gap_s, probability, flag, text, level_db in steps:
        until_s = now_s + gap_s
        check_s = barge.next_check_s
        observations: list[Observation] = [Tick(check_s)] if check_s is not None and check_s <= until_s else []
        now_s = until_s
        match kind:
            case "voice":
                observations.append(Voice(now_s, probability, level_db))
                barge.echo.played(now_s, level_db)
            case "edge":
                observations.append(VoiceEdge(now_s, flag, now_s - 0.1))
            case "words":
                observations.append(Words(now_s, tuple(text.split()), flag, probability))
            case "tutor":
                tutor = flag
                observations.append(Tutor(now_s, flag))
            case "over" if barge.in_turn:
                barge.turn_over()
            case _:
                observations.append(Tick(now_s))
        for observation in observations:
            was_in_turn = barge.in_turn
            for decision in barge.observe(observation):
                assert decision.time_s == observation.time_s
                match decision:
                    case Ducked():
                        assert held_since is None
                        assert tutor
                        assert not was_in_turn
                        held_since = decision.time_s
                    case Resumed():
                        assert held_since is not None
                        assert decision.time_s - held_since <= 0.6 + 1e-6
                        held_since = None
                    case Interrupted():
                        assert (held_since is None) == decision.late
                        assert held_since is None or decision.time_s - held_since <= 0.6 + 1e-6
                        assert not was_in_turn
                        held_since = None
                    case Started():
                        assert not was_in_turn
                        held_since = None
                    case Backchannel():
                        assert is_backchannel(decision.words)
            assert barge.held == (held_since is not None)
            assert not (barge.held and barge.in_turn)


@given(st.floats(0.1, 0.9), st.floats(0.2, 1.5), st.integers(0, 3))
def test_whatever_the_settings_a_long_voice_stops_the_tutor(verdict_s: float, seconds: float, pauses: int) -> None:
    player = Player(Parameters(verdict_s=verdict_s))
    for _ in range(pauses):
        player.voice(0.2)
        player.silence(0.1)
    player.voice(verdict_s + seconds + 0.1)
    assert sum(isinstance(d, Interrupted) for d in player.seen) == 1
    assert player.barge.in_turn
