"""The rows of a ledger in the shape of a backtest's (`backtest.records`): decisions, fills, trades, levels, equity.

Money of contracts margined in one asset only: what other assets did is not mixed in. Plans say how probable their
profit was said to be, but for those that were written before they did.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import numpy as np

from trader_cli.backtest.records import framed
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.averages import average_price
from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.execution.coverage import Coverage
from trader_cli.execution.exit_reasons import exit_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_reading import LedgerReading
    from trader_cli.storage.ledger_rows import Booked, Intent

ZERO = Decimal(0)
Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class LedgerTrade:
    """A position of a ledger: its plan, fills and intents, oldest first."""

    plan: TradePlan
    fills: Sequence[Booked]
    intents: Sequence[Intent]

    @property
    def amount(self) -> Decimal:
        """What is open of it, signed."""
        return sum((f.quantity if f.side == "BUY" else -f.quantity for f in self.fills), ZERO)

    @property
    def closed_ms(self) -> int | None:
        """When it ended."""
        return None if self.amount else self.fills[-1].time_ms


def trades_of(ledger: LedgerReading, since_ms: int, until_ms: int, asset: str) -> list[LedgerTrade]:
    """Positions that were opened in [since, until]."""
    found = []
    for decided in ledger.decisions():
        if decided.kind != "plan" or margin_asset_of(decided.symbol) != asset:
            continue
        fills = ledger.fills(decision_id=decided.decision_id)
        if fills and since_ms <= fills[0].time_ms <= until_ms:
            found.append(LedgerTrade(decided.plan, fills, ledger.intents_of(decided.decision_id)))
    return sorted(found, key=lambda trade: trade.fills[0].time_ms)


def frames_of(
    ledger: LedgerReading, trades: Sequence[LedgerTrade], timeframe: Timeframe, span: tuple[int, int], asset: str
) -> dict[str, pl.DataFrame]:
    """All parts. `span` is (since, until), UTC ms."""
    return framed(
        {
            "decisions": _decisions(ledger, span),
            "fills": sorted((row for trade in trades for row in _fills(ledger, trade)), key=_time_of),
            "trades": [_trade(ledger, trade, span[1]) for trade in trades],
            "levels": sorted((row for trade in trades for row in _levels(ledger, trade)), key=_time_of),
            "equity": _equity(ledger, trades, timeframe, span, asset),
        }
    )


def _time_of(row: tuple[object, ...]) -> int:
    return cast("int", row[0])


def _decisions(ledger: LedgerReading, span: tuple[int, int]) -> Rows:
    rows: Rows = []
    for made in ledger.decisions():
        if span[0] <= made.decision_ms <= span[1]:
            plan = made.kind == "plan"
            code, sentence = (
                (made.body["binding"], made.body["side"]) if plan else (made.body["code"], made.body["sentence"])
            )
            kind = "entered" if plan else made.kind
            named = made.decision_id if plan else None
            said = made.body.get("probability") if plan else None
            rows.append((made.decision_ms, made.symbol, made.decision_ms, kind, str(code), str(sentence), named, said))
    return rows


def _fills(ledger: LedgerReading, trade: LedgerTrade) -> Rows:
    sent = {intent.client_id: intent for intent in trade.intents}
    reason = exit_reason(ledger, trade.plan.symbol, trade.plan.plan_id)
    rows: Rows = []
    for fill in trade.fills:
        intent = sent.get(fill.client_id)
        trigger = intent.trigger_price if intent else None
        at = trigger or (trade.plan.price if fill.purpose == "entry" else fill.price)
        numbers = (float(x) for x in (fill.price, fill.quantity, fill.commission, fill.realized))
        why = reason if fill.purpose == "exit" else fill.purpose
        rows.append(
            (fill.time_ms, fill.symbol, trade.plan.plan_id, fill.purpose, fill.side, *numbers, why, False, float(at))
        )
    return rows


def _levels(ledger: LedgerReading, trade: LedgerTrade) -> Rows:
    """Stops and targets that have rested at the exchange."""
    rows: Rows = []
    for intent in trade.intents:
        note = ledger.first_note(intent.client_id, "open")
        if intent.trigger_price is not None and note is not None:
            rows.append((note.at_ms, intent.symbol, trade.plan.plan_id, intent.purpose, float(intent.trigger_price)))
    return rows


def _trade(ledger: LedgerReading, trade: LedgerTrade, until_ms: int) -> tuple[object, ...]:
    plan, fills, opened, closed = trade.plan, trade.fills, trade.fills[0].time_ms, trade.closed_ms
    entries = [f for f in fills if (f.side == "BUY") == (plan.sign > 0)]
    exits = [f for f in fills if f not in entries]
    realised = sum((f.realized for f in fills), ZERO)
    fees = sum((f.commission for f in fills), ZERO)
    paid = [
        (kind, -amount) for kind, _, amount, at in ledger.incomes(plan.symbol) if opened <= at <= (closed or until_ms)
    ]
    funding = sum((amount for kind, amount in paid if kind == "FUNDING_FEE"), ZERO)
    taken = sum((amount for kind, amount in paid if kind == "INSURANCE_CLEAR"), ZERO)
    return (
        opened,
        closed,
        plan.symbol,
        plan.plan_id,
        plan.side,
        float(sum((f.quantity for f in entries), ZERO)),
        _price(entries),
        _price(exits),
        float(realised),
        float(fees + taken),
        float(funding),
        float(realised - fees - taken - funding),
        None if closed is None else exit_reason(ledger, plan.symbol, plan.plan_id),
        Coverage(cast("Ledger", ledger), lambda: until_ms).missing_ms(plan),
    )


def _price(fills: Sequence[Booked]) -> float | None:
    average = average_price((f.price, f.quantity) for f in fills)
    return None if average is None else float(average)


def _equity(
    ledger: LedgerReading, trades: Sequence[LedgerTrade], timeframe: Timeframe, span: tuple[int, int], asset: str
) -> Rows:
    """At the beginning and at each bar's close the equity last seen, what was paid in since taken out of it again."""
    seen = _whole(ledger, [level for _, of, level in ledger.levels() if of == asset], span, asset)
    if not seen:
        return []
    given = [(at, float(amount)) for at, amount in ledger.transfers(asset) if at > seen[0].time_ms]
    times = np.array([level.time_ms for level in seen])
    closes = np.arange(timeframe.floor(seen[0].time_ms), seen[-1].time_ms + timeframe.ms, timeframe.ms) + timeframe.ms
    closes[-1] = max(seen[-1].time_ms, closes[-2] if len(closes) > 1 else 0)
    closes = np.concatenate([times[:1], closes])
    rows: Rows = []
    for at, index in zip(closes.tolist(), (times.searchsorted(closes, side="right") - 1).tolist(), strict=True):
        level, paid_in = seen[max(index, 0)], sum(amount for when, amount in given if when <= at)
        held = _notional(trades, at)
        rows.append((at, float(level.wallet) - paid_in, float(level.equity) - paid_in, held))
    return rows


