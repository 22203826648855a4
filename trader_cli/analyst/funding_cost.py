"""Funding of a perpetual contract as a cost: what fell due in each bar, and what is ahead of one at recent rates.

A positive rate is paid by longs to shorts, a negative one by shorts to longs: position × mark price × rate, by whoever
holds at the stamp. Stamps are whole hours, every 8, 4, 2 or 1 h by the symbol, and a symbol's interval changes at short
notice. Source: Binance, "Introduction to Binance Futures Funding Rates".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trader_cli.features.modwt import trailing_sums

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]
    Moments = int | Times

USUAL_HOURS = 8
"""The interval where none is known, and the longest there is: a wider gap between stamps is one that was not stored."""
INTERVALS = (8, 4, 2, 1)
"""In hours; the largest that fits what is told of the next payment is taken where the one before does not."""
RECENT = 3
"""Payments whose mean rate per hour is taken for that of the next ones: rates last for days, extremes for less."""
FUNDING_ROWS = 60
"""Stored payments that are enough for the last bar."""


@dataclass(frozen=True)
class FundingRates:
    """Per bar of a series, each (n,), NaN where no payment is known that is recent enough.

    `due`: the sum of the rates that fell due after the close before and up to this bar's, fraction of notional.
    `per_hour`: the mean rate per hour of the last payments known at the close. `interval_hours`: from the payment
    before to the last one. `upcoming`: (time in ms, rate) of the next payment, where the exchange has told it; or two
    arrays (n,), where it has told one at each close.
    """

    bar_ms: int
    close_ms: Times
    due: Floats
    per_hour: Floats
    interval_hours: Floats
    upcoming: tuple[int, float] | tuple[Times, Floats] | None = None

    def ahead(self, rows: Times, bars: int) -> Floats:
        """What a long pays that is opened at the close of each of these rows (m,) and held so long; NaN: unknown."""
        duration_ms = bars * self.bar_ms
        start, per_hour = self.close_ms[rows], self.per_hour[rows]
        hours = np.where(np.isfinite(self.interval_hours[rows]), self.interval_hours[rows], USUAL_HOURS)
        if self.upcoming is None:
            return np.asarray(per_hour * hours * _stamps(start, start + duration_ms, hours))
        told_ms, told = (np.broadcast_to(one, len(self.close_ms))[rows].tolist() for one in self.upcoming)
        known = zip(start.tolist(), per_hour.tolist(), hours.tolist(), told_ms, told, strict=True)
        return np.array([_told(duration_ms, *one) for one in known])


def _told(duration_ms: int, start_ms: int, per_hour: float, hours: float, next_ms: int, rate: float) -> float:
    """What a long pays for one close, where the exchange's own word on the next payment goes before what is usual."""
    end_ms = start_ms + duration_ms
    if next_ms <= start_ms:
        return per_hour * hours * _count(start_ms, end_ms, hours)
    each = next((n for n in (hours, *INTERVALS) if _is_next(start_ms, next_ms, n)), hours)
    later = per_hour * each if math.isfinite(per_hour) else rate
    return rate + later * _count(next_ms, end_ms, each) if next_ms <= end_ms else 0.0


def _count(start_ms: int, end_ms: int, hours: float) -> float:
    """`_stamps` of one span."""
    interval_ms = hours * HOUR_MS
    return end_ms // interval_ms - start_ms // interval_ms


def _stamps(start_ms: Moments, end_ms: Moments, hours: float | Floats) -> Floats:
    """How many stamps lie after `start_ms`, up to `end_ms`."""
    interval_ms = np.asarray(hours) * HOUR_MS
    return np.asarray(end_ms // interval_ms - start_ms // interval_ms)


def _is_next(start_ms: int, stamp_ms: int, hours: float) -> bool:
    return stamp_ms % (hours * HOUR_MS) == 0 and _count(start_ms, stamp_ms, hours) == 1


def funding_rates(
    symbol: str,
    timeframe: Timeframe,
    open_ms: Times,
    funding: pl.DataFrame | None,
    upcoming: tuple[int, float] | tuple[Times, Floats] | None = None,
) -> FundingRates:
    """From FUNDING and the opening times of bars (n,), ascending; `upcoming` is (time, rate) of the next payment.

    A payment is known at a close if it is stamped by then. It stands until the next one, at most a day; the last one
    stands for its own interval. A delivery contract pays none: all its rates are 0.
    """
    n, closed = len(open_ms), open_ms + timeframe.ms
    if delivery_ms_of(symbol) is not None:
        return FundingRates(timeframe.ms, closed, np.zeros(n), np.zeros(n), np.full(n, float(USUAL_HOURS)))
    if funding is None or funding.is_empty():
        unknown = np.full(n, np.nan)
        return FundingRates(timeframe.ms, closed, unknown, unknown, unknown, upcoming)
    told_ms = milliseconds(funding["time"])
    is_clean = bool((np.diff(told_ms) > 0).all())
    paid = funding if is_clean else funding.unique("time", keep="last", maintain_order=True).sort("time")
    known_ms, rates = milliseconds(paid["time"]), paid["funding_rate"].to_numpy().astype(np.float64)
    stamps = known_ms // MINUTE_MS * MINUTE_MS
    hours = _interval_hours(stamps)
    due, recent = _due(stamps, rates, hours, closed), _recent(known_ms, rates, hours, closed)
    return FundingRates(timeframe.ms, closed, due, *recent, upcoming)


def _interval_hours(stamps: Times) -> Floats:
    """From the payment before to each, within what exchanges use; the first has that of the second."""
    if len(stamps) < 2:
        return np.full(len(stamps), float(USUAL_HOURS))
    hours = np.clip(np.round(np.diff(stamps) / HOUR_MS), 1, USUAL_HOURS)
    return np.concatenate([hours[:1], hours]).astype(np.float64)


def _due(stamps: Times, rates: Floats, hours: Floats, close_ms: Times) -> Floats:
    """Sums of rates by the first close at or after their stamps."""
    bars = np.searchsorted(close_ms, stamps)
    inside = bars < len(close_ms)
    due = np.bincount(bars[inside], rates[inside], len(close_ms))
    last = np.searchsorted(stamps, close_ms, side="right") - 1
    apart = np.append(np.diff(stamps), DAY_MS + 1)
    lasts = np.where(apart <= DAY_MS, apart, hours * HOUR_MS)
    known = (last >= 0) & (close_ms - stamps[last] <= lasts[last])
    return np.where(known, due, np.nan)


def _recent(known_ms: Times, rates: Floats, hours: Floats, close_ms: Times) -> tuple[Floats, Floats]:
    """(mean rate per hour of the last payments, interval in hours) known at each close."""
    per_hour = rates / hours
    count = min(RECENT, len(rates))
    begun = np.cumsum(per_hour)[: count - 1] / np.arange(1, count)
    mean = np.concatenate([begun, trailing_sums(per_hour, count) / count])
    last = np.searchsorted(known_ms, close_ms, side="right") - 1
    lasts = np.clip(2 * hours, 2, 24) * HOUR_MS
    fresh = (last >= 0) & (close_ms - known_ms[last] <= lasts[last])
    return np.where(fresh, mean[last], np.nan), np.where(fresh, hours[last], np.nan)
