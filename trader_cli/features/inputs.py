"""What else is known at a bar's close: trades, funding, mark and index prices, open interest, given levels.

`align_inputs` puts it beside the bars. A value stands in a bar's row only if it was known at the bar's close, its
decision time; it is joined by its own time, never by the bar's opening time. What is too old is null, never carried on.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.schemas import FUNDING, MARK, OPEN_INTEREST, TIME, TRADES, Schema, check_schema
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.modwt import trailing_sums
from trader_cli.features.sr_levels import KNOWN_LEVELS, check_levels, nearest_levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.features.bar_arrays import Floats, Times

OPEN_INTEREST_LAG_MS = 5 * MINUTE_MS
"""How long after its stamp an open interest is published: the exchange's statistics are of whole five minutes."""
FUNDING_MEANS = (3, 21)
"""Payments over which funding is averaged: a day and a week of the usual 8 hours."""

_USUAL_FUNDING_MS = 8 * HOUR_MS
_USUAL_OPEN_INTEREST_MS = HOUR_MS
_COVERED = 0.01
_LARGE = 20

INPUT_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bars": (*PRICE_INPUTS, "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"),
        "trades": ("flow_buy", "flow_sell", "flow_trades", "flow_vwap", "flow_large", "flow_same"),
        "funding": ("funding_rate", "funding_age_ms", "funding_interval_ms", "funding_mean_3", "funding_mean_21"),
        "mark": ("mark_close",),
        "index": ("index_close",),
        "open_interest": ("open_interest",),
        "levels": KNOWN_LEVELS,
    }
)
"""Names of the inputs families may read, by the kind of data they come from.

flow_buy, flow_sell: quantity bought and sold by takers, base asset. flow_trades: number of trades. flow_vwap: their
mean price. flow_large: share of the quantity in the largest twentieth of the trades. flow_same: share of trades on the
side of the trade before. funding_rate: the last one paid, per payment. funding_interval_ms: from the payment before to
that one. mark_close, index_close: quote currency. open_interest: base asset. level_*: `features.sr_levels`.
"""

ALL_INPUTS = frozenset(name for names in INPUT_NAMES.values() for name in names)


