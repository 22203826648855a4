"""A position on bare bars from its entry to its end, by live's exit rules, point by point of each bar's way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, UP
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.money.exits import Assessment, OpenPosition, assess
from trader_cli.core.money.orders import SymbolRules
from trader_cli.venue.simulated_market.ideal_market import POINTS, way_of
from trader_cli.venue.simulated_market.tape_loading import tick_of

if TYPE_CHECKING:
    from trader_cli.analyst.book import Forecasts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.exits import ExitRules
    from trader_cli.core.types import Side
    from trader_cli.features.bar_arrays import BarSeries

LONG: Side = "long"
SHORT: Side = "short"
_EVEN, _NEARLY = 0.5, 1e-9
_MOST, _LEAST = Decimal(10) ** 12, Decimal(0)


def exact(price: float) -> Decimal:
    """A price as it is written."""
    return Decimal(repr(price))


@dataclass(frozen=True)
class WalkedBars:
    """Bars as lists, which a loop reads faster: opening times, closes, the way of each, what was said at each close.

    Prices of the way are written in whole ticks: what is recorded may be off by a float's last digits.
    """

    opened: list[int]
    close: list[float]
    low: list[float]
    high: list[float]
    way: list[list[float]]
    up: list[float]
    down: list[float]
    bar_ms: int
    rules: SymbolRules

    @classmethod
    def of(cls, bars: BarSeries, timeframe: Timeframe, said: Forecasts) -> WalkedBars:
        tick = Decimal(f"{tick_of(np.concatenate([bars.open, bars.high, bars.low, bars.close])):.8f}")
        places = round(-math.log10(tick))
        rules = SymbolRules("", tick, tick, _LEAST, _MOST, _LEAST)
        told = np.full((len(bars), 3), np.nan)
        told[said.rows] = said.probabilities
        shown = (np.round(prices, places) for prices in (bars.low, bars.high, way_of(bars)))
        columns = (bars.close, *shown, told[:, UP], told[:, DOWN])
        close, low, high, way, up, down = (column.tolist() for column in columns)
        return cls(bars.open_ms.tolist(), close, low, high, way, up, down, timeframe.ms, rules)


@dataclass
class OpenTrade:
    """One trade on its way; `fills` are (row, price, share, whether at the open)."""

    start: int
    sign: int
    entry: Decimal
    stop: Decimal
    target: Decimal
    exit_by_ms: int
    fills: list[tuple[int, float, float, bool]] = field(default_factory=list)


class Walk:
    """A position from its entry to its end, bar by bar, look by look."""

    def __init__(self, market: WalkedBars, rules: ExitRules, trade: OpenTrade) -> None:
        self._market, self._rules, self._trade = market, rules, trade
        self._stop, self._best = trade.stop, trade.entry
        self._left, self._scaled, self._acted_ms = 1.0, False, 0
        self._told: Assessment | None = None
        self._stop_at, self._target_at = float(trade.stop), float(trade.target)
        self._best_at = float(trade.entry)
        self._set_rung()

    def walked(self) -> int:
        """To its end; from which row on the next may be entered."""
        market, trade, sign = self._market, self._trade, self._trade.sign
        quarter, bars = market.bar_ms // POINTS, len(market.opened)
        for row in range(trade.start + 1, bars):
            opened, way = market.opened[row], market.way[row]
            if row > trade.start + 1 and self._opens(row, opened, way[0]):
                return row - 1
            if self._is_quiet(row):
                self._see(market.high[row] if sign > 0 else market.low[row])
                continue
            for point in range(1, POINTS):
                price, now_ms = way[point], opened + point * quarter + SETTLE_MS
                if self._filled(row, price) or self._looked(row, price, now_ms, at_open=False):
                    return row
        return bars

    def _opens(self, row: int, opened_ms: int, price: float) -> bool:
        """The open of a bar, and what was said at the close before it; whether it ends there."""
        market, sign, before = self._market, self._trade.sign, row - 1
        loss = market.down[before] if sign > 0 else market.up[before]
        closed_ms = market.opened[before] + market.bar_ms
        if not math.isnan(loss):
            self._told = Assessment(loss, closed_ms)
        if closed_ms < opened_ms:  # no bar follows the close: its price stands
            if self._looked(row, market.way[before][-1], closed_ms + SETTLE_MS, at_open=True):
                return True
            late_ms = max(self._trade.exit_by_ms, closed_ms) + SETTLE_MS
            if late_ms < opened_ms and self._looked(row, market.way[before][-1], late_ms, at_open=True):
                return True
        if (price - self._stop_at) * sign <= 0:
            return self._ended(row, price, at_open=True)
        if (price - self._target_at) * sign >= 0:
            return self._ended(row, self._target_at, at_open=True)
        return self._looked(row, price, opened_ms + SETTLE_MS, at_open=True)

    def _is_quiet(self, row: int) -> bool:
        """Whether no price of a bar, nor any look at it, gives a reason to act."""
        if self._may_speak() or (self._best_at - self._rung) * self._trade.sign >= 0:
            return False
        low, high = self._market.low[row], self._market.high[row]
        if self._trade.sign > 0:
            return low > self._stop_at and high < self._target_at and high < self._rung
        return high < self._stop_at and low > self._target_at and low > self._rung

    def _may_speak(self) -> bool:
        """Whether an opinion may close it, or a part of it: one above one half only falls without news."""
        rules, told = self._rules, self._told
        if told is None:
            return False
        least = rules.high_risk if self._scaled else min(rules.high_risk, rules.medium_risk)
        return least <= _EVEN or told.loss_probability >= least

    def _filled(self, row: int, price: float) -> bool:
        """Whether a stop or target was met on the way to a price."""
        sign = self._trade.sign
        if (price - self._stop_at) * sign <= 0:
            return self._ended(row, self._stop_at, at_open=False)
        return (price - self._target_at) * sign >= 0 and self._ended(row, self._target_at, at_open=False)

    def _ended(self, row: int, price: float, *, at_open: bool) -> bool:
        self._trade.fills.append((row, price, self._left, at_open))
        return True

    def _looked(self, row: int, price: float, now_ms: int, *, at_open: bool) -> bool:
        """A look; whether it ends the position."""
        sign = self._trade.sign
        self._see(price)
        reaches = (self._best_at - self._rung) * sign >= 0
        if not (reaches or now_ms >= self._trade.exit_by_ms or self._may_speak()):
            return False
        mark, rules = exact(price), self._rules
        action = assess(self._position(), mark, self._told, rules, now_ms)
        if action.kind in {"close", "take_profit"}:
            return self._ended(row, price, at_open=at_open)
        if action.share is not None:
            self._trade.fills.append((row, price, self._left * float(action.share), at_open))
            self._left -= self._left * float(action.share)
            self._scaled, self._acted_ms = True, now_ms
        if action.price is not None:
            self._tighten(action.price, mark)
        return False

    def _see(self, price: float) -> None:
        """The best price there was."""
        self._best_at = max(self._best_at, price) if self._trade.sign > 0 else min(self._best_at, price)

    def _tighten(self, price: Decimal, mark: Decimal) -> None:
        """The stop moved, on a tick, unless the price is there already: the exchange would refuse it."""
        rules, sign = self._market.rules, self._trade.sign
        level = rules.price_up(price) if sign > 0 else rules.price_down(price)
        if (level - self._stop) * sign > 0 and (mark - level) * sign > 0:
            self._stop, self._stop_at = level, float(level)
            self._set_rung()

    def _set_rung(self) -> None:
        """The nearest best price at which the stop may follow, a little too near."""
        trade, rules = self._trade, self._rules
        unit = abs(float(trade.entry) - float(trade.stop))
        gained = (self._stop_at - float(trade.stop)) * trade.sign
        rung = max(math.floor(gained / (unit * rules.trail_step) + _NEARLY), 0) + 1
        way = unit * (rung * rules.trail_step + rules.trail_distance - 1.0)
        self._rung = float(trade.entry) + trade.sign * (way - _NEARLY * float(trade.entry))

    def _position(self) -> OpenPosition:
        trade = self._trade
        return OpenPosition(
            side=LONG if trade.sign > 0 else SHORT,
            quantity=Decimal(1),
            entry_price=trade.entry,
            first_stop=trade.stop,
            stop_price=self._stop,
            take_profit_price=trade.target,
            best_price=exact(self._best_at),
            exit_by_ms=trade.exit_by_ms,
            opened_ms=0,
            last_act_ms=self._acted_ms,
            scaled_down=self._scaled,
        )
