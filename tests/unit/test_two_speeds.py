"""The fast backtest and the faithful one are the same backtest: every fill, decision, trade and row of equity."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.backtest.two_speeds import (
    BEGAN_MS,
    OddMarket,
    delisted,
    doubtful,
    faithfully,
    fast,
    odd_market,
    shorter,
    silenced,
    with_marks,
)

from trader_cli.backtest.accounting import check_accounts
from trader_cli.backtest.backtest_account import BacktestAccount
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.exchange.latency import Latency
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

ENDS = {"stop", "take_profit", "time", "high_risk", "medium_risk", "loss_limit"}
"""How positions end, or are made smaller."""


def assert_same(one: BacktestAccount, other: BacktestAccount) -> None:
    a, b = one.venue.engine.account, other.venue.engine.account
    assert a.fills == b.fills
    assert a.income == b.income
    assert (a.wallet, a.positions, a.orders, a.algos) == (b.wallet, b.positions, b.orders, b.algos)
    assert one.halted == other.halted
    for name, frame in one.records.frames().items():
        assert_frame_equal(frame, other.records.frames()[name], check_exact=True)


def assert_sound(market: OddMarket, account: BacktestAccount) -> None:
    """The account adds up; no fill lies outside its minute by more than the book; nothing is decided before its bar."""
    check_accounts(account, Decimal(10_000))
    for fill in account.venue.engine.account.fills:
        order = account.venue.engine.account.orders[fill.order_id]
        tape, shown = market.tape.symbols[fill.symbol], SymbolMarket(market.tape.symbols[fill.symbol])
        if order.client_id.startswith("autoclose-"):
            continue
        at = int(np.searchsorted(tape.open_ms, fill.time_ms - MINUTE_MS, side="right"))
        bars = slice(max(at - 1, 0), at + 1)  # before its first point a bar shows the close before
        bids, asks = shown.book(fill.time_ms, 50)
        last, slipped = shown.last_price(fill.time_ms), 2e-4 * float(fill.price) + 2 * tape.tick
        lowest = float(tape.low[bars].min()) - (last - bids[-1][0]) - slipped
        assert lowest <= float(fill.price) <= float(tape.high[bars].max()) + (asks[-1][0] - last) + slipped
    decisions = account.records.frames()["decisions"]
    assert (decisions["time"] >= decisions["bar_closed"]).all()


@pytest.mark.parametrize("seed", [*range(14), 36, 47, 2020, 2036, 2432])
def test_both_speeds_trade_the_same(tmp_path: Path, seed: int) -> None:
    market = odd_market(seed)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)


def test_a_day_counts_from_its_first_wallet_and_what_its_first_look_saw_unrealised(tmp_path: Path) -> None:
    """No look saw both together: fees came between. The limit breaks at the look at which it would in live."""
    market = odd_market(90028)
    accounts = [fast(market, tmp_path), faithfully(market, tmp_path)]
    assert [str(account.halted)[:23] for account in accounts] == ["2024-01-01 00:21:24 UTC"] * 2
    assert_same(*accounts)


@pytest.mark.parametrize("seed", [6, 10])
def test_both_speeds_trade_the_same_where_prices_leap(tmp_path: Path, seed: int) -> None:
    """What opens beyond the stop and the backstop is the backstop's: it was placed first."""
    market = odd_market(seed, leaps=True)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)
    assert "backstop" in one.records.frames()["trades"]["reason"].drop_nulls()


@pytest.mark.parametrize("seed", [500, 501, 502, 503, 2063, 2219])
def test_both_speeds_trade_several_symbols_on_one_account_the_same(tmp_path: Path, seed: int) -> None:
    market = odd_market(seed, symbols=3, hours=26)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)


@pytest.mark.parametrize("seed", [901, 906, 914, 926, 952, 955, 956, 958])
def test_both_speeds_try_what_is_refused_the_same(tmp_path: Path, seed: int) -> None:
    """Try by try, at each its reason; what only prices can change is seen ahead."""
    market = doubtful(odd_market(seed, symbols=1 + seed % 3, hours=12), seed)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    refused = one.records.frames()["decisions"].filter(pl.col("kind") == "refusal")
    assert refused["code"].str.starts_with("no_room").sum() > 5


def test_both_speeds_try_again_the_same_where_an_entry_takes_longer_than_a_try(tmp_path: Path) -> None:
    """Of another symbol: the try that was due meanwhile is made when it is back, and nothing was known of it."""
    market = doubtful(odd_market(7, symbols=3, hours=12), 7)
    market = replace(market, schedule=replace(market.schedule, again_ms=150), latency=Latency(2500.0, 0.8, 7))
    market = replace(market, until_ms=market.symbols["AAAUSDT"].first_ms + HOUR_MS)
    assert_same(faithfully(market, tmp_path), fast(market, tmp_path))


