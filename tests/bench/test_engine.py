"""What ``python -m bench engine`` makes of what its clients saw, and its clients at real servers of a tiny model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.engine import PLANS, check, figures_of, interpreter
from bench.engine_load import ROOT, Clients, EngineServer, Level, highest_held, hopeless

HEARD = Level(4, step_ms=[5.0] * 99, answer_ms=[30.0] * 200, flush_ms=[50.0] * 20)
SPOKEN = Level(4, step_ms=[5.0] * 99, frames=200, audio_s=16.0, window_s=4.0, ttfa_ms=[100.0, 120.0])
ENVIRONMENT = ROOT / ".venv-engines-test" / "bin" / "python"
CORES = sorted(os.sched_getaffinity(0))


def level(of: Level, sessions: int, **changed: object) -> Level:
    return Level(**{**{name: getattr(of, name) for name in Level.__slots__}, "sessions": sessions, **changed})


def test_frames_are_held_where_ninety_nine_of_a_hundred_are_answered_before_the_next_and_none_is_lost():
    assert HEARD.held_stt()
    assert level(HEARD, 4, answer_ms=[30.0] * 198 + [500.0]).held_stt()
    assert not level(HEARD, 4, answer_ms=[30.0] * 196 + [500.0] * 4).held_stt()
    assert not level(HEARD, 4, missing=1).held_stt()
    assert not level(HEARD, 4, answer_ms=[]).held_stt()
    assert not level(HEARD, 4, errors=("it went",)).held_stt()


def test_a_stream_is_held_where_it_has_no_hole_and_comes_in_real_time():
    assert SPOKEN.held_tts()
    assert not level(SPOKEN, 4, underruns_ms=[21.0]).held_tts()
    assert not level(SPOKEN, 5).held_tts()  # one of them said nothing
    assert not level(SPOKEN, 4, errors=("it went",)).held_tts()


def test_the_largest_number_that_was_held_counts_and_two_beyond_it_are_tried():
    bad = {"missing": 3}
    levels = [HEARD, level(HEARD, 8, **bad), level(HEARD, 16, **bad), level(HEARD, 16), level(HEARD, 32, **bad)]
    assert highest_held(levels, Level.held_stt) == 16
    assert not hopeless(levels, Level.held_stt)
    assert hopeless([*levels, level(HEARD, 64, **bad)], Level.held_stt)
    assert highest_held([level(HEARD, 1, **bad)], Level.held_stt) == 0
    assert hopeless([level(HEARD, 1, **bad), level(HEARD, 8, **bad)], Level.held_stt)


def test_figures_name_the_flush_at_the_number_that_both_held_and_launches_without_views():
    one = {"operations": 12, "launches": 5, "waits": 0}
    steps = {"operations": 100, "launches": 60, "waits": 0}
    counted = {"stt_step": steps, "tts_step": steps, "stt_admission": one, "tts_admission": one | {"operations": 9}}
    tables = {"stt": [HEARD, level(HEARD, 8, flush_ms=[90.0] * 5), level(HEARD, 16, missing=1)], "tts": [SPOKEN]}
    found = figures_of(tables, 4, [80.0, 90.0], counted, {"stt": 2_000_000, "tts": 3_000_000})  # type: ignore[arg-type]
    assert (found["stt_sessions"], found["stt_flush_p95_ms"], found["stt_flush_n"]) == (8, 50.0, 20)
    assert (found["ops_per_stt_step"], found["ops_per_admission"]) == (60, 12)
    assert (found["tts_streams"], found["tts_ttfa_p95_ms"], found["mb_per_slot"]) == (4, 89.5, 2.0)
    assert found["tts_ttfa_ms"]["4"]["n"] == 2


def test_goals_of_a_gpu_are_not_asked_of_a_cpu():
    ours = {"stt_sessions": 64, "tts_streams": 8, "ops_per_admission": 12}
    peer = {"stt_sessions": 32, "tts_streams": 9}
    assert {name for name, entry in check(ours, peer, 2.0, "cpu").items() if not entry["ok"]} == {"tts_streams"}
    on_gpu = check(ours, peer, 22.0, "cuda")
    assert {name for name, entry in on_gpu.items() if not entry["ok"]} == {
        "tts_streams",
        "stt_sessions goal",
        "tts_streams goal",
        "client_late_p99_ms",
    }


def test_levels_rise_and_every_plan_has_one():
    for plan in PLANS.values():
        for levels in (plan.stt_levels, plan.tts_levels):
            assert list(levels) == sorted(set(levels))
            assert levels[0] == 1


def test_a_missing_environment_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("bench.engine.ROOT", tmp_path)
    with pytest.raises(RuntimeError, match=r"^\.venv-engines is not there; `make engines` makes it$"):
        interpreter("cuda")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not ENVIRONMENT.is_file():
        pytest.skip("the engines' environment is not there")
    made = tmp_path_factory.mktemp("models")
    for kind in ("stt", "tts"):
        command = [ENVIRONMENT, "-m", f"tests.engines.tiny_{kind}", made / kind]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return made


@pytest.mark.parametrize("side", ["ours", "moshi"])
async def test_speakers_are_answered_by_both_sides(folder: Path, side):
    settings = {"model": str(folder / "stt"), "slots": 3, "device": "cpu", "dtype": "float32", "front_ends": 1}
    async with (
        EngineServer(ENVIRONMENT, side, "stt", settings, CORES) as server,
        Clients(server, side, "stt", [CORES[0], CORES[-1]]) as clients,
    ):
        await clients.add(3)
        seen = await clients.measure(6.0)
    assert (seen.sessions, seen.errors) == (3, ())
    assert len(seen.answer_ms) + seen.missing >= 3 * 60
    assert len(seen.flush_ms) >= 3  # one of each speaker in 5 s
    assert len(seen.step_ms) > 60


@pytest.mark.parametrize("side", ["ours", "moshi"])
async def test_listeners_are_spoken_to_by_both_sides(folder: Path, side):
    settings = {"model": str(folder / "tts"), "slots": 3, "device": "cpu", "dtype": "float32", "front_ends": 1}
    async with (
        EngineServer(ENVIRONMENT, side, "tts", settings, CORES) as server,
        Clients(server, side, "tts", [CORES[-1]]) as clients,
    ):
        await clients.add(2)
        seen = await clients.measure(2.0)
        first = await clients.ttfa(2)
    assert (seen.sessions, seen.errors) == (2, ())
    assert seen.frames > 0
    assert seen.audio_s == pytest.approx(0.08 * seen.frames)
    assert len(first) == 2
    assert all(0 < one < 10_000 for one in first)


async def test_a_server_that_does_not_start_says_why(folder: Path, tmp_path: Path):
    settings = {"model": str(tmp_path), "slots": 1, "device": "cpu", "dtype": "float32", "front_ends": 1}
    with pytest.raises(RuntimeError, match=r"the engine did not start: .*config\.json"):
        async with EngineServer(ENVIRONMENT, "ours", "stt", settings, CORES):
            pass
