"""Leaving: reduce-only orders until our position is what it should be, and no order of ours is left when it is flat."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core import ids
from trader_cli.core.errors import ExchangeRejected
from trader_cli.core.orders import NotPlaced
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.plans import TradePlan
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.courier import Courier
    from trader_cli.execution.protection import Protector
    from trader_cli.execution.reconcile import View
    from trader_cli.storage.ledger import Ledger

_LOOK_S = 0.25
_EXIT_PATIENCE_MS = 10_000
_NO_COUNTERPARTY = -4131
_FURTHEST = Decimal("0.04")
"""How far from the mark price a limit order may be that stands in for a market order in a thin book."""
_RESERVE = 9999
"""The generation of the exit that is written down in advance."""


@dataclass
class Closer:
    """Closes what is ours. `view` reconciles a symbol, `standing` says what is open and what protects it."""

    exchange: BinanceExchange
    courier: Courier
    protector: Protector
    patience_s: float
    view: Callable[[str], Awaitable[View]]
    standing: Callable[[str], Awaitable[str]]

    @property
    def ledger(self) -> Ledger:
        """The courier's ledger."""
        return self.courier.ledger

    def reserve(self, plan: TradePlan) -> Intent:
        """An exit written down in advance, so that a full disk cannot keep a position open."""
        return Intent(
            plan.client_id("exit", _RESERVE), plan.plan_id, plan.symbol, "exit", "SELL" if plan.sign > 0 else "BUY",
            plan.quantity, self.exchange.server_now_ms(), reduce_only=True,
        )  # fmt: skip

    async def close(
        self, symbol: str, reason: str, share: Decimal | None = None, *, quantity: Decimal | None = None
    ) -> Decimal:
        """Close our position, a share of it or a quantity, with reduce-only market orders; the quantity closed.

        Raises `ExchangeRejected` if the exchange will not let it go; the stops stay where they are then.
        """
        view = await self._clear_view(symbol)
        began = left = abs(view.held)
        if share is not None:
            quantity = self.exchange.symbol_rules(symbol).quantity_down(began * share)
        target = Decimal(0) if quantity is None else max(Decimal(0), began - quantity)
        until, thin = self.exchange.server_now_ms() + _EXIT_PATIENCE_MS, False
        while left > target:
            refused = await self._reduce(view, left - target, reason, thin=thin)
            if refused is not None:
                if self.exchange.server_now_ms() > until:
                    raise ExchangeRejected(
                        f"The exchange refused to close {symbol}: {refused.sentence} {await self.standing(symbol)}",
                        code=refused.code,
                    )
                thin = refused.code == _NO_COUNTERPARTY
                await self.exchange.clock.sleep(_LOOK_S)
            view = await self._clear_view(symbol)
            left = abs(view.held)
        if view.is_flat:
            await self.sweep(symbol)
        return began - left

    async def _clear_view(self, symbol: str) -> View:
        """A view in which the exchange shows what there should be; the last one, if that does not come for a while."""
        until = self.exchange.server_now_ms() + _EXIT_PATIENCE_MS
        while True:
            view = await self.view(symbol)
            if view.held == view.expected or self.exchange.server_now_ms() > until:
                return view
            await self.exchange.clock.sleep(_LOOK_S)

    async def _reduce(self, view: View, quantity: Decimal, reason: str, *, thin: bool) -> NotPlaced | None:
        """One reduce-only order: at market, or in a `thin` book at any price the exchange still takes."""
        symbol, rules = view.symbol, self.exchange.symbol_rules(view.symbol)
        decision = self.ledger.entries(symbol)[-1]
        exits, sign = self.exits(decision), 1 if view.held > 0 else -1
        mark = view.position.mark_price if view.position else Decimal(0)
        intent = Intent(
            ids.client_id(decision, "exit", len(exits)), decision, symbol, "exit", "SELL" if sign > 0 else "BUY",
            min(quantity, rules.max_market_quantity), self.exchange.server_now_ms(), reduce_only=True,
            price=rules.price_down(mark * (1 - sign * _FURTHEST)) if thin else None,
        )  # fmt: skip
        if exits and not self.courier.is_settled(exits[-1]):
            intent = exits[-1]
        try:
            self.ledger.assess(symbol, "exit", {"reason": reason, "client_id": intent.client_id}, intent.at_ms)
            sent = await self.courier.deliver(intent, patience_s=self.patience_s)
        except LedgerUnwritable as error:
            reserve = self.ledger.intent(ids.client_id(decision, "exit", _RESERVE))
            if reserve is None or self.ledger.last_note(reserve.client_id) is not None:
                raise
            self.courier.unwritten = error
            sent = await self.courier.deliver(reserve, patience_s=self.patience_s)
        return sent if isinstance(sent, NotPlaced) else None

    def exits(self, decision_id: str) -> list[Intent]:
        """Exits of a decision in the order they were begun; the one written down in advance only once it was used."""
        reserve = ids.client_id(decision_id, "exit", _RESERVE)
        return [
            i for i in self.ledger.intents_of(decision_id)
            if i.purpose == "exit" and (i.client_id != reserve or self.ledger.last_note(i.client_id) is not None)
        ]  # fmt: skip

    async def sweep(self, symbol: str) -> int:
        """With our position flat, take every stop of ours away; how many there were."""
        swept = 0
        for stop in await self.courier.private.open_stops(symbol):
            if self.ledger.intent(stop.client_id) is not None:
                swept += await self.protector.remove(stop)
        return swept