@pytest.mark.parametrize("seed", [*range(600, 610), 2020, 2063])
def test_both_speeds_trade_the_same_by_mark_prices_of_their_own(tmp_path: Path, seed: int) -> None:
    market = with_marks(odd_market(seed, symbols=1 + seed % 2), seed)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)


@pytest.mark.parametrize("seed", [800, 818, 822])
def test_both_speeds_trade_the_same_where_opinions_are_rare(tmp_path: Path, seed: int) -> None:
    market = silenced(odd_market(seed), seed)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)


def test_both_speeds_trade_the_same_where_a_symbol_ends_and_what_is_open_is_settled(tmp_path: Path) -> None:
    """At any moment, at a close and at a funding time, alone and beside others; nothing is thought of it any more."""
    settled = 0
    for seed in range(700, 716):
        dice, symbols = np.random.default_rng(seed), 1 + seed % 2
        at_ms = BEGAN_MS + int(dice.choice([13 * HOUR_MS, 11 * HOUR_MS, int(dice.integers(6, 20) * HOUR_MS + 12_345)]))
        at_ms = at_ms // MINUTE_MS * MINUTE_MS
        market = delisted(odd_market(seed, symbols), "AAAUSDT", at_ms)
        one = fast(market, tmp_path)
        assert_same(faithfully(market, tmp_path), one)
        check_accounts(one, Decimal(10_000))
        frames = one.records.frames()
        left = frames["fills"].filter(pl.col("reason") == "delisted")
        settled += left.height
        assert all(at == at_ms for at in milliseconds(left["time"]))
        told = frames["trades"].filter(pl.col("symbol") == "AAAUSDT")["reason"]
        assert (told == "delisted").sum() == min(left.height, 1)
        ours = frames["decisions"].filter(pl.col("symbol") == "AAAUSDT")
        assert (milliseconds(ours["bar_closed"]) < at_ms).all()
        engine = one.venue.engine
        assert engine.account.position("AAAUSDT").amount == 0
        assert not engine.account.open_orders("AAAUSDT")
        assert not engine.account.open_algos("AAAUSDT")
    assert settled >= 3, "hardly anything was open when its symbol ended"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1240))
def test_both_speeds_trade_the_same_on_many_marked_markets(tmp_path: Path, seed: int) -> None:
    market = with_marks(odd_market(seed, symbols=1 + seed % 4, hours=30), seed)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1240))
def test_both_speeds_trade_the_same_on_many_markets(tmp_path: Path, seed: int) -> None:
    market = odd_market(seed, symbols=1 + seed % 4, hours=30)
    one = fast(market, tmp_path)
    assert_same(faithfully(market, tmp_path), one)
    assert_sound(market, one)


def test_positions_end_in_every_way_there_is(tmp_path: Path) -> None:
    """What the markets above are worth as a test: nothing that a look can do is left out."""
    seen: Counter[str] = Counter()
    for seed in range(14):
        frames = fast(odd_market(seed), tmp_path).records.frames()
        seen.update(frames["fills"].filter(pl.col("purpose") != "entry")["reason"].to_list())
        seen.update(frames["levels"].group_by("plan").len().filter(pl.col("len") > 3)["len"].cast(pl.String).to_list())
    assert set(seen) >= ENDS, seen
    assert any(name.isdigit() for name in seen), "no stop was ever moved"


@pytest.mark.parametrize("seed", [3, 8])
def test_a_longer_tape_changes_no_earlier_trade(tmp_path: Path, seed: int) -> None:
    market = odd_market(seed)
    cut = shorter(market, 9)
    whole, early = (fast(one, tmp_path).records.frames() for one in (market, cut))
    before = pl.col("time").dt.epoch("ms") < cut.until_ms
    for name in ("decisions", "fills", "equity"):
        assert_frame_equal(whole[name].filter(before), early[name].filter(before))
    tapes = {name: tape.playing(until(tape.bars, cut.until_ms)) for name, tape in market.tape.symbols.items()}
    blind = fast(replace(cut, tape=replace(market.tape, symbols=tapes)), tmp_path)
    assert blind.venue.engine.account.fills == fast(cut, tmp_path).venue.engine.account.fills


def until(bars: object, end_ms: int) -> object:
    """The bars that open before a time."""
    kept = bars.open_ms < end_ms  # type: ignore[attr-defined]
    names = ("open_ms", "open", "high", "low", "close", "volume")
    return type(bars)(*(getattr(bars, name)[kept] for name in names))
