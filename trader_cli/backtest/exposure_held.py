"""What an account was exposed to, bar by bar, and what the same exposure would have brought without any trading.

A strategy that is long half of the time in a rising market earns something for being there; what it is worth beyond
that is what it earned above its own average exposure held all along (`analyst.claim` measures models the same way).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.backtest.costs import cost_per_bar
from trader_cli.backtest.records import BOOK
from trader_cli.core.market.schemas import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Closes:
    """Closing prices (n,) of a symbol and when each bar closed, UTC ms, rising."""

    close_ms: NDArray[np.int64]
    close: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame, timeframe: Timeframe) -> Closes:
        """Of a BARS frame."""
        return cls(milliseconds(bars["open_time"]) + timeframe.ms, bars["close"].to_numpy())

    def at(self, times_ms: NDArray[np.int64]) -> Floats:
        """The last close by each time; before the first one, that."""
        row = np.searchsorted(self.close_ms, times_ms, side="right") - 1
        return np.asarray(self.close[np.maximum(row, 0)])


@dataclass(frozen=True)
class ExposureBook:
    """Per bar: `gains` (n − 1,) of the account; `net` (n,), the exposure of all symbols as a signed share of equity,
    longs less shorts, and `gross` (n,), longs and shorts together; `held` (n − 1,), the gains of holding each symbol's
    average exposure all along, set right again at each bar, at no cost."""

    gains: Floats
    net: Floats
    gross: Floats
    held: Floats


def exposure_book(equity: pl.DataFrame, fills: pl.DataFrame, closes: Mapping[str, Closes]) -> ExposureBook:
    """Of the EQUITY and FILLS of `records`, n ≥ 1 rows of equity."""
    times, level = milliseconds(equity["time"]), equity["equity"].to_numpy()
    net, gross, held = np.zeros(len(level)), np.zeros(len(level)), np.zeros(len(level) - 1)
    for symbol, prices in closes.items():
        close = prices.at(times)
        share = _amounts(fills.filter(pl.col("symbol") == symbol), times) * close / level
        net, gross = net + share, gross + np.abs(share)
        held = held + (share[:-1].mean() if len(held) else 0.0) * (close[1:] / close[:-1] - 1)
    return ExposureBook(np.diff(level) / level[:-1], net, gross, held)


def book_frame(equity: pl.DataFrame, fills: pl.DataFrame, closes: Mapping[str, Closes]) -> pl.DataFrame:
    """The BOOK of `records`, of its EQUITY and FILLS: one row for each of equity."""
    made, first = exposure_book(equity, fills, closes), np.full(1, np.nan)
    columns = {
        "gain": np.concatenate([first, made.gains]),
        "cost": np.concatenate([np.zeros(1), cost_per_bar(fills, equity)]),
        "net": made.net,
        "gross": made.gross,
        "held_gain": np.concatenate([first, made.held]),
    }
    frame = pl.DataFrame({"time": equity["time"], **columns}, schema=dict(BOOK))
    return frame.with_columns(pl.col("gain", "held_gain").fill_nan(None))


def _amounts(fills: pl.DataFrame, times_ms: NDArray[np.int64]) -> Floats:
    """The signed quantity open at each time."""
    signed = np.where((fills["side"] == "BUY").to_numpy(), 1.0, -1.0) * fills["quantity"].to_numpy()
    order = np.argsort(milliseconds(fills["time"]), kind="stable")
    rows = np.searchsorted(milliseconds(fills["time"])[order], times_ms, side="right")
    amounts = np.concatenate([[0.0], np.cumsum(signed[order])])[rows]
    return np.where(np.abs(amounts) < 1e-9 * max(float(np.abs(signed).max(initial=0.0)), 1.0), 0.0, amounts)
