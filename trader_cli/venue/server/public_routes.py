"""The public routes of a Binance host, USDⓈ-M (spot: `spot_routes`): parameters in, the exchange's JSON. No sockets.

Shapes follow the exchange's documentation and recorded answers; numbers travel as decimal strings. The mark price is
the last price where the tape holds none, the index is derived (`venue.simulated_market.derived_series`). `fundingInfo`
lists symbols whose funding interval was changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.market.symbols import delivery_ms_of, pair_of
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trader_cli.venue.engine.books import places
from trader_cli.venue.engine.queries import (
    Body,
    Query,
    Route,
    VenueRejection,
    integer,
    invalid,
    named,
    page_limit,
    timeframe_of,
)
from trader_cli.venue.request_weights import FUTURES
from trader_cli.venue.server.quote_routes import QuoteRoutes
from trader_cli.venue.server.request_limits import ORDER_RULES
from trader_cli.venue.server.spot_routes import SpotRoutes
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.number_format import (
    DERIVED_PLACES,
    View,
    agg_trade_rows,
    decimals,
    format_one,
    formatted,
    formatters,
    kline_columns,
    rows,
)
from trader_cli.venue.simulated_market.rule_changes import PriceShift, RuleBook
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.simulated_market.rule_changes import Listing
    from trader_cli.venue.simulated_market.tape import Tape

__all__ = ["PublicRoutes", "VenueRejection"]

_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC", "ETH", "BNB")
_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_PERIODS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "12h": 720, "1d": 1440}
_STATISTICS_DAYS = 30
"""How far back `/futures/data` goes."""


class PublicRoutes:
    """What the venue answers to public requests at a given moment. `book` holds what changes, `shifts` odd quotes.

    `markets` of the tape's symbols; as a simulated exchange shows them, unless others are given.
    """

    def __init__(
        self, tape: Tape, book: RuleBook | None = None, markets: Mapping[str, SymbolMarket] | None = None
    ) -> None:
        self.tape = tape
        self.book = book or RuleBook()
        self.shifts: list[PriceShift] = []
        usual = {} if markets else {name: SymbolMarket(symbol) for name, symbol in tape.symbols.items()}
        self.markets = {**usual, **(markets or {})}
        self.table: dict[str, Route] = {
            "/fapi/v1/ping": lambda _query, _now: {},
            "/fapi/v1/time": lambda _query, now: {"serverTime": now},
            "/fapi/v1/exchangeInfo": self._exchange_info,
            "/fapi/v1/klines": self._klines("last"),
            "/fapi/v1/markPriceKlines": self._klines("mark"),
            "/fapi/v1/indexPriceKlines": self._klines("index"),
            "/fapi/v1/premiumIndexKlines": self._klines("premium"),
            "/fapi/v1/ticker/24hr": self._ticker,
            "/fapi/v1/depth": self._depth,
            "/fapi/v1/aggTrades": self._agg_trades,
            "/fapi/v1/premiumIndex": self._premium_index,
            "/fapi/v1/fundingRate": self._funding_rates,
            "/fapi/v1/fundingInfo": self._funding_info,
            "/fapi/v1/openInterest": self._open_interest,
            "/futures/data/openInterestHist": self._open_interest_history,
            **SpotRoutes(self.markets).table,
            **QuoteRoutes(self.markets, self.day).table,
        }

    def _market(self, query: Query, name: str = "symbol") -> SymbolMarket:
        symbol = named(query, name)
        of_pair = (market for other, market in self.markets.items() if name == "pair" and pair_of(other) == symbol)
        market = self.markets.get(symbol) if name != "pair" or pair_of(symbol) == symbol else None
        market = market or next(of_pair, None)
        if market is None:
            raise VenueRejection(400, -1121, "Invalid symbol.")
        return market

    def listing(self, symbol: str, now: int) -> Listing:
        """Status, brackets and filters of a symbol."""
        return self.book.at(symbol, now)

    def _exchange_info(self, _query: Query, now: int) -> Body:
        return {
            "timezone": "UTC",
            "serverTime": now,
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": FUTURES.limit},
                *(
                    {"rateLimitType": "ORDERS", "interval": r.interval, "intervalNum": r.number, "limit": r.limit}
                    for r in ORDER_RULES
                ),
            ],
            "exchangeFilters": [],
            "assets": [],
            "symbols": [
                _symbol_info(market, self.book.at(name, now))
                for name, market in self.markets.items()
                if self.book.at(name, now).status != "REMOVED"
            ],
        }

    def _klines(self, view: View) -> Route:
        """Klines of a price. The index goes by `pair`, a perpetual's own name."""

        def answer(query: Query, now: int) -> Body:
            market = self._market(query, "pair" if view == "index" else "symbol")
            timeframe = timeframe_of(query, market.tape.timeframe)
            page = (integer(query, "startTime"), integer(query, "endTime"), page_limit(query, 500, 1500))
            return rows(kline_columns(market.bars(view, timeframe, now, page), view, market.tape, timeframe.ms))

        return answer

    def _ticker(self, query: Query, now: int) -> Body:
        if "symbol" in query:
            return self.day(self._market(query), now)
        return [self.day(market, now) for market in self.markets.values()]

    def day(self, market: SymbolMarket, now: int) -> JsonObject:
        """The last 24 hours of a market."""
        day = market.day(now)
        price, quantity, both = formatters(market.tape)
        average = day.quote_volume / day.volume if day.volume else day.last
        return {
            "symbol": market.tape.symbol,
            "priceChange": price(day.last - day.open),
            "priceChangePercent": f"{100 * (day.last / day.open - 1):.3f}",
            "weightedAvgPrice": price(average),
            "lastPrice": price(day.last),
            "lastQty": quantity(market.tape.step),
            "openPrice": price(day.open),
            "highPrice": price(day.high),
            "lowPrice": price(day.low),
            "volume": quantity(day.volume),
            "quoteVolume": both(day.quote_volume),
            "openTime": now - DAY_MS,
            "closeTime": now,
            "firstId": 0,
            "lastId": round(day.trades),
            "count": round(day.trades),
        }

    def _depth(self, query: Query, now: int) -> Body:
        market = self._market(query)
        limit = page_limit(query, 500, 1000)
        if limit not in _DEPTHS:
            raise VenueRejection(400, -4021, f"Valid limit values are {', '.join(map(str, _DEPTHS))}.")
        bids, asks = market.book(now, limit)
        price, quantity, _ = formatters(market.tape)
        return {
            "lastUpdateId": now,
            "E": now,
            "T": now,
            "bids": [[price(p), quantity(q)] for p, q in bids],
            "asks": [[price(p), quantity(q)] for p, q in asks],
        }

    def _agg_trades(self, query: Query, now: int) -> Body:
        market = self._market(query)
        start, end = integer(query, "startTime"), integer(query, "endTime")
        if start is not None and end is not None and end - start > HOUR_MS:
            raise VenueRejection(400, -4188, "Invalid time range: startTime and endTime are more than an hour apart.")
        found = market.trades(now, start, end, integer(query, "fromId"), page_limit(query, 500, 1000))
        return agg_trade_rows(market.tape, found)

    def _premium_index(self, query: Query, now: int) -> Body:
        if "symbol" in query:
            return self.premium(self._market(query), now)
        return [self.premium(market, now) for market in self.markets.values()]

    def premium(self, market: SymbolMarket, now: int) -> JsonObject:
        """Mark, index and funding of a market."""
        symbol = market.tape.symbol
        price, _, _ = formatters(market.tape)
        following, funded = self.book.next_funding_ms(symbol, now, FUNDING_INTERVAL_MS), delivery_ms_of(symbol) is None
        shift = next((s for s in reversed(self.shifts) if s.holds(symbol, now)), PriceShift(symbol))
        seen = now - shift.stale_ms
        mark, index = market.mark_price(seen) * shift.mark, market.index_price(seen) * shift.index
        return {
            "symbol": symbol,
            "markPrice": price(mark),
            "indexPrice": format_one(index, DERIVED_PLACES),
            "estimatedSettlePrice": price(mark),
            "lastFundingRate": format_one(market.quoted_funding_rate(now, following), DERIVED_PLACES) if funded else "",
            "interestRate": "0.00010000" if funded else "",
            "nextFundingTime": following if funded else 0,
            "time": seen,
        }

    def _funding_info(self, _query: Query, now: int) -> Body:
        """Symbols whose interval is not the usual one."""
        listings = {name: self.book.at(name, now) for name in self.markets}
        return [
            {
                "symbol": name,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": listing.funding_interval_h,
                "disclaimer": False,
            }
            for name, listing in listings.items()
            if listing.funding_interval_h not in {None, 8}
        ]

    def _funding_times(self, market: SymbolMarket, query: Query, now: int) -> list[int]:
        page = integer(query, "startTime"), integer(query, "endTime"), page_limit(query, 100, 1000)
        if not self.book.has_intervals:
            return market.funding_times(now, *page)
        return market.hourly_times(now, *page, lambda at: self.book.funds_at(market.tape.symbol, at))

    def _funding_rates(self, query: Query, now: int) -> Body:
        market = self._market(query)
        price, _, _ = formatters(market.tape)
        return [
            {
                "symbol": market.tape.symbol,
                "fundingTime": at,
                "fundingRate": format_one(market.funding_rate(at), DERIVED_PLACES),
                "markPrice": price(market.last_price(at)),
            }
            for at in self._funding_times(market, query, now)
        ]

    def _open_interest(self, query: Query, now: int) -> Body:
        market = self._market(query)
        _, quantity, _ = formatters(market.tape)
        return {"symbol": market.tape.symbol, "openInterest": quantity(market.open_interest(now)), "time": now}

    def _open_interest_history(self, query: Query, now: int) -> Body:
        """Of the last 30 days, oldest first: from `startTime` on, or the latest."""
        market, period, limit = self._market(query), query.get("period", ""), page_limit(query, 30, 500)
        if period not in _PERIODS:
            raise invalid("period")
        start, end, oldest = integer(query, "startTime"), integer(query, "endTime"), now - _STATISTICS_DAYS * DAY_MS
        if start is not None and start < oldest:
            raise VenueRejection(400, -1130, "parameter 'startTime' is invalid.")
        last = now if end is None else min(end, now)
        times = market.interest.times(oldest if start is None else start, last, _PERIODS[period] * MINUTE_MS)
        times = times[-limit:] if start is None else times[:limit]
        held, value = market.interest.at(times)
        price, quantity = decimals(market.tape.tick), decimals(market.tape.step)
        columns = (formatted([held], quantity)[0], formatted([value], price + quantity)[0])
        return [
            {"symbol": market.tape.symbol, "sumOpenInterest": h, "sumOpenInterestValue": v, "timestamp": t}
            for h, v, t in zip(*(column.to_list() for column in columns), times.tolist(), strict=True)
        ]


def _symbol_info(market: SymbolMarket, listing: Listing) -> JsonObject:
    tape, rules = market.tape, listing.rules(market.rules)
    pair, delivered_ms = pair_of(tape.symbol), delivery_ms_of(tape.symbol)
    quote = next((q for q in _QUOTES if pair.endswith(q)), "USDT")
    ends_ms = listing.delivery_ms if delivered_ms is None else min(listing.delivery_ms, delivered_ms)
    price_places, quantity_places = places(rules.tick), places(rules.step)
    tick, step, least = (
        f"{rules.tick:.{price_places}f}",
        f"{rules.step:.{quantity_places}f}",
        _plain(rules.min_quantity),
    )
    return {
        "symbol": tape.symbol,
        "pair": pair,
        "contractType": "PERPETUAL" if delivered_ms is None else "CURRENT_QUARTER",
        "deliveryDate": ends_ms,
        "onboardDate": tape.start_ms,
        "status": listing.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": pair.removesuffix(quote),
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": price_places,
        "quantityPrecision": quantity_places,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": least, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": least, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
            {"filterType": "MIN_NOTIONAL", "notional": _plain(rules.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _plain(value: Decimal) -> str:
    return f"{value:.{places(value)}f}"