def _whole(
    ledger: LedgerReading, levels: Sequence[EquityPoint], span: tuple[int, int], asset: str
) -> list[EquityPoint]:
    """The levels seen in a span, and those at its ends where nothing was held there: by what was booked between.

    The first look at an account comes after its entry, and none after its last exit.
    """
    seen = [level for level in levels if span[0] <= level.time_ms <= span[1]]
    if not seen:
        return []
    flows = [flow for flow in ledger.flows() if flow.asset == asset and span[0] <= flow.time_ms <= span[1]]
    first = seen[0]
    known_ms = first.time_ms - (first.wallet == first.equity)  # nothing held: what that millisecond booked came after
    begun = first.wallet - sum((flow.amount for flow in flows if flow.time_ms <= known_ms), ZERO)
    given = (amount for at, amount in ledger.transfers(asset) if first.time_ms < at <= span[1])
    ended = begun + sum((flow.amount for flow in flows), ZERO) + sum(given, ZERO)
    if _is_flat(ledger, asset, span[0] - 1):
        seen.insert(0, EquityPoint(span[0] - 1, begun, begun))
    if _is_flat(ledger, asset, span[1]):
        seen.append(EquityPoint(span[1], ended, ended))
    return seen


def _is_flat(ledger: LedgerReading, asset: str, at_ms: int) -> bool:
    """Whether fills up to a time leave no position that is margined in an asset."""
    amounts: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for fill in ledger.fills():
        if fill.time_ms <= at_ms and margin_asset_of(fill.symbol) == asset:
            amounts[fill.symbol] += fill.quantity if fill.side == "BUY" else -fill.quantity
    return not any(amounts.values())


def _notional(trades: Sequence[LedgerTrade], at_ms: int) -> float:
    """What was open then, at the prices it was bought or sold at."""
    total = ZERO
    for trade in trades:
        if trade.fills[0].time_ms <= at_ms and (trade.closed_ms is None or at_ms < trade.closed_ms):
            total += sum((f.quantity * f.price for f in trade.fills if f.purpose == "entry"), ZERO)
    return float(total)
