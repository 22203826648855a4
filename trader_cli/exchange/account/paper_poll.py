"""One look of a paper account at the exchange: what is seen of every symbol that matters, up to the same moment.

A symbol of which the exchange shows nothing stands still: its position stays at its last mark, its orders wait, and
the others go on. One that is listed no longer, or is being settled, is settled at that mark.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeRejected, NoPrice, NotListed, TraderError
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.exchange.market_data.market_poller import MarketPoller
from trader_cli.venue.paper.observations import caught_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.exchange.connection.connection import Connection
    from trader_cli.venue.paper.observations import Observation
    from trader_cli.venue.paper.paper_account import PaperAccount

_NOT_TOLD = frozenset({-1121, -1122, -4108, -4141})
"""Of a symbol that is listed no longer, or whose status forbids the question."""
_LISTING_AGE_S = 60.0
_LISTING_WAIT_S = 2.0
_SETTLED = frozenset({"DELIVERING", "DELIVERED", "SETTLING", "CLOSE", ""})
"""Status of a symbol whose positions the exchange ends itself; without one it is not listed."""
_SOONEST_AGAIN_MS = 5_000


@dataclass(frozen=True)
class SymbolRequest:
    """What a command names and needs the price of, perhaps with its book."""

    symbol: str | None = None
    with_book: bool = False


@dataclass(frozen=True)
class PollResult:
    """What was seen, and why of the others nothing was."""

    observations: list[Observation] = field(default_factory=list)
    missing: dict[str, TraderError] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)


class PaperPoll:
    """Looks for one account. Raises `ExchangeUnavailable` where the exchange does not answer or shows no price."""

    def __init__(self, exchange: BinanceExchange, public: Connection) -> None:
        self._exchange = exchange
        self._poller = MarketPoller(exchange, public)
        self._requested_ms: dict[str, int] = {}

    async def at(
        self, account: PaperAccount, rules: Mapping[str, SymbolRules], request: SymbolRequest, upto_ms: int
    ) -> PollResult:
        """What is to be told to the desk, and which symbols it has to settle after that."""
        seen, busy, owed = PollResult(), account.busy(), account.owed()
        named = {request.symbol} & rules.keys() if request.symbol else set()
        for symbol in sorted(busy | named):
            try:
                hours = owed.get(symbol, set())
                seen.observations.append(
                    await self._symbol(account, _rules(account, rules, symbol), request, upto_ms, hours)
                )
            except (NoPrice, NotListed, ExchangeRejected) as error:
                if isinstance(error, ExchangeRejected) and error.code not in _NOT_TOLD:
                    raise
                seen.missing[symbol] = error
        for symbol in sorted(owed.keys() - busy - named):
            seen.observations.extend(await self._left_behind(account, symbol, owed[symbol], upto_ms))
        if seen.missing:
            await self._judge(seen, busy)
        return seen

    async def _symbol(
        self, account: PaperAccount, rules: SymbolRules, request: SymbolRequest, upto_ms: int, owed: set[int]
    ) -> Observation:
        symbol, since = rules.symbol, account.since(rules.symbol, upto_ms)
        if since is not None and since.upto_ms < account.now_ms == upto_ms:
            raise NoPrice(f"The exchange has shown no price of {symbol} until now.", hint="Try again.")
        observation = await self._poller.observe(rules, since, upto_ms)
        passed = {*hours_within(observation.after_ms, upto_ms)}
        hours = passed | owed if passed or self._is_due(symbol, owed, upto_ms) else passed
        observation = replace(observation, funding=await self._rates(symbol, hours, upto_ms))
        if since is not None:
            observation = caught_up(observation, account.now_ms)
        wanted = request.with_book and symbol == request.symbol and not account.has_book_of(symbol, upto_ms)
        if wanted or account.stirs(observation):
            observation = replace(observation, book=await self._poller.book(symbol))
        return observation

    async def _left_behind(self, account: PaperAccount, symbol: str, owed: set[int], upto_ms: int) -> list[Observation]:
        """Funding rates of a symbol that is held no longer, and was at a stamp."""
        latest = account.latest(symbol)
        if latest is None or not self._is_due(symbol, owed, upto_ms):
            return []
        with suppress(NotListed, ExchangeRejected):
            rates = await self._rates(symbol, owed, upto_ms)
            return [replace(latest, funding=rates)] if rates else []
        return []

    async def _rates(self, symbol: str, hours: set[int], upto_ms: int) -> tuple[tuple[int, float], ...]:
        rates = await self._poller.rates(symbol, hours)
        if hours:
            self._requested_ms[symbol] = upto_ms
        return rates

    def _is_due(self, symbol: str, owed: set[int], upto_ms: int) -> bool:
        """Whether rates that were not there are looked for again: each time after twice as long, from 5 s on."""
        if not owed:
            return False
        newest = max(owed)
        waited = max(self._requested_ms.get(symbol, newest) - newest, _SOONEST_AGAIN_MS)
        return symbol not in self._requested_ms or upto_ms - newest >= 2 * waited

    async def _judge(self, seen: PollResult, busy: set[str]) -> None:
        """Which symbols are to be settled. One may stand still that is listed as not trading, or beside fresh ones.

        Raises where an account would be valued by nothing but old prices.
        """
        with suppress(TraderError, TimeoutError):  # what was listed last counts, then
            async with asyncio.timeout(self._exchange.clock.loop_s(_LISTING_WAIT_S)):
                await self._exchange.refresh_rules(older_than_s=_LISTING_AGE_S)
        listed = self._exchange.symbols
        for symbol, error in seen.missing.items():
            status = listed[symbol].get("status", "TRADING") if symbol in listed else ""
            if status == "TRADING" and not seen.observations:
                raise error
            if status in _SETTLED and symbol in busy:
                seen.settled.append(symbol)


def hours_within(after_ms: int, upto_ms: int) -> range:
    """Full hours in (after, upto], UTC ms."""
    return range((after_ms // HOUR_MS + 1) * HOUR_MS, upto_ms + 1, HOUR_MS)


def _rules(account: PaperAccount, rules: Mapping[str, SymbolRules], symbol: str) -> SymbolRules:
    """The filters of today; of a symbol that is listed no longer, the last."""
    return rules[symbol] if symbol in rules else account.rules(symbol)
