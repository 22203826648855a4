"""The public routes of a Binance USDⓈ-M host: parameters in, the exchange's JSON out. No sockets here.

Shapes follow the exchange's documentation and recorded answers; numbers travel as decimal strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import UsageError
from trader_cli.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.core.weights import WEIGHT_LIMIT
from trader_cli.venue.market import FUNDING_INTERVAL_MS, Kline, SymbolMarket

if TYPE_CHECKING:
    from trader_cli.venue.tape import SymbolTape, Tape

Query = Mapping[str, str]
Body = dict[str, Any] | list[Any]
_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC", "ETH", "BNB")
_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)


class VenueRejection(Exception):
    """The exchange's own no: HTTP status, numeric code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class PublicRoutes:
    """What the venue answers to public requests at a given moment."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.markets = {name: SymbolMarket(symbol) for name, symbol in tape.symbols.items()}
        self.table: dict[str, Callable[[Query, int], Body]] = {
            "/fapi/v1/ping": lambda _query, _now: {},
            "/fapi/v1/time": lambda _query, now: {"serverTime": now},
            "/fapi/v1/exchangeInfo": self._exchange_info,
            "/fapi/v1/klines": self._klines,
            "/fapi/v1/markPriceKlines": self._mark_klines,
            "/fapi/v1/ticker/24hr": self._ticker,
            "/fapi/v1/depth": self._depth,
            "/fapi/v1/aggTrades": self._agg_trades,
            "/fapi/v1/premiumIndex": self._premium_index,
            "/fapi/v1/fundingRate": self._funding_rates,
            "/fapi/v1/openInterest": self._open_interest,
        }

    def _market(self, query: Query) -> SymbolMarket:
        symbol = query.get("symbol")
        if not symbol:
            raise VenueRejection(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in self.markets:
            raise VenueRejection(400, -1121, "Invalid symbol.")
        return self.markets[symbol]

    def _timeframe(self, query: Query, market: SymbolMarket) -> Timeframe:
        try:
            timeframe = Timeframe.parse(query.get("interval", ""))
        except UsageError:
            raise VenueRejection(400, -1120, "Invalid interval.") from None
        if timeframe.ms % market.tape.timeframe.ms:
            raise VenueRejection(400, -1120, f"Invalid interval. This tape has no bars below {market.tape.timeframe}.")
        return timeframe

    def _exchange_info(self, _query: Query, now: int) -> Body:
        return {
            "timezone": "UTC",
            "serverTime": now,
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_LIMIT},
                {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
            ],
            "exchangeFilters": [],
            "assets": [],
            "symbols": [_symbol_info(market.tape) for market in self.markets.values()],
        }

    def _kline_rows(self, query: Query, now: int) -> tuple[SymbolMarket, Timeframe, list[Kline]]:
        market = self._market(query)
        timeframe = self._timeframe(query, market)
        limit = _limit(query, 500, 1500)
        start, end = _integer(query, "startTime"), _integer(query, "endTime")
        return market, timeframe, market.klines(timeframe, now, start, end, limit)

    def _klines(self, query: Query, now: int) -> Body:
        market, timeframe, rows = self._kline_rows(query, now)
        price, quantity, both = _writers(market.tape)
        return [
            [k.open_ms, price(k.open), price(k.high), price(k.low), price(k.close), quantity(k.volume),
             k.open_ms + timeframe.ms - 1, both(k.quote_volume), round(k.trades), quantity(k.taker_buy_base),
             both(k.taker_buy_quote), "0"]
            for k in rows
        ]  # fmt: skip

    def _mark_klines(self, query: Query, now: int) -> Body:
        """No mark price was recorded: the last price stands for it."""
        market, timeframe, rows = self._kline_rows(query, now)
        price, _, _ = _writers(market.tape)
        return [
            [k.open_ms, price(k.open), price(k.high), price(k.low), price(k.close), "0", k.open_ms + timeframe.ms - 1,
             "0", round(k.trades), "0", "0", "0"]
            for k in rows
        ]  # fmt: skip

    def _ticker(self, query: Query, now: int) -> Body:
        if "symbol" in query:
            return self._day(self._market(query), now)
        return [self._day(market, now) for market in self.markets.values()]

    def _day(self, market: SymbolMarket, now: int) -> dict[str, Any]:
        day = market.day(now)
        price, quantity, both = _writers(market.tape)
        average = day.quote_volume / day.volume if day.volume else day.last
        return {
            "symbol": market.tape.symbol, "priceChange": price(day.last - day.open),
            "priceChangePercent": f"{100 * (day.last / day.open - 1):.3f}", "weightedAvgPrice": price(average),
            "lastPrice": price(day.last), "lastQty": quantity(market.tape.step), "openPrice": price(day.open),
            "highPrice": price(day.high), "lowPrice": price(day.low), "volume": quantity(day.volume),
            "quoteVolume": both(day.quote_volume), "openTime": now - DAY_MS, "closeTime": now, "firstId": 0,
            "lastId": round(day.trades), "count": round(day.trades),
        }  # fmt: skip

    def _depth(self, query: Query, now: int) -> Body:
        market = self._market(query)
        limit = _limit(query, 500, 1000)
        if limit not in _DEPTHS:
            raise VenueRejection(400, -4021, f"Valid limit values are {', '.join(map(str, _DEPTHS))}.")
        bids, asks = market.book(now, limit)
        price, quantity, _ = _writers(market.tape)
        return {
            "lastUpdateId": now, "E": now, "T": now,
            "bids": [[price(p), quantity(q)] for p, q in bids], "asks": [[price(p), quantity(q)] for p, q in asks],
        }  # fmt: skip

    def _agg_trades(self, query: Query, now: int) -> Body:
        market = self._market(query)
        start, end = _integer(query, "startTime"), _integer(query, "endTime")
        if start is not None and end is not None and end - start > HOUR_MS:
            raise VenueRejection(400, -4188, "Invalid time range: startTime and endTime are more than an hour apart.")
        found = market.trades(now, start, end, _integer(query, "fromId"), _limit(query, 500, 1000))
        price, quantity, _ = _writers(market.tape)
        return [
            {"a": t.trade_id, "p": price(t.price), "q": quantity(t.quantity), "f": t.trade_id, "l": t.trade_id,
             "T": t.time_ms, "m": t.buyer_is_maker}
            for t in found
        ]  # fmt: skip

    def _premium_index(self, query: Query, now: int) -> Body:
        if "symbol" in query:
            return self._premium(self._market(query), now)
        return [self._premium(market, now) for market in self.markets.values()]

    def _premium(self, market: SymbolMarket, now: int) -> dict[str, Any]:
        price, _, _ = _writers(market.tape)
        last, following = price(market.last_price(now)), (now // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
        return {
            "symbol": market.tape.symbol, "markPrice": last, "indexPrice": last, "estimatedSettlePrice": last,
            "lastFundingRate": f"{market.funding_rate(following):.8f}", "interestRate": "0.00010000",
            "nextFundingTime": following, "time": now,
        }  # fmt: skip

    def _funding_rates(self, query: Query, now: int) -> Body:
        market = self._market(query)
        start, end = _integer(query, "startTime"), _integer(query, "endTime")
        price, _, _ = _writers(market.tape)
        return [
            {"symbol": market.tape.symbol, "fundingTime": at, "fundingRate": f"{market.funding_rate(at):.8f}",
             "markPrice": price(market.last_price(at))}
            for at in market.funding_times(now, start, end, _limit(query, 100, 1000))
        ]  # fmt: skip

    def _open_interest(self, query: Query, now: int) -> Body:
        market = self._market(query)
        _, quantity, _ = _writers(market.tape)
        return {"symbol": market.tape.symbol, "openInterest": quantity(market.open_interest(now)), "time": now}


def _integer(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise VenueRejection(400, -1130, f"Data sent for parameter '{name}' is not valid.") from None


def _limit(query: Query, default: int, most: int) -> int:
    limit = _integer(query, "limit")
    if limit is not None and not 1 <= limit <= most:
        raise VenueRejection(400, -1130, "Data sent for parameter 'limit' is not valid.")
    return default if limit is None else limit


def _writers(tape: SymbolTape) -> tuple[Callable[[float], str], Callable[[float], str], Callable[[float], str]]:
    """How prices, quantities and their products are written: with just the decimals of tick and step."""
    price, quantity = decimals(tape.tick), decimals(tape.step)
    return (
        lambda value: f"{value:.{price}f}",
        lambda value: f"{value:.{quantity}f}",
        lambda value: f"{value:.{price + quantity}f}",
    )


def decimals(step: float) -> int:
    """Decimals of a power-of-ten step: 0.001 → 3."""
    return max(0, len(f"{step:.8f}".rstrip("0").partition(".")[2]))


def _symbol_info(tape: SymbolTape) -> dict[str, Any]:
    quote = next((q for q in _QUOTES if tape.symbol.endswith(q)), "USDT")
    tick, step = (f"{s:.{decimals(s)}f}" for s in (tape.tick, tape.step))
    return {
        "symbol": tape.symbol, "pair": tape.symbol, "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": int(tape.open_ms[0]), "status": "TRADING", "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": tape.symbol.removesuffix(quote), "quoteAsset": quote,
        "marginAsset": quote, "pricePrecision": decimals(tape.tick), "quantityPrecision": decimals(tape.step),
        "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN", "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500",
             "multiplierDecimal": "4"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET",
                       "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip
