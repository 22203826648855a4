"""`BinanceExchange`: the exchange's USDⓈ-M futures through ccxt. Market data here, the account behind `private`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict, replace
from functools import cached_property, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.ports import silent
from trader_cli.exchange.account.broker import BinanceBroker
from trader_cli.exchange.connection import replies
from trader_cli.exchange.connection.reply_fields import number
from trader_cli.exchange.exchange_session import ExchangeSession
from trader_cli.exchange.market_data import listing, quote_replies, recorder
from trader_cli.settings.places import account_folder
from trader_cli.settings.room_options import PaperOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from decimal import Decimal
    from pathlib import Path

    import polars as pl

    from trader_cli.core.answers import Answer
    from trader_cli.core.market.events import TapeEvent
    from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
    from trader_cli.core.ports import Clock, ManualOrders, Progress, Recorder
    from trader_cli.exchange.account.paper_connection import PaperConnection
    from trader_cli.exchange.market_data.klines import Kind, KlineHistory, Market
    from trader_cli.exchange.market_data.listing import ExchangeInfo
    from trader_cli.exchange.market_data.public_history import PublicHistory
    from trader_cli.settings import Settings, Workspace
    from trader_cli.venue.server.simulated_venue import SimulatedVenue

_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)


class BinanceExchange(ExchangeSession):
    """The exchange. `config` is a `Settings` or a dict of the guide's keys; `clock` defaults to what they say.

    `await initialize()` first, `await close()` last. Methods raise `TraderError`s: `UsageError` for an unknown symbol,
    `ExchangeUnavailable` after the retries, `DataInvalid` for numbers that cannot be true.
    """

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        clock: Clock | None = None,
        venue_url: str | None = None,
        venue: SimulatedVenue | None = None,
        remembered: Path | None = None,
    ) -> None:
        """`venue_url`: the simulated venue of mode sim, to which alone it signs; `venue`: itself, in this process.

        `remembered`: a file for symbols.
        """
        self._paper: PaperConnection | None = None
        super().__init__(config, clock=clock, venue_url=venue_url, venue=venue, remembered=remembered)
        self.recorder: Recorder | None = None

    @cached_property
    def _klines(self) -> KlineHistory:
        """Loaded where history is asked for: whoever trades needs no frames."""
        from trader_cli.exchange.market_data.klines import KlineHistory

        return KlineHistory(self._connection)

    @cached_property
    def _history(self) -> PublicHistory:
        from trader_cli.exchange.market_data.public_history import PublicHistory

        return PublicHistory(self._connection)

    def _brokers(self) -> tuple[BinanceBroker, BinanceBroker]:
        """In paper both are the paper account: there is nothing to sign with."""
        if self.settings.mode != "paper":
            return super()._brokers()
        from trader_cli.exchange.account.paper_connection import PaperConnection

        self._paper = PaperConnection(self, self._connection, self._paper_folder(), PaperOptions.of(self.settings))
        return BinanceBroker(self._paper), BinanceBroker(self._paper)

    def _paper_folder(self) -> Path | None:
        """Where the paper account lies: where the command line keeps it, too."""
        return account_folder(self.workspace.state_dir, self.workspace.source, "paper")

    async def close(self) -> None:
        """End the session, and give a paper account back. Safe to call twice."""
        if self._paper is not None:
            self._paper.close()
        await super().close()

    async def get_klines(
        self, symbol: str, interval: str, limit: int = 500, *, start_ms: int | None = None, progress: Progress = silent
    ) -> pl.DataFrame:
        """Closed bars as a checked BARS frame, oldest first; the unfinished bar is dropped.

        The bars of the `limit` intervals that begin at `start_ms`, by default the last `limit` ones. Fewer come back
        where the exchange has fewer.
        """
        self._require(symbol)
        bars = await self._bars(symbol, interval, limit, start_ms, progress=progress)
        self._record(lambda now_ms: recorder.bars(symbol, Timeframe.parse(interval), bars, now_ms))
        return bars

    async def get_mark_klines(
        self, symbol: str, interval: str, limit: int = 500, *, start_ms: int | None = None
    ) -> pl.DataFrame:
        """Closed bars of the mark price as a MARK frame, otherwise like `get_klines`."""
        self._require(symbol)
        return await self._bars(symbol, interval, limit, start_ms, kind="mark")

    async def get_index_klines(
        self, symbol: str, interval: str, limit: int = 500, *, start_ms: int | None = None
    ) -> pl.DataFrame:
        """Closed bars of the index price as a MARK frame, otherwise like `get_klines`."""
        self._require(symbol)
        return await self._bars(symbol, interval, limit, start_ms, kind="index")

    async def get_spot_klines(
        self, symbol: str, interval: str, limit: int = 500, *, start_ms: int | None = None
    ) -> pl.DataFrame:
        """Closed bars of the spot market as a BARS frame, otherwise like `get_klines`."""
        self._require_open()
        return await self._bars(symbol, interval, limit, start_ms, market="spot")

    def stream_klines(
        self, symbol: str, timeframe: str, first_ms: int, last_ms: int, *, kind: Kind = "klines", market: Market = "um"
    ) -> AsyncGenerator[pl.DataFrame, None]:
        """Closed bars that open from `first_ms` to `last_ms` (UTC ms), oldest first, frame by checked frame.

        The newest bar of the market is recorded, if somebody records.

        BARS frames; MARK frames of `kind` "mark" and "index". At most some ten thousand rows are in memory at once.
        Leave early through `contextlib.aclosing`.
        """
        self._require(symbol) if market == "um" else self._require_open()
        step = Timeframe.parse(timeframe)
        frames = self._klines.stream(symbol, step, first_ms, last_ms, kind=kind, market=market)
        return self._recorded(symbol, step, frames) if (kind, market) == ("klines", "um") else frames

    async def _recorded(
        self, symbol: str, timeframe: Timeframe, frames: AsyncGenerator[pl.DataFrame, None]
    ) -> AsyncGenerator[pl.DataFrame, None]:
        async with aclosing(frames):
            async for frame in frames:
                self._record(partial(recorder.bars, symbol, timeframe, frame))
                yield frame

    async def _bars(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int | None,
        *,
        kind: Kind = "klines",
        market: Market = "um",
        progress: Progress = silent,
    ) -> pl.DataFrame:
        """The frames of `stream_klines` in one."""
        import polars as pl

        from trader_cli.core.market.schemas import BARS, MARK

        timeframe = Timeframe.parse(interval)
        first, last = self._klines.span(timeframe, limit, start_ms)
        expected = max(0, (min(last, self._klines.latest_ms(timeframe)) - first) // timeframe.ms + 1)
        frames = [(BARS if kind == "klines" else MARK).empty()]
        async with aclosing(self._klines.stream(symbol, timeframe, first, last, kind=kind, market=market)) as stream:
            async for frame in stream:
                frames.append(frame)
                done = (int(frame["open_time"].to_physical()[-1]) - first) // timeframe.ms + 1
                progress(f"{symbol} {interval}", done, expected)
        return pl.concat(frames)

    async def ticker(self, symbol: str) -> Ticker:
        """The last 24 hours of a symbol."""
        self._require(symbol)
        reply = replies.as_mapping(await self._read("ticker", {"symbol": symbol}), "a ticker", "lastPrice")
        return replies.parsed("a ticker", reply, partial(quote_replies.ticker, symbol=symbol))

    async def order_book(self, symbol: str, limit: int = 10) -> OrderBook:
        """The order book, `limit` (≤ 1000) levels a side."""
        self._require(symbol)
        requested = next((depth for depth in _DEPTHS if depth >= limit), _DEPTHS[-1])
        reply = replies.as_mapping(
            await self._read("depth", {"symbol": symbol, "limit": requested}), "an order book", "bids", "asks", "T"
        )
        book = replies.parsed("an order book", reply, partial(quote_replies.order_book, symbol=symbol, depth=limit))
        self._record(lambda now_ms: recorder.book(book, now_ms))
        return book

    async def premium_index(self, symbol: str) -> PremiumIndex:
        """Mark and index price, and the funding ahead."""
        self._require(symbol)
        reply = replies.as_mapping(await self._read("premiumIndex", {"symbol": symbol}), "a mark price", "markPrice")
        premium = replies.parsed("a mark price", reply, partial(quote_replies.premium_index, symbol=symbol))
        self._record(lambda now_ms: recorder.mark(premium, now_ms))
        return premium

    async def get_agg_trades(self, symbol: str, limit: int = 500) -> pl.DataFrame:
        """The latest aggregate trades as a TRADES frame, oldest first, at most 1000."""
        from trader_cli.core.market.schemas import TRADES, check_schema
        from trader_cli.exchange.market_data.reply_frames import trades_frame

        self._require(symbol)
        reply = replies.as_list(await self._read("aggTrades", {"symbol": symbol, "limit": min(limit, 1000)}), "trades")
        return check_schema(replies.parsed("trades", reply, trades_frame), TRADES)

    async def get_funding_rates(self, symbol: str, limit: int = 100, *, start_ms: int | None = None) -> pl.DataFrame:
        """Funding payments as a FUNDING frame, oldest first, at most 1000: the latest, or the first from `start_ms`."""
        from trader_cli.exchange.market_data.reply_frames import funding_frame

        self._require(symbol)
        query = {"symbol": symbol, "limit": min(limit, 1000)} | ({} if start_ms is None else {"startTime": start_ms})
        reply = replies.as_list(await self._read("fundingRate", query), "funding rates")
        return replies.parsed("funding rates", reply, funding_frame)

    def stream_agg_trades(self, symbol: str, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Aggregate trades from `first_ms` to `last_ms` (UTC ms, both inclusive), oldest first, as TRADES frames."""
        self._require(symbol)
        return self._history.agg_trades(symbol, first_ms, last_ms)

    def stream_funding(self, symbol: str, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Funding payments from `first_ms` to `last_ms` (UTC ms, both inclusive), oldest first, as FUNDING frames."""
        self._require(symbol)
        return self._history.funding(symbol, first_ms, last_ms)

    async def get_open_interest_history(self, symbol: str, period: str, first_ms: int, last_ms: int) -> pl.DataFrame:
        """Open contracts (base asset) every `period` (5m to 1d), an OPEN_INTEREST frame; the last 30 days at most."""
        self._require(symbol)
        return await self._history.open_interest(symbol, period, first_ms, last_ms)

    async def exchange_info(self, market: str = "um") -> ExchangeInfo:
        """What "um" or "spot" lists, now."""
        self._require_open()
        return await listing.exchange_info(self._connection, market)

    async def top_symbols(self, count: int, say: Callable[[str], None] = lambda _line: None) -> list[str]:
        """The USDT perpetuals, TradFi ones too, with the largest quote volume of the last 24 hours, largest first.

        `say` is told which are left out because the exchange shows no volume of theirs.
        """
        self._require_open()
        return await listing.top_symbols(self._connection, self._book.trading_perpetuals(), count, say)

    async def get_open_interest(self, symbol: str) -> float:
        """Open contracts, in units of the base asset."""
        self._require(symbol)
        reply = replies.as_mapping(
            await self._read("openInterest", {"symbol": symbol}), "open interest", "openInterest"
        )
        return replies.parsed("open interest", reply, lambda r: number(r["openInterest"], least=0))

    # --- the market and the account as dictionaries, for the guide ---

    async def get_ticker(self, symbol: str) -> dict[str, Any]:
        """The last 24 hours: symbol, timestamp (ms), last, open, high, low, volume, quote_volume, change_percent."""
        return (await self.ticker(symbol)).as_dict()

    async def get_order_book(self, symbol: str, limit: int = 10) -> dict[str, Any]:
        """`{symbol, timestamp (ms), bids, asks}`: [price, quantity] levels, best first, `limit` (≤ 1000) a side."""
        return (await self.order_book(symbol, limit)).as_dict()

    async def get_premium_index(self, symbol: str) -> dict[str, Any]:
        """`{timestamp (ms), mark_price, index_price, funding_rate, next_funding_ms}`."""
        return (await self.premium_index(symbol)).as_dict()

    async def get_account(self) -> dict[str, Any]:
        """`{wallet, available, unrealized_profit, equity}` in the quote currency, as decimals."""
        account = await self.private.account()
        return {**asdict(account), "equity": account.equity}

    async def get_balances(self) -> dict[str, Decimal]:
        """Wallet balance by asset."""
        return (await self.private.account()).wallets

    async def get_positions(self) -> list[dict[str, Any]]:
        """Every position that is not flat: symbol, amount (signed), entry_price, mark_price, liquidation_price …"""
        return [asdict(position) for position in await self.private.positions()]

    async def set_leverage(self, symbol: str, leverage: int) -> int:
        """Set the leverage of a symbol; what the exchange has afterwards."""
        now = await self.private.margin_settings(symbol)
        return (await self.private.set_margin_settings(symbol, replace(now, leverage=leverage))).leverage

    async def set_margin_mode(self, symbol: str, *, isolated: bool) -> bool:
        """Set the margin mode of a symbol; whether it is isolated afterwards."""
        now = await self.private.margin_settings(symbol)
        return (await self.private.set_margin_settings(symbol, replace(now, isolated=isolated))).isolated

    async def create_order(self, symbol: str, side: str, order_type: str = "MARKET", quantity: Any = None) -> Answer:
        """An order by hand, journalled before it is sent; false, with `code` and `sentence`, where it is refused.

        Opposite to our position it is reduce-only. Opening, it is protected by stops at once, or closed. Live refuses.
        """
        self._require(symbol)
        return await _manual_orders()(self, symbol, side, order_type, quantity)

    async def cancel_order(self, symbol: str, order_id: str) -> dict[str, Any] | None:
        """Cancel an order by the exchange's id or our client id; what the exchange has of it afterwards."""
        self._require(symbol)
        found = await self.private.order_by_id(symbol, order_id)
        if found is None:
            return None
        after = await self.private.cancel(symbol, found.client_id)
        return None if after is None else asdict(after)

    async def get_order(self, symbol: str, order_id: str) -> dict[str, Any] | None:
        """An order by the exchange's id or our client id; `None` only if the exchange says that it has none."""
        self._require(symbol)
        found = await self.private.order_by_id(symbol, order_id)
        return None if found is None else asdict(found)

    def get_exchange_status(self) -> dict[str, Any]:
        """What this client knows of itself; asks the exchange nothing."""
        connection, options = self._connection, self.settings.binance_exchange
        return {
            "initialized": bool(self.symbols),
            "host": options.base_url or ("demo trading" if options.use_testnet else "binance"),
            "symbols": len(self.symbols),
            "clock_offset_ms": connection.offset_ms,
            "used_weight": connection.used_weight,
            "last_error": connection.last_error,
        }

    def _record(self, events: Callable[[int], list[TapeEvent]]) -> None:
        """Write down what the market has just shown, if somebody does."""
        if self.recorder is not None:
            for event in events(self.server_now_ms()):
                self.recorder.record(event)


def _manual_orders() -> ManualOrders:
    """What carries out orders by hand: this room knows only its port, the installed package names who fills it."""
    found = list(entry_points(group="trader.manual_orders", name="default"))
    if not found:
        raise ConfigurationError(
            "Nothing is installed that carries out orders by hand.", hint="Install trader with pip."
        )
    place: ManualOrders = found[0].load()
    return place
