"""The first moment at which a look at what is held could do anything: every look before it would leave all as it is.

A look acts on prices that pass a stop, a target or a rung of the trail, on its time exit, on an opinion, on a loss
limit, and on what has happened to the account. Prices are told from the tape; bounds are never drawn too wide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.exits import trailed
from trader_cli.venue.engine.books import places

if TYPE_CHECKING:
    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.position_keeper import ManagedPosition
    from trader_cli.venue.engine.engine import Engine

ZERO = Decimal(0)
_BESIDE = Decimal("0.51")
"""Of the last decimal of a price: what is written as a level lies so near to it at most."""


@dataclass
class _Scan:
    """Where one symbol's price was looked for: outside (below, above), up to a time, first found at `found_ms`."""

    below: float
    above: float
    until_ms: int
    found_ms: int | None

    def serves(self, below: float, above: float, now_ms: int, until_ms: int) -> bool:
        """Whether it answers the same question from now on."""
        if (below, above) != (self.below, self.above):
            return False
        return self.found_ms > now_ms if self.found_ms is not None else self.until_ms >= until_ms


@dataclass
class NextMoment:
    """Of what an account holds. Remembers what it has looked for."""

    account: BacktestAccount
    highest: Decimal = ZERO
    """Above every equity there can be before the moment that was told last."""
    _scans: dict[str, _Scan] = field(default_factory=dict)
    _guards: dict[str, Decimal] = field(default_factory=dict)
    _rungs: dict[str, tuple[object, Decimal]] = field(default_factory=dict)

    def price_moment(self, until_ms: int) -> int:
        """When a price first reaches what a look would act on, or the engine, at most `until_ms`."""
        engine, held = self.account.venue.engine, self.account.held
        now, marks, equity = engine.now_ms, {symbol: engine.mark(symbol) for symbol in held}, engine.equity()
        favourable = {symbol: self._favourable(engine, symbol) for symbol in held}
        if any(level is None for level in favourable.values()):
            return now
        levels = {symbol: level for symbol, level in favourable.items() if level is not None}
        gains = (max(abs(one.amount) * (levels[s] - marks[s]) * one.plan.sign, ZERO) for s, one in held.items())
        self.highest = sum(gains, equity)
        guards = self._guarded(engine, marks, equity)
        if guards is None:
            return now
        found = until_ms
        for symbol, one in sorted(held.items()):
            found = self._scanned(symbol, _bounds(engine, one, levels[symbol], guards[symbol]), found)
        return min(found, engine.next_touch_ms(found) or found)

    def _favourable(self, engine: Engine, symbol: str) -> Decimal | None:
        """The nearest price in its favour at which a look acts, its target or the next rung; None: a rung waits."""
        one, known, unit = self.account.held[symbol], self._rungs.get(symbol), _unit(engine, symbol)
        hangs_on = one.plan.plan_id, one.stop_price, one.entry_price
        if known is None or known[0] != hangs_on:
            known = self._rungs[symbol] = hangs_on, next_rung(one, unit)
        rung, best = known[1], one.entry_price if one.best_price is None else one.best_price
        beyond = (best - rung) * one.plan.sign
        if beyond >= 0 or (beyond > -unit and moves(one, best)):  # an average price may lie between two units
            return None
        return min(rung, one.plan.take_profit_price) if one.plan.sign > 0 else max(rung, one.plan.take_profit_price)

    def _scanned(self, symbol: str, bounds: tuple[float, float], until_ms: int) -> int:
        engine = self.account.venue.engine
        (below, above), now, known = bounds, engine.now_ms, self._scans.get(symbol)
        mark = engine.markets[symbol].mark_price(now)
        if mark <= below or mark >= above:
            return now
        if known is None or not known.serves(below, above, now, until_ms):
            hit = engine.markets[symbol].first_mark_beyond(now, until_ms, below, above)
            known = self._scans[symbol] = _Scan(below, above, until_ms, None if hit is None else hit.time_ms)
        return until_ms if known.found_ms is None else min(until_ms, known.found_ms)

    def _guarded(self, engine: Engine, marks: dict[str, Decimal], equity: Decimal) -> dict[str, Decimal] | None:
        """The price of each symbol against it down to which no loss limit breaks; None: one may break now.

        Stops, where what is lost at all of them breaks none. Else each symbol may lose its share of what is left.
        """
        held = self.account.held
        floor = self.account.losses.floor(engine, equity, self.highest)
        stops = {symbol: one.stop_price for symbol, one in held.items()}
        if floor is None or equity - self._lost(marks, stops) > floor:
            return stops
        guards = {s: _tighter(one, self._guards.get(s, stops[s])) for s, one in held.items()}
        enough = equity - self._lost(marks, guards) > floor
        if not (enough and all(self._inside(s, guards[s], marks[s]) for s in held)):
            slack = equity - floor
            if slack <= 0:
                return None
            guards = {s: self._shared(one, marks[s], slack / len(held), _unit(engine, s)) for s, one in held.items()}
        self._guards = guards
        return guards

    def _lost(self, marks: dict[str, Decimal], prices: dict[str, Decimal]) -> Decimal:
        """What would be lost from here to these prices."""
        return sum(((marks[s] - prices[s]) * one.amount for s, one in self.account.held.items()), ZERO)

    def _inside(self, symbol: str, guard: Decimal, mark: Decimal) -> bool:
        return (mark - guard) * self.account.held[symbol].plan.sign > 0

    @staticmethod
    def _shared(one: ManagedPosition, mark: Decimal, share: Decimal, unit: Decimal) -> Decimal:
        sign = one.plan.sign
        steps = (share / abs(one.amount) / unit).to_integral_value(ROUND_FLOOR) if one.amount else ZERO
        return _tighter(one, mark - sign * (steps - 1) * unit)


