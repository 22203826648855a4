"""Looks at a symbol through the exchange's public API and says what was seen. Minute bars, books, funding rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.errors import NoPrice
from trader_cli.core.market.bars import check_bars
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.exchange.connection import replies
from trader_cli.exchange.market_data import reply_frames
from trader_cli.venue.engine.triggers import BOOK_LEVELS
from trader_cli.venue.paper.observations import MINUTE, Observation, SeenBar, SeenBook

if TYPE_CHECKING:
    from collections.abc import Collection

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.ports import MarketData
    from trader_cli.exchange.connection.connection import Connection

_PAGE = 1000
_STALE_MS = 3 * MINUTE_MS
_Route = tuple[str, str]
_LAST: _Route = ("fapiPublicGetKlines", "/fapi/v1/klines")
_MARK: _Route = ("fapiPublicGetMarkPriceKlines", "/fapi/v1/markPriceKlines")
_FIELDS = ("open", "high", "low", "close", "volume")


class MarketPoller:
    """Raises like the public side; nothing seen is ever made up."""

    def __init__(self, exchange: MarketData, connection: Connection) -> None:
        self._exchange = exchange
        self._connection = connection

    async def observe(self, rules: SymbolRules, since: Observation | None, upto_ms: int) -> Observation:
        """What happened since a sighting, up to a moment of `look_ms`; without one, how things stand."""
        if since is None:
            bars, marks = await self._both(rules.symbol, upto_ms - _STALE_MS, upto_ms)
            mark = _fresh(rules.symbol, marks, upto_ms) if marks else None
            return Observation(rules, upto_ms, upto_ms, _fresh(rules.symbol, bars, upto_ms), mark_before=mark)
        if since.upto_ms >= upto_ms:
            return since
        start_ms = MINUTE.floor(since.upto_ms + 1)
        bars, marks = await self._both(rules.symbol, start_ms, upto_ms)
        _fresh(rules.symbol, [since.before, *bars], upto_ms)
        mark = since.mark_before or (marks[0] if marks else None)
        if mark is not None:
            _fresh(rules.symbol, [mark, *marks], upto_ms)
        if since.before.open_ms == start_ms and (not bars or bars[0].open_ms != start_ms):
            raise NoPrice(f"The exchange no longer shows the bar of {rules.symbol} at {utc_text(start_ms)}.")
        return Observation(
            rules, since.upto_ms, upto_ms, since.before, tuple(bars), mark_before=mark, marks=tuple(marks)
        )

    async def book(self, symbol: str) -> SeenBook:
        """The order book, as deep as the engine looks."""
        shown = await self._exchange.order_book(symbol, BOOK_LEVELS)
        return SeenBook(shown.bids, shown.asks)

    async def _both(self, symbol: str, start_ms: int, upto_ms: int) -> tuple[list[SeenBar], list[SeenBar]]:
        """Minute bars of the last price and of the mark price."""
        bars = await self._bars(_LAST, symbol, start_ms, upto_ms)
        return bars, await self._bars(_MARK, symbol, start_ms, upto_ms)

    async def _bars(self, route: _Route, symbol: str, start_ms: int, upto_ms: int) -> list[SeenBar]:
        """Minute bars that open in [minute of start, upto), the unfinished one last."""
        cursor, bars = MINUTE.floor(start_ms), list[SeenBar]()
        while cursor < upto_ms:
            page = await self._page(route, symbol, cursor, upto_ms)
            if not page:
                break
            bars += page
            cursor = page[-1].open_ms + MINUTE_MS
        return bars

    async def _page(self, route: _Route, symbol: str, start_ms: int, upto_ms: int) -> list[SeenBar]:
        query: dict[str, Any] = {
            "symbol": symbol,
            "interval": MINUTE.name,
            "startTime": start_ms,
            "endTime": upto_ms,
            "limit": min(_PAGE, (upto_ms - start_ms) // MINUTE_MS + 1),
        }
        reply = await self._connection.read(*route, query)
        frame = replies.parsed("klines", replies.as_list(reply, "klines"), reply_frames.klines_frame)
        if route == _MARK:
            frame = frame.with_columns(pl.lit(0.0).alias("volume"))
        check_bars(frame, MINUTE, origin=f"{symbol} {MINUTE} from the exchange")
        columns = [frame["open_time"].to_physical().to_list(), *(frame[name].to_list() for name in _FIELDS)]
        bars = [SeenBar(*row) for row in zip(*columns, strict=True)]
        return [bar for bar in bars if start_ms <= bar.open_ms < upto_ms]

    async def rates(self, symbol: str, hours: Collection[int]) -> tuple[tuple[int, float], ...]:
        """(full hour, rate) of the payments among these hours (UTC ms) that the exchange has written down.

        Which hours are stamps its rows alone say: the interval changes, and the rate of the premium index is the next.
        """
        if not hours:
            return ()
        rates, start_ms = dict[int, float](), min(hours) - MINUTE_MS
        while True:
            frame = await self._exchange.get_funding_rates(symbol, _PAGE, start_ms=start_ms)
            times = frame["time"].to_physical().to_list()
            rows = zip(times, frame["funding_rate"].to_list(), strict=True)
            rates |= {(time_ms + HOUR_MS // 2) // HOUR_MS * HOUR_MS: rate for time_ms, rate in rows}
            if len(times) < _PAGE:
                break
            start_ms = times[-1] + 1
        return tuple(sorted((hour, rate) for hour, rate in rates.items() if hour in hours))


def _fresh(symbol: str, bars: list[SeenBar], upto_ms: int) -> SeenBar:
    """The last bar, if it is of these minutes: an account is never valued at a price that is old."""
    if not bars or bars[-1].open_ms < upto_ms - _STALE_MS:
        since = f" since {utc_text(bars[-1].open_ms)}" if bars else ""
        raise NoPrice(f"The exchange shows no price of {symbol}{since}.", hint="Try again later.")
    return bars[-1]
