"""The account of a backtest on the venue's engine: what it writes down of entries, ends and halts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
from support.trading.sim_folder import QUARTER, sim_settings

from trader_cli.backtest.backtest_account import UNFILLED, AccountOptions, BacktestAccount
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.core.money.plans import Approved, TradePlan
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.settings.room_options import ExecutionOptions, ManagementOptions, PlanningOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars

START_MS = 1_704_067_200_000 + 2 * HOUR_MS
FALLS_AT = 180
"""The minute at which every price falls, by so much as is asked."""


def account_of(folder: Path, fall: float, *symbols: str) -> BacktestAccount:
    """An account on quiet markets at 100 whose prices fall later."""
    closes = np.where(np.arange(600) < FALLS_AT, 100.0, 100.0 * (1 - fall)).round(2)
    opened = np.concatenate([[100.0], closes[:-1]])
    times = 1_704_067_200_000 + np.arange(600, dtype=np.int64) * MINUTE_MS
    bars = TapeBars(
        times, opened, np.maximum(opened, closes) + 0.01, np.minimum(opened, closes) - 0.01, closes, np.full(600, 900.0)
    )
    minute = Timeframe.parse("1m")
    tape = Tape("t", "t", {s: SymbolTape.of(s, minute, n, 0.01, 0.001, bars) for n, s in enumerate(symbols)})
    workspace = workspace_of(sim_settings(folder))
    options = AccountOptions(
        PlanningOptions.of(workspace.settings),
        ExecutionOptions.of(workspace),
        ManagementOptions.of(workspace.settings),
    )
    return BacktestAccount(SimulatedExchange(tape, START_MS, Decimal(10_000)), options, QUARTER)


def planned(account: BacktestAccount, symbol: str, **changes: object) -> TradePlan:
    mark, now = account.venue.premium_index(symbol).mark_price, account.venue.now_ms
    made = TradePlan(
        account="a",
        mode="sim",
        symbol=symbol,
        timeframe="15m",
        side="long",
        lineage="m",
        decision_ms=now,
        created_ms=now,
        expires_ms=now + HOUR_MS,
        exit_by_ms=now + 24 * HOUR_MS,
        price=Decimal(str(mark)),
        quantity=Decimal(10),
        leverage=2,
        stop_price=Decimal(95),
        backstop_price=Decimal(93),
        take_profit_price=Decimal(120),
        max_drift=Decimal(1),
        risk_quote=Decimal(50),
        expected_value_bps=10.0,
        liquidation_probability=0.0,
        binding="risk_per_trade",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_each_trade_has_its_own_reason(tmp_path: Path) -> None:
    """Two positions end before the same look: one by its stop, the other by an exit that came later."""
    account = account_of(tmp_path, 0.06, "AAAUSDT", "BBBUSDT")
    assert account.enter(Approved(planned(account, "AAAUSDT"))) is None
    far = {"stop_price": Decimal("90.5"), "backstop_price": Decimal(90)}
    assert account.enter(Approved(planned(account, "BBBUSDT", **far))) is None
    account.venue.advance(START_MS + 3 * HOUR_MS)
    account.keeper.protect(account.held["BBBUSDT"], Decimal(0), "time")
    account.look(lambda _held: None)
    reasons = account.records.frames()["trades"].select("symbol", "reason").rows()
    assert dict(reasons) == {"AAAUSDT": "stop", "BBBUSDT": "time"}


def test_an_entry_that_nobody_fills_is_no_trade(tmp_path: Path) -> None:
    account = account_of(tmp_path, 0.0, "AAAUSDT")
    at_mark = {"price": Decimal("99.90"), "max_drift": Decimal("0.10")}  # its limit lies below the best offer
    refused = account.enter(Approved(planned(account, "AAAUSDT", **at_mark)))
    assert refused is not None
    assert refused.code == UNFILLED
    assert not account.held
    assert account.records.frames()["trades"].is_empty()


def test_a_liquidation_halts_as_it_does_live(tmp_path: Path) -> None:
    account = account_of(tmp_path, 0.3, "AAAUSDT")
    assert account.enter(Approved(planned(account, "AAAUSDT", leverage=10))) is None
    for stop in account.venue.open_stops("AAAUSDT"):
        account.venue.cancel_stop(stop)  # nothing but liquidation is left to end it
    account.venue.advance(START_MS + 3 * HOUR_MS)
    account.look(lambda _held: None)
    assert account.records.frames()["trades"]["reason"].to_list() == ["liquidation"]
    assert account.halted is not None
    assert "liquidated" in account.halted


def test_time_without_cover_counts_from_the_entry_or_from_when_all_was_covered(tmp_path: Path) -> None:
    account = account_of(tmp_path, 0.0, "AAAUSDT")
    assert account.enter(Approved(planned(account, "AAAUSDT"))) is None
    held = account.held["AAAUSDT"]
    assert (held.unprotected_ms, held.is_covered) == (0, True)
    assert [purpose for _, purpose, _ in held.levels] == ["backstop", "stop", "take_profit"]
    held.look(held.covered_ms + 700, covered=False)
    held.look(held.covered_ms + 900, covered=False)
    held.look(held.covered_ms + 1000, covered=True)
    held.look(held.covered_ms + 5000, covered=True)
    assert held.unprotected_ms == 1000


def test_every_order_is_written_down_with_what_became_of_it(tmp_path: Path) -> None:
    account = account_of(tmp_path, 0.06, "AAAUSDT")
    assert account.enter(Approved(planned(account, "AAAUSDT"))) is None
    account.venue.advance(START_MS + 3 * HOUR_MS)
    account.look(lambda _held: None)
    account.end()
    frames = account.records.frames()
    orders, fills = frames["orders"], frames["fills"]
    assert orders["time"].is_sorted()
    assert set(orders["purpose"]) == {"entry", "backstop", "stop", "take_profit"}
    entry = orders.filter(purpose="entry")
    assert entry.select("status", "type", "trigger").row(0) == ("FILLED", "LIMIT", None)
    assert entry["filled"].sum() == fills.filter(purpose="entry")["quantity"].sum() == 10
    stops = orders.filter(purpose="stop")
    assert stops["trigger"].to_list() == [95.0, 95.0]
    assert set(stops["status"]) == {"FINISHED", "FILLED"}
    assert stops.filter(status="FILLED")["filled"].to_list() == [10.0]
    assert orders.filter(purpose="backstop")["quantity"].is_null().all()
    assert "NEW" not in set(orders["status"])