def _tighter(one: ManagedPosition, price: Decimal) -> Decimal:
    """The nearer of a price against it and its stop."""
    return max(price, one.stop_price) if one.plan.sign > 0 else min(price, one.stop_price)


def day_moment(now_ms: int, look_ms: int) -> int:
    """When a day's limits begin to count: its first two looks say what it opened with."""
    begun_ms = now_ms // DAY_MS * DAY_MS
    return now_ms if now_ms < begun_ms + 2 * look_ms else begun_ms + DAY_MS


def _unit(engine: Engine, symbol: str) -> Decimal:
    """One in the last decimal of a price."""
    return _last_decimal(engine.markets[symbol].rules.tick)


@cache
def _last_decimal(tick: Decimal) -> Decimal:
    return Decimal(1).scaleb(-places(tick))


def _bounds(engine: Engine, one: ManagedPosition, favourable: Decimal, guard: Decimal) -> tuple[float, float]:
    """(highest price at or below which, lowest at or above which something may be done)."""
    beside = _BESIDE * _unit(engine, one.plan.symbol)
    low, high = (guard, favourable) if one.plan.sign > 0 else (favourable, guard)
    return float(low + beside), float(high - beside)


def next_rung(one: ManagedPosition, unit: Decimal) -> Decimal:
    """The first price, in units of the last decimal, whose stop lies beyond the one that rests by `trailing_stop`.

    Its target without a trail.
    """
    rungs, sign, distance = one.rules, one.plan.sign, abs(one.entry_price - one.plan.stop_price)
    if distance == 0:
        return one.plan.take_profit_price
    step = distance * Decimal(str(rungs.trail_step))
    gained = (one.stop_price - one.plan.stop_price) * sign / step
    rung = max(gained.to_integral_value(ROUND_FLOOR) + 1, Decimal(1))
    reached = rung * step + distance * (Decimal(str(rungs.trail_distance)) - 1)
    rounding = ROUND_CEILING if sign > 0 else ROUND_FLOOR
    price = ((one.entry_price + sign * reached) / unit).to_integral_value(rounding) * unit
    while moves(one, price - sign * unit):
        price -= sign * unit
    while not moves(one, price):
        price += sign * unit
    return price


def moves(one: ManagedPosition, best: Decimal) -> bool:
    """Whether the stop would follow, were this the best price."""
    made = one.plan
    stop = trailed(one.entry_price, made.stop_price, one.stop_price, (best, made.sign), one.rules)
    return (stop - one.stop_price) * made.sign > 0
