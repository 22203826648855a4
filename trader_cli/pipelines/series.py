"""One series of bars brought up to date: what is stored, what lies before, after and in its holes; do they agree?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.bars import check_bars, find_gaps, utc_text

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trader_cli.core.ports import Progress
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.exchange.binance import BinanceExchange

_COMPARED = ("open", "high", "low", "close", "volume")
_OPENED = pl.col("open_time").to_physical()


@dataclass(frozen=True)
class SeriesUpdate:
    """The bars from `start_ms` to the last closed one, how many of them are new, and sentences for the person."""

    bars: pl.DataFrame
    new_bars: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SeriesReader:
    """Reads one series from one exchange."""

    exchange: BinanceExchange
    symbol: str
    timeframe: Timeframe
    progress: Progress

    def latest_ms(self) -> int:
        """Opening time of the bar that closed last."""
        return self.timeframe.floor(self.exchange.server_now_ms()) - self.timeframe.ms

    async def update(self, stored: pl.DataFrame | None, start_ms: int) -> SeriesUpdate:
        """Bring `stored` up to date; bars after now (a tape wound back) go, holes are asked for again.

        The last stored bar is fetched again and compared: if the exchange now shows another, the stored bars are of
        another market, or were saved too early, and everything is fetched anew.
        """
        latest = self.latest_ms()
        kept = None if stored is None else stored.filter(latest >= _OPENED)
        if kept is None or kept.is_empty():
            return self._checked([await self._span(start_ms, latest)], 0, ())
        first, last = (int(kept["open_time"].to_physical()[i]) for i in (0, -1))
        tail = await self._span(last, latest)
        if not _agree(kept.tail(1), tail.head(1)):
            note = f"The bar of {utc_text(last)} differs from the stored one: the stored bars were replaced."
            return self._checked([await self._span(min(start_ms, first), latest)], 0, (note,))
        pieces = [kept, tail.filter(last < _OPENED)]
        pieces += [await self._span(gap.first_ms, gap.last_ms) for gap in find_gaps(kept, self.timeframe)]
        if start_ms < first:
            pieces.append(await self._span(start_ms, first - self.timeframe.ms))
        return self._checked(pieces, kept.height, ())

    def _span(self, first_ms: int, last_ms: int) -> Awaitable[pl.DataFrame]:
        count = max(1, (last_ms - first_ms) // self.timeframe.ms + 1)
        get = partial(self.exchange.get_klines, self.symbol, self.timeframe.name, progress=self.progress)
        return get(count, start_ms=first_ms)

    def _checked(self, pieces: list[pl.DataFrame], known: int, notes: tuple[str, ...]) -> SeriesUpdate:
        bars = check_bars(pl.concat(pieces).sort("open_time"), self.timeframe, origin=f"{self.symbol} {self.timeframe}")
        return SeriesUpdate(bars, bars.height - known, notes)


def _agree(ours: pl.DataFrame, theirs: pl.DataFrame) -> bool:
    """Whether two single bars are the same one; an exchange that no longer has the bar does not disagree."""
    if theirs.is_empty() or theirs["open_time"][0] != ours["open_time"][0]:
        return theirs.is_empty()
    return ours.select(_COMPARED).equals(theirs.select(_COMPARED))
