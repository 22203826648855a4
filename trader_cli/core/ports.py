"""Ports: what a room may ask of the rooms it does not import. Implementations live to the left of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractContextManager

    import polars as pl

    from trader_cli.core.answers import Answer
    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.market.events import TapeEvent
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
    """The public side of an exchange. Frames and dicts are described at `exchange.binance.BinanceExchange`."""

    def get_klines(
        self, symbol: str, interval: str, limit: int = ..., *, start_ms: int | None = ...
    ) -> Awaitable[pl.DataFrame]: ...
    def get_ticker(self, symbol: str) -> Awaitable[dict[str, Any]]: ...
    def get_order_book(self, symbol: str, limit: int = ...) -> Awaitable[dict[str, Any]]: ...
    def get_agg_trades(self, symbol: str, limit: int = ...) -> Awaitable[pl.DataFrame]: ...
    def get_funding_rates(self, symbol: str, limit: int = ...) -> Awaitable[pl.DataFrame]: ...


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

    def __call__(self, exchange: Any, symbol: str, side: str, order_type: str, quantity: Any) -> Awaitable[Answer]: ...


class Recorder(Protocol):
    """Writes down what the market showed, in order of receive time."""

    def record(self, event: TapeEvent) -> None: ...


class Progress(Protocol):
    """Told how far a long piece of work has come. `total` 0 means unknown."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
