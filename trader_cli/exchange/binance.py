"""`BinanceExchange`: the exchange's USDⓈ-M futures through ccxt. Public side: market data, checked on entry.

Reads are retried; nothing here sends an order.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.bars import check_bars
from trader_cli.core.errors import (
    ClockSkewed,
    ConfigurationError,
    DataInvalid,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    UsageError,
)
from trader_cli.core.ports import silent
from trader_cli.core.schemas import BARS, TRADES, check_schema
from trader_cli.core.timeframes import Timeframe
from trader_cli.core.weights import request_weight
from trader_cli.exchange import replies
from trader_cli.exchange.budget import WeightBudget
from trader_cli.exchange.client import make_client, make_session
from trader_cli.exchange.errors import translate
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trader_cli.core.ports import Clock, Progress
    from trader_cli.settings import Settings

_PAGE = 1000
_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_ROUTES = {
    "time": ("fapiPublicGetTime", "/fapi/v1/time"),
    "exchangeInfo": ("fapiPublicGetExchangeInfo", "/fapi/v1/exchangeInfo"),
    "klines": ("fapiPublicGetKlines", "/fapi/v1/klines"),
    "ticker": ("fapiPublicGetTicker24hr", "/fapi/v1/ticker/24hr"),
    "depth": ("fapiPublicGetDepth", "/fapi/v1/depth"),
    "aggTrades": ("fapiPublicGetAggTrades", "/fapi/v1/aggTrades"),
    "premiumIndex": ("fapiPublicGetPremiumIndex", "/fapi/v1/premiumIndex"),
    "fundingRate": ("fapiPublicGetFundingRate", "/fapi/v1/fundingRate"),
    "openInterest": ("fapiPublicGetOpenInterest", "/fapi/v1/openInterest"),
}


class BinanceExchange:
    """The exchange. `config` is a `Settings` or a dict of the guide's keys; `clock` defaults to what they say.

    `await initialize()` first, `await close()` last. Methods raise `TraderError`s: `UsageError` for an unknown symbol,
    `ExchangeUnavailable` after the retries, `DataInvalid` for numbers that cannot be true.
    """

    def __init__(self, config: Settings | Mapping[str, Any] | None = None, *, clock: Clock | None = None) -> None:
        self.settings = as_settings(config)
        self._options = self.settings.binance_exchange
        self._clock = clock
        self._client: Any = None
        self._budget: WeightBudget | None = None
        self._symbols: dict[str, dict[str, Any]] = {}
        self._offset_ms = 0
        self._last_error: str | None = None

    async def initialize(self) -> bool:
        """Connect: learn the exchange's time and symbols. Raises `ClockSkewed` if our clock is off by too much."""
        self._clock = self._clock or await self._own_clock()
        self._budget = WeightBudget(self._clock, self._options.weight_fraction)
        self._client = make_client(self._options, make_session())
        try:
            await self._synchronise()
            reply = replies.as_mapping(await self._read("exchangeInfo", {}), "exchange information", "symbols")
            self._symbols = replies.parsed("symbols", reply, lambda r: {s["symbol"]: s for s in r["symbols"]})
        except BaseException:
            await self.close()
            raise
        return True

    async def _own_clock(self) -> Clock:
        from trader_cli.exchange.venue_clock import attach
        from trader_cli.venue.clocks import WallClock

        if self._options.clock == "venue" and self._options.base_url is not None:
            return await attach(self._options.base_url)
        return WallClock()

    async def _synchronise(self) -> None:
        before = self.clock.now_ms()
        reply = replies.as_mapping(await self._read("time", {}), "the server's time", "serverTime")
        server = replies.parsed("the server's time", reply, lambda r: int(r["serverTime"]))
        after = self.clock.now_ms()
        self._offset_ms = server - (before + after) // 2
        uncertain = (after - before) / 2
        skew_s = (abs(self._offset_ms) - uncertain) / 1000
        if skew_s > self._options.max_clock_skew:
            side = "behind" if self._offset_ms > 0 else "ahead of"
            raise ClockSkewed(
                f"This machine's clock is {skew_s:.1f} s {side} the exchange's;"
                f" {self._options.max_clock_skew:g} s are allowed.",
                mend="Set the clock (for example by NTP) and try again.",
            )

    @property
    def clock(self) -> Clock:
        """The clock in use. Raises `UsageError` before `initialize`."""
        if self._clock is None:
            raise UsageError("The exchange is not initialised.", mend="Call `await exchange.initialize()` first.")
        return self._clock

    def server_now_ms(self) -> int:
        """The exchange's time as we know it."""
        return self.clock.now_ms() + self._offset_ms

    async def get_klines(
        self, symbol: str, interval: str, limit: int = 500, *, start_ms: int | None = None, progress: Progress = silent
    ) -> pl.DataFrame:
        """Closed bars as a checked BARS frame, oldest first; the unfinished bar is dropped.

        The bars of the `limit` intervals that begin at `start_ms`, by default the last `limit` ones. Fewer come back
        where the exchange has fewer.
        """
        timeframe = Timeframe.parse(interval)
        self._require(symbol)
        if limit < 1:
            raise UsageError(f"limit must be at least 1; found {limit}.")
        latest = timeframe.floor(self.server_now_ms()) - timeframe.ms
        cursor = latest - (limit - 1) * timeframe.ms if start_ms is None else start_ms
        end = min(latest, cursor + (limit - 1) * timeframe.ms)
        pages: list[pl.DataFrame] = []
        first, expected = cursor, max(0, (end - cursor) // timeframe.ms + 1)
        while cursor <= end:
            page = await self._kline_page(symbol, timeframe, cursor, end)
            if page.is_empty():
                break
            pages.append(page)
            cursor = int(page["open_time"].to_physical()[-1]) + timeframe.ms
            progress(f"{symbol} {interval}", (cursor - first) // timeframe.ms, expected)
        frame = pl.concat(pages) if pages else BARS.empty()
        return check_bars(frame, timeframe, origin=f"{symbol} {interval} from the exchange")

    async def _kline_page(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> pl.DataFrame:
        limit = min(_PAGE, (end_ms - start_ms) // timeframe.ms + 1)
        query = {
            "symbol": symbol, "interval": timeframe.name, "startTime": start_ms, "endTime": end_ms + timeframe.ms - 1,
            "limit": limit,
        }  # fmt: skip
        reply = replies.as_list(await self._read("klines", query), "klines")
        frame: pl.DataFrame = replies.parsed("klines", reply, replies.klines_frame)
        closed = frame.filter(pl.col("close_time").to_physical() < self.server_now_ms())
        if closed.height and int(closed["open_time"].to_physical()[0]) < start_ms:
            raise DataInvalid(f"{symbol} {timeframe} from the exchange begins before the time that was asked for.")
        return closed

    async def get_ticker(self, symbol: str) -> dict[str, Any]:
        """The last 24 hours: symbol, timestamp (ms), last, open, high, low, volume, quote_volume, change_percent."""
        self._require(symbol)
        reply = replies.as_mapping(await self._read("ticker", {"symbol": symbol}), "a ticker", "lastPrice")
        return dict(replies.parsed("a ticker", reply, replies.ticker))

    async def get_order_book(self, symbol: str, limit: int = 10) -> dict[str, Any]:
        """`{symbol, timestamp (ms), bids, asks}`: [price, quantity] levels, best first, `limit` (≤ 1000) a side."""
        self._require(symbol)
        asked = next((depth for depth in _DEPTHS if depth >= limit), _DEPTHS[-1])
        reply = replies.as_mapping(
            await self._read("depth", {"symbol": symbol, "limit": asked}), "an order book", "bids", "asks", "T"
        )
        return dict(replies.parsed("an order book", reply, lambda r: replies.order_book(r, symbol, limit)))

    async def get_agg_trades(self, symbol: str, limit: int = 500) -> pl.DataFrame:
        """The latest aggregate trades as a TRADES frame, oldest first, at most 1000."""
        self._require(symbol)
        reply = replies.as_list(await self._read("aggTrades", {"symbol": symbol, "limit": min(limit, 1000)}), "trades")
        frame: pl.DataFrame = replies.parsed("trades", reply, replies.trades_frame)
        return check_schema(frame, TRADES)

    async def get_funding_rates(self, symbol: str, limit: int = 100) -> pl.DataFrame:
        """The latest funding payments as a FUNDING frame, oldest first, at most 1000."""
        self._require(symbol)
        query = {"symbol": symbol, "limit": min(limit, 1000)}
        reply = replies.as_list(await self._read("fundingRate", query), "funding rates")
        frame: pl.DataFrame = replies.parsed("funding rates", reply, replies.funding_frame)
        return frame

    async def get_premium_index(self, symbol: str) -> dict[str, Any]:
        """`{timestamp (ms), mark_price, index_price, funding_rate, next_funding_ms}`."""
        self._require(symbol)
        reply = replies.as_mapping(await self._read("premiumIndex", {"symbol": symbol}), "a mark price", "markPrice")
        return dict(
            replies.parsed(
                "a mark price",
                reply,
                lambda r: {
                    "timestamp": int(r["time"]),
                    "mark_price": float(r["markPrice"]),
                    "index_price": float(r["indexPrice"]),
                    "funding_rate": float(r["lastFundingRate"]),
                    "next_funding_ms": int(r["nextFundingTime"]),
                },
            )
        )

    async def get_open_interest(self, symbol: str) -> float:
        """Open contracts, in units of the base asset."""
        self._require(symbol)
        reply = replies.as_mapping(
            await self._read("openInterest", {"symbol": symbol}), "open interest", "openInterest"
        )
        return float(replies.parsed("open interest", reply, lambda r: float(r["openInterest"])))

    def get_exchange_status(self) -> dict[str, Any]:
        """What this client knows of itself; asks the exchange nothing."""
        return {
            "initialized": bool(self._symbols),
            "host": self._options.base_url or ("demo trading" if self._options.use_testnet else "binance"),
            "symbols": len(self._symbols),
            "clock_offset_ms": self._offset_ms,
            "used_weight": self._budget.used if self._budget else 0,
            "last_error": self._last_error,
        }

    async def close(self) -> None:
        """End the session. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.session.close()
            await client.close()
        leave: Callable[[], Awaitable[None]] | None = getattr(self._clock, "close", None)
        if leave is not None:
            await leave()

    def _require(self, symbol: str) -> None:
        if self._client is None:
            raise UsageError("The exchange is not initialised.", mend="Call `await exchange.initialize()` first.")
        if symbol not in self._symbols:
            near = get_close_matches(symbol.upper(), self._symbols, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else f"It lists {len(self._symbols)} symbols."
            raise UsageError(f"The exchange does not list the symbol {symbol!r}.", mend=hint)

    async def _read(self, route: str, query: dict[str, Any]) -> Any:
        """One public read, retried while the exchange is unavailable."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ExchangeUnavailable),
            stop=stop_after_attempt(self._options.max_retries + 1),
            wait=wait_exponential(multiplier=0.5, max=8),
            sleep=self.clock.sleep,
            reraise=True,
        )
        return await retrying(self._attempt, route, query)

    async def _attempt(self, route: str, query: dict[str, Any]) -> Any:
        if self._client is None or self._budget is None:
            raise ConfigurationError("The exchange is closed.")
        method, path = _ROUTES[route]
        await self._budget.spend(request_weight(path, query))
        try:
            with self.clock.held():
                return await self._ask(method, query)
        except (ExchangeUnavailable, ExchangeRejected) as error:
            self._last_error = error.sentence
            if isinstance(error, RateLimited):
                self._budget.freeze(error.retry_after_s)
            raise

    async def _ask(self, method: str, query: dict[str, Any]) -> Any:
        import aiohttp
        import ccxt

        try:
            reply = await getattr(self._client, method)(query)
        except (ccxt.BaseError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise translate(error, self._client.last_response_headers) from error
        finally:
            if self._budget is not None and self._client is not None:
                self._budget.observe(self._client.last_response_headers)
        if not isinstance(reply, (dict, list)) or reply == {}:
            raise ExchangeUnavailable(
                f"The exchange answered {replies.shown(reply)}.",
                mend="Check binance_exchange.base_url and the network.",
            )
        return reply
