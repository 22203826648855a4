"""Loss limits: a day's loss and the fall from the highest equity, on the spot and not before."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.limits import LossLimits, breach
from trader_cli.core.timeframes import DAY_MS

EXAMPLES = settings(max_examples=60, deadline=None)
LIMITS = LossLimits(0.03, 0.1)
NOW = 20 * DAY_MS + 3_600_000
TODAY, YESTERDAY = NOW - 60_000, NOW - DAY_MS
amounts = st.integers(-3000, 3000).map(Decimal)
flows = st.lists(st.tuples(st.integers(0, NOW), amounts), max_size=20).map(
    lambda rows: sorted(rows, key=lambda r: r[0])
)


def broken(booked: list[tuple[int, Decimal]], unrealized: str = "0", start: int = 10_000) -> str | None:
    wallet = start + sum((amount for _, amount in booked), Decimal(0))
    return breach(booked, wallet, Decimal(unrealized), LIMITS, NOW)


@pytest.mark.parametrize(
    ("booked", "unrealized", "halts"),
    [
        ([], "0", None),
        ([(TODAY, Decimal("-299.99"))], "0", None),
        ([(TODAY, Decimal(-300))], "0", "UTC day"),
        ([], "-300", "UTC day"),
        ([(TODAY, Decimal(-200))], "-100", "UTC day"),
        ([(TODAY, Decimal(-400))], "101", None),
        ([(YESTERDAY, Decimal(-400))], "0", None),
        ([(NOW - 3_600_000, Decimal(-300))], "0", "UTC day"),
        ([(NOW - 3_600_001, Decimal(-300))], "0", None),
        ([(YESTERDAY, Decimal(-999))], "0", None),
        ([(YESTERDAY, Decimal(-1000))], "0", "from its highest"),
        ([(1, Decimal(5000)), (2, Decimal(-1500))], "0", "from its highest"),
        ([(1, Decimal(5000)), (2, Decimal(-1499))], "0", None),
    ],
)
def test_limits_are_met_exactly(booked: list[tuple[int, Decimal]], unrealized: str, halts: str | None) -> None:
    found = broken(booked, unrealized)
    assert (found is None) == (halts is None), found
    assert halts is None or halts in str(found)


@EXAMPLES
@given(flows, st.integers(-5000, 5000), st.integers(0, 5000))
def test_losing_more_never_lifts_a_halt(booked: list[tuple[int, Decimal]], unrealized: int, more: int) -> None:
    if broken(booked, str(unrealized), 100_000) is not None:
        assert broken(booked, str(unrealized - more), 100_000) is not None


@EXAMPLES
@given(flows, st.integers(-5000, 5000))
def test_looser_limits_halt_no_sooner(booked: list[tuple[int, Decimal]], unrealized: int) -> None:
    wallet = 100_000 + sum((amount for _, amount in booked), Decimal(0))
    tight, loose = (
        breach(booked, wallet, Decimal(unrealized), LossLimits(*x), NOW) for x in ((0.01, 0.02), (0.5, 0.6))
    )
    assert loose is None or tight is not None


@EXAMPLES
@given(flows)
def test_without_losses_nothing_halts(booked: list[tuple[int, Decimal]]) -> None:
    assert broken([(at, abs(amount)) for at, amount in booked]) is None


def test_an_empty_account_does_not_halt() -> None:
    assert breach([], Decimal(0), Decimal(0), LIMITS, NOW) is None
