"""A lost ledger made again from what the exchange remembers: our orders are known by their client ids.

What the exchange does not remember is lost: why a position was opened, plans that were never entered, assessments. The
plans of what it does remember are made from the stops that were placed for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.identity import ids
from trader_cli.core.identity.ids import purpose_of
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.plans import TradePlan
from trader_cli.execution.exchange_history import remembered
from trader_cli.execution.reconciliation import Reconciler
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.money.orders import OrderState, StopState, SymbolRules, TradeState
    from trader_cli.execution.exchange_history import ExchangeHistory
    from trader_cli.execution.executor import Executor
    from trader_cli.storage.ledger import Ledger

LINEAGE = "rebuilt"
_TIMEFRAME = "15m"
_FALLBACK = Decimal("0.02")
"""Distance of stop and target, as a share of the entry price, for a position whose stops are not remembered."""
_BEFORE_MS = 10_000
"""A stop may be sent before the exchange tells that its entry has filled."""
_ZERO = Decimal(0)


@dataclass(frozen=True)
class _Episode:
    """One entry and what followed it until the next one."""

    entry: OrderState
    exits: tuple[OrderState, ...]
    stops: tuple[StopState, ...]


async def rebuild(executor: Executor, symbols: Sequence[str]) -> dict[str, int]:
    """Fill an empty ledger from the exchange's history of these symbols; how many fills were booked of each.

    Raises `UsageError` if the ledger is not empty: what is written there is better than what could be made again, and
    `DataInvalid`, with both numbers, where the orders with our ids and everybody else's do not add up to the position.
    """
    ledger, exchange = executor.ledger, executor.exchange
    if ledger.intents():
        raise UsageError(f"The ledger {ledger.path} is not empty.", hint="Move it away first, to have it made again.")
    wrong = []
    for symbol in symbols:
        past = await remembered(exchange.private, symbol, exchange.server_now_ms())
        names = [*(order.client_id for order in past.orders), *(stop.client_id for stop in past.stops)]
        if any(map(ids.is_ours, names)):
            _write_past(executor, past)
            wrong += await _unexplained(executor, past, _book(ledger, past))
    if wrong:
        raise DataInvalid(
            " ".join(wrong),
            hint="Look at the account yourself: close what is there by hand, or `trader flatten SYMBOL`.",
        )
    for symbol in symbols:
        executor.notifications.note_past(symbol)
    await Reconciler(executor.submitter).booker.receive_income(at_once=True)
    return {symbol: sum(fill.symbol == symbol for fill in ledger.fills()) for symbol in symbols}


async def _unexplained(executor: Executor, past: ExchangeHistory, foreign: Decimal) -> list[str]:
    """The sentence about a position that is not the sum of our fills and of what others traded."""
    ours = executor.ledger.holding(past.symbol).amount
    positions = {p.symbol: p.amount for p in await executor.exchange.private.positions()}
    shown = positions.get(past.symbol, _ZERO)
    if shown == ours + foreign:
        return []
    beside = f" and {foreign:f} of others" if foreign else ""
    told = f"what the exchange remembers of orders with our ids comes to {ours:f}{beside}"
    return [f"{past.symbol}: {told}, and the position it shows is {shown:f}."]


# --- fills ---


def _book(ledger: Ledger, past: ExchangeHistory) -> Decimal:
    """Book our trades, and others' as far as they made ours smaller; what is left of others' alone.

    A trade whose order the exchange does not remember is nobody's: it explains nothing.
    """
    foreign = _ZERO
    kinds = {order.order_id: ids.forced_kind(order.client_id) or "not by us" for order in past.orders}
    for trade in past.trades:
        owner = ledger.owner(trade.symbol, trade.order_id)
        if owner is not None:
            ledger.fill(owner, trade)
        if owner is not None or trade.order_id not in kinds:
            continue
        signed = trade.quantity if trade.side == "BUY" else -trade.quantity
        own = _smaller(signed, foreign)
        ours = _smaller(signed - own, ledger.holding(trade.symbol).amount)
        if ours:
            _book_external(ledger, trade, abs(ours), kinds[trade.order_id])
        foreign += signed - ours
    return foreign


def _smaller(signed: Decimal, held: Decimal) -> Decimal:
    """The part of a trade that makes what is held smaller."""
    if signed * held >= 0:
        return _ZERO
    return min(abs(signed), abs(held)) * (1 if signed > 0 else -1)


def _book_external(ledger: Ledger, trade: TradeState, part: Decimal, why: str) -> None:
    client_id = ids.client_id(f"{trade.symbol}-{trade.order_id}", "external")
    intent = Intent(
        client_id,
        _decision_at(ledger, trade),
        trade.symbol,
        "external",
        trade.side,
        trade.quantity,
        trade.time_ms,
        reduce_only=True,
    )
    share = part / trade.quantity
    with ledger.together():
        ledger.intend(intent)
        ledger.note(client_id, "done", trade.time_ms, exchange_id=trade.order_id, note=why)
        booked = replace(trade, quantity=part, commission=trade.commission * share)
        ledger.fill(client_id, replace(booked, realized_profit=trade.realized_profit * share))


def _decision_at(ledger: Ledger, trade: TradeState) -> str:
    """The decision whose position a trade made smaller."""
    entries = ledger.entries(trade.symbol)
    found = {name: ledger.decision(name) for name in entries}
    begun = [name for name, decided in found.items() if decided is None or decided.decision_ms <= trade.time_ms]
    return (begun or entries or [LINEAGE])[-1]


# --- orders ---


def _write_past(executor: Executor, past: ExchangeHistory) -> None:
    """Everything that carries our ids: by entry where it followed one, else for itself, so that it is known as ours."""
    ledger, rules = executor.ledger, executor.exchange.symbol_rules(past.symbol)
    with ledger.together():
        for episode in _episodes(past):
            plan = _plan(executor, episode, rules)
            ledger.decide(plan.plan_id, plan.symbol, plan.decision_ms, "plan", plan.as_dict(), plan.decision_ms)
            for stop in episode.stops:
                _write_stop(ledger, plan.plan_id, stop)
            for order in (episode.entry, *episode.exits):
                _write_order(ledger, plan.plan_id, order)
        for stop in past.stops:
            _write_stop(ledger, LINEAGE, stop)
        for order in past.orders:
            _write_order(ledger, LINEAGE, order)


def _episodes(past: ExchangeHistory) -> list[_Episode]:
    entries = [o for o in past.orders if purpose_of(o.client_id) == "entry" and o.filled > 0]
    exits = [o for o in past.orders if purpose_of(o.client_id) == "exit"]
    ends = [*(entry.update_ms for entry in entries[1:]), 1 << 62]
    return [
        _Episode(
            entry,
            tuple(o for o in exits if entry.update_ms <= o.update_ms < end),
            tuple(s for s in past.stops if entry.update_ms - _BEFORE_MS <= s.create_ms < end - _BEFORE_MS),
        )
        for entry, end in zip(entries, ends, strict=False)
    ]


def _write_order(ledger: Ledger, decision_id: str, order: OrderState) -> None:
    """An order with one of our ids, once. What a triggered stop became is found by the stop, which has its id."""
    purpose = purpose_of(order.client_id)
    if purpose is None or ledger.intent(order.client_id) is not None:
        return
    ledger.intend(
        Intent(
            order.client_id,
            decision_id,
            order.symbol,
            purpose,
            order.side,
            order.quantity,
            order.update_ms,
            reduce_only=order.reduce_only,
        )
    )
    status = "open" if order.is_open else "done"
    ledger.note(order.client_id, status, order.update_ms, exchange_id=order.order_id, note=order.status)


def _write_stop(ledger: Ledger, decision_id: str, stop: StopState) -> None:
    """A stop with one of our ids, once."""
    purpose = purpose_of(stop.client_id)
    if purpose is None or ledger.intent(stop.client_id) is not None:
        return
    ledger.intend(
        Intent(
            stop.client_id,
            decision_id,
            stop.symbol,
            purpose,
            stop.side,
            None if stop.close_position else stop.quantity,
            stop.create_ms,
            trigger_price=stop.trigger_price,
            reduce_only=True,
        )
    )
    ledger.note(stop.client_id, "open", stop.create_ms, exchange_id=stop.stop_id, note="NEW")
    if not stop.is_open:
        exchange_id = stop.actual_order_id or stop.stop_id
        ledger.note(stop.client_id, "done", stop.update_ms, exchange_id=exchange_id, note=stop.status)


def _plan(executor: Executor, episode: _Episode, rules: SymbolRules) -> TradePlan:
    """A plan with the first levels that were placed for this entry. A person has a day to look before its time ends."""
    entry, up = episode.entry, 1 if episode.entry.side == "BUY" else -1
    price = entry.average_price or _ZERO
    first = {}
    for stop in sorted(episode.stops, key=lambda s: s.create_ms, reverse=True):
        first[purpose_of(stop.client_id)] = stop.trigger_price
    near, far = rules.price_down(price * (1 - up * _FALLBACK)), rules.price_down(price * (1 - 2 * up * _FALLBACK))
    return TradePlan(
        account=executor.options.account.fingerprint,
        mode=executor.options.account.mode,
        symbol=entry.symbol,
        timeframe=_TIMEFRAME,
        side="long" if up > 0 else "short",
        lineage=LINEAGE,
        decision_ms=entry.update_ms,
        created_ms=entry.update_ms,
        expires_ms=entry.update_ms,
        exit_by_ms=max(entry.update_ms, executor.exchange.server_now_ms()) + DAY_MS,
        price=price,
        quantity=entry.quantity,
        leverage=1,
        stop_price=first.get("stop", near),
        backstop_price=first.get("backstop", far),
        take_profit_price=first.get("take_profit", rules.price_down(price * (1 + up * _FALLBACK))),
        max_drift=_ZERO,
        risk_quote=_ZERO,
        expected_value_bps=0.0,
        liquidation_probability=0.0,
        binding=LINEAGE,
        unproven=True,
    )
