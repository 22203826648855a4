"""Everything that is asked of the exchange before an entry, side by side, and every reason it may give not to enter."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.evidence import strangers
from trader_cli.core.plans import Refused
from trader_cli.execution import preflight
from trader_cli.execution.breaking import check_breaker, hold_back

if TYPE_CHECKING:
    from trader_cli.core.orders import OrderState
    from trader_cli.core.plans import TradePlan
    from trader_cli.execution.executor import Executor
    from trader_cli.execution.reconcile import View


async def refusal(executor: Executor, plan: TradePlan, symbol: str, *, live: bool) -> Refused | None:
    """Every reason not to enter this plan now; `None` if there is none. Raises `TraderError` where it cannot be known."""
    exchange, settings, ledger = executor.exchange, executor.settings, executor.ledger
    refused = (
        preflight.check_unchanged(plan, ledger)
        or preflight.check_shape(plan, exchange.symbol_rules(plan.symbol))
        or preflight.check_live(settings, plan, live=live)
        or preflight.check_plan(settings, plan, ledger, symbol, exchange.server_now_ms())
        or check_breaker(ledger, symbol, exchange.server_now_ms(), settings)
    )
    if refused is not None:
        return refused
    _require_open_doors(executor)
    view, orders, premium, account, _ = await asyncio.gather(
        _looked(executor, symbol), exchange.private.open_orders(symbol), exchange.get_premium_index(symbol),
        exchange.private.account(), preflight.check_account(exchange, settings),
    )  # fmt: skip
    refused = _check_symbol(executor, view, orders)
    if refused is not None:
        return refused
    age_ms = exchange.server_now_ms() - int(premium["timestamp"])
    if age_ms > preflight.MARK_AGE_MS:
        return Refused("stale_price", f"The mark price of {symbol} is {age_ms / 1000:.0f} s old.")
    held = [sight.position for name, sight in executor.reconciler.sights.items() if name != symbol and sight.position]
    others = sum((abs(p.amount) * p.mark_price for p in held), Decimal(0))
    room = preflight.Room(Decimal(str(premium["mark_price"])), account.available, account.equity, others)
    return preflight.check_room(plan, exchange, room) or preflight.check_caps(plan, settings, room)


def _require_open_doors(executor: Executor) -> None:
    """Raises `ExchangeUnavailable` while the exchange takes no request, or no new orders."""
    frozen_s, held_s = executor.exchange.frozen_s(), executor.exchange.orders_held_s()
    if frozen_s or held_s:
        what = "no request" if frozen_s else "no new order"
        raise ExchangeUnavailable(f"The exchange takes {what} for {max(frozen_s, held_s):.0f} s.", mend="Wait.")


async def _looked(executor: Executor, symbol: str) -> View:
    view = await executor.view(symbol)
    await executor.reconciler.look_at_trades(symbol)
    return executor.reconciler.view(symbol) if executor.courier.filled else view


def _check_symbol(executor: Executor, view: View, orders: list[OrderState]) -> Refused | None:
    """Whether the symbol holds anything, ours or not, and whether somebody else trades with ids of our kind."""
    ledger, symbol, now = executor.ledger, view.symbol, executor.exchange.server_now_ms()
    known = {o.client_id for o in orders if executor.courier.intent(o.client_id) is not None}
    unknown = strangers([*orders, *executor.reconciler.sight(symbol).others], known)
    unknown += tuple(executor.reconciler.strangers.get(symbol, ()))
    if unknown:
        for sentence in hold_back(ledger, symbol, "second_trader", ", ".join(unknown[:3]), now):
            executor.say(sentence)
        return Refused(
            "second_trader", f"{symbol}: orders with our ids that this ledger does not know ({', '.join(unknown[:3])}):"
            " another trader works on this account, or the ledger is not the one they were written in."
            " Stop the other one, or run `trader ledger rebuild`.",
        )  # fmt: skip
    return preflight.check_foreign(view, len([o for o in orders if o.client_id not in known]))
