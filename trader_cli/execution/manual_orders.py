"""Orders by hand: the guide's bare `create_order`. Journalled; reduce-only or protected; refused in live."""

from __future__ import annotations

import math
from dataclasses import asdict
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trader_cli.core.answers import Answer
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import digits_of
from trader_cli.core.money.plans import MANUAL, Approved, Refused, TradePlan
from trader_cli.execution import preflight
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.execution.orphan_orders import ledger_for
from trader_cli.settings.room_options import ExecutionOptions

if TYPE_CHECKING:
    from trader_cli.core.ports import Exchange
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.reconciliation import View
    from trader_cli.storage.ledger import Ledger

_TIMEFRAME, _BARS, _HORIZON = "1h", 72, 24  # volatility of three days, for stops that are to hold for one
_SHARE = Decimal("0.9")
"""Share of the available balance that margin by hand may take."""


async def place(exchange: BinanceExchange, symbol: str, side: str, order_type: str, quantity: Any) -> Answer:
    """Carry out an order by hand. False, with `code` and `sentence`, where it is refused or the exchange said no.

    Opposite to our position it reduces. With none of ours open, a SELL, or a BUY after a short of ours, is the exit of
    what is gone: there is nothing to reduce, unless tactics have approved that side. A BUY opens, and is protected.
    """
    refused = _refused(exchange, side, order_type)
    amount = _amount(quantity)
    if refused is None and amount is None:
        refused = Refused("bad_quantity", f"quantity must be a number above 0; found {quantity!r}.")
    if refused is not None or amount is None:
        assert refused is not None
        return _no(refused)
    async with ledger_for(exchange, None, (symbol,)) as ledger:
        executor = Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace))
        view = await executor.view(symbol)
        rounded = exchange.symbol_rules(symbol).quantity_down(amount)
        if view.held * _sign(side) < 0:
            return await _reduce(executor, view, side, rounded)
        approved = _approved(ledger, symbol, side, exchange.server_now_ms())
        if view.held == 0 and approved is None and _is_exit_of_what_is_gone(executor, symbol, side):
            sentence = f"{symbol}: we hold no position there that a {side} could reduce."
            return _noted(ledger, symbol, exchange.server_now_ms(), Refused("nothing_to_reduce", sentence))
        return await _open(executor, await _plan(executor, symbol, side, rounded, approved))


def _refused(exchange: BinanceExchange, side: str, order_type: str) -> Refused | None:
    if exchange.workspace.mode == "live":
        return Refused("live_refuses_manual_orders", "In live, orders are made by `trader tactics` and `trader enter`.")
    if side not in {"BUY", "SELL"}:
        return Refused("bad_side", f"side is BUY or SELL; found {side!r}.")
    if order_type != "MARKET":
        return Refused("bad_order_type", f"By hand only MARKET orders are taken; found {order_type!r}.")
    return None


def _amount(quantity: Any) -> Decimal | None:
    try:
        amount = Decimal(str(quantity))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


def _sign(side: str) -> int:
    return 1 if side == "BUY" else -1


def _no(refused: Refused) -> Answer:
    return Answer({"kind": "refusal", "code": refused.code, "sentence": refused.sentence}, given=False)


def _noted(ledger: Ledger, symbol: str, now_ms: int, refused: Refused) -> Answer:
    """A refusal by hand, written down."""
    name = digest_value([MANUAL, symbol, now_ms, refused.code])
    ledger.decide(name, symbol, now_ms, "refusal", asdict(refused), now_ms)
    return _no(refused)


def _approved(ledger: Ledger, symbol: str, side: str, now_ms: int) -> TradePlan | None:
    """A plan the tactics approved for this side that is still valid and was not entered."""
    for decided in reversed(ledger.decisions()):
        if decided.kind == "plan" and decided.symbol == symbol:
            plan = decided.plan
            fresh = plan.expires_ms > now_ms and ledger.status(plan.client_id("entry")) is None
            return plan if fresh and plan.sign == _sign(side) else None
    return None


def _is_exit_of_what_is_gone(executor: Executor, symbol: str, side: str) -> bool:
    last = executor.plan_of(symbol)
    return side == "SELL" if last is None else last.sign != _sign(side)


