"""Forecasts traded by the fast backtest itself on an ideal market, at a fixed notional: `bar_book` is held equal to it.

The account has no limits, since a claim is about trades and not about an account: no brake, no caps, no loss limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import FilledTrades
from trader_cli.backtest.backtest_account import AccountOptions, BacktestAccount
from trader_cli.backtest.fast_backtest import FastBacktest
from trader_cli.backtest.prepared_analyses import PreparedAnalyses, PreparedSymbol
from trader_cli.backtest.schedule import Schedule
from trader_cli.backtest.stored_analyses import StoredAnalyses
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.money.plans import Refused, Request
from trader_cli.core.money.trading_rules import openable
from trader_cli.core.ports import silent
from trader_cli.core.types import Abstention, Analysis, Probabilities, Signal
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.execution import preflight
from trader_cli.tactician.plan_levels import most_drift
from trader_cli.tactician.planning import fixed, price_moved
from trader_cli.venue.engine.fill_rules import IDEAL_FILLS
from trader_cli.venue.simulated_market.ideal_market import POINTS, IdealMarket
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars, path_seed
from trader_cli.venue.simulated_market.tape_loading import tick_of

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.analyst.book import Forecasts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.money.plans import Decision, TradePlan
    from trader_cli.core.ports import Progress
    from trader_cli.exchange.latency import Latency
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.room_options import AnalysisOptions
    from trader_cli.tactician.planning_inputs import AccountInputs

BALANCE, NOTIONAL = Decimal(10) ** 9, 10_000.0
"""So much that nothing an account could lose stops it, and what each trade is opened with, as near as steps allow."""
_PURSE = Decimal(20_000)
"""The balance where size goes with the account: the first trade has the same notional."""


@dataclass(frozen=True)
class IdealTerms:
    """The options an account trades by, and which analyses are made by; `fee` is paid a side, a share of notional.

    `frictions` that there are all the same: `latency` of orders; `impact` as `market` has it, looked at and tried
    again after so many ms; `compounds`: half of the equity is put into each trade.
    """

    account: AccountOptions
    analysis: AnalysisOptions
    fee: Decimal = Decimal(0)
    latency: Latency | None = None
    impact: tuple[int, int] | None = None
    compounds: bool = False

    @property
    def balance(self) -> Decimal:
        """What the account begins with."""
        return _PURSE if self.compounds else BALANCE


class IdealAccount(BacktestAccount):
    """Enters what was said at a fixed notional, or with half of its equity."""

    compounds = False

    def decide(self, analysis: Analysis, signal: Signal) -> Decision:
        """The plan of a signal."""
        now = self.inputs(analysis.symbol)
        if isinstance(now, Refused):
            return now
        notional = max(float(now.equity), 0.0) / 2 if self.compounds else NOTIONAL
        return fixed(analysis, signal, now, self._options.planning, _lots(now, notional))

    def refused_at(self, analysis: Analysis, signal: Signal, now: AccountInputs, at_ms: int) -> Refused | None:
        """Whether the price will have moved too far at a moment ahead."""
        drift = most_drift(analysis.price, signal.stop_price, self._options.planning.limits.max_price_drift)
        later = replace(now, now_ms=at_ms, mark=self.venue.prices_at(analysis.symbol, at_ms).mark)
        return price_moved(analysis, later, Request(), drift)

    def _refusal(self, made: TradePlan, rules: SymbolRules) -> Refused | None:
        """What is asked of the plan itself, not of an account."""
        now_ms = self.venue.now_ms
        return (
            openable(rules, (), made, now_ms)
            or preflight.check_shape(made, rules)
            or preflight.check_validity(made, now_ms)
        )


def _lots(now: AccountInputs, notional: float) -> Decimal:
    """An even number of steps, of which half can be closed."""
    pair = 2 * now.rules.step
    pairs = max(1, math.floor(notional / float(now.mark * pair)))
    return min(pairs * pair, now.rules.max_market_quantity // pair * pair)


@dataclass(frozen=True)
class SaidSymbol(PreparedSymbol):
    """What was said of a symbol, as it stands; there is no model to ask."""

    timeframe: str = ""

    def _analysis(self, close_ms: int, outcome: Signal | Abstention, probabilities: np.ndarray) -> Analysis:
        up, down, flat = probabilities.tolist()
        told = None if np.isnan(up) else Probabilities(up, down, flat)
        price = float(self.price[self.at(close_ms)])
        return Analysis(self.symbol, self.timeframe, close_ms, price, outcome, told)


class SaidAnalyses(PreparedAnalyses):
    """The same whenever they are asked for."""

    def of(self, symbol: str, close_ms: int) -> Analysis:
        """What was said at a close."""
        return self.at(symbol, close_ms)


_SILENT = Abstention("not_wanted", "No side of this bar is taken by the folds' models.")


def ideal_tape(symbol: str, timeframe: Timeframe, bars: BarSeries, seed: int = 0) -> Tape:
    """Bars as a market of their own; `seed` is that of its path, where they are not ideal."""
    prices = np.concatenate([bars.open, bars.high, bars.low, bars.close])
    shown = TapeBars(bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume)
    tick, step = tick_of(prices), tick_of(bars.volume)
    made = SymbolTape.of(symbol, timeframe, path_seed(symbol, seed), tick, step, shown)
    return Tape("bars", "bars of their own", {symbol: replace(made, funding={})})


def trade_ideally(
    symbol: str,
    timeframe: Timeframe,
    bars: BarSeries,
    said: Forecasts,
    terms: IdealTerms,
    progress: Progress = silent,
    seed: int = 0,
) -> IdealAccount:
    """The account, once what was said of the bars has been traded to the last close."""
    tape, bar_ms = ideal_tape(symbol, timeframe, bars, seed), timeframe.ms
    since, until = int(bars.open_ms[said.rows[0]]) + bar_ms, int(bars.open_ms[-1]) + bar_ms
    if terms.impact is None:
        (look_ms, again_ms), ideal = (bar_ms // POINTS, bar_ms), {symbol: IdealMarket(tape.symbols[symbol])}
        venue = SimulatedExchange(tape, since + SETTLE_MS, terms.balance, ideal, IDEAL_FILLS)
    else:
        look_ms, again_ms = terms.impact
        venue = SimulatedExchange(tape, since + SETTLE_MS, terms.balance)
    venue.charge(terms.fee, terms.fee)
    venue.latency = terms.latency
    account = IdealAccount(venue, terms.account, timeframe)
    account.compounds = terms.compounds
    schedule = Schedule(timeframe, look_ms, again_ms, terms.account.planning.limits.plan_validity)
    prepared = SaidAnalyses(
        {symbol: _prepared(symbol, timeframe, bars, said)}, StoredAnalyses({}, venue, terms.analysis)
    )
    FastBacktest(account, [symbol], prepared, schedule, tape, progress).run(until)
    return account


def _prepared(symbol: str, timeframe: Timeframe, bars: BarSeries, said: Forecasts) -> SaidSymbol:
    """What is said at each close of the grid; where no bar has closed nothing is."""
    first, last = int(bars.open_ms[said.rows[0]]) + timeframe.ms, int(bars.open_ms[-1]) + timeframe.ms
    closes = np.arange(first, last + 1, timeframe.ms)
    shown = np.searchsorted(bars.open_ms, closes - timeframe.ms, side="right") - 1
    outcomes: list[Signal | Abstention] = [_SILENT] * len(closes)
    probabilities, at = np.full((len(closes), 3), np.nan), (bars.open_ms[said.rows] - bars.open_ms[said.rows[0]])
    at = at // timeframe.ms
    probabilities[at] = said.probabilities
    for number in np.flatnonzero(said.wanted).tolist():
        outcomes[int(at[number])] = _signal(said, number, float(bars.close[said.rows[number]]))
    heard = bars.open_ms[np.minimum(shown + 1, len(bars) - 1)] == closes
    marks = np.where(heard, bars.open[np.minimum(shown + 1, len(bars) - 1)], bars.close[shown])
    return SaidSymbol(
        symbol=symbol,
        first_ms=first,
        bar_ms=timeframe.ms,
        outcomes=outcomes,
        probabilities=probabilities,
        decided_ms=closes,
        price=bars.close[shown],
        marks=marks,
        history=None,  # type: ignore[arg-type]  # nobody asks a model
        timeframe=timeframe.name,
    )


def _signal(said: Forecasts, number: int, close: float) -> Signal:
    """A side that is taken."""
    barrier, is_long = float(said.barrier[number]), bool(said.side[number] > 0)
    above, below = close * math.exp(barrier), close * math.exp(-barrier)
    return Signal(
        side="long" if is_long else "short",
        probability_act=float(said.probabilities[number, 0 if is_long else 1]),
        break_even_probability=0.0,
        expected_value_bps=0.0,
        take_profit_price=above if is_long else below,
        stop_price=below if is_long else above,
        horizon_bars=said.horizon_bars,
    )


def filled_of(fills: pl.DataFrame, bars: BarSeries, timeframe: Timeframe) -> FilledTrades:
    """FILLS of one symbol as the trades of a book: by rows of the bars."""
    times = milliseconds(fills["time"])
    rows = np.searchsorted(bars.open_ms, times - timeframe.ms, side="right")
    at_open = times - bars.open_ms[np.minimum(rows, len(bars) - 1)] < timeframe.ms // POINTS
    enters = (fills["purpose"] == "entry").to_numpy()
    price, quantity = fills["price"].to_numpy(), fills["quantity"].to_numpy()
    plans = {plan: number for number, plan in enumerate(fills["plan"].to_numpy()[enters].tolist())}
    of = np.array([plans[plan] for plan in fills["plan"].to_numpy()[~enters].tolist()], dtype=np.int64)
    return FilledTrades(
        rows[enters] - 1,
        np.where(fills["side"].to_numpy()[enters] == "BUY", 1, -1).astype(np.int8),
        price[enters],
        of,
        rows[~enters],
        price[~enters],
        quantity[~enters] / quantity[enters][of],
        at_open[~enters],
    )
