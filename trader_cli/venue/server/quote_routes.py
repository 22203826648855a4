"""Public routes that tell prices quickly: the last, the best of the book, the latest trades; of futures and of spot."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trader_cli.venue.engine.queries import Body, Query, Route, VenueRejection, page_limit
from trader_cli.venue.simulated_market.number_format import formatters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

    Row = Callable[[SymbolMarket, int], JsonObject]

_SPOT_DEPTH = 5000


class QuoteRoutes:
    """Of the markets of a venue. `day`: the last 24 hours of one, as futures tell them."""

    def __init__(self, markets: Mapping[str, SymbolMarket], day: Row) -> None:
        self._markets, self._day = markets, day
        futures, spot = "/fapi/v1", "/api/v3"
        self.table: dict[str, Route] = {
            f"{futures}/ticker/price": partial(self._rows, _price),
            "/fapi/v2/ticker/price": partial(self._rows, _price),
            f"{futures}/ticker/bookTicker": partial(self._rows, _best),
            f"{futures}/trades": self._trades,
            f"{futures}/historicalTrades": self._trades,
            f"{spot}/ticker/price": partial(self._rows, _spot_price),
            f"{spot}/ticker/bookTicker": partial(self._rows, _spot_best),
            f"{spot}/ticker/24hr": partial(self._rows, self._spot_day),
            f"{spot}/trades": self._trades,
            f"{spot}/depth": self._spot_depth,
        }

    def _market(self, query: Query) -> SymbolMarket:
        market = self._markets.get(query.get("symbol", ""))
        if market is None:
            raise VenueRejection(400, -1121, "Invalid symbol.")
        return market

    def _rows(self, row: Row, query: Query, now: int) -> Body:
        """Of one symbol, or of all."""
        if "symbol" in query:
            return row(self._market(query), now)
        return [row(market, now) for market in self._markets.values()]

    def _trades(self, query: Query, now: int) -> Body:
        market, limit = self._market(query), page_limit(query, 500, 1000)
        price, quantity, both = formatters(market.tape)
        return [
            {
                "id": t.trade_id,
                "price": price(t.price),
                "qty": quantity(t.quantity),
                "quoteQty": both(t.price * t.quantity),
                "time": t.time_ms,
                "isBuyerMaker": t.buyer_is_maker,
            }
            for t in market.trades(now, None, None, None, limit)
        ]

    def _spot_day(self, market: SymbolMarket, now: int) -> JsonObject:
        best = _spot_best(market, now)
        del best["symbol"]
        day = self._day(market, now)
        return {**day, "prevClosePrice": day["openPrice"], **best}

    def _spot_depth(self, query: Query, now: int) -> Body:
        market, limit = self._market(query), page_limit(query, 100, _SPOT_DEPTH)
        price, quantity, _ = formatters(market.tape)
        sides = market.book(now, limit)
        bids, asks = ([[price(p), quantity(q)] for p, q in side] for side in sides)
        return {"lastUpdateId": now, "bids": bids, "asks": asks}


def _spot_price(market: SymbolMarket, now: int) -> JsonObject:
    price, _, _ = formatters(market.tape)
    return {"symbol": market.tape.symbol, "price": price(market.last_price(now))}


def _price(market: SymbolMarket, now: int) -> JsonObject:
    return {**_spot_price(market, now), "time": now}


def _spot_best(market: SymbolMarket, now: int) -> JsonObject:
    price, quantity, _ = formatters(market.tape)
    ((bid, bids), *_), ((ask, asks), *_) = market.book(now, 1)
    told = {"bidPrice": price(bid), "bidQty": quantity(bids), "askPrice": price(ask), "askQty": quantity(asks)}
    return {"symbol": market.tape.symbol, **told}


def _best(market: SymbolMarket, now: int) -> JsonObject:
    return {**_spot_best(market, now), "time": now, "lastUpdateId": now}