async def _reduce(executor: Executor, view: View, side: str, quantity: Decimal) -> Answer:
    part = quantity if quantity < abs(view.held) else None
    closed = await executor.close(view.symbol, "by_hand", quantity=part)
    decision = executor.ledger.entries(view.symbol)[-1]
    last = executor.exits(decision)[-1:]
    if not last:
        return _no(Refused("nothing_to_reduce", f"{view.symbol}: the position has ended meanwhile."))
    note = executor.ledger.last_note(last[0].client_id)
    executor.notifications.note_end(view.symbol)
    return Answer(
        {
            "kind": "order",
            "orderId": note.exchange_id if note else None,
            "clientOrderId": last[0].client_id,
            "symbol": view.symbol,
            "side": side,
            "type": "MARKET",
            "status": "FILLED",
            "reduceOnly": True,
            "executedQty": f"{closed:f}",
        },
        given=closed > 0,
    )


async def _plan(
    executor: Executor, symbol: str, side: str, quantity: Decimal, approved: TradePlan | None
) -> TradePlan | Refused:
    """A plan with stops for an order by hand: levels of the approved one, else one day's standard deviation away."""
    exchange, options = executor.exchange, executor.options
    rules = await preflight.current_rules(exchange, symbol)
    if isinstance(rules, Refused):
        return rules
    mark = Decimal(str((await exchange.get_premium_index(symbol))["mark_price"]))
    now, limits, up = exchange.server_now_ms(), options.limits, _sign(side)
    if approved is not None:
        stop, target = approved.stop_price, approved.take_profit_price
    else:
        distance = mark * Decimal(str(await _deviation(exchange, symbol)))
        stop, target = mark - up * distance, mark + up * distance
    account = await preflight.balance_for(exchange, symbol, options)
    if isinstance(account, Refused):
        return account
    margin = account.available * _SHARE
    leverage = max(1, math.ceil(quantity * mark / margin)) if margin > 0 else limits.max_leverage + 1
    if leverage > limits.max_leverage or quantity * mark > account.equity * Decimal(str(limits.max_exposure)):
        return Refused(
            "above_limits",
            f"{quantity:f} {symbol} is worth {digits_of(quantity * mark, account.asset)}; equity is"
            f" {digits_of(account.equity, account.asset)}, and"
            f" at most {limits.max_exposure:g} times that at leverage {limits.max_leverage} is allowed.",
        )
    distance = abs(mark - stop)
    tick = rules.price_down
    made = TradePlan(
        account=options.account.fingerprint,
        mode=options.account.mode,
        symbol=symbol,
        timeframe=_TIMEFRAME,
        side="long" if up > 0 else "short",
        lineage=MANUAL,
        decision_ms=now,
        created_ms=now,
        expires_ms=now + 60_000,
        exit_by_ms=now + DAY_MS,
        price=mark,
        quantity=quantity,
        leverage=leverage,
        stop_price=tick(stop),
        backstop_price=tick(mark - up * distance * Decimal(str(limits.backstop_distance))),
        take_profit_price=tick(target),
        max_drift=distance / 2,
        risk_quote=(quantity * distance).quantize(Decimal("1e-8"), rounding=ROUND_DOWN),
        expected_value_bps=0.0,
        liquidation_probability=0.0,
        binding="by_hand",
        unproven=True,
    )
    return preflight.check_openable(made, exchange) or made


async def _deviation(exchange: Exchange, symbol: str) -> float:
    """Standard deviation of the log return over a day, from recent hourly bars."""
    close = (await exchange.get_klines(symbol, _TIMEFRAME, _BARS))["close"].to_list()
    steps = [math.log(b / a) for a, b in pairwise(close)]
    if len(steps) < _HORIZON:
        return 0.02
    return max(1e-3, math.sqrt(sum(step * step for step in steps) / len(steps) * _HORIZON))


async def _open(executor: Executor, plan: TradePlan | Refused) -> Answer:
    if isinstance(plan, Refused):
        return _no(plan)
    done = await executor.enter(Approved(plan))
    if not isinstance(done, EntryResult):
        return _no(done)
    if not done.fresh:
        return _no(
            Refused("position_open", f"{plan.symbol}: an order by hand was carried out this very moment already.")
        )
    cover = done.cover
    stops = [] if cover is None else [s.client_id for s in (cover.backstop, *cover.stops, *cover.take_profits) if s]
    return Answer(
        {
            "kind": "order",
            "orderId": done.order.order_id if done.order else None,
            "clientOrderId": plan.client_id("entry"),
            "symbol": plan.symbol,
            "side": "BUY" if plan.sign > 0 else "SELL",
            "type": "MARKET",
            "status": "FILLED",
            "reduceOnly": False,
            "executedQty": f"{done.quantity:f}",
            "avgPrice": done.average,
            "stops": stops,
            "closed": done.closed,
        },
        given=done.quantity > 0 and done.closed is None,
    )
