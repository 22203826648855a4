"""The exchange's time: from the narrowest round trip, on a clock that nobody sets, and never later than it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.exchange.connection.exchange_time import ExchangeTime, RoundTrip
from trader_cli.venue.clocks import VirtualClock

TRUE_AHEAD_MS = 1_700_000_000_000
"""The exchange's time less monotonic time, in truth."""


@dataclass
class SetClock(VirtualClock):
    """A machine's clock that a person sets."""

    at_ms: int = 0
    stepped_ms: int = 0
    holders: int = field(default=0)
    elapsed_s: float = 0.0

    def now_ms(self) -> int:
        return TRUE_AHEAD_MS + self.at_ms + self.stepped_ms

    def monotonic_ms(self) -> int:
        return self.at_ms


def trip(clock: SetClock, there_ms: int, back_ms: int) -> RoundTrip:
    """The exchange looks at its clock after `there_ms`; the answer is back after `back_ms` more."""
    before = clock.at_ms
    clock.at_ms += there_ms + back_ms
    return RoundTrip(TRUE_AHEAD_MS + before + there_ms, before, clock.at_ms)


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=20),
    st.integers(-3_600_000, 3_600_000),
    st.integers(0, 7_200_000),
)
def test_what_is_told_is_never_later_than_the_exchanges_time_and_as_good_as_the_narrowest_trip(
    ways: list[tuple[int, int]], step_ms: int, pause_ms: int
) -> None:
    clock = SetClock()
    time = ExchangeTime(clock)
    usable = []
    for there, back in ways:
        if time.learn(trip(clock, there, back)):
            usable.append(there + back)
    clock.stepped_ms = step_ms
    truth = TRUE_AHEAD_MS + clock.at_ms
    assert time.earliest_ms() <= truth
    assert all(width <= 1000 for width in usable)
    assert time.is_known == bool(usable)
    if usable:
        assert abs(time.now_ms() - truth) <= (min(usable[-8:]) + 1) // 2 + 1
    else:
        assert time.now_ms() == truth  # the machine's clock, as it stood before it was set
    before = time.now_ms()
    clock.at_ms += 1000
    assert time.now_ms() == before + 1000


def test_a_wide_round_trip_is_not_used_though_it_bounds_the_time() -> None:
    clock = SetClock(stepped_ms=5000)
    time = ExchangeTime(clock)
    assert not time.learn(trip(clock, 10, 1500))
    assert not time.is_known
    assert time.now_ms() == clock.now_ms()
    assert time.earliest_ms() == TRUE_AHEAD_MS + clock.at_ms - 1500


def test_a_refused_time_is_forgotten_unless_the_request_was_late_or_the_time_learned_since() -> None:
    clock = SetClock()
    time = ExchangeTime(clock)
    time.learn(trip(clock, 5, 5))
    clock.at_ms, sent = 20_000, 10_000
    time.refused(sent)  # it was under way for 10 s
    assert time.is_known
    assert not time.is_trusted
    time.learn(trip(clock, 5, 5))
    time.refused(sent)
    assert time.is_known
    sent = clock.at_ms = clock.at_ms + 100
    clock.stepped_ms = 70
    time.refused(sent)
    assert not time.is_known
    assert time.now_ms() == clock.now_ms()
    time.learn(trip(clock, 5, 5))
    assert not time.is_trusted
    clock.at_ms += 60_001
    assert time.is_trusted


@pytest.mark.parametrize("old_ms", [3_590_000, 3_700_000])
def test_a_narrow_trip_of_long_ago_gives_way_to_a_newer_one(old_ms: int) -> None:
    clock = SetClock()
    time = ExchangeTime(clock)
    time.learn(trip(clock, 0, 0))
    clock.at_ms += old_ms
    time.learn(trip(clock, 100, 100))
    assert (time.earliest_ms() == TRUE_AHEAD_MS + clock.at_ms) == (old_ms < 3_600_000)
    assert time.age_s == 0
