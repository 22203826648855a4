"""The public spot routes: the tape's bars again, in the spot market's shapes. No orders, no accounts.

A tape holds one market, so spot prices are those of the perpetual; only shapes, limits and units differ. Times are
milliseconds here also after 2025, as by default on the exchange; the archive's are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.venue.engine.queries import Body, Query, Route, VenueRejection, integer, named, page_limit, timeframe_of
from trader_cli.venue.request_weights import SPOT
from trader_cli.venue.simulated_market.number_format import agg_trade_rows, decimals, kline_columns, rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.simulated_market.tape import SymbolTape

_PAGE = 1000
_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC", "ETH", "BNB")


class SpotRoutes:
    """What the venue answers on the spot paths at a given moment."""

    def __init__(self, markets: Mapping[str, SymbolMarket]) -> None:
        self.markets = markets
        self.table: dict[str, Route] = {
            "/api/v3/ping": lambda _query, _now: {},
            "/api/v3/time": lambda _query, now: {"serverTime": now},
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/klines": self._klines,
            "/api/v3/aggTrades": self._agg_trades,
        }

    def _market(self, query: Query) -> SymbolMarket:
        symbol = named(query, "symbol")
        if symbol not in self.markets:
            raise VenueRejection(400, -1121, "Invalid symbol.")
        return self.markets[symbol]

    def _exchange_info(self, query: Query, now: int) -> Body:
        requested = [self._market(query)] if "symbol" in query else list(self.markets.values())
        return {
            "timezone": "UTC",
            "serverTime": now,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": SPOT.limit},
            ],
            "exchangeFilters": [],
            "symbols": [_symbol_info(market.tape) for market in requested],
        }

    def _klines(self, query: Query, now: int) -> Body:
        market = self._market(query)
        timeframe = timeframe_of(query, market.tape.timeframe)
        page = (integer(query, "startTime"), integer(query, "endTime"), page_limit(query, 500, _PAGE))
        return rows(kline_columns(market.bars("last", timeframe, now, page), "last", market.tape, timeframe.ms))

    def _agg_trades(self, query: Query, now: int) -> Body:
        market, limit = self._market(query), page_limit(query, 500, _PAGE)
        start, end = integer(query, "startTime"), integer(query, "endTime")
        if start is not None and end is not None and end - start > HOUR_MS:
            raise VenueRejection(400, -1127, "More than 1 hours between startTime and endTime.")
        found = market.trades(now, start, end, integer(query, "fromId"), limit)
        return [{**row, "M": True} for row in agg_trade_rows(market.tape, found)]


def _symbol_info(tape: SymbolTape) -> JsonObject:
    quote = next((q for q in _QUOTES if tape.symbol.endswith(q)), "USDT")
    tick, step = (f"{s:.{decimals(s)}f}" for s in (tape.tick, tape.step))
    return {
        "symbol": tape.symbol,
        "status": "TRADING",
        "baseAsset": tape.symbol.removesuffix(quote),
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5",
                "applyMinToMarket": True,
                "maxNotional": "9000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
