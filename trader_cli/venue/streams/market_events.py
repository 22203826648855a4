"""What market streams say, in the exchange's own shapes: each from its market, up to a moment and no later.

Source: the exchange's description of its USDⓈ-M and spot streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trader_cli.core.market.symbols import delivery_ms_of, pair_of
from trader_cli.venue.simulated_market.number_format import decimal_text, formatters, kline_columns, rows
from trader_cli.venue.streams.book_changes import BookChanges, shown_levels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.books import Order
    from trader_cli.venue.simulated_market.rule_changes import Listing
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.streams.stream_names import Stream

    Said = list[JsonObject]

_MOST_TRADES = 1000


class Quotes(Protocol):
    """What the public routes tell of a market, and streams as well."""

    def day(self, market: SymbolMarket, now: int) -> JsonObject:
        """The last 24 hours, as `ticker/24hr`."""
        ...

    def premium(self, market: SymbolMarket, now: int) -> JsonObject:
        """Mark, index and funding, as `premiumIndex`."""
        ...

    def listing(self, symbol: str, now: int) -> Listing:
        """Status and brackets."""
        ...

    def forced(self, symbol: str, since_ms: int, now_ms: int) -> list[Order]:
        """Liquidations in (since, now]."""
        ...


class StreamSource:
    """One stream while somebody listens: what it says next hangs on what it said last. Times only go forward."""

    def __init__(self, stream: Stream, markets: Mapping[str, SymbolMarket], quotes: Quotes, since_ms: int) -> None:
        self.stream, self._markets, self._quotes = stream, markets, quotes
        self._since_ms = since_ms
        self._said: dict[str, object] = {}
        self._books = {
            name: BookChanges(market, since_ms)
            for name, market in self._own().items()
            if stream.kind == "depth" and not stream.levels
        }
        self._says: Callable[[SymbolMarket, int], Said] = {
            "kline": self._klines,
            "continuousKline": self._klines,
            "aggTrade": self._trades,
            "trade": self._trades,
            "bookTicker": self._best,
            "depth": self._book if stream.levels else self._changes,
            "markPrice": self._marks,
            "ticker": self._ticker,
            "miniTicker": self._mini_ticker,
            "contractInfo": self._contract,
            "forceOrder": self._forced,
        }[stream.kind]
        if stream.kind == "contractInfo":
            self.at(since_ms)

    def _own(self) -> Mapping[str, SymbolMarket]:
        symbol = self.stream.symbol
        return self._markets if symbol is None else {symbol: self._markets[symbol]}

    def at(self, now_ms: int) -> list[JsonObject | Said]:
        """The messages of a moment, in order; those of all symbols in one where the stream is an array."""
        told: Said = []
        for market in self._own().values():
            told += self._says(market, now_ms)
        self._since_ms = now_ms
        if self.stream.name.endswith(("@arr", "@arr@1s")) and self.stream.kind != "forceOrder":
            return [told] if told else []
        return [*told]

    def _changed(self, key: str, value: object) -> bool:
        """Whether this is not what was said last."""
        before = self._said.get(key)
        self._said[key] = value
        return before != value

    # --- bars and trades ---

    def _klines(self, market: SymbolMarket, now: int) -> Said:
        """Each bar that has closed, then the one under way, where it has changed."""
        frame, tape = self.stream.timeframe, market.tape
        assert frame is not None
        told: Said = []
        forming_ms = frame.floor(now)
        for row in self._rows(market, market.closed_bars("last", frame, frame.floor(self._since_ms), forming_ms)):
            told.append(self._kline(tape.symbol, row, now, closed=True))
        if self._changed("at", market.priced_at(now)) or told:
            shown = market.bars("last", frame, now, (forming_ms, None, 1))
            for row in self._rows(market, shown):
                if row[0] == forming_ms and self._changed("bar", row):
                    told.append(self._kline(tape.symbol, row, now, closed=False))
        return told

    def _rows(self, market: SymbolMarket, bars: Mapping[str, object]) -> list[list[str | int]]:
        frame = self.stream.timeframe
        assert frame is not None
        return rows(kline_columns(bars, "last", market.tape, frame.ms)) if len(bars["open_ms"]) else []  # type: ignore[arg-type]

    def _kline(self, symbol: str, row: Sequence[str | int], now: int, *, closed: bool) -> JsonObject:
        frame = self.stream.timeframe
        assert frame is not None
        names = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
        bar = {**dict(zip(names, row, strict=True)), "s": symbol, "i": frame.name, "f": -1, "L": -1, "x": closed}
        if self.stream.kind == "kline":
            return {"e": "kline", "E": now, "s": symbol, "k": bar}
        del bar["s"]
        return {"e": "continuous_kline", "E": now, "ps": symbol, "ct": "PERPETUAL", "k": bar}

    def _trades(self, market: SymbolMarket, now: int) -> Said:
        if market.priced_at(now) <= self._since_ms:
            return []
        price, quantity, _ = formatters(market.tape)
        found = market.trades(now, self._since_ms + 1, None, None, _MOST_TRADES)
        told: Said = []
        for t in found:
            same = {"E": now, "s": market.tape.symbol, "p": price(t.price), "q": quantity(t.quantity), "T": t.time_ms}
            same["m"] = t.buyer_is_maker
            if self.stream.kind == "trade":
                told.append({"e": "trade", **same, "t": t.trade_id, "X": "MARKET"})
            else:
                told.append({"e": "aggTrade", **same, "a": t.trade_id, "f": t.trade_id, "l": t.trade_id})
            if self.stream.spot:
                told[-1]["M"] = True
        return told

    # --- the book ---

    def _best(self, market: SymbolMarket, now: int) -> Said:
        (bid, bids), (ask, asks) = (next(iter(side.items())) for side in shown_levels(market, now, 1))
        if not self._changed(market.tape.symbol, (bid, bids, ask, asks)):
            return []
        told = {"u": now, "s": market.tape.symbol, "b": bid, "B": bids, "a": ask, "A": asks}
        return [told if self.stream.spot else {"e": "bookTicker", **told, "T": now, "E": now}]

    def _book(self, market: SymbolMarket, now: int) -> Said:
        """The best levels, where they have changed."""
        bids, asks = ([list(level) for level in side.items()] for side in shown_levels(market, now, self.stream.levels))
        before = self._said.get("u", self._since_ms)
        if not self._changed("levels", (bids, asks)):
            return []
        self._said["u"] = now
        if self.stream.spot:
            return [{"lastUpdateId": now, "bids": bids, "asks": asks}]
        return [self._depth(market.tape.symbol, now, (int(str(before)), bids, asks))]

    def _changes(self, market: SymbolMarket, now: int) -> Said:
        """What of the book has changed since the last message, at least one thing."""
        change = self._books[market.tape.symbol].upto(now)
        return [] if change is None else [self._depth(market.tape.symbol, now, change)]

    def _depth(self, symbol: str, now: int, change: tuple[int, list[list[str]], list[list[str]]]) -> JsonObject:
        """A snapshot's id is its moment. Each lies in one message by the market's own rule for the first to be used.

        Futures: U ≤ id ≤ u, spot: U ≤ id + 1 ≤ u. A message tells of its own moment as well, a snapshot then does, too.
        """
        before, bids, asks = change
        first = {"U": before + 1, "u": now} if self.stream.spot else {"U": before, "u": now - 1, "pu": before - 1}
        told: JsonObject = {"e": "depthUpdate", "E": now, "s": symbol, **first, "b": bids, "a": asks}
        return told if self.stream.spot else {**told, "T": now}

    # --- prices ---

    def _marks(self, market: SymbolMarket, now: int) -> Said:
        told = self._quotes.premium(market, now)
        return [
            {
                "e": "markPriceUpdate",
                "E": now,
                "s": market.tape.symbol,
                "p": told["markPrice"],
                "i": told["indexPrice"],
                "P": told["estimatedSettlePrice"],
                "r": told["lastFundingRate"],
                "T": told["nextFundingTime"],
            }
        ]

    def _ticker(self, market: SymbolMarket, now: int) -> Said:
        day, named = self._day(market, now), {"c": "lastPrice", "o": "openPrice", "h": "highPrice", "l": "lowPrice"}
        more = {"p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "Q": "lastQty"}
        rest = {"v": "volume", "q": "quoteVolume", "O": "openTime", "C": "closeTime", "F": "firstId", "L": "lastId"}
        if day is None:
            return []
        fields = {**named, **more, **rest, "n": "count"}
        told = {"e": "24hrTicker", "E": now, "s": market.tape.symbol, **{k: day[name] for k, name in fields.items()}}
        if self.stream.spot:
            (bid, bids), (ask, asks) = (next(iter(side.items())) for side in shown_levels(market, now, 1))
            told |= {"x": day["openPrice"], "b": bid, "B": bids, "a": ask, "A": asks}
        return [told]

    def _mini_ticker(self, market: SymbolMarket, now: int) -> Said:
        day = self._day(market, now)
        fields = {"c": "lastPrice", "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume"}
        if day is None:
            return []
        shown = {k: day[name] for k, name in {**fields, "q": "quoteVolume"}.items()}
        return [{"e": "24hrMiniTicker", "E": now, "s": market.tape.symbol, **shown}]

    def _day(self, market: SymbolMarket, now: int) -> JsonObject | None:
        """The last 24 hours; None where nothing has been traded since it was told."""
        if not self._changed(market.tape.symbol, market.priced_at(now)):
            return None
        return self._quotes.day(market, now)

    def _contract(self, market: SymbolMarket, now: int) -> Said:
        """A contract whose status or brackets have changed."""
        symbol = market.tape.symbol
        listing = self._quotes.listing(symbol, now)
        if not self._changed(symbol, listing) or now == self._since_ms:
            return []
        brackets = [
            {"bs": b.number, "bnf": int(b.floor), "bnc": int(b.cap), "mmr": float(b.rate), "cf": float(b.offset)}
            | {"mi": 1, "ma": b.leverage}
            for b in listing.brackets
        ]
        contract = "PERPETUAL" if delivery_ms_of(symbol) is None else "CURRENT_QUARTER"
        status = "SETTLING" if listing.status == "REMOVED" else listing.status
        times = {"dt": listing.delivery_ms, "ot": market.tape.start_ms}
        told = {"s": symbol, "ps": pair_of(symbol), "ct": contract, **times, "cs": status, "bks": brackets}
        return [{"e": "contractInfo", "E": now, **told}]

    def _forced(self, market: SymbolMarket, now: int) -> Said:
        """The last liquidation since the last message."""
        found = self._quotes.forced(market.tape.symbol, self._since_ms, now)
        if not found:
            return []
        order = found[-1]
        average = decimal_text(order.filled_quote / order.filled) if order.filled else "0"
        filled = decimal_text(order.filled)
        told = {"s": order.symbol, "S": order.side, "o": "LIMIT", "f": "IOC", "q": decimal_text(order.quantity)}
        rest = {"p": average, "ap": average, "X": order.status, "l": filled, "z": filled, "T": order.time_ms}
        return [{"e": "forceOrder", "E": now, "o": {**told, **rest}}]
