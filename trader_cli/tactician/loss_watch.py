"""Loss limits of the account, while positions are open: each latched once, whatever else holds entries back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, TraderError
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import CREDITS, DOLLARS, assets_to_price, by_asset, dollar_pair, margin_asset_of
from trader_cli.core.money.loss_limits import (
    EquityHistory,
    EquityPoint,
    LossLimits,
    breaches_by_asset,
    counted_states,
    thinned,
    worth_keeping,
)
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trader_cli.core.money.assets import Flow
    from trader_cli.core.money.orders import AccountState
    from trader_cli.core.ports import Exchange
    from trader_cli.execution.executor import Executor
    from trader_cli.settings.model import TacticianSettings
    from trader_cli.storage.ledger import Ledger

_ACCOUNT, _BROKEN = "", "loss_limit"
_PRICE_AGE_MS = 60_000
_INCOME_APART_MS, _INCOME_PAUSE_MS = 10_000, 900_000
"""Shortest and longest pause between questions for income: it may be shown late, and each weighs 30."""
_MANY = 1000


class FeePrices:
    """What assets in which only fees are paid are worth in the margin asset: mark prices, at most a minute old.

    A dollar is a dollar, whichever it is. Without a contract of both assets it is what they are worth in dollars, one
    by the other. One price is waited for `budget_s` seconds; what the exchange shows of long ago is none.

    `missing` are the pairs of which no price is known: what was paid in them is not counted.
    """

    def __init__(self, exchange: Exchange, budget_s: float) -> None:
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
        if not self._exchange.is_listed(pair):
            return None
        premium = await self._exchange.premium_index(pair)
        age_ms = self._exchange.server_now_ms() - premium.time_ms
        return Decimal(str(premium.mark_price)) if age_ms <= _PRICE_AGE_MS else None


class _Wallets:
    """Notices that a wallet has moved by what the ledger does not know: funding, liquidation fees, transfers."""

    def __init__(self) -> None:
        self._unexplained: dict[str, Decimal] | None = None
        self._explained: dict[str, Decimal] | None = None
        self._moved_ms = self._due_ms = 0
        self._requested_ms = -_INCOME_APART_MS

    def moved(self, rest: dict[str, Decimal], now_ms: int) -> bool:
        """Whether income is to be asked for now; `rest` is what of each wallet no row explains.

        Asked again after pauses that double, until rows have explained the movement, or for a day at most: later rows
        do not come.
        """
        if self._unexplained is not None and rest != self._unexplained:
            self._moved_ms = self._due_ms = now_ms
        self._unexplained = rest
        if self._explained is None or now_ms - self._moved_ms > DAY_MS:
            self._explained = rest
        if rest == self._explained or now_ms < max(self._due_ms, self._requested_ms + _INCOME_APART_MS):
            return False
        self._requested_ms = now_ms
        pause_ms = max(_INCOME_APART_MS, now_ms - self._moved_ms)
        self._due_ms = now_ms + min(pause_ms, _INCOME_PAUSE_MS)
        return True


@dataclass(frozen=True)
class LossInputs:
    """What a look at the losses needs: a clock, the account as shown, income of the exchange, and prices of fees."""

    now_ms: int
    monotonic_ms: int
    account: AccountState
    receive: Callable[[], Awaitable[None]]
    prices: FeePrices


class EquityLimits:
    """Judges the account's equity by what looks at it have seen, and remembers this one in the ledger.

    `first` asks for income before the first judgement: where nobody else of this process does.
    """

    def __init__(self, limits: TacticianSettings, *, first: bool = False) -> None:
        self._options, self._first = limits, first
        self._seen: dict[str, list[EquityPoint]] = {}
        self._read = 0
        self._wallets = _Wallets()

    async def broken(self, ledger: Ledger, inputs: LossInputs) -> dict[str, str]:
        """The limits that are broken, by name, each with its sentence; see `loss_limits.breaches_by_asset`."""
        flows = ledger.flows()
        if self._wallets.moved(_unexplained(ledger, inputs.account, flows), inputs.monotonic_ms) or self._first:
            with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again at a later look
                await inputs.receive()
                self._first = False
            flows = ledger.flows()
            self._wallets.moved(_unexplained(ledger, inputs.account, flows), inputs.monotonic_ms)
        limits, since = LossLimits(self._options.max_daily_loss, self._options.max_drawdown), ledger.cleared_ms()
        prices = await inputs.prices.of(flows)
        traded = {margin_asset_of(symbol) for symbol in ledger.symbols()}
        states = counted_states(flows, inputs.account, traded)
        self._recall(ledger)
        histories = {asset: self._history(ledger, asset, inputs.now_ms) for asset in states}
        found = breaches_by_asset(
            flows, inputs.account, prices, limits, inputs.now_ms, since_ms=since, histories=histories, traded=traded
        )
        for asset, history in histories.items():
            self._remember(ledger, history, states[asset], inputs.now_ms)
        return found

    def _recall(self, ledger: Ledger) -> None:
        """What was written since: by others of this process, too."""
        for number, asset, level in ledger.levels(self._read):
            self._seen.setdefault(asset, []).append(level)
            self._read = number

    def _history(self, ledger: Ledger, asset: str, now_ms: int) -> EquityHistory:
        alike = (CREDITS, *DOLLARS) if asset == CREDITS else (asset,)
        transfers = sorted(paid for name in alike for paid in ledger.transfers(name))
        seen = self._seen.setdefault(asset, [])
        if len(seen) > _MANY:
            seen[:] = thinned(EquityHistory(seen, transfers), now_ms).seen
        return EquityHistory(seen, transfers)

    def _remember(self, ledger: Ledger, history: EquityHistory, state: AccountState, now_ms: int) -> None:
        """In this process also where the disk takes no line."""
        level = EquityPoint(now_ms, state.wallet, state.equity)
        if not worth_keeping(history, level):
            return
        try:
            ledger.see(state.asset, level)
        except LedgerUnwritable:
            self._seen[state.asset].append(level)


def _unexplained(ledger: Ledger, account: AccountState, flows: list[Flow]) -> dict[str, Decimal]:
    """What of each wallet neither our fills and income nor transfers explain."""
    nets = by_asset(flows)
    return {
        name: account.of(name).wallet
        - nets.get(name, Decimal(0))
        - sum((a for _, a in ledger.transfers(name)), Decimal(0))
        for name in {*account.wallets, *nets}
    }


class LossWatch:
    """Remembers which limits were broken; a disk that takes no line does not keep it from acting."""

    def __init__(self, limits: TacticianSettings) -> None:
        self._options = limits
        self._counted: set[tuple[str, int]] = set()
        self._prices: FeePrices | None = None
        self._levels = EquityLimits(limits)
        self._unpriced: set[str] = set()

    async def broken(self, executor: Executor) -> str | None:
        """A newly broken limit: latched; its reason if positions are to be closed for it."""
        account, _ = await executor.submitter.queries.ask("account", executor.submitter.broker.account)
        ledger, now = executor.ledger, executor.exchange.server_now_ms()
        self._prices = self._prices or FeePrices(executor.exchange, executor.submitter.budget_s)
        booker, monotonic_ms = executor.reconciler.booker, executor.submitter.clock.monotonic_ms()
        inputs = LossInputs(now, monotonic_ms, account, lambda: booker.receive_income(at_once=True), self._prices)
        found, since = await self._levels.broken(ledger, inputs), ledger.cleared_ms()
        self._name_unpriced(executor)
        told = {str(line.body["limit"]) for line in ledger.assessments(_ACCOUNT, since, (_BROKEN,))}
        fresh = {n: why for n, why in found.items() if n not in told and (n, since) not in self._counted}
        if not fresh:
            return None
        reason = next(iter(fresh.values()))
        self._counted |= {(name, since) for name in fresh}
        with suppress(LedgerUnwritable), ledger.together():
            for name in fresh:
                ledger.assess(_ACCOUNT, _BROKEN, {"limit": name}, now)
            ledger.halt(reason, now)
        return reason if self._options.close_on_halt else None

    def _name_unpriced(self, executor: Executor) -> None:
        """Said once of each: what the limits leave out."""
        missing = set(self._prices.missing if self._prices else ()) - self._unpriced
        self._unpriced |= missing
        if missing:
            executor.say(
                f"Fees were paid in an asset of which no price is known ({', '.join(sorted(missing))}): the loss limits"
                " count them not, and no plan is made until it is known."
            )
