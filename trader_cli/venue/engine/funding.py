"""Funding: longs pay shorts where the rate is positive, each by what it holds at the stamp.

On a market that is only looked at, a rate is written down seconds after its stamp, and the interval changes. Any full
hour may be a stamp there: what was held at one whose rate is not known yet is noted, and charged when the rate is seen.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.venue.engine.books import Income, Owed
from trader_cli.venue.engine.margin import cents

if TYPE_CHECKING:
    from trader_cli.venue.engine.engine_state import EngineState
    from trader_cli.venue.simulated_market.rule_changes import RuleBook

OWED_MS = 2 * HOUR_MS
"""How long a stamp without a rate is noted. One whose rate is not there an hour later was none."""


def fund(engine: EngineState, book: RuleBook, time_ms: int, usual_ms: int) -> None:
    """What falls due at a full hour, the engine's time; `usual_ms` is the interval of symbols without their own."""
    account = engine.account
    account.owed = [owed for owed in account.owed if owed.time_ms > time_ms - OWED_MS]
    for position in account.positions.values():
        if position.amount == 0 or not book.funds_at(position.symbol, time_ms, usual_ms):
            continue
        held = Owed(position.symbol, time_ms, position.amount, engine.mark(position.symbol))
        rate = engine.markets[position.symbol].funding_rate(time_ms)
        if rate != 0:
            _charge(engine, held, rate)
        elif book.observed:
            account.owed.append(held)


def fund_late(engine: EngineState, symbol: str) -> None:
    """What was held at stamps whose rates have been seen since. Each is charged once."""
    account, market = engine.account, engine.markets[symbol]
    seen = {o: rate for o in account.owed if o.symbol == symbol and (rate := market.funding_rate(o.time_ms)) != 0}
    account.owed = [owed for owed in account.owed if owed not in seen]
    for owed, rate in seen.items():
        _charge(engine, owed, rate)


def _charge(engine: EngineState, held: Owed, rate: float) -> None:
    """The payment of a stamp; out of the isolated margin where the position is still there."""
    account = engine.account
    paid = cents(-held.amount * held.mark * Decimal(str(rate)))
    account.earn(Income("FUNDING_FEE", held.symbol, paid, held.time_ms, None, account.pays_in(held.symbol)))
    position = account.position(held.symbol)
    if position.amount * held.amount > 0:
        if account.option(held.symbol).isolated:
            position.isolated += paid
        position.update_ms = max(position.update_ms, held.time_ms)
