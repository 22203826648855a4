"""What a backtest leaves behind, as frames: decisions, orders, fills, trades, equity. Money in the quote asset.

The engine's own money is `Decimal`; what is written down here is for reading and for statistics.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.identity import ids
from trader_cli.core.market.schemas import TIME
from trader_cli.core.money.assets import QUOTE, margin_asset_of
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.venue.engine.sent_orders import sent_orders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.backtest.position_keeper import ManagedPosition
    from trader_cli.core.types import Abstention, Analysis, Signal
    from trader_cli.venue.engine.books import Account, Fill, Order
    from trader_cli.venue.engine.engine import Engine

ZERO = Decimal(0)
Columns = dict[str, pl.DataType | type[pl.DataType]]
F, S = pl.Float64, pl.String
DECISIONS: Columns = {
    "time": TIME,
    "symbol": S,
    "bar_closed": TIME,
    "kind": S,
    "code": S,
    "sentence": S,
    "plan": S,
    "probability": F,
}
"""`kind` is abstention, refusal or entered; `code` the reason, of an entry the binding limit of its size.

`plan` names the trade an entry became; `probability` is what the model gave a signal to end in profit.
"""
FILLS: Columns = {
    "time": TIME,
    "symbol": S,
    "plan": S,
    "purpose": S,
    "side": S,
    "price": F,
    "quantity": F,
    "fee": F,
    "realised": F,
    "reason": S,
    "maker": pl.Boolean,
    "reference": F,
}
"""`reference` is the price its order was sent at: the trigger's, else the last price then."""
ORDERS: Columns = {
    "time": TIME,
    "client_id": S,
    "purpose": S,
    "symbol": S,
    "side": S,
    "type": S,
    "quantity": F,
    "price": F,
    "trigger": F,
    "status": S,
    "filled": F,
    "updated": TIME,
}
"""What was sent and what became of it, conditional orders among them; what was not given is null. One that closes the
whole position has no quantity; a conditional order that was triggered is followed by the order it became."""
TRADES: Columns = {
    "opened": TIME,
    "closed": TIME,
    "symbol": S,
    "plan": S,
    "side": S,
    "quantity": F,
    "entry_price": F,
    "exit_price": F,
    "realised": F,
    "fees": F,
    "funding": F,
    "net": F,
    "reason": S,
    "unprotected_ms": pl.Int64,
}
"""One row a position; `closed`, `exit_price` and `reason` are null while it is open. `funding` is what it paid."""
LEVELS: Columns = {"time": TIME, "symbol": S, "plan": S, "purpose": S, "price": F}
"""Where stops and targets of a position came to rest, and when; a stop ends the one before it."""
EQUITY: Columns = {"time": TIME, "wallet": F, "equity": F, "exposure": F}
"""At each close: the wallet, with unrealised profit, and the notional of all positions."""
BOOK: Columns = {"time": TIME, "gain": F, "cost": F, "net": F, "gross": F, "held_gain": F}
"""The per-bar book, by which a claim is made: at each close the gain since the one before as a share of equity (the
first has none), fees and slippage of the fills between in quote money, exposure as a share of equity, longs less shorts
and together, and the gain of holding each symbol's average exposure all along."""

SHAPES: Mapping[str, Columns] = MappingProxyType(
    {
        "decisions": DECISIONS,
        "orders": ORDERS,
        "fills": FILLS,
        "trades": TRADES,
        "levels": LEVELS,
        "equity": EQUITY,
        "book": BOOK,
    }
)
"""The parts of a backtest, in the order they are written."""


def framed(rows: Mapping[str, list[tuple[object, ...]]]) -> dict[str, pl.DataFrame]:
    """Rows of each part as frames of its shape; those of a part that is not named are none."""
    return {name: pl.DataFrame(rows.get(name, []), schema=shape, orient="row") for name, shape in SHAPES.items()}


class DecisionColumns:
    """Rows of DECISIONS, column by column: there are as many as closes, and most say what was said before."""

    def __init__(self) -> None:
        self._times = {"time": array("q"), "bar_closed": array("q")}
        self._said: dict[str, list[object]] = {name: [] for name in DECISIONS if name not in self._times}

    def add(self, now_ms: int, symbol: str, closed_ms: int, told: tuple[object, ...]) -> None:
        """One more; `told` are the other columns, in order."""
        self._times["time"].append(now_ms)
        self._times["bar_closed"].append(closed_ms)
        for column, value in zip(self._said.values(), (symbol, *told), strict=True):
            column.append(value)

    def frame(self) -> pl.DataFrame:
        """All of them."""
        times = {name: pl.Series(name, np.array(column, dtype=np.int64)) for name, column in self._times.items()}
        columns = {name: times.get(name, self._said.get(name)) for name in DECISIONS}
        return pl.DataFrame(columns, schema_overrides={**DECISIONS, **dict.fromkeys(times, pl.Int64)}).cast(
            dict.fromkeys(times, TIME)
        )


