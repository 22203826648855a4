"""Loss limits of the account, while positions are open: each latched once, whatever else holds entries back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.assets import assets_to_price, by_asset, dollar_pair
from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, TraderError
from trader_cli.core.limits import LossLimits, breaches_by_asset
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.assets import Flow
    from trader_cli.core.orders import AccountState
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.executor import Executor
    from trader_cli.settings import Settings

_ACCOUNT, _BROKEN = "", "loss_limit"
_PRICE_AGE_MS = 60_000
_INCOME_APART_MS = 10_000
_INCOME_AFTER_MS = (0, 10_000, 30_000, 120_000)
"""When after a wallet has moved its income is asked for: it may be shown late, and each question weighs 30."""


class FeePrices:
    """What assets in which only fees are paid are worth in the margin asset: mark prices, at most a minute old.

    A dollar is a dollar, whichever it is. Without a contract of both assets it is what they are worth in dollars, one
    by the other. One price is waited for `budget_s` seconds; what the exchange shows of long ago is none.

    `missing` are the pairs of which no price is known: what was paid in them is not counted.
    """

    def __init__(self, exchange: BinanceExchange, budget_s: float) -> None:
        self._exchange, self._budget_s = exchange, budget_s
        self._known: dict[tuple[str, str], tuple[Decimal, int]] = {}
        self.missing: list[str] = []

    async def of(self, flows: Iterable[Flow]) -> dict[str, dict[str, Decimal]]:
        """Prices by margin asset and asset. One that cannot be had now is the last that was seen."""
        booked = list(flows)
        wanted = {(m, a) for m in {f.margin_asset for f in booked} for a in assets_to_price(booked, m)}
        clock = self._exchange.clock
        for margin, asset in sorted(wanted):
            with suppress(TraderError, TimeoutError):  # care waits for no price: the last one counts
                async with asyncio.timeout(clock.loop_s(self._budget_s)):
                    await self._refresh(margin, asset)
        self.missing = [f"{asset}{margin}" for margin, asset in sorted(wanted - set(self._known))]
        found: dict[str, dict[str, Decimal]] = {}
        for margin, asset in wanted & set(self._known):
            found.setdefault(margin, {})[asset] = self._known[margin, asset][0]
        return found

    async def _refresh(self, margin: str, asset: str) -> None:
        now = self._exchange.clock.monotonic_ms()
        known = self._known.get((margin, asset))
        if known is not None and now - known[1] < _PRICE_AGE_MS:
            return
        both_dollars = dollar_pair(margin) is None and dollar_pair(asset) is None
        price = Decimal(1) if both_dollars else await self._mark(f"{asset}{margin}")
        if price is None:
            worth, unit = [await self._dollars(name) for name in (asset, margin)]
            price = worth / unit if worth is not None and unit is not None else None
        if price is not None:
            self._known[margin, asset] = (price, now)

    async def _dollars(self, asset: str) -> Decimal | None:
        pair = dollar_pair(asset)
        return Decimal(1) if pair is None else await self._mark(pair)

    async def _mark(self, pair: str) -> Decimal | None:
        """The mark price of a contract; None where there is none, or none of now."""
        if pair not in self._exchange.symbols:
            return None
        premium = await self._exchange.get_premium_index(pair)
        age_ms = self._exchange.server_now_ms() - int(premium["timestamp"])
        return Decimal(str(premium["mark_price"])) if age_ms <= _PRICE_AGE_MS else None


class _Wallets:
    """Notices that a wallet has moved by what the ledger does not know: funding, liquidation fees, transfers."""

    def __init__(self) -> None:
        self._unexplained: dict[str, Decimal] | None = None
        self._due_ms: list[int] = []
        self._asked_ms = -_INCOME_APART_MS

    def moved(self, account: AccountState, nets: dict[str, Decimal], now_ms: int) -> bool:
        """Whether income is to be asked for now: a few times after a movement, and never twice within ten seconds."""
        names = {*account.wallets, *nets}
        rest = {name: account.of(name).wallet - nets.get(name, Decimal(0)) for name in names}
        if self._unexplained is not None and rest != self._unexplained:
            earliest = self._asked_ms + _INCOME_APART_MS
            self._due_ms = [max(now_ms + after, earliest) for after in _INCOME_AFTER_MS]
        self._unexplained = rest
        if not self._due_ms or now_ms < self._due_ms[0]:
            return False
        self._due_ms = [at for at in self._due_ms if at > now_ms]
        self._asked_ms = now_ms
        return True


class LossMinder:
    """Remembers which limits were broken; a disk that takes no line does not keep it from acting."""

    def __init__(self, settings: Settings) -> None:
        self._options = settings.tactician
        self._counted: set[tuple[str, int]] = set()
        self._prices: FeePrices | None = None
        self._wallets = _Wallets()

    async def broken(self, executor: Executor) -> str | None:
        """A newly broken limit: latched; its reason if positions are to be closed for it."""
        account, _ = await executor.courier.looks.ask("account", executor.courier.private.account)
        ledger, now = executor.ledger, executor.exchange.server_now_ms()
        flows = ledger.flows()
        if self._wallets.moved(account, by_asset(flows), executor.courier.clock.monotonic_ms()):
            with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again at the next look
                await executor.reconciler.booker.receive_income(at_once=True)
            flows = ledger.flows()
        limits, since = LossLimits(self._options.max_daily_loss, self._options.max_drawdown), ledger.cleared_ms()
        self._prices = self._prices or FeePrices(executor.exchange, executor.courier.budget_s)
        prices = await self._prices.of(flows)
        found = breaches_by_asset(flows, account, prices, limits, now, since_ms=since)
        told = {str(body["limit"]) for _, body, _ in ledger.assessments(_ACCOUNT, since, (_BROKEN,))}
        fresh = {n: why for n, why in found.items() if n not in told and (n, since) not in self._counted}
        if not fresh:
            return None
        reason = next(iter(fresh.values()))
        self._counted |= {(name, since) for name in fresh}
        standing = ledger.halted()
        with suppress(LedgerUnwritable), ledger.together():
            for name in fresh:
                ledger.assess(_ACCOUNT, _BROKEN, {"limit": name}, now)
            ledger.halt(reason if standing in {None, reason} else f"{standing}; {reason}", now)
        return reason if self._options.close_on_halt else None
