"""Ports: what a room may ask of the rooms it does not import. Implementations live to the left of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    import polars as pl

    from trader_cli.core.answers import Answer
    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.market.events import TapeEvent
    from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
    from trader_cli.core.money.orders import (
        AccountState,
        IncomeState,
        KeyRights,
        LeverageBracket,
        MarginSettings,
        OrderRequest,
        OrderState,
        PositionState,
        PreparedRequest,
        Sent,
        StopRequest,
        StopState,
        SymbolRules,
        TradeState,
    )
    from trader_cli.core.types import Analysis


class Clock(Protocol):
    """Time, as the mode sees it."""

    def now_ms(self) -> int:
        """UTC milliseconds. A person or NTP may set it, forwards or back."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment; nobody sets it. Deadlines, freezes and absence count on it."""
        ...

    def loop_s(self, seconds: float) -> float:
        """How long the event loop has to wait for so many seconds of this clock: for time-outs around requests."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; in virtual time this is what lets time move."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """While entered, virtual time stands still: work is under way. Real clocks ignore it."""
        ...


class MarketData(Protocol):
    """The public side of an exchange: frames of what was, oldest first, and values of what is now.

    Raises `UsageError` for an unknown symbol, `ExchangeUnavailable` where there is no answer, `DataInvalid` for numbers
    that cannot be true.
    """

    def get_klines(
        self, symbol: str, interval: str, limit: int = ..., *, start_ms: int | None = ...
    ) -> Awaitable[pl.DataFrame]:
        """Closed bars as a BARS frame: the last `limit`, or the first of those that open from `start_ms` on."""
        ...

    def get_agg_trades(self, symbol: str, limit: int = ...) -> Awaitable[pl.DataFrame]:
        """The latest aggregate trades as a TRADES frame."""
        ...

    def get_funding_rates(
        self, symbol: str, limit: int = ..., *, start_ms: int | None = ...
    ) -> Awaitable[pl.DataFrame]:
        """Funding payments as a FUNDING frame: the latest, or the first from `start_ms` on."""
        ...

    def ticker(self, symbol: str) -> Awaitable[Ticker]:
        """The last 24 hours."""
        ...

    def order_book(self, symbol: str, limit: int = ...) -> Awaitable[OrderBook]:
        """The order book, at most `limit` levels a side."""
        ...

    def premium_index(self, symbol: str) -> Awaitable[PremiumIndex]:
        """Mark and index price, and the funding ahead."""
        ...


class Broker(Protocol):
    """One account at one venue: what it holds, what rests there, and the only way to change either.

    Money and quantities are `Decimal`, quantities in units of the base asset, prices and money in the margin asset;
    times are UTC milliseconds of the venue. An id is the *client id*, made by us before anything is sent, unless it is
    called the exchange's own.

    **Asking.** An answer is what the venue had at one moment between the call and its end, and may be older than what
    the venue has acknowledged elsewhere. A question raises `ExchangeUnavailable` where there is no answer (lost, late,
    empty, garbled), its kind `RateLimited` where the venue wants no request now, `ExchangeRejected` with the venue's
    code where it says no, `ConfigurationError` where the key may not ask. None of these ever means "nothing there": an
    empty list and `None` do.

    **Sending.** `place` and `place_stop` send once, and what comes of it is a value. `Placed`: the venue has it.
    `NotPlaced`: refused, with a code and a sentence, and the venue certainly does not have it; with the code
    `UNREADABLE` the refusal is not the venue's own, and what could open is looked for all the same. `Unknown`: it was
    sent, and nobody knows whether it arrived: look by its client id *and* by the position before anything else. They
    raise only where nothing was sent: `ConfigurationError` without a key or with one that may withdraw, `UsageError`
    before the connection is open, and what the question about the key's rights raised.
    """

    # --- what the account holds ---

    def account(self) -> Awaitable[AccountState]:
        """Wallet, available balance and unrealised profit, by asset."""
        ...

    def positions(self) -> Awaitable[list[PositionState]]:
        """Every position of the account that is not flat; amounts are signed."""
        ...

    def open_orders(self, symbol: str | None = None) -> Awaitable[list[OrderState]]:
        """Orders that rest and can fill, of a symbol or of all."""
        ...

    def open_stops(self, symbol: str | None = None) -> Awaitable[list[StopState]]:
        """Stops and take-profits that wait for their trigger, of a symbol or of all."""
        ...

    # --- sending ---

    def place(self, order: OrderRequest) -> Awaitable[Sent]:
        """Send an order, once. One that is not reduce-only is refused for a key that may withdraw."""
        ...

    def place_stop(self, stop: StopRequest) -> Awaitable[Sent]:
        """Let a stop or take-profit rest at the venue, triggered by mark price. Sent once."""
        ...

    def cancel(self, symbol: str, client_id: str) -> Awaitable[OrderState | None]:
        """Cancel an order; what the venue has of it afterwards. A cancel that finds nothing proves nothing."""
        ...

    def cancel_stop(self, symbol: str, client_id: str) -> Awaitable[StopState | None]:
        """Cancel a stop or take-profit; what the venue has of it afterwards."""
        ...

    def preview(
        self, symbol: str, margin: MarginSettings, order: OrderRequest, stops: Sequence[StopRequest]
    ) -> list[PreparedRequest]:
        """What would be sent for an entry with its stops, in order. Sends and asks nothing."""
        ...

    # --- what became of it ---

    def order(self, symbol: str, client_id: str) -> Awaitable[OrderState | None]:
        """An order by its client id; `None` only if the venue says that it has none."""
        ...

    def order_by_id(self, symbol: str, order_id: str) -> Awaitable[OrderState | None]:
        """An order by the venue's own id (digits) or by its client id."""
        ...

    def stop(self, symbol: str, client_id: str) -> Awaitable[StopState | None]:
        """A stop or take-profit by its client id; `None` only if the venue says that it has none."""
        ...

    def past_orders(
        self, symbol: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Awaitable[list[OrderState]]:
        """At most 1000 orders of a symbol, whatever became of them: the latest, or of a span of at most 7 days."""
        ...

    def past_stops(
        self, symbol: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Awaitable[list[StopState]]:
        """At most 1000 stops and take-profits of a symbol, in the same way."""
        ...

    def trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> Awaitable[list[TradeState]]:
        """Fills of a symbol, oldest first, at most 500: the latest, or from an id or a time on."""
        ...

    def income(self, start_ms: int) -> Awaitable[list[IncomeState]]:
        """Changes of the wallet since then, oldest first, at most `INCOME_PAGE`: a full page means there are more."""
        ...

    # --- the terms ---

    def margin_settings(self, symbol: str) -> Awaitable[MarginSettings]:
        """Leverage and margin mode in force."""
        ...

    def set_margin_settings(self, symbol: str, wanted: MarginSettings) -> Awaitable[MarginSettings]:
        """Set margin mode and leverage where they differ; as read back. Raises `DataInvalid` where they are others."""
        ...

    def brackets(self, symbol: str) -> Awaitable[tuple[LeverageBracket, ...]]:
        """Leverage brackets, lowest notional first."""
        ...

    def hedge_mode(self) -> Awaitable[bool]:
        """Whether long and short positions are kept side by side, which we refuse to trade."""
        ...

    def multi_assets(self) -> Awaitable[bool]:
        """Whether every asset backs every position, in a mode that has no isolated margin."""
        ...

    def key_rights(self) -> Awaitable[KeyRights]:
        """What the key may do."""
        ...


class Exchange(MarketData, Protocol):
    """A place to trade, as execution and tactics see it: its prices, its rules, its time, and the account.

    A second one needs no network: a simulation gives the same broker for `private` and `protection`, takes requests at
    all times, and its rules are never older than now.
    """

    @property
    def clock(self) -> Clock:
        """The clock in use."""
        ...

    @property
    def private(self) -> Broker:
        """The account. Its requests may be retried, and wait their turn."""
        ...

    @property
    def protection(self) -> Broker:
        """The same account, for what protects a position: asked once and at once, behind nobody."""
        ...

    def account_news(self, news: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """While entered, `news` is called when something has happened to the account, as far as streams tell.

        They may be silent or away: whoever is responsible looks without them as well.
        """
        ...

    def server_now_ms(self) -> int:
        """The exchange's time (UTC ms), or a little earlier: never later than it is."""
        ...

    def frozen_s(self) -> float:
        """Seconds until it takes requests again; 0 where it takes them."""
        ...

    def orders_held_s(self) -> float:
        """Seconds until it takes orders that open again; reads and what reduces go on."""
        ...

    def is_listed(self, symbol: str) -> bool:
        """Whether it lists a symbol, as far as it was asked."""
        ...

    def symbol_rules(self, symbol: str) -> SymbolRules:
        """The filters of a symbol. Raises `UsageError` for one that is not known."""
        ...

    def rules_or_none(self, symbol: str) -> SymbolRules | None:
        """The filters of a symbol; `None` for one that is not known."""
        ...

    def refresh_rules(self, *, older_than_s: float | None = None) -> Awaitable[bool]:
        """Read the filters again, where they are older than that; whether anything of any symbol has changed."""
        ...


class ArtifactStore(Protocol):
    """Content-addressed frames under manifests, with references to the current ones."""

    def current(self, key: ArtifactKey) -> Manifest | None: ...
    def read(self, manifest: Manifest) -> pl.DataFrame: ...
    def publish(self, key: ArtifactKey, manifest: Manifest) -> None: ...


class Assessor(Protocol):
    """Gives an opinion on a symbol from its latest closed bar."""

    def assess(self, symbol: str, timeframe: str) -> Awaitable[Analysis]: ...


class ManualOrders(Protocol):
    """Carries out what a person asks of the exchange by hand: journalled, reduce-only or protected. In the core there
    is only its shape: the exchange finds the implementation by the entry point `trader.manual_orders`."""

    def __call__(
        self, exchange: Exchange, symbol: str, side: str, order_type: str, quantity: Any
    ) -> Awaitable[Answer]: ...


class Recorder(Protocol):
    """Writes down what the market showed, in order of receive time."""

    def record(self, event: TapeEvent) -> None: ...


class Progress(Protocol):
    """Told how far a long piece of work has come. `total` 0 means unknown."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
