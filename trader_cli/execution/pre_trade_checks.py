"""Everything that is asked of the exchange before an entry, side by side, and every reason it may give not to enter."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.plans import Refused
from trader_cli.core.proofs.evidence import AccountSnapshot
from trader_cli.execution import preflight
from trader_cli.execution.circuit_breaker import check_breaker
from trader_cli.execution.orphan_orders import require_no_orphans

if TYPE_CHECKING:
    from trader_cli.core.money.orders import OrderState
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.ports import Exchange
    from trader_cli.execution.execution_context import ExecutionContext
    from trader_cli.execution.symbol_view import View
    from trader_cli.settings.room_options import ExecutionOptions


async def refusal(
    context: ExecutionContext, options: ExecutionOptions, plan: TradePlan, symbol: str, *, live: bool
) -> Refused | None:
    """Every reason not to enter this plan now, or `None`. Raises `TraderError` where it cannot be known."""
    exchange, reconciler, ledger = context.exchange, context.reconciler, context.submitter.ledger
    rules = await preflight.current_rules(exchange, plan.symbol)
    if isinstance(rules, Refused):
        return rules
    refused = (
        preflight.check_unchanged(plan, ledger)
        or preflight.check_openable(plan, exchange)
        or preflight.check_shape(plan, rules)
        or preflight.check_live(options, plan, live=live)
        or preflight.check_plan(options.account, plan, ledger, symbol, exchange.server_now_ms())
        or preflight.check_model(options, plan)
        or check_breaker(ledger, symbol, exchange.server_now_ms(), options.orders)
    )
    if refused is not None:
        return refused
    _require_open_doors(exchange)
    if reconciler.waiting_entry(symbol) is not None:
        await reconciler.look_at_orders(symbol)
        if reconciler.waiting_entry(symbol) is not None:
            return Refused("order_unknown", f"{symbol}: it is not known yet what became of an order of ours.")
    view, orders, prices, account, warning = await asyncio.gather(
        _looked(context, symbol),
        exchange.private.open_orders(symbol),
        preflight.current_prices(exchange, symbol, options),
        preflight.balance_for(exchange, symbol, options),
        preflight.check_account(exchange, options),
    )
    if warning is not None:
        context.warn_once(warning)
    refused = _check_symbol(context, view, orders) or preflight.check_openable(plan, exchange, resting=len(view.stops))
    if refused is not None:
        return refused
    if isinstance(prices, Refused):
        return prices
    if isinstance(account, Refused):
        return account
    snapshots = {name: snapshot.position for name, snapshot in reconciler.snapshots.items() if name != symbol}
    held = {name: abs(p.amount) * p.mark_price for name, p in snapshots.items() if p}
    others = sum((at for name, at in held.items() if margin_asset_of(name) == account.asset), Decimal(0))
    rest = await preflight.elsewhere(exchange, account.asset, held, options)
    if isinstance(rest, Refused):
        return rest
    room = preflight.Room(prices.mark, account.available, account.equity, others, rest[0], account.asset, rest[1])
    return preflight.check_room(plan, exchange.symbol_rules(plan.symbol), room, options.costs) or preflight.check_caps(
        plan, options.limits, room
    )


def _require_open_doors(exchange: Exchange) -> None:
    """Raises `ExchangeUnavailable` while the exchange takes no request, or no new orders."""
    frozen_s, held_s = exchange.frozen_s(), exchange.orders_held_s()
    if frozen_s or held_s:
        what = "no request" if frozen_s else "no new order"
        raise ExchangeUnavailable(f"The exchange takes {what} for {max(frozen_s, held_s):.0f} s.", hint="Wait.")


async def _looked(context: ExecutionContext, symbol: str) -> View:
    reconciler = context.reconciler
    await reconciler.positions(since_ms=context.now_ms())
    await reconciler.reconcile(symbol)
    await reconciler.look_at_trades(symbol)
    return reconciler.view(symbol)


def _check_symbol(context: ExecutionContext, view: View, orders: list[OrderState]) -> Refused | None:
    """Whether the symbol holds anything, ours or not, and whether somebody else trades with ids of our kind."""
    rec, now = context.reconciler, context.exchange.server_now_ms()
    past = tuple(rec.booker.orphans.get(view.symbol, ()))
    snapshot = AccountSnapshot(now, None, rec.snapshot(view.symbol).others, tuple(orders), past=past)
    others = [order for order in orders if context.submitter.intent(order.client_id) is None]
    return require_no_orphans(context.submitter.ledger, snapshot, now) or preflight.check_foreign(view, len(others))
