"""What a backtest on bare bars leaves behind, in the frames of every backtest (`records`).

A bar's equity is stamped with its last millisecond, what is filled at an open with the open's, and what is met within a
bar, nobody knows when, with the bar's last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.backtest.bar_values import Reason
from trader_cli.backtest.records import SHAPES

if TYPE_CHECKING:
    from trader_cli.backtest.bar_values import BarResult, Bars, BarTerms, BarTrades, Floats, Ints

REASONS = ("signal", "stop", "target", "liquidation", "open")
"""By the number of a `Reason`."""


def frames_of(done: BarResult, bars: Bars, terms: BarTerms, symbol: str, bar_ms: int) -> dict[str, pl.DataFrame]:
    """Every part; decisions and levels have no rows."""
    empty = {name: pl.DataFrame(schema=shape) for name, shape in SHAPES.items()}
    closed_ms, trades = _closed_ms(done.trades, bars, bar_ms), done.trades
    own = {
        "fills": _fills(trades, bars, terms, closed_ms),
        "trades": _trades(trades, bars, closed_ms),
        "equity": _equity(done, bars, terms, bar_ms),
    }
    return {**empty, **{name: _shaped(name, columns, symbol) for name, columns in own.items()}}


def _shaped(name: str, columns: dict[str, object], symbol: str) -> pl.DataFrame:
    """A frame of a part's shape; NaN is null."""
    frame = pl.DataFrame(columns, nan_to_null=True).with_columns(pl.lit(symbol).alias("symbol"))
    return frame.select(pl.col(column).cast(kind) for column, kind in SHAPES[name].items())


def _closed_ms(trades: BarTrades, bars: Bars, bar_ms: int) -> Ints:
    """When each ended, UTC ms; of one that is open the last bar's end."""
    last = len(bars) - 1
    opened = bars.open_ms[np.minimum(trades.exit, last)]
    return np.where(trades.reason == Reason.SIGNAL, opened, opened + bar_ms - 1)


def _ended(trades: BarTrades) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(trades.reason != Reason.STILL_OPEN)


def _names(count: int) -> pl.Series:
    return pl.Series("plan", np.arange(count)).cast(pl.String)


def _sides(sign: Ints) -> pl.Series:
    return pl.Series("side", sign > 0).replace_strict({True: "BUY", False: "SELL"}, return_dtype=pl.String)


def _reasons(trades: BarTrades) -> pl.Series:
    return pl.Series("reason", trades.reason).replace_strict(dict(enumerate(REASONS)), return_dtype=pl.String)


def _fills(trades: BarTrades, bars: Bars, terms: BarTerms, closed_ms: Ints) -> dict[str, object]:
    """Entries and exits in the order of time."""
    out, k = np.flatnonzero(_ended(trades)), len(trades)
    fee_in = trades.quantity * trades.entry_price * terms.taker_fee
    market = (trades.reason == Reason.SIGNAL) | (trades.reason == Reason.STOP)
    level = np.where(market, trades.exit_price / (1 - trades.sign * terms.slippage), trades.exit_price)
    times = np.concatenate([bars.open_ms[trades.entry], closed_ms[out]])
    order = np.argsort(np.concatenate([2 * np.arange(k), 2 * out + 1]), kind="stable")
    reasons, plans = _reasons(trades), _names(k)
    entry = pl.Series(["entry"]).new_from_index(0, k)

    def joined(entries: Floats, exits: Floats) -> Floats:
        return np.asarray(np.concatenate([entries, exits[out]])[order])

    return {
        "time": times[order],
        "plan": pl.concat([plans, plans[out]])[order],
        "purpose": pl.concat([entry, pl.Series(["exit"]).new_from_index(0, len(out))])[order],
        "side": pl.concat([_sides(trades.sign), _sides(-trades.sign[out])])[order],
        "price": joined(trades.entry_price, trades.exit_price),
        "quantity": joined(trades.quantity, trades.quantity),
        "fee": joined(fee_in, trades.fees - fee_in),
        "realised": joined(np.zeros(k), trades.realised),
        "reason": pl.concat([entry, reasons[out]])[order],
        "maker": joined(np.zeros(k), (trades.reason == Reason.TARGET).astype(np.float64)) > 0,
        "reference": joined(bars.open[trades.entry], level),
    }


def _trades(trades: BarTrades, bars: Bars, closed_ms: Ints) -> dict[str, object]:
    ended, k = _ended(trades), len(trades)
    known = pl.Series("ended", ended)
    return {
        "opened": bars.open_ms[trades.entry],
        "closed": pl.Series(closed_ms).set(~known, None),
        "plan": _names(k),
        "side": pl.Series(trades.sign > 0).replace_strict({True: "long", False: "short"}, return_dtype=pl.String),
        "quantity": trades.quantity,
        "entry_price": trades.entry_price,
        "exit_price": np.where(ended, trades.exit_price, np.nan),
        "realised": trades.realised,
        "fees": trades.fees,
        "funding": trades.funding,
        "net": trades.realised - trades.fees - trades.funding,
        "reason": _reasons(trades).set(~known, None),
        "unprotected_ms": np.zeros(k, dtype=np.int64),
    }


def _equity(done: BarResult, bars: Bars, terms: BarTerms, bar_ms: int) -> dict[str, object]:
    """The wallet is what it is once a trade has ended; fees and funding of an open one are in the equity."""
    trades, n = done.trades, len(bars)
    lengths = np.diff(np.concatenate([[0], np.minimum(trades.exit, n), [n]]))
    wallet = np.repeat(np.concatenate([[terms.wallet], trades.wallet]), lengths)
    held = np.repeat(*_runs(trades, n))
    return {
        "time": bars.open_ms + (bar_ms - 1),
        "wallet": wallet,
        "equity": done.equity,
        "exposure": held * bars.close,
    }


def _runs(trades: BarTrades, n: int) -> tuple[Floats, Ints]:
    """Quantities held and over how many bars each, one after the other: nothing, a trade, nothing, …"""
    edges = np.column_stack([trades.entry, np.minimum(trades.exit, n)]).ravel()
    quantities = np.column_stack([np.zeros(len(trades)), trades.quantity]).ravel()
    return np.append(quantities, 0.0), np.diff(np.concatenate([[0], edges, [n]]))