def align_inputs(
    bars: pl.DataFrame,
    timeframe: Timeframe,
    *,
    trades: pl.DataFrame | None = None,
    funding: pl.DataFrame | None = None,
    mark: pl.DataFrame | None = None,
    index: pl.DataFrame | None = None,
    open_interest: pl.DataFrame | None = None,
    levels: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A BARS frame with the float columns of `INPUT_NAMES` for what is given, null where nothing was known.

    `trades`: TRADES. Null for a bar whose trades do not sum to its volume within 1 %: they cover it in part.
    `funding`: FUNDING. The last payment stamped at or before the close; null once it is older than 2 of its own
    intervals, at least 2 h and at most 24 h. A payment 20 ms past the hour is not known on the hour.
    `mark`, `index`: MARK, klines of any frame. The last one closed by then; null once a bar of ours, or its own
    interval, has passed since. Given both, `index_close` is that of the index bar that closed with the mark bar.
    `open_interest`: OPEN_INTEREST. The last stamp at or before close less 5 minutes, the time its publication takes;
    null once it is older than 2 of its own intervals, at least 15 min and at most 24 h.
    `levels`: known_time (UTC ms), price, strength (see `features.sr_levels`).
    Order and repetition of rows do not matter. Raises `DataInvalid` for a frame that does not fit its schema.
    """
    decided = bars["open_time"].to_physical().to_numpy().astype(np.int64) + timeframe.ms
    columns: dict[str, Floats] = {}
    if trades is not None:
        columns |= _trades(trades, bars, timeframe)
    if funding is not None:
        columns |= _funding(funding, decided)
    if mark is not None:
        columns["mark_close"] = _closes(_checked(mark, MARK, "close_time"), decided, timeframe)
    if index is not None:
        columns["index_close"] = _closes(_with_mark(index, mark), decided, timeframe)
    if open_interest is not None:
        columns["open_interest"] = _open_interest(open_interest, decided)
    if levels is not None:
        columns |= nearest_levels(check_levels(levels), decided, bars["close"].to_numpy())
    return bars.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in columns.items())


def known_inputs(frame: pl.DataFrame) -> frozenset[str]:
    """Names of the inputs that have a value in any row of an aligned frame."""
    return frozenset(name for name in frame.columns if name in ALL_INPUTS and frame[name].null_count() < frame.height)


def futures_inputs(futures: pl.DataFrame, timeframe: Timeframe) -> dict[str, pl.DataFrame]:
    """The arguments `funding`, `mark`, `index`, `open_interest` of `align_inputs` from one frame of futures data.

    `futures` is FUNDING, or wider: time (UTC ms), funding_rate (null but at payments), and any of mark_price,
    index_price, open_interest, each null where it is not known at `time`. Raises `DataInvalid` for other columns.
    """
    known = ("time", "funding_rate", "mark_price", "index_price", "open_interest")
    if "time" not in futures.columns or not set(futures.columns) <= set(known):
        raise DataInvalid(f"A futures frame has the column time and any of {list(known[1:])}; found {futures.columns}.")
    frame = futures.with_columns(pl.col("time").cast(TIME), pl.exclude("time").cast(pl.Float64))
    found: dict[str, pl.DataFrame] = {}
    for name, kind in (("mark_price", "mark"), ("index_price", "index")):
        stamped = frame.select("time", pl.col(name)).drop_nulls() if name in frame.columns else frame.clear()
        if stamped.height:
            found[kind] = _as_klines(stamped, name, timeframe)
    for name in ("funding_rate", "open_interest"):
        stamped = frame.select("time", pl.col(name)).drop_nulls() if name in frame.columns else frame.clear()
        if stamped.height:
            found[name.removesuffix("_rate")] = stamped
    if "funding" in found:
        found["funding"] = found["funding"].with_columns(pl.lit(None, pl.Float64).alias("mark_price"))
    return found


def _as_klines(stamped: pl.DataFrame, name: str, timeframe: Timeframe) -> pl.DataFrame:
    """A price known at a time as a MARK kline that closed then."""
    time = pl.col("time").to_physical()
    prices = [pl.col(name).alias(price) for price in ("open", "high", "low", "close")]
    times = (time - timeframe.ms).cast(TIME).alias("open_time"), (time - 1).cast(TIME).alias("close_time")
    return stamped.select(*times, *prices)


def _checked(frame: pl.DataFrame, schema: Schema, key: str) -> pl.DataFrame:
    """The frame in order of `key`, each stamp once: the last row that has it."""
    check_schema(frame, schema)
    times = frame[key].to_physical()
    if frame.height and bool((times.diff() <= 0).any()):
        return frame.unique(key, keep="last", maintain_order=True).sort(key)
    return frame


@dataclass(frozen=True)
class _Stamps:
    """Values that become known at `known_ms`, ascending, and are stale once they are `lasts_ms` old."""

    known_ms: Times
    lasts_ms: Times

    def rows(self, decided_ms: Times) -> Times:
        """Which value each decision knows, or −1."""
        at = np.searchsorted(self.known_ms, decided_ms, side="right") - 1
        if not len(self.known_ms):
            return at
        fresh = decided_ms - self.known_ms[at] <= self.lasts_ms[at]
        return np.where((at >= 0) & fresh, at, -1)


def _taken(values: Floats, rows: Times) -> Floats:
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[rows], np.nan)


def _times(frame: pl.DataFrame, name: str) -> Times:
    return frame[name].to_physical().to_numpy().astype(np.int64)


def _intervals(times: Times) -> Floats:
    """From the stamp before to each; NaN for the first."""
    return np.diff(times.astype(np.float64), prepend=np.nan)


def _lasts(intervals: Floats, usual_ms: int, least_ms: int) -> Times:
    """Twice its own interval, within [least, a day]; twice the usual one where it is not known."""
    known = np.where(np.isfinite(intervals), intervals, usual_ms)
    return np.clip(2.0 * known, least_ms, DAY_MS).astype(np.int64)


def _funding(funding: pl.DataFrame, decided: Times) -> dict[str, Floats]:
    frame = _checked(funding, FUNDING, "time")
    times, rates = _times(frame, "time"), frame["funding_rate"].to_numpy().astype(np.float64)
    intervals = _intervals(times)
    rows = _Stamps(times, _lasts(intervals, _USUAL_FUNDING_MS, 2 * HOUR_MS)).rows(decided)
    return {
        "funding_rate": _taken(rates, rows),
        "funding_age_ms": decided - _taken(times.astype(np.float64), rows),
        "funding_interval_ms": _taken(intervals, rows),
        **{f"funding_mean_{n}": _taken(_trailing_mean(rates, n), rows) for n in FUNDING_MEANS},
    }


def _trailing_mean(values: Floats, window: int) -> Floats:
    out = np.full(len(values), np.nan)
    if len(values) >= window:
        out[window - 1 :] = trailing_sums(values, window) / window
    return out


def _with_mark(index: pl.DataFrame, mark: pl.DataFrame | None) -> pl.DataFrame:
    """The index klines, those only that closed together with a mark kline where there are such."""
    frame = _checked(index, MARK, "close_time")
    return frame if mark is None else frame.filter(pl.col("close_time").is_in(mark["close_time"].to_list()))


def _closes(klines: pl.DataFrame, decided: Times, timeframe: Timeframe) -> Floats:
    opened, closed = _times(klines, "open_time"), _times(klines, "close_time") + 1
    lasts = np.minimum(np.maximum(closed - opened, timeframe.ms) - 1, DAY_MS)
    return _taken(klines["close"].to_numpy(), _Stamps(closed, lasts).rows(decided))


def _open_interest(frame: pl.DataFrame, decided: Times) -> Floats:
    frame = _checked(frame, OPEN_INTEREST, "time")
    times = _times(frame, "time")
    lasts = _lasts(_intervals(times), _USUAL_OPEN_INTEREST_MS, 15 * MINUTE_MS)
    rows = _Stamps(times + OPEN_INTEREST_LAG_MS, lasts).rows(decided)
    return _taken(frame["open_interest"].to_numpy(), rows)


def _trades(trades: pl.DataFrame, bars: pl.DataFrame, timeframe: Timeframe) -> dict[str, Floats]:
    check_schema(trades, TRADES)
    opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms).cast(TIME).alias("open_time")
    quantity, sold = pl.col("quantity"), pl.col("buyer_is_maker")
    times, ids = trades["time"].to_physical().diff(), trades["trade_id"].diff()
    if bool(((times < 0) | (ids <= 0)).any()):
        trades = trades.sort("time", "trade_id").unique("trade_id", keep="first", maintain_order=True)
    found = trades.group_by(opened, maintain_order=True).agg(
        quantity.filter(~sold).sum().alias("flow_buy"),
        quantity.filter(sold).sum().alias("flow_sell"),
        pl.len().cast(pl.Float64).alias("flow_trades"),
        ((pl.col("price") * quantity).sum() / quantity.sum()).alias("flow_vwap"),
        (quantity.top_k((pl.len() + _LARGE - 1) // _LARGE).sum() / quantity.sum()).alias("flow_large"),
        (sold == sold.shift(1)).mean().alias("flow_same"),
    )
    names = INPUT_NAMES["trades"]
    joined = bars.select("open_time", "volume").join(found, on="open_time", how="left", maintain_order="left")
    joined = joined.with_columns(pl.col("flow_buy", "flow_sell", "flow_trades").fill_null(0.0))
    missing = (pl.col("flow_buy") + pl.col("flow_sell") - pl.col("volume")).abs()
    covered = joined.select(pl.when(missing <= _COVERED * pl.col("volume")).then(pl.col(*names)))
    return {name: covered[name].to_numpy().astype(np.float64) for name in names}
