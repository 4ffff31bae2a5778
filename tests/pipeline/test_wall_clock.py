"""Clocks for people, while the system's clock is set back and forward. Pure: both clocks are given."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipeline.wall_clock import PatientClock, WallClock

HOUR_S = 3600.0


@dataclass
class Machine:
    """A machine whose clock can be set."""

    real: float = 50.0
    offset: float = 1_000_000.0

    def wall(self) -> float:
        return self.real + self.offset

    def monotonic(self) -> float:
        return self.real


def test_it_tells_the_systems_time():
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    machine.real += 10
    assert clock.now() == machine.wall()


def test_a_clock_set_forward_is_followed_at_once_and_one_set_back_in_time():
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    machine.offset += HOUR_S
    assert clock.now() == machine.wall()
    machine.offset -= HOUR_S
    machine.real += 10
    assert clock.now() == machine.wall() + HOUR_S - 5
    machine.real += 2 * HOUR_S
    assert clock.now() == machine.wall()


@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(-1e5, 1e5)), max_size=30))
def test_what_comes_later_is_later_and_durations_are_true(steps):
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    last = clock.now()
    session = clock.from_here()
    began, real = session(), machine.real
    for passed, set_by in steps:
        machine.real += passed
        machine.offset += set_by
        assert clock.now() > last
        last = clock.now()
        assert abs((session() - began) - (machine.real - real)) < 1e-6


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e7, 1e7)), max_size=30))
def test_no_setting_of_the_clock_makes_anything_older_than_it_is(steps):
    machine = Machine()
    clock = PatientClock(machine.wall, machine.monotonic)
    born, real = machine.wall(), machine.real
    for passed, set_by in steps:
        machine.real += passed
        machine.offset += set_by
        assert clock.now() - born <= machine.real - real + 1e-6


def test_without_any_setting_things_grow_old():
    machine = Machine()
    clock = PatientClock(machine.wall, machine.monotonic)
    machine.real += HOUR_S
    assert clock.now() == machine.wall()
