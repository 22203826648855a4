"""The engine gives nothing away: on prices that go nowhere a rule earns nothing before costs, whichever way it leaves.

Fixed size, no fees, no slippage, no funding, and the spread is given back. And what is mirrored trades as its mirror.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backtest.two_speeds import BEGAN_MS, MINUTE, OddMarket, ScriptedSymbol, account_on, fast

from trader_cli.backtest.backtest_account import BacktestAccount
from trader_cli.backtest.schedule import Schedule
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS, SETTLE_MS, Timeframe
from trader_cli.core.types import Abstention, Signal
from trader_cli.venue.engine.fill_rules import IDEAL_FILLS
from trader_cli.venue.simulated_market.many_moments import prices_at
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars

FIVE = Timeframe.parse("5m")
FIRST_MS, MINUTES = BEGAN_MS + 2 * HOUR_MS, 24 * 60
TICK, STEPS = 0.01, 100
"""Of a still tape: each minute takes so many steps of a tick, so that no level is passed without being met."""
FAR = 0.3
WAYS = {"stop": (0.004, FAR, 48), "target": (FAR, 0.004, 48), "time": (FAR, FAR, 6), "both": (0.004, 0.006, 48)}
"""Distances of stop and target, and bars until time is up: what a way leaves by, mostly or only."""
ENDS = {"stop": {"stop"}, "target": {"take_profit"}, "time": {"time"}, "both": {"stop", "take_profit"}}
FREE: dict[str, Any] = {
    "tactician": {
        "enable_position_sizing": False,
        "enable_risk_management": False,
        "max_daily_loss": 1.0,
        "max_drawdown": 1.0,
        "max_price_drift": 2.0,
        "max_volume_share": 1.0,
        "backstop_distance": 1.2,
    },
    "monitor": {"trail_distance": 50.0, "trail_step": 50.0},
    "execution": {"max_entries_per_hour": 60, "max_entries_per_day": 1000},
}


def still_tape(seed: int) -> SymbolTape:
    """Minutes of a walk without drift, a tick up or down at each step; the book begins a tick beside the last price."""
    steps = np.random.default_rng(seed).integers(0, 2, size=MINUTES * STEPS, dtype=np.int8) * 2 - 1
    inside = (10_000 + np.cumsum(steps, dtype=np.int64)).reshape(MINUTES, STEPS)
    opened = np.concatenate([[10_000], inside[:-1, -1]])
    high, low = np.maximum(inside.max(axis=1), opened), np.minimum(inside.min(axis=1), opened)
    times = BEGAN_MS + np.arange(MINUTES, dtype=np.int64) * MINUTE_MS
    prices = (column / 100 for column in (opened, high, low, inside[:, -1]))
    bars = TapeBars(times, *prices, np.full(MINUTES, 1e6))
    return SymbolTape.of("AAAUSDT", MINUTE, seed, TICK, 1.0, bars)


def market_of(tape: SymbolTape, sides: np.ndarray, way: tuple[float, float, int]) -> OddMarket:
    """Signals at closes with a side; the account trades one piece of each."""
    closes = np.arange(FIRST_MS, int(tape.open_ms[-1]), FIVE.ms)
    price, (stop, target, bars) = prices_at(tape, closes), way
    outcomes: list[Any] = [
        Signal("long" if side > 0 else "short", 0.99, 0.1, 20.0, p * (1 + side * target), p * (1 - side * stop), bars)
        if side
        else Abstention("no_expected_value", "")
        for side, p in zip(sides[: len(closes)].tolist(), price.tolist(), strict=True)
    ]
    shares = np.full((len(closes), 3), np.nan)
    marks = prices_at(tape, closes + SETTLE_MS)
    symbol = ScriptedSymbol(
        "AAAUSDT",
        FIRST_MS,
        FIVE.ms,
        outcomes,
        shares,
        closes,
        price,
        marks,
        None,  # type: ignore[arg-type]
        timeframe=FIVE,
    )
    schedule = Schedule(FIVE, 10_000, 30_000, FIVE.ms)
    return OddMarket(
        Tape("t", "t", {"AAAUSDT": tape}), {"AAAUSDT": symbol}, 0.0, FREE, schedule, int(closes[-1]) - HOUR_MS
    )


def traded(market: OddMarket, folder: Path) -> BacktestAccount:
    """An account without costs, traded."""
    account = account_on(market, folder)
    account.venue.engine.fills = IDEAL_FILLS
    account.venue.engine.account.taker_fee = account.venue.engine.account.maker_fee = Decimal(0)
    return fast(market, folder, account)


def side_of(rule: str, tape: SymbolTape) -> np.ndarray:
    """What a rule says at each close, from prices up to it."""
    closes = np.arange(FIRST_MS, int(tape.open_ms[-1]), FIVE.ms)
    if rule == "always long":
        return np.ones(len(closes), dtype=np.int8)
    before = np.sign(prices_at(tape, closes) - prices_at(tape, closes - HOUR_MS)).astype(np.int8)
    return before if rule == "with the hour" else -before


def results(rule: str, way: str, seeds: range, folder: Path) -> np.ndarray:
    """Of each tape, (seeds, 2): what was made, and by how much exits were better than the close after them."""
    found, ends = [], []
    for seed in seeds:
        tape = still_tape(seed)
        frames = traded(market_of(tape, side_of(rule, tape), WAYS[way]), folder).records.frames()
        closed, fills = frames["trades"].drop_nulls("closed"), frames["fills"]
        assert np.allclose((fills["price"] - fills["reference"]).abs(), TICK)
        ends += closed["reason"].to_list()
        made = frames["equity"]["equity"][-1] - 10_000 + TICK * fills["quantity"].sum()
        left = closed["closed"].dt.epoch("ms").to_numpy()
        after = tape.close[np.searchsorted(tape.open_ms, left, side="right") - 1]
        sign = np.where(closed["side"] == "long", 1, -1)
        saved = ((closed["exit_price"].to_numpy() - after) * sign + TICK) * closed["quantity"].to_numpy()
        found.append((made, saved.sum()))
    assert sum(end in ENDS[way] for end in ends) > 0.6 * len(ends)
    assert set(ends) >= ENDS[way]
    return np.array(found)


def assert_nothing(found: np.ndarray) -> None:
    """Means over tapes, which are independent of one another, within three standard errors of zero."""
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (errors > 0).all()
    assert (np.abs(found.mean(axis=0)) < 3 * errors).all(), (found.mean(axis=0), errors)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_given_away(way: str, tmp_path: Path) -> None:
    assert_nothing(results("with the hour", way, range(12), tmp_path))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("rule", ["always long", "with the hour", "against the hour"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_given_away_on_200_tapes(rule: str, way: str, tmp_path: Path) -> None:
    assert_nothing(results(rule, way, range(200), tmp_path))


def standing_tape(seed: int, *, mirrored: bool) -> SymbolTape:
    """Minutes that stand where the last trade was, with jumps between them, or the same about 100."""
    dice = np.random.default_rng(seed)
    steps = dice.integers(-4, 5, MINUTES) * 10 + (dice.random(MINUTES) < 0.02) * dice.integers(-40, 41, MINUTES) * 10
    level = 100_000 + np.cumsum(steps) - np.cumsum(steps)[0]
    level = 200_000 - level if mirrored else level
    times = BEGAN_MS + np.arange(MINUTES, dtype=np.int64) * MINUTE_MS
    prices = level / 1000
    bars = TapeBars(times, prices, prices, prices, prices, np.full(MINUTES, 1e6))
    return SymbolTape.of("AAAUSDT", MINUTE, seed, 0.001, 1.0, bars)


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_tape_trades_the_other_side_alike(seed: int, tmp_path: Path) -> None:
    """Stops, targets, trail and time: the same moments, the other side, the same result."""
    tape, mirror = (standing_tape(seed, mirrored=mirrored) for mirrored in (False, True))
    sides = np.random.default_rng(seed).choice([-1, 0, 1], 400, p=[0.2, 0.6, 0.2]).astype(np.int8)
    found = []
    for one, sign in ((tape, 1), (mirror, -1)):
        market = market_of(one, sign * sides, (0.01, 0.02, 12))
        closes = np.arange(FIRST_MS, int(one.open_ms[-1]), FIVE.ms)
        outcomes = [
            replace(o, stop_price=float(p) - s * 0.2, take_profit_price=float(p) + s * 0.3)
            if isinstance(o, Signal)
            else o
            for o, p, s in zip(
                market.symbols["AAAUSDT"].outcomes, prices_at(one, closes), (sign * sides).tolist(), strict=False
            )
        ]
        symbol = replace(market.symbols["AAAUSDT"], outcomes=outcomes)
        rules = {**FREE, "monitor": {"trail_distance": 1.0, "trail_step": 0.25}}
        market = replace(market, symbols={"AAAUSDT": symbol}, settings=rules)
        trades = traded(market, tmp_path).records.frames()["trades"]
        found.append(trades.select("opened", "closed", "side", "quantity", "realised", "reason"))
    one, other = found
    assert one.height > 8
    assert one.drop("side", "realised").equals(other.drop("side", "realised"))
    assert (one["side"] != other["side"]).all()
    assert np.allclose(one["realised"], other["realised"], atol=1e-9)
    assert {"stop", "take_profit"} <= set(one["reason"].drop_nulls().to_list())
