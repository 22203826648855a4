"""The market as it is known at a moment: everything the public routes show, from the tape up to `now_ms` and no later.

Closed bars come from the tape exactly; the forming one and the trades come from the seeded intrabar path. The book is
derived from past volume and range, the mark price is the last price where the tape holds none; index, premium, open
interest and funding rates are derived too (`venue.simulated_market.derived_series`).
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from functools import cached_property, partial
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.orders import SymbolRules
from trader_cli.venue.simulated_market.base_bars import SUMS, BaseBars, grouped, page_rows
from trader_cli.venue.simulated_market.brackets import in_asset
from trader_cli.venue.simulated_market.derived_series import (
    FUNDING_INTERVAL_MS,
    OpenInterest,
    derived_funding_rate,
    index_at,
    seen_as,
)
from trader_cli.venue.simulated_market.intrabar_path import expand, points_per_bar
from trader_cli.venue.simulated_market.many_moments import book_at, day_quote_volumes, last_hour
from trader_cli.venue.simulated_market.market_values import DayStatistics, Kline, Trade, TradeColumns, with_part
from trader_cli.venue.simulated_market.price_path import PricePath

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.market_port import Beyond
    from trader_cli.venue.simulated_market.number_format import View
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Side = list[tuple[float, float]]

MIN_NOTIONAL = Decimal(5)
"""In dollars; see `in_asset`."""
MAX_QUANTITY = Decimal(1_000_000)
_CHUNK = 20_000
_COLUMNS = ("open", "high", "low", "close", *SUMS)


class SymbolMarket:
    """One symbol. Every method takes `now_ms` and shows nothing later."""

    def __init__(self, tape: SymbolTape, path: PricePath | None = None) -> None:
        self.tape = tape
        self._base = BaseBars(tape)
        self._seen: tuple[tuple[int, int], dict[str, float] | None] | None = None
        self._path = path or PricePath(tape)
        self._hour: tuple[int, tuple[float, float]] = (-1, (0.0, 0.0))
        self._shown_book: tuple[int, int, tuple[Side, Side]] | None = None

    @cached_property
    def rules(self) -> SymbolRules:
        """The symbol's filters."""
        tick, step = (Decimal(f"{value:.8f}") for value in (self.tape.tick, self.tape.step))
        least = in_asset(MIN_NOTIONAL, margin_asset_of(self.tape.symbol))
        return SymbolRules(self.tape.symbol, tick, step, step, MAX_QUANTITY, least)

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first point of the path in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        return self._path.first_beyond(after_ms, upto_ms, below, above)

    knows_ahead = True
    """The whole tape is there; nothing of it is shown before its time."""

    @property
    def mark_is_last(self) -> bool:
        """Whether the tape holds no mark price."""
        return self._marks is self

    @cached_property
    def _marks(self) -> SymbolMarket:
        """The market that shows the mark price as its last price."""
        tape = self.tape.mark_tape
        return self if tape is self.tape else SymbolMarket(tape)

    def first_mark_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """As `first_beyond`, of the mark price."""
        return self._marks.first_beyond(after_ms, upto_ms, below, above)

    def mark_price(self, now_ms: int) -> float:
        """The latest mark price shown by `now_ms`: the last price where the tape holds none."""
        return self._marks.last_price(now_ms)

    def price_on_the_way(self, time_ms: int, share: float) -> float:  # noqa: ARG002
        """The last price: every point of a path is known."""
        return self.last_price(time_ms)

    def unresolved_until(self, time_ms: int) -> int:
        """The moment itself: a path says what came first."""
        return time_ms

    def klines(
        self, timeframe: Timeframe, now_ms: int, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Kline]:
        """Bars oldest first, the forming one last: the first `limit` from `start_ms` on, or the last `limit`."""
        bars = self.bars("last", timeframe, now_ms, (start_ms, end_ms, limit))
        columns = (bars["open_ms"].astype(np.int64), *(bars[name] for name in _COLUMNS))
        return [Kline(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def bars(
        self, view: View, timeframe: Timeframe, now_ms: int, page: tuple[int | None, int | None, int]
    ) -> dict[str, Floats]:
        """Bars as columns of shape (n,), the forming one last; `page` is (start, end, limit) as for `klines`."""
        if view == "mark" and not self.mark_is_last:
            return self._marks.bars("last", timeframe, now_ms, page)
        start_ms, end_ms, limit = page
        opened, table = self._base.grouped(view, timeframe.ms)
        closed = int(np.searchsorted(opened, now_ms - timeframe.ms, side="right"))
        shown = page_rows(opened[:closed], start_ms, end_ms, limit)
        bars = table.between(shown.start, shown.stop)
        forming_ms, full = timeframe.floor(now_ms), start_ms is not None and len(shown) == limit
        if full or not (start_ms or 0) <= forming_ms <= (now_ms if end_ms is None else end_ms):
            return bars
        forming = self._forming(view, timeframe, now_ms)
        if forming is None:
            return bars
        return {name: np.concatenate([bars[name], forming[name]])[-limit:] for name in bars}

    def closed_bars(self, view: View, timeframe: Timeframe, first_ms: int, stop_ms: int) -> dict[str, Floats]:
        """The finished bars that open in [first, stop), as columns. The caller shows them only once `stop` is past."""
        if view == "mark" and not self.mark_is_last:
            return self._marks.closed_bars("last", timeframe, first_ms, stop_ms)
        opened, table = self._base.grouped(view, timeframe.ms)
        return table.between(*np.searchsorted(opened, [first_ms, stop_ms]).tolist())

    def _forming(self, view: View, timeframe: Timeframe, now_ms: int) -> dict[str, Floats] | None:
        """The unfinished bar, columns of shape (1,): closed base bars inside it, the path of the base bar under way."""
        opened = self.tape.open_ms
        first = int(np.searchsorted(opened, timeframe.floor(now_ms), side="left"))
        stop = int(np.searchsorted(opened, now_ms - self.tape.timeframe.ms, side="right"))
        seen = self._base.between(first, stop)
        part = self._partial(stop, now_ms)
        if part is not None:
            seen = {name: np.append(seen[name], part[name]) for name in seen}
        if not len(seen["open_ms"]):
            return None
        return grouped(seen_as(view, self.tape.seed, seen), timeframe.ms)

    def _partial(self, index: int, now_ms: int) -> dict[str, float] | None:
        """The base bar under way at `now_ms`, as far as its path has come."""
        if self._seen is None or self._seen[0] != (index, now_ms):
            self._seen = (index, now_ms), self._seen_part(index, now_ms)
        return self._seen[1]

    def _seen_part(self, index: int, now_ms: int) -> dict[str, float] | None:
        if index >= len(self.tape.open_ms):
            return None
        path, row = self._path.run_of(index)
        seen = slice(int(np.searchsorted(path.time_ms[row], now_ms, side="right")))
        prices, quantities, buys = (c[row, seen].tolist() for c in (path.price, path.quantity, path.taker_buys))
        if not prices:
            return None
        values = [price * quantity for price, quantity in zip(prices, quantities, strict=True)]
        return {
            "open_ms": float(self.tape.open_ms[index]),
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": sum(quantities),
            "quote_volume": sum(values),
            "trades": float(sum(quantity > 0 for quantity in quantities)),
            "taker_buy_base": sum(compress(quantities, buys)),
            "taker_buy_quote": sum(compress(values, buys)),
        }

    def closed_trades(self, first_ms: int, stop_ms: int) -> TradeColumns:
        """Aggregate trades of the bars that open in [first, stop), as columns. Shown only once `stop` is past."""
        first, stop = np.searchsorted(self.tape.open_ms, [first_ms, stop_ms]).tolist()
        parts = [TradeColumns.of(expand(self.tape, at, min(at + _CHUNK, stop))) for at in range(first, stop, _CHUNK)]
        return TradeColumns.joined(parts)

    def _path_trades(self, first: int, stop: int) -> list[Trade]:
        if first >= min(stop, len(self.tape.open_ms)):
            return []
        p = expand(self.tape, first, stop)
        columns = (c.ravel().tolist() for c in (p.time_ms, p.trade_id, p.price, p.quantity, ~p.taker_buys))
        return [Trade(*row) for row in zip(*columns, strict=True)]

    def still_until(self, after_ms: int) -> int:
        """Before when no price comes after that, as far as is known at no cost."""
        until = self._path.shown_at(after_ms)[1]
        return until if self.mark_is_last else min(until, self._marks.still_until(after_ms))

    def last_price(self, now_ms: int) -> float:
        """The latest price shown by `now_ms`; before the first trade, the first open."""
        return self._path.shown_at(now_ms)[2]

    def priced_at(self, now_ms: int) -> int:
        """When the latest price by `now_ms` came, UTC ms; 0 before the first."""
        return self._path.priced_at(now_ms)

    def book_moments(self, after_ms: int, upto_ms: int) -> list[int]:
        """When the book may have become another in (after, upto], ascending: with each price and each second."""
        seconds = range((after_ms // 1000 + 1) * 1000, upto_ms + 1, 1000)
        return sorted({*seconds, *self._path.times_between(after_ms, upto_ms)})

    def day_quote_volumes(self, times: NDArray[np.int64]) -> Floats:
        """The turnover that `day` tells at ascending times. Shape (n,)."""
        return day_quote_volumes(self.tape, self._base, times)

    def day(self, now_ms: int, *, counted: bool = True) -> DayStatistics:
        """Statistics of the last 24 hours, the bar under way included; NaN trades where they are not `counted`."""
        under_way, sums = self._path.bar_under_way(now_ms), ("quote_volume", "trades") if counted else ("quote_volume",)
        first = int(self.tape.open_ms.searchsorted(now_ms - DAY_MS))
        day = DayStatistics.of(self._base.between(first, under_way, sums), self._partial(under_way, now_ms))
        if day is None:
            last = self.last_price(now_ms)
            return DayStatistics(now_ms, last, last, last, last, 0.0, 0.0, 0.0)
        return day

    def day_quote_volume(self, now_ms: int) -> float:
        """The turnover that `day` tells."""
        under_way = self._path.bar_under_way(now_ms)
        first, part = int(self.tape.open_ms.searchsorted(now_ms - DAY_MS)), self._partial(under_way, now_ms)
        return float(with_part(self._base.flow("quote_volume", under_way)[first:], part, "quote_volume").sum())

    def trades(
        self, now_ms: int, start_ms: int | None, end_ms: int | None, from_id: int | None, limit: int
    ) -> list[Trade]:
        """Aggregate trades oldest first: from an id or a time on, or the latest `limit`."""
        stop_ms = min(now_ms, end_ms if end_ms is not None else now_ms)
        last, points = self._path.bar_under_way(stop_ms) + 1, points_per_bar(self.tape.timeframe.ms)
        if from_id is not None:
            first = int(np.searchsorted(self.tape.open_ms, from_id // points * self.tape.timeframe.ms))
        elif start_ms is not None:
            first = self._path.bar_under_way(start_ms)
        else:
            first = max(0, last - 2 - limit // max(1, points // 2))
        if from_id is not None or start_ms is not None:
            last = min(last, first + 2 + 4 * limit // points)
        seen = [
            t
            for t in self._path_trades(first, last)
            if t.quantity > 0 and t.time_ms <= stop_ms and t.time_ms >= (start_ms or 0) and t.trade_id >= (from_id or 0)
        ]
        return seen[-limit:] if from_id is None and start_ms is None else seen[:limit]

    def book(self, now_ms: int, levels: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """(bids, asks), best first, derived from the last hour's volume and range; seeded, stable within a second.

        A deeper look shows the same levels and more.
        """
        if self._shown_book is None or self._shown_book[:2] != (now_ms, levels):
            bids, asks = (zip(*(c.tolist() for c in side), strict=True) for side in self.book_columns(now_ms, levels))
            self._shown_book = now_ms, levels, (list(bids), list(asks))
        return self._shown_book[2]

    def book_columns(self, now_ms: int, levels: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """The book as (prices, sizes) of bids and asks, best first; levels without a price are left out."""
        bids, asks = book_at(self.tape, now_ms, self.last_price(now_ms), levels, self._last_hour(now_ms))
        left = len(bids[0]) if bids[0][-1] > 0 else int((bids[0] > 0).sum())
        return (bids[0][:left], bids[1][:left]), asks

    def _last_hour(self, now_ms: int) -> tuple[float, float]:
        under_way = self._path.bar_under_way(now_ms)
        if self._hour[0] != under_way:
            volume, reach = last_hour(self.tape, np.array([under_way]))
            self._hour = under_way, (float(volume[0]), float(reach[0]))
        return self._hour[1]

    def funding_rate(self, time_ms: int) -> float:
        """The funding rate of the interval that ends at `time_ms`: as recorded (0 where none was), or derived."""
        if self.tape.funding is not None:
            return self.tape.funding.get(time_ms, 0.0)
        return derived_funding_rate(self.tape.seed, time_ms)

    def quoted_funding_rate(self, now_ms: int, following_ms: int) -> float:
        """What is shown before the next payment: the last recorded rate that was paid by now, or the derived next."""
        if self.tape.funding is None:
            return derived_funding_rate(self.tape.seed, following_ms)
        paid = bisect_right(self._funded_ms, now_ms)
        return self.tape.funding[self._funded_ms[paid - 1]] if paid else 0.0

    @cached_property
    def _funded_ms(self) -> list[int]:
        return sorted(self.tape.funding or {})

    def funding_times(self, now_ms: int, start_ms: int | None, end_ms: int | None, limit: int) -> list[int]:
        """Past funding times, oldest first; a contract with a day of delivery has none."""
        if delivery_ms_of(self.tape.symbol) is not None:
            return []
        opened = self.tape.start_ms
        first = -(-max(opened, start_ms or 0) // FUNDING_INTERVAL_MS) * FUNDING_INTERVAL_MS
        times = list(range(first, min(now_ms, end_ms if end_ms is not None else now_ms) + 1, FUNDING_INTERVAL_MS))
        return times[:limit] if start_ms is not None else times[-limit:]

    def hourly_times(
        self, now_ms: int, start_ms: int | None, end_ms: int | None, limit: int, falls_due: Callable[[int], bool]
    ) -> list[int]:
        """As `funding_times`, of the full hours at which funding falls due."""
        first = -(-max(self.tape.start_ms, start_ms or 0) // HOUR_MS) * HOUR_MS
        hours = range(first, min(now_ms, end_ms if end_ms is not None else now_ms) + 1, HOUR_MS)
        times = [hour for hour in hours if falls_due(hour)]
        return times[:limit] if start_ms is not None else times[-limit:]

    def open_interest(self, now_ms: int) -> float:
        """Derived: half of the last day's volume, in whole steps."""
        return round(0.5 * self.day(now_ms).volume / self.tape.step) * self.tape.step

    @cached_property
    def interest(self) -> OpenInterest:
        """Open interest at many moments, from closed bars."""
        return OpenInterest(self.tape, partial(self._base.flow, "taker_buy_base"))

    def index_price(self, now_ms: int) -> float:
        """Derived: the last price less a seeded basis of a few basis points (`derived_series.basis`)."""
        return index_at(self.tape.seed, self.tape.timeframe.floor(now_ms), self.last_price(now_ms))
