"""Bars of any span, at the least weight and with several pages on the way: last price, mark price, index, spot.

What it does not do: it stores nothing, and fills no hole. What the exchange does not show is not there.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from trader_cli.core.errors import DataInvalid, ExchangeRejected, NotListed, TraderError, UsageError
from trader_cli.core.market.bars import check_bars
from trader_cli.core.market.schemas import BARS, MARK
from trader_cli.core.market.symbols import pair_of
from trader_cli.exchange.connection import replies
from trader_cli.exchange.market_data import reply_frames
from trader_cli.exchange.market_data.pages import AHEAD, CHEAP_BARS, SMALLEST_BARS, in_order, page_plan

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trader_cli.core.market.schemas import Schema
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.exchange.connection.connection import Connection

Kind = Literal["klines", "mark", "index"]
Market = Literal["um", "spot"]

_INVALID_INTERVAL, _INVALID_SYMBOL = -1120, -1121
"""The exchange's numbers for a time frame and for a symbol it does not know ("Error Codes")."""
_NOT_TRADING = frozenset({-1122, -4108, -4141})
"""Of a symbol that is being delivered, settled or closed, or waits to be traded."""
_FRAME_PAGES = 8
"""Pages that become one frame: to make and check it costs hardly more for 4000 rows than for 500."""


@dataclass(frozen=True)
class _Route:
    method: str
    path: str
    symbol: str = "symbol"
    flat: int | None = None
    schema: Schema = MARK


_ROUTES = {
    ("klines", "um"): _Route("fapiPublicGetKlines", "/fapi/v1/klines", schema=BARS),
    ("mark", "um"): _Route("fapiPublicGetMarkPriceKlines", "/fapi/v1/markPriceKlines"),
    ("index", "um"): _Route("fapiPublicGetIndexPriceKlines", "/fapi/v1/indexPriceKlines", symbol="pair"),
    ("klines", "spot"): _Route("publicGetKlines", "/api/v3/klines", flat=1000, schema=BARS),
}


class KlineHistory:
    """Reads series of bars over one connection. Raises like `Connection.read`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def latest_ms(self, timeframe: Timeframe) -> int:
        """Opening time of the bar that closed last."""
        return timeframe.floor(self._connection.server_now_ms()) - timeframe.ms

    def span(self, timeframe: Timeframe, limit: int, start_ms: int | None) -> tuple[int, int]:
        """Opening times of the first and last of `limit` bars: from `start_ms` on, or the last ones that closed."""
        if limit < 1:
            raise UsageError(f"limit must be at least 1; found {limit}.")
        back = (limit - 1) * timeframe.ms
        first = self.latest_ms(timeframe) - back if start_ms is None else -(-start_ms // timeframe.ms) * timeframe.ms
        return first, first + back

    def stream(
        self,
        symbol: str,
        timeframe: Timeframe,
        first_ms: int,
        last_ms: int,
        *,
        kind: Kind = "klines",
        market: Market = "um",
    ) -> AsyncGenerator[pl.DataFrame, None]:
        """Closed bars that open from `first_ms` to `last_ms`, oldest first, as checked frames of some 4000 rows.

        BARS frames, or MARK frames of the mark price and the index. A span that begins before the exchange's first bar
        costs one request for what lies before; a hole costs its empty pages, and the bars behind it follow.
        """
        if (kind, market) not in _ROUTES:
            raise UsageError(
                f"The {market} market has no {kind} bars.", hint="Known: klines of um and spot; mark, index of um."
            )
        return _Series(self._connection, symbol, timeframe, _ROUTES[kind, market]).frames(
            max(0, first_ms), min(last_ms, self.latest_ms(timeframe))
        )


@dataclass(frozen=True)
class _Series:
    connection: Connection
    symbol: str
    timeframe: Timeframe
    route: _Route

    async def frames(self, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        step, ready = self.timeframe.ms, list[pl.DataFrame]()
        start = -(-first_ms // step) * step
        if (last_ms - start) // step >= AHEAD * (self.route.flat or CHEAP_BARS):
            ready += await self._page(start, last_ms, SMALLEST_BARS, first_there_are=True)
            start = int(ready[0]["open_time"][-1]) + step if ready else last_ms + step
        plan = page_plan(start, last_ms, step, flat=self.route.flat)
        async with aclosing(in_order(partial(self._page, *page) for page in plan)) as pages:
            async for page in pages:
                ready += page
                if len(ready) >= _FRAME_PAGES:
                    yield self._frame(ready)
                    ready = []
        if ready:
            yield self._frame(ready)

    async def _page(
        self, start_ms: int, end_ms: int, limit: int, *, first_there_are: bool = False
    ) -> list[pl.DataFrame]:
        """What opens from `start_ms` to `end_ms`, as written: one frame, or none where there is nothing.

        `first_there_are`: the first bars from `start_ms` on that the exchange has, however late they are.
        """
        named = pair_of(self.symbol) if self.route.symbol == "pair" else self.symbol
        query = {
            self.route.symbol: named,
            "interval": self.timeframe.name,
            "startTime": start_ms,
            "limit": limit,
        }
        if not first_there_are:
            query["endTime"] = end_ms + self.timeframe.ms - 1
        try:
            reply = replies.as_list(await self.connection.read(self.route.method, self.route.path, query), "klines")
        except ExchangeRejected as error:
            raise self._explained(error) from error
        return list(replies.parsed("klines", reply, lambda rows: self._kept(rows, start_ms, end_ms)))

    def _kept(self, rows: list[list[Any]], start_ms: int, end_ms: int) -> list[pl.DataFrame]:
        """Becomes columns at once: of eight pages of rows on the way, the objects would fill the processor's cache."""
        if rows and int(rows[0][0]) < start_ms:
            raise DataInvalid(f"{self._name} from the exchange begins before the time that was asked for.")
        while rows and int(rows[-1][0]) > end_ms:
            rows.pop()
        return [reply_frames.klines_as_written(rows)] if rows else []

    def _frame(self, pages: list[pl.DataFrame]) -> pl.DataFrame:
        frame: pl.DataFrame = replies.parsed("klines", pages, reply_frames.bars_as_written)
        check_bars(frame, self.timeframe, origin=f"{self._name} from the exchange")
        closed = frame.filter(pl.col("close_time").to_physical() < self.connection.server_now_ms())
        return closed.select(list(self.route.schema.columns))

    @property
    def _name(self) -> str:
        return f"{self.symbol} {self.timeframe}"

    def _explained(self, error: ExchangeRejected) -> TraderError:
        if error.code == _INVALID_INTERVAL:
            return UsageError(
                f"The exchange has no {self.timeframe} bars of {self.symbol}.", hint="Ask for longer ones."
            )
        if error.code == _INVALID_SYMBOL:
            return NotListed(f"The exchange does not list the symbol {self.symbol!r} on this market.")
        if error.code in _NOT_TRADING:
            return NotListed(f"The exchange answers no question about {self.symbol!r} now: it is not trading.")
        return error
