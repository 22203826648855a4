"""What the charts and the table of trades draw, packed. Longer series than one can see are drawn coarser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.backtest.resampling import drawn_blocks, joined_returns, paths
from trader_cli.report.packing import decimal_places, packed, packed_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject
    from trader_cli.report.run_report import RunReport

    Floats = NDArray[np.float64]

MOST_BARS = 40_000
"""So many bars are drawn at most, of all symbols together, and so many points of equity."""
_VOLUME_STEPS = 1000
BAND = (0.05, 0.95)
"""Shares of the resamples below and above the band."""
PRICES = ("open", "high", "low", "close")


def chart_data(run: RunReport) -> JsonObject:
    """Everything that scripts read, as JSON."""
    return {
        "symbols": list(run.symbols),
        "balance": run.figures.balance,
        "bars": [_bars(run, symbol) for symbol in run.drawn],
        "equity": _equity(run),
        "resampled": _resampled(run),
        "trades": trade_columns(run),
        "fills": _fills(run),
        "levels": _levels(run),
    }


def _seconds(times: pl.Series) -> JsonObject:
    """Times as UTC seconds; null is kept."""
    return packed((times.to_physical().cast(pl.Float64) / 1000).round(0).to_numpy(), 0)


def _bars(run: RunReport, symbol: str) -> JsonObject:
    """Bars as steps from close to close and what goes beyond them, in ticks: small numbers, which deflate well."""
    count = sum(run.bars[drawn].height for drawn in run.drawn)
    each = -(-count // MOST_BARS)
    bars = coarser(run.bars[symbol], each * run.timeframe.ms) if each > 1 else run.bars[symbol]
    places = max(decimal_places(bars[name].to_numpy()) for name in PRICES)
    opened, high, low, close = (np.round(bars[name].to_numpy() * 10.0**places) for name in PRICES)
    volume = bars["volume"].to_numpy()
    unit = float(volume.max(initial=0.0)) / _VOLUME_STEPS or 1.0
    return {
        "symbol": symbol,
        "places": places,
        "bar_s": each * run.timeframe.ms // 1000,
        "time": _seconds(bars["open_time"]),
        "gap": packed(opened - np.concatenate([[0.0], close[:-1]]), 0, steps=False),
        "body": packed(close - opened, 0, steps=False),
        "up": packed(high - np.maximum(opened, close), 0, steps=False),
        "down": packed(np.minimum(opened, close) - low, 0, steps=False),
        "volume": packed(np.round(volume / unit), 0, steps=False),
    }


def coarser(bars: pl.DataFrame, bar_ms: int) -> pl.DataFrame:
    """The same bars joined to longer ones."""
    start = (pl.col("open_time").to_physical() // bar_ms * bar_ms).cast(bars.schema["open_time"])
    return bars.group_by(start.alias("open_time"), maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )


def _equity(run: RunReport) -> JsonObject:
    equity, book = run.frames["equity"], run.book
    each = -(-equity.height // MOST_BARS)
    rows = np.unique(np.append(np.arange(0, equity.height, each), equity.height - 1))
    level = equity["equity"].to_numpy()[rows]
    return {
        "time": _seconds(equity["time"].gather(rows)),
        "equity": packed(level, min(2, decimal_places(level))),
        "net": packed(np.round(book.net[rows], 4), 4),
    }


def _resampled(run: RunReport) -> JsonObject:
    """On a coarse grid: the band that block resamples of the returns stay in, and the same exposure held."""
    equity, book, start = run.frames["equity"], run.book, run.figures.balance
    joined, held = joined_returns(book.gains), joined_returns(book.held)
    if not len(joined):
        return {"time": _seconds(equity["time"][:0]), "low": packed([]), "high": packed([]), "held": packed([])}
    each = -(-len(book.gains) // len(joined))
    rows = np.minimum(np.arange(len(joined) + 1) * each, equity.height - 1)
    first = float(equity["equity"][0])
    low, high = np.quantile(paths(drawn_blocks(joined, 0)), BAND, axis=0) * first
    return {
        "time": _seconds(equity["time"].gather(rows)),
        "low": packed(low, 2),
        "high": packed(high, 2),
        "held": packed(np.concatenate([[1.0], np.cumprod(1 + held)]) * start, 2),
    }


def trade_columns(run: RunReport) -> JsonObject:
    """One row a trade, in order of entry. `risk` is what its first stop would have lost, null where none is known."""
    trades = run.frames["trades"]
    stops = run.frames["levels"].filter(pl.col("purpose") == "stop").unique("plan", keep="first", maintain_order=True)
    first = trades.join(
        stops.select("plan", pl.col("price").alias("stop")), on="plan", how="left", maintain_order="left"
    )
    risk = ((first["entry_price"] - first["stop"]).abs() * first["quantity"]).cast(pl.Float64)
    numbers = ("quantity", "entry_price", "exit_price", "realised", "fees", "funding", "net")
    return {
        "opened": _seconds(trades["opened"]),
        "closed": _seconds(trades["closed"]),
        "symbol": packed_words(trades["symbol"].to_list()),
        "side": packed_words(trades["side"].to_list()),
        "reason": packed_words(trades["reason"].to_list()),
        **{name: _money(trades[name]) for name in numbers},
        "risk": _money(risk),
        "unprotected": packed(trades["unprotected_ms"].to_numpy() / 1000, 3, steps=False),
    }


def _money(column: pl.Series) -> JsonObject:
    return packed(column.cast(pl.Float64).fill_null(np.nan).to_numpy(), steps=False)


def _numbers_of_trades(run: RunReport, plans: pl.Series) -> JsonObject:
    """Which trade each row belongs to, by its number; null for none of these."""
    at = {plan: number for number, plan in enumerate(run.frames["trades"]["plan"].to_list())}
    return packed([at.get(plan, np.nan) for plan in plans.to_list()], 0)


def _fills(run: RunReport) -> JsonObject:
    fills = run.frames["fills"]
    return {
        "time": _seconds(fills["time"]),
        "trade": _numbers_of_trades(run, fills["plan"]),
        "purpose": packed_words(fills["purpose"].to_list()),
        "price": _money(fills["price"]),
        "quantity": _money(fills["quantity"]),
    }


def _levels(run: RunReport) -> JsonObject:
    levels = run.frames["levels"]
    return {
        "time": _seconds(levels["time"]),
        "trade": _numbers_of_trades(run, levels["plan"]),
        "purpose": packed_words(levels["purpose"].to_list()),
        "price": _money(levels["price"]),
    }
