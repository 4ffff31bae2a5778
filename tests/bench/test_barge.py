"""The trials of bench barge, how they are played, and what is counted."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipecat.audio.vad.vad_analyzer import VADParams, VADState

from bench.barge import did_stop, figures_of
from bench.barge_events import (
    ECHO_LOSS_DB,
    LATEST_S,
    LEVELS_DB,
    NOISE_LEVELS_DB,
    TUTOR_AT_S,
    Event,
    Tutor,
    build,
    echoing,
    impulse,
    over,
    tutor_sent,
)
from bench.barge_onset import starts_s
from bench.barge_players import (
    ORACLE_DELAY_S,
    ORACLE_FLUSH_S,
    WINDOW_S,
    Ears,
    Oracle,
    Outcome,
    Windows,
    call_states,
    outcome,
    play,
    play_stock,
    stock_states,
)
from bench.barge_sounds import (
    KINDS,
    RATE_HZ,
    SAID,
    VOICES,
    Sound,
    active_rms,
    at_level,
    backchannels,
    begins_s,
    noises,
    spread,
)
from pipeline.pipecat_private import load_silero
from pipeline.settings.tree import VADSettings
from pipeline.turns.barge import Ducked, Interrupted, Parameters, Resumed


def level_db(pcm) -> float:
    return 20 * float(np.log10(active_rms(pcm) / 32_768))


def tone(seconds: float, hz: float = 200.0) -> np.ndarray:
    return 3000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


TUTOR = Tutor(tone(10.0) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(10 * RATE_HZ) / RATE_HZ)), ())


def an_event(**changes) -> Event:
    event = over(Sound("cough", "a", "a", tone(0.5)), -35.0, TUTOR, random.Random(1), real=False)
    return replace(event, **changes)


# Sounds


@pytest.mark.parametrize("wanted_db", [*LEVELS_DB, *NOISE_LEVELS_DB])
def test_a_sound_gets_the_level_that_is_asked_for(wanted_db):
    with_pauses = np.concatenate([tone(0.3), np.zeros(RATE_HZ), tone(0.2)])
    assert level_db(at_level(with_pauses, wanted_db)) == pytest.approx(wanted_db, abs=0.1)


def test_an_onset_is_where_the_sound_becomes_loud():
    assert begins_s(np.concatenate([np.full(RATE_HZ // 2, 3.0), tone(0.3)])) == pytest.approx(0.5, abs=0.011)


def test_made_noises_are_the_same_each_time_and_differ_from_one_another():
    first, second = noises(None), noises(None)
    assert [n.name for n in first] == [n.name for n in second]
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(first, second, strict=True))
    assert {n.kind for n in first} == set(KINDS)
    assert len({n.pcm.tobytes() for n in first}) == len(first)


def test_made_noises_are_as_long_as_what_they_stand_for():
    for noise in noises(None):
        assert 0.3 <= len(noise.pcm) / RATE_HZ <= 2.1
        assert np.isfinite(noise.pcm).all()
        assert active_rms(noise.pcm) > 0


def test_backchannels_are_of_many_voices_and_short(tmp_path):
    sounds = backchannels(tmp_path, VOICES[:2])
    assert len([s for s in sounds if "hummed" not in s.source]) == 2 * len(SAID)
    assert len(VOICES) >= 4
    assert max(len(s.pcm) for s in sounds) / RATE_HZ < 1.0
    for sound in sounds:
        assert sound.words[-1].end_s == pytest.approx(len(sound.pcm) / RATE_HZ)


def test_words_are_spread_over_the_whole_sound():
    words = spread("got it", tone(1.0))
    assert [(w.text, w.start_s, w.end_s) for w in words] == [("got", 0.0, 0.6), ("it", 0.6, pytest.approx(1.0))]


# Trials


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, speech_dir: Path):
    return build(tmp_path_factory.mktemp("barge"), speech_dir, quick=True)


def test_there_are_all_kinds_at_all_levels_in_both_halves(built):
    events, made_of = built
    assert made_of["noises"] in ("made", "recorded")
    for kind, levels in {**dict.fromkeys(KINDS, NOISE_LEVELS_DB), "backchannel": LEVELS_DB, "learner": LEVELS_DB}.items():
        for half in (0, 1):
            assert {e.level_db for e in events if e.kind == kind and e.half == half} == set(levels), (kind, half)
    assert sum(e.kind == "echo" for e in events) >= 48
    assert all(e.real == (e.kind == "learner") for e in events)


def test_no_voice_or_recording_is_in_both_halves(built):
    events, _ = built
    halves = {(e.kind, e.source, e.half) for e in events}
    assert len(halves) == len({(kind, source) for kind, source, _ in halves})


def test_an_event_lies_where_it_says_and_there_is_time_after_it(built):
    events, _ = built
    for event in events:
        assert TUTOR_AT_S <= event.onset_s < event.end_s
        assert len(event.mic) / RATE_HZ >= event.end_s + 3.0
        assert event.echo is not None or event.onset_s <= LATEST_S + 1.0
        quiet = event.mic[: round((event.onset_s - 0.1) * RATE_HZ)] if event.echo is None else event.mic
        assert level_db(quiet.astype(float)) < -60.0


def test_trials_of_one_seed_are_the_same():
    first = over(Sound("door", "d", "d", tone(0.4)), -35.0, TUTOR, random.Random(4), real=False)
    second = over(Sound("door", "d", "d", tone(0.4)), -35.0, TUTOR, random.Random(4), real=False)
    assert np.array_equal(first.mic, second.mic)
    assert first.onset_s == second.onset_s


def test_an_echo_is_20_db_below_what_is_sent():
    room = impulse(0.05, 3)
    assert 10 * np.log10((room**2).sum()) == pytest.approx(-ECHO_LOSS_DB)
    assert not room[: round(0.05 * RATE_HZ)].any()
    event = echoing(TUTOR, -25.0, 0, random.Random(2))
    assert level_db(tutor_sent(event)) == pytest.approx(-25.0, abs=0.1)
    assert event.level_db == -45.0


# Playing


def windows_of(probabilities: list[float]) -> Windows:
    return Windows(probabilities, [1.0] * len(probabilities), [-30.0] * len(probabilities))


def test_the_stock_detector_needs_six_windows_and_a_call_two_with_a_sure_one():
    voice = windows_of([0.0] * 5 + [0.8] * 3 + [0.99] * 4 + [0.0] * 10)
    assert starts_s(stock_states(voice, VADParams())) == [pytest.approx(11 * WINDOW_S)]
    assert starts_s(call_states(voice, VADSettings())) == [pytest.approx(9 * WINDOW_S)]
    cough = windows_of([0.0] * 5 + [0.9] * 5 + [0.0] * 10)
    assert starts_s(call_states(cough, VADSettings())) == []
    assert VADState.SPEAKING not in stock_states(cough, VADParams())


def test_the_oracle_gives_words_late_and_all_at_the_end():
    oracle, words = Oracle(), [("wait", 1.3), ("please", 1.9), ("later", 9.0)]
    oracle.begin(1.1, b"")
    assert oracle.feed(1.2, b"", words) is None
    first = oracle.feed(1.3 + ORACLE_DELAY_S, b"", words)
    assert first is not None
    assert (first.words, first.final) == (("wait",), False)
    assert oracle.feed(1.9, b"", words) is None
    final = oracle.end(2.0, words)
    assert final is not None
    assert (final.words, final.final, final.time_s) == (("wait", "please"), True, pytest.approx(2.0 + ORACLE_FLUSH_S))


def test_a_quiet_room_loses_no_turn_to_either():
    ears = Ears(load_silero())
    event = an_event(mic=np.zeros(4 * RATE_HZ, np.int16))
    assert play_stock(event, ears, VADParams()).lost_s is None
    assert play(event, ears, VADSettings(), Parameters(), Oracle()) == Outcome(event, None)


def test_a_learner_stops_both_and_parley_holds_the_tutor_first(built):
    events, _ = built
    event = next(e for e in events if e.real and e.level_db == LEVELS_DB[0])
    ears = Ears(load_silero())
    stock = play_stock(event, ears, VADParams())
    ours = play(event, ears, VADSettings(), Parameters(), Oracle())
    assert did_stop(stock)
    assert did_stop(ours)
    assert ours.ducked_s is not None
    assert stock.lost_s is not None
    assert event.onset_s < ours.ducked_s < stock.lost_s


def test_an_echo_stops_while_the_tutor_is_held(built):
    events, _ = built
    event = next(e for e in events if e.kind == "echo" and e.tutor_level_db == -15.0)
    ears = Ears(load_silero())
    assert play_stock(event, ears, VADParams()).lost_s is not None
    ours = play(event, ears, VADSettings(), replace(Parameters(), overturn_s=0.0), Oracle())
    assert ours.resumed, "at first an echo is not known to be one"
    assert ours.lost_s is None or ours.lost_s > ours.resumed[0]


# Counting


def test_a_turn_is_lost_if_it_is_stopped_or_never_goes_on():
    event = an_event()
    assert outcome(event, []).lost_s is None
    held = outcome(event, [Ducked(3.0, 2.9), Resumed(3.5, "noise")])
    assert (held.lost_s, held.ducked_s, held.resumed) == (None, 3.0, (0.5,))
    assert outcome(event, [Ducked(3.0, 2.9)]).lost_s == 3.0
    stopped = outcome(event, [Ducked(3.0, 2.9), Resumed(3.5, "noise"), Interrupted(4.0, 2.9, late=True)])
    assert (stopped.lost_s, stopped.late) == (4.0, True)


def test_figures_count_each_kind_and_level():
    real = an_event(real=True, kind="learner", onset_s=2.0, end_s=4.0, level_db=-45.0)
    outcomes = [
        Outcome(an_event(), None, 2.5, (0.4,)),
        Outcome(an_event(), 3.0, 2.5),
        Outcome(real, 2.7, 2.1),
        Outcome(real, 5.5, 2.2),
        Outcome(real, None),
    ]
    figures = figures_of(outcomes)
    assert figures["false_interruption_lost"] == 0.5
    assert figures["real_stopped"] == pytest.approx(1 / 3, abs=0.001), "the second one stops long after the learner"
    assert figures["resume_p50_ms"] == 400.0
    assert figures["duck_p50_ms"] == 150.0
    assert figures["stop_p50_ms"] == 700.0
    assert figures["by_kind"]["cough -35 dBFS"]["lost_n"] == 2
    assert figures["by_kind"]["learner -45 dBFS"]["stopped_n"] == 3
    low, high = figures["real_stopped_ci95"]
    assert 0.0 < low < 1 / 3 < high < 1.0