@dataclass
class Records:
    """Taken down on the way, in order."""

    decisions: DecisionColumns = field(default_factory=DecisionColumns)
    equity: list[tuple[object, ...]] = field(default_factory=list)
    trades: list[tuple[object, ...]] = field(default_factory=list)
    fills: list[tuple[object, ...]] = field(default_factory=list)
    levels: list[tuple[object, ...]] = field(default_factory=list)
    orders: list[tuple[object, ...]] = field(default_factory=list)

    def decided(self, now_ms: int, analysis: Analysis, said: Abstention | Refused | Approved) -> None:
        """What was decided of an analysis."""
        self.decided_of(now_ms, analysis.symbol, analysis.decision_time_ms, analysis.signal, said)

    def decided_of(
        self, now_ms: int, symbol: str, closed_ms: int, signal: Signal | None, said: Abstention | Refused | Approved
    ) -> None:
        """What was decided of a bar that closed then, of which there was a signal, or none."""
        plan_id = said.plan.plan_id if isinstance(said, Approved) else None
        told = (*_told(said), plan_id, signal.probability_act if signal else None)
        self.decisions.add(now_ms, symbol, closed_ms, told)

    def filled(self, fill: Fill, order: Order, plan_id: str, reason: str | None, last_price: float) -> str:
        """A fill of an order: what the order was for, and why it left, which is given back."""
        purpose = ids.purpose_of(order.client_id) or ids.forced_kind(order.client_id) or "external"
        if purpose == "settlement":
            reason = "delisted"
        numbers = (float(x) for x in (fill.price, fill.quantity, fill.commission, fill.realized))
        sent_at = float(order.stop_price) or last_price
        told = (*numbers, reason or purpose, fill.maker, sent_at)
        self.fills.append((fill.time_ms, fill.symbol, plan_id, purpose, fill.side, *told))
        return reason or purpose

    def ordered(self, account: Account) -> None:
        """Everything that was sent, at the end of all, by the time it arrived."""
        for at, client_id, *rest in sent_orders(account):
            name = str(client_id)
            purpose = ids.purpose_of(name) or ids.forced_kind(name) or "external"
            self.orders.append((at, name, purpose, *rest))

    def traded(self, held: ManagedPosition, closed_ms: int | None) -> None:
        """A position that has ended, or at the end of all is still open."""
        entries = [fill for fill in held.fills if (fill.side == "BUY") == (held.plan.sign > 0)]
        exits = [fill for fill in held.fills if fill not in entries]
        realised = sum((fill.realized for fill in held.fills), ZERO)
        fees = sum((fill.commission for fill in held.fills), held.costs)
        self.trades.append(
            (
                held.opened_ms,
                closed_ms,
                held.plan.symbol,
                held.plan.plan_id,
                held.plan.side,
                float(sum((fill.quantity for fill in entries), ZERO)),
                _average(entries),
                _average(exits),
                float(realised),
                float(fees),
                float(held.funding),
                float(realised - fees - held.funding),
                None if closed_ms is None else held.last_reason,
                held.unprotected_ms,
            )
        )
        told = (held.plan.symbol, held.plan.plan_id)
        self.levels += [(time_ms, *told, purpose, float(price)) for time_ms, purpose, price in held.levels]

    @property
    def nets(self) -> list[float]:
        """What each trade made, costs and funding counted."""
        column = list(TRADES).index("net")
        return [float(str(row[column])) for row in self.trades]

    def stood(self, engine: Engine) -> None:
        """How the account stands now."""
        held = [p for p in engine.account.positions.values() if p.amount]
        marks = {p.symbol: engine.mark(p.symbol) for p in held}
        self.stood_at(engine.now_ms, engine.account.wallet, [(p.symbol, p.amount, p.entry) for p in held], marks)

    def stood_at(
        self,
        time_ms: int,
        wallet: Decimal,
        held: Sequence[tuple[str, Decimal, Decimal]],
        marks: Mapping[str, Decimal],
    ) -> None:
        """How an account stood then that held these: (symbol, amount, entry price)."""
        if not held:
            self.equity.append((time_ms, float(wallet), float(wallet), 0.0))
            return
        ours = ((amount, entry, marks[s]) for s, amount, entry in held if margin_asset_of(s) == QUOTE)
        equity = wallet + sum((amount * (mark - entry) for amount, entry, mark in ours), ZERO)
        exposure = sum((abs(amount) * marks[symbol] for symbol, amount, _ in held), ZERO)
        self.equity.append((time_ms, float(wallet), float(equity), float(exposure)))

    def frames(self) -> dict[str, pl.DataFrame]:
        """All of it, by name; the book is made of it (`exposure_held.book_frame`)."""
        rows = framed({name: getattr(self, name) for name in SHAPES if name not in {"book", "decisions"}})
        return {**rows, "decisions": self.decisions.frame()}


def _average(fills: list[Fill]) -> float | None:
    quantity = sum((fill.quantity for fill in fills), ZERO)
    return float(sum((fill.price * fill.quantity for fill in fills), ZERO) / quantity) if quantity else None


def _told(said: Abstention | Refused | Approved) -> tuple[str, str, str]:
    if isinstance(said, Approved):
        made = said.plan
        return "entered", made.binding, f"{made.side} {made.quantity:f} at {made.price:f}, stop {made.stop_price:f}"
    return "refusal" if isinstance(said, Refused) else "abstention", said.code, said.sentence
