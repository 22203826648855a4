"""A lost ledger made again from what the exchange remembers: our orders are known by their client ids.

What the exchange does not remember is lost: why a position was opened, plans that were never entered, assessments. The
plans of what it does remember are made from the stops that were placed for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError
from trader_cli.core.ids import purpose_of
from trader_cli.core.plans import TradePlan
from trader_cli.core.timeframes import DAY_MS
from trader_cli.execution.reconcile import Reconciler
from trader_cli.storage.ledger_rows import Intent
from trader_cli.storage.markets import account_fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.orders import OrderState, StopState, SymbolRules
    from trader_cli.execution.executor import Executor
    from trader_cli.storage.ledger import Ledger

LINEAGE = "rebuilt"
_TIMEFRAME = "15m"
_FALLBACK = Decimal("0.02")
"""Distance of stop and target, as a share of the entry price, for a position whose stops are not remembered."""


@dataclass(frozen=True)
class _Episode:
    """One entry and what followed it until the next one."""

    entry: OrderState
    exits: tuple[OrderState, ...]
    stops: tuple[StopState, ...]


async def rebuild(executor: Executor, symbols: Sequence[str]) -> dict[str, int]:
    """Fill an empty ledger from the exchange's history of these symbols; how many fills were booked of each.

    Raises `UsageError` if the ledger is not empty: what is written there is better than what could be made again.
    """
    ledger = executor.ledger
    if ledger.intents():
        raise UsageError(f"The ledger {ledger.path} is not empty.", mend="Move it away first, to have it made again.")
    for symbol in symbols:
        for episode in await _episodes(executor, symbol):
            _write(executor, episode)
        await executor.view(symbol)
    await Reconciler(executor.courier).receive_income(at_once=True)
    return {symbol: sum(fill.symbol == symbol for fill in ledger.fills()) for symbol in symbols}


async def _episodes(executor: Executor, symbol: str) -> list[_Episode]:
    private = executor.exchange.private
    orders = sorted(await private.all_orders(symbol), key=lambda order: int(order.order_id))
    stops = await private.all_stops(symbol)
    entries = [o for o in orders if purpose_of(o.client_id) == "entry" and o.filled > 0]
    exits = [o for o in orders if purpose_of(o.client_id) == "exit"]
    found = []
    for number, entry in enumerate(entries):
        end = entries[number + 1].update_ms if number + 1 < len(entries) else 1 << 62
        found.append(
            _Episode(
                entry, tuple(o for o in exits if entry.update_ms <= o.update_ms < end),
                tuple(s for s in stops if purpose_of(s.client_id) and entry.update_ms <= s.create_ms < end),
            )
        )  # fmt: skip
    return found


def _write(executor: Executor, episode: _Episode) -> None:
    ledger, entry = executor.ledger, episode.entry
    plan = _plan(executor, episode, executor.exchange.symbol_rules(entry.symbol))
    with ledger.together():
        ledger.decide(plan.plan_id, plan.symbol, plan.decision_ms, "plan", plan.as_dict(), plan.decision_ms)
        for order in (entry, *episode.exits):
            _write_order(ledger, plan, order)
        for stop in episode.stops:
            _write_stop(ledger, plan, stop)


def _write_order(ledger: Ledger, plan: TradePlan, order: OrderState) -> None:
    purpose = purpose_of(order.client_id)
    assert purpose is not None
    ledger.intend(
        Intent(order.client_id, plan.plan_id, order.symbol, purpose, order.side, order.quantity, order.update_ms,
               reduce_only=order.reduce_only)
    )  # fmt: skip
    status = "open" if order.is_open else "done"
    ledger.note(order.client_id, status, order.update_ms, exchange_id=order.order_id, note=order.status)


def _write_stop(ledger: Ledger, plan: TradePlan, stop: StopState) -> None:
    purpose = purpose_of(stop.client_id)
    assert purpose is not None
    ledger.intend(
        Intent(stop.client_id, plan.plan_id, stop.symbol, purpose, stop.side,
               None if stop.close_position else stop.quantity, stop.create_ms, trigger_price=stop.trigger_price,
               reduce_only=True)
    )  # fmt: skip
    ledger.note(stop.client_id, "open", stop.create_ms, exchange_id=stop.algo_id, note="NEW")
    if not stop.is_open:
        exchange_id = stop.actual_order_id or stop.algo_id
        ledger.note(stop.client_id, "done", stop.update_ms, exchange_id=exchange_id, note=stop.status)


def _plan(executor: Executor, episode: _Episode, rules: SymbolRules) -> TradePlan:
    """A plan with the first levels that were placed for this entry."""
    entry, up = episode.entry, 1 if episode.entry.side == "BUY" else -1
    price = entry.average_price or Decimal(0)
    first = {}
    for stop in sorted(episode.stops, key=lambda s: s.create_ms, reverse=True):
        first[purpose_of(stop.client_id)] = stop.trigger_price
    near, far = rules.price_down(price * (1 - up * _FALLBACK)), rules.price_down(price * (1 - 2 * up * _FALLBACK))
    return TradePlan(
        account=account_fingerprint(executor.settings), mode=executor.settings.mode, symbol=entry.symbol,
        timeframe=_TIMEFRAME, side="long" if up > 0 else "short", lineage=LINEAGE, decision_ms=entry.update_ms,
        created_ms=entry.update_ms, expires_ms=entry.update_ms, exit_by_ms=entry.update_ms + DAY_MS, price=price,
        quantity=entry.quantity, leverage=1, stop_price=first.get("stop", near),
        backstop_price=first.get("backstop", far),
        take_profit_price=first.get("take_profit", rules.price_down(price * (1 + up * _FALLBACK))),
        max_drift=Decimal(0), risk_quote=Decimal(0), expected_value_bps=0.0, liquidation_probability=0.0,
        binding=LINEAGE, unproven=True,
    )  # fmt: skip
