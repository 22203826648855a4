"""Loss limits: a day's loss and the fall from the highest equity, on the spot and not before."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.loss_limits import (
    EquityHistory,
    EquityPoint,
    LossLimits,
    _Past,
    breach,
    breaches,
    thinned,
    worth_keeping,
)

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


# --- what looks have seen ---

MINUTE = 60_000
D = Decimal


def seen(*looks: tuple[int, int, int]) -> list[EquityPoint]:
    """Looks as (minutes before now, wallet, unrealised profit)."""
    return [EquityPoint(NOW - minutes * MINUTE, D(wallet), D(wallet + profit)) for minutes, wallet, profit in looks]


def judged(
    looks: list[EquityPoint], wallet: int, profit: int = 0, transfers: tuple[tuple[int, int], ...] = ()
) -> set[str]:
    moves = [(NOW - minutes * MINUTE, D(amount)) for minutes, amount in transfers]
    found = breaches([], D(wallet), D(profit), LIMITS, NOW, history=EquityHistory(looks, moves))
    return {name.split()[0] for name in found}


def test_the_highest_equity_is_that_of_open_profit_too() -> None:
    assert judged(seen((3 * 1440, 10_000, 0), (2 * 1440, 10_000, 1600)), 10_000, 50) == {"drawdown"}


def test_a_profit_that_was_open_when_the_day_began_can_be_lost_on_it() -> None:
    assert judged(seen((61, 10_000, 800)), 10_000, 50) == {"day"}
    assert judged(seen((30, 10_000, 800)), 10_000, 50) == {"day"}
    assert judged(seen((180, 10_000, 800)), 10_000, 50) == set(), "a look of long before midnight tells no day"


def test_a_wallet_that_falls_has_lost_before_any_row_says_why() -> None:
    assert judged(seen((5, 10_000, 0)), 9_699) == {"day"}
    assert judged(seen((5, 10_000, 0)), 9_699, transfers=((2, -301),)) == set(), "a withdrawal is no loss"
    assert judged(seen((5, 10_000, 0)), 9_398, transfers=((2, -301),)) == {"day"}


def test_a_look_that_is_shown_the_wallet_of_before_a_withdrawal_is_no_level() -> None:
    assert judged(seen((30, 10_000, 0), (20, 10_000, 0)), 5_000, transfers=((20, -5000),)) == set()


def test_what_was_paid_in_is_part_of_what_can_be_lost() -> None:
    assert judged(seen((90, 10_000, 0), (70, 10_000, 0)), 14_000, transfers=((50, 5000),)) == {"day"}
    assert judged(seen((90, 10_000, 0)), 10_000, transfers=((0, 5000),)) == set(), "paid in now: not in the wallet yet"


def test_what_is_booked_in_the_moment_of_a_look_is_lost_once() -> None:
    point, lost = EquityPoint(TODAY, D(10_000), D(10_000)), [(TODAY, D(-200))]
    assert breaches(lost, D(9_800), D(0), LIMITS, NOW, history=EquityHistory([point])) == {}


@EXAMPLES
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), *[st.integers(-400, 400)] * 4), min_size=1, max_size=25),
    st.booleans(),
)
def test_what_is_booked_in_the_millisecond_of_a_look_counts_once_before_it_or_after_it(
    rows: list[tuple[int, ...]], unexplained: bool
) -> None:
    """The highest is that of all wallets and equities there were, whichever came first in a millisecond.

    Also where a wallet later moves by something that no row explains.
    """
    wallet, booked, looks, highest = D(10_000), list[tuple[int, Decimal]](), list[EquityPoint](), D(10_000)
    at = NOW - len(rows) * 5000
    for pause, before, *moves, profit in rows:
        at += pause * 2000
        for number, amount in enumerate(moves):
            if number == before:
                looks.append(EquityPoint(at, wallet, wallet + profit))
            booked.append((at, D(amount)))
            wallet += amount
        if before >= len(moves):
            looks.append(EquityPoint(at, wallet, wallet + profit))
        at += 1  # the next is another moment
        highest = max(highest, wallet, looks[-1].equity)
    wallet -= unexplained * D("0.3")
    past = _Past(booked, EquityPoint(NOW, wallet, wallet), EquityHistory(looks), 0)
    assert abs(past.peak() - highest) <= D("0.3")
    assert abs(past.opened(0) - D(10_000)) <= D("0.3")


def test_a_loss_by_hand_is_not_hidden_behind_what_a_look_s_millisecond_booked() -> None:
    looks = [EquityPoint(NOW - back, D(1000), D(1000)) for back in (20_000, 10_000)]
    past = _Past([(NOW - 10_000, D(150))], EquityPoint(NOW, D(1030), D(1030)), EquityHistory(looks), 0)
    assert past.peak() == 1150


histories = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(-3000, 3000), st.integers(-3000, 3000)),
    min_size=1,
    max_size=25,
    unique_by=lambda row: row[0],
).map(lambda rows: sorted(rows, key=lambda row: -row[0]))


@EXAMPLES
@given(histories)
def test_transfers_alone_break_nothing(rows: list[tuple[int, int, int]]) -> None:
    """Whatever is paid in and out, whenever the account is looked at, and where the wallet lags for half a minute."""
    wallet, looks, moves, late = 100_000, [], [], 0
    for minutes, paid, _ in rows:
        at = NOW - minutes * MINUTE
        looks += [
            EquityPoint(at + ms, D(wallet), D(wallet)) for ms in (-1, 30_000)
        ]  # the later one is shown an old wallet
        wallet += paid
        late += max(paid, 0) * (minutes == 0)
        moves.append((at, D(paid)))
    for shown in (wallet, wallet - late):
        assert breaches([], D(shown), D(0), LIMITS, NOW, history=EquityHistory(looks, moves)) == {}


@EXAMPLES
@given(histories, st.integers(-5000, 5000))
def test_a_limit_breaks_where_the_shown_equity_says_so(rows: list[tuple[int, int, int]], unrealized: int) -> None:
    """Without transfers the drawdown is the share of the highest equity that any look saw, whatever was booked."""
    looks = [
        EquityPoint(NOW - at * MINUTE - 1, D(50_000 + wallet), D(50_000 + wallet + open_)) for at, wallet, open_ in rows
    ]
    wallet, equity = looks[-1].wallet, looks[-1].wallet + unrealized
    highest = max(*(max(point.equity, point.wallet) for point in looks), equity, wallet)
    shown = max(*(point.equity for point in looks), equity)
    found = breaches([], wallet, D(unrealized), LIMITS, NOW, history=EquityHistory(looks))
    if equity <= shown * D("0.9"):
        assert "drawdown" in found
    if equity > highest * D("0.9"):
        assert "drawdown" not in found


@EXAMPLES
@given(
    histories, st.integers(-5000, 5000), st.lists(st.tuples(st.integers(0, 5000), st.integers(-2000, 2000)), max_size=4)
)
def test_fewer_looks_tell_the_same(rows: list[tuple[int, int, int]], profit: int, paid: list[tuple[int, int]]) -> None:
    looks = [
        EquityPoint(NOW - at * MINUTE - 1, D(20_000 + wallet), D(20_000 + wallet + open_)) for at, wallet, open_ in rows
    ]
    moves = sorted((NOW - minutes * MINUTE, D(amount)) for minutes, amount in paid)
    whole = EquityHistory(looks, moves)
    few = thinned(whole, NOW)
    assert len(few.seen) <= len(looks)
    told = [breaches([], D(20_000), D(profit), LIMITS, NOW, history=h) for h in (whole, few)]
    assert told[0] == told[1]


@EXAMPLES
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(-400, 400)), min_size=1, max_size=80))
def test_what_is_kept_of_looks_tells_the_highest_equity(steps: list[tuple[int, int]]) -> None:
    at, equity, highest, kept = 0, D(20_000), D(0), EquityHistory()
    for seconds, change in steps:
        at, equity = at + seconds * 1000, equity + change
        point = EquityPoint(at, equity, equity)
        highest = max(highest, equity)
        if worth_keeping(kept, point):
            kept = EquityHistory([*kept.seen, point])
        assert max(level.equity for level in kept.seen) * D("1.0005") >= highest
        assert at - kept.seen[-1].time_ms < 900_000
