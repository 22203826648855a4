"""What random markets seldom show: levels that are just touched, rungs that wait, a price seen a moment before it goes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from support.backtest.two_speeds import (
    BEGAN_MS,
    MINUTE,
    OddMarket,
    ScriptedSymbol,
    account_on,
    faithfully,
    fast,
    odd_market,
)
from test_backtest_account import planned
from test_two_speeds import assert_same

from trader_cli.backtest.backtest_account import open_position
from trader_cli.backtest.next_moment import NextMoment, moves, next_rung
from trader_cli.backtest.position_keeper import ManagedPosition
from trader_cli.backtest.schedule import Schedule
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS, SETTLE_MS, Timeframe
from trader_cli.core.money.exits import ExitRules, trailing_stop
from trader_cli.core.money.plans import Approved
from trader_cli.core.types import Abstention, Signal
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.many_moments import prices_at
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars

FIVE = Timeframe.parse("5m")
FIRST_MS = BEGAN_MS + 2 * HOUR_MS
SIGNAL_MS = FIRST_MS + FIVE.ms
"""When the one signal of these markets stands."""
QUIET = {"max_daily_loss": 1.0, "max_drawdown": 1.0, "target_volatility": 50.0, "max_volume_share": 1.0}


def tape_of(prices: dict[int, float], minutes: int = 300, seed: int = 1) -> SymbolTape:
    """Bars that stand at 100, from each minute after the signal on at another price."""
    level = np.full(minutes, 100.0)
    for minute, price in prices.items():
        level[(SIGNAL_MS - BEGAN_MS) // MINUTE_MS + minute :] = price
    times = BEGAN_MS + np.arange(minutes, dtype=np.int64) * MINUTE_MS
    return SymbolTape.of(
        "AAAUSDT", MINUTE, seed, 0.01, 0.001, TapeBars(times, level, level, level, level, np.full(minutes, 9e5))
    )


def market_of(tape: SymbolTape, losing: dict[int, float]) -> OddMarket:
    """A long signal with a stop of one per cent; from closes so many bars after it on, the model says it loses so."""
    closes = np.arange(FIRST_MS, FIRST_MS + 30 * FIVE.ms, FIVE.ms)
    shares = np.full((len(closes), 3), 0.33)
    for bar, loss in losing.items():
        shares[bar + 1] = (0.9 - loss, loss, 0.1)
    signal = Signal("long", 0.9, 0.4, 20.0, 106.0, 99.0, 96)
    outcomes = [signal if at == SIGNAL_MS else Abstention("no_expected_value", "") for at in closes]
    symbol = ScriptedSymbol(
        "AAAUSDT",
        FIRST_MS,
        FIVE.ms,
        outcomes,
        shares,
        closes,
        prices_at(tape, closes),
        prices_at(tape, closes + SETTLE_MS),
        None,  # type: ignore[arg-type]
        timeframe=FIVE,
    )
    rules = {"trail_distance": 1.0, "trail_step": 0.25, "min_dwell": 0.0, "confidence_half_life": 4.0}
    settings = {"tactician": QUIET, "monitor": rules}
    schedule = Schedule(FIVE, 10_000, 30_000, FIVE.ms)
    return OddMarket(Tape("t", "t", {"AAAUSDT": tape}), {"AAAUSDT": symbol}, 1.0, settings, schedule, int(closes[-1]))


def test_a_rung_reached_at_the_look_of_a_scale_down_is_not_forgotten(tmp_path: Path) -> None:
    """The opinion takes the look; when the stop may follow, the price is far below that rung, and later near it."""
    prices, minute = {5: 101.05, 6: 99.9, 8: 100.15, 12: 99.95}, (SIGNAL_MS - BEGAN_MS) // MINUTE_MS + 5
    tapes = (tape_of(prices, seed=seed) for seed in range(4000))
    at_once = (
        t for t in tapes if (expand(t, minute, minute + 2).time_ms[:, 0] - t.open_ms[minute : minute + 2]).max() < 400
    )
    market = market_of(next(at_once), {1: 0.65})
    market = replace(market, schedule=replace(market.schedule, look_ms=MINUTE_MS))
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    frames = one.records.frames()
    assert frames["fills"]["reason"].to_list() == ["entry", "medium_risk", "stop"]
    moved = frames["levels"].filter(frames["levels"]["purpose"] == "stop")["price"].to_list()
    assert moved[-1] > 99.9


def last_point_market() -> tuple[OddMarket, int]:
    """A bar that ends on its high, after which the price is back; the high is seen at the end of the bar alone."""
    minute = (SIGNAL_MS - BEGAN_MS) // MINUTE_MS + 7
    for seed in range(4000):
        flat = tape_of({}, seed=seed)
        high, close = flat.high.copy(), flat.close.copy()
        high[minute] = close[minute] = 101.0
        bars = replace(flat.bars, high=high, close=close)
        tape = flat.playing(bars)
        path = expand(tape, minute, minute + 2)
        starts = tape.open_ms[minute]
        seen = path.time_ms[0][path.price[0] >= 101.0] - starts
        if seen.min() > 50_500 and path.time_ms[1][0] - starts > 60_500:
            return market_of(tape, {}), int(starts)
    raise AssertionError("no such path")


def test_a_rung_at_the_last_point_of_a_bar_is_seen_by_the_first_look_of_the_next(tmp_path: Path) -> None:
    market, minute_ms = last_point_market()
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    levels = one.records.frames()["levels"]
    moved = levels.filter(levels["purpose"] == "stop")["time"].dt.epoch("ms").to_list()
    assert moved[-1] == minute_ms + MINUTE_MS + SETTLE_MS


@pytest.mark.parametrize("seed", range(40))
def test_the_next_rung_is_the_first_price_at_which_the_trail_moves(tmp_path: Path, seed: int) -> None:
    dice = np.random.default_rng(seed)
    account = account_on(odd_market(1), tmp_path)
    sign, unit = (1, -1)[seed % 2], Decimal(1).scaleb(-int(dice.integers(0, 4)))
    entry = Decimal(repr(round(float(dice.uniform(50, 150)), 6)))
    distance = max(round(float(dice.uniform(0.2, 5)), 4), float(unit))
    first = (entry - sign * Decimal(repr(distance))).quantize(unit)
    plan = planned(account, "AAAUSDT", side="long" if sign > 0 else "short", stop_price=first)
    rules = ExitRules(float(dice.choice([0.3, 1.0, 1.7])), float(dice.choice([0.1, 0.25, 1.0])), 0.8, 0.6, 1, 1)
    stop = first + sign * unit * int(dice.integers(0, 9))
    one = ManagedPosition(plan, rules, 0, stop, 0, best_price=entry, amount=Decimal(sign), cost=sign * entry)
    price = next_rung(one, unit)
    seen = (price - sign * unit, price, entry)
    follows = [(trailing_stop(open_position(one, at), rules) - stop) * sign > 0 for at in seen]
    assert follows[:2] == [False, True]
    assert [moves(one, at) for at in seen] == follows


def test_a_rung_that_a_price_between_two_ticks_has_reached_waits(tmp_path: Path) -> None:
    """An average price may be the best one, and lie between two ticks."""
    account = account_on(market_of(tape_of({}), {}), tmp_path)
    account.venue.advance(SIGNAL_MS)
    plan = planned(account, "AAAUSDT", stop_price=Decimal(99), backstop_price=Decimal(98), price=Decimal(100))
    assert account.enter(Approved(plan)) is None
    held = account.held["AAAUSDT"]
    held.cost = held.amount * Decimal("101.005")
    held.rules = ExitRules(0.5, 0.333, 0.8, 0.6, 1, 1)
    assert next_rung(held, Decimal("0.01")) == Decimal("100.68")
    held.best_price = Decimal("100.675")
    assert moves(held, held.best_price)
    assert NextMoment(account).price_moment(SIGNAL_MS + HOUR_MS) == account.venue.now_ms


def test_a_level_is_reached_where_it_is_touched(tmp_path: Path) -> None:
    """The price stands just on the next rung for a minute, and never beyond it."""
    tape = tape_of({7: 100.5, 8: 100.0})
    account = account_on(market_of(tape, {}), tmp_path)
    account.venue.advance(SIGNAL_MS)
    plan = planned(account, "AAAUSDT", stop_price=Decimal(99), backstop_price=Decimal(98), price=Decimal(100))
    assert account.enter(Approved(plan)) is None
    held = account.held["AAAUSDT"]
    held.cost = held.amount * 100  # as if it had been filled at 100: the next rungs are at 100.25, 100.5 and so on
    held.stop_price = Decimal("99.25")
    touched = int(expand(tape, *(((SIGNAL_MS - BEGAN_MS) // MINUTE_MS + at) for at in (7, 8))).time_ms[0][0])
    assert next_rung(held, Decimal("0.01")) == Decimal("100.50")
    assert NextMoment(account).price_moment(SIGNAL_MS + HOUR_MS) == touched
