"""The book of a claim: forecasts traded by the rules of plan and exit that live has, on bare bars, as the fast engine
trades them on an ideal market (`ideal_market`): no latency, no spread, no impact, a fixed notional.

What a bar did between open and close is laid out as that market lays it out (`way_of`). Levels, drift and every look
are decided by live's own functions; a look is skipped only where it would find no reason to act.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import FilledTrades
from trader_cli.backtest.bar_walk import LONG, SHORT, OpenTrade, Walk, WalkedBars, exact
from trader_cli.core.money.trading_rules import senseless
from trader_cli.tactician.plan_levels import most_drift, plan_levels
from trader_cli.tactician.position_management import exit_rules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.book import Forecasts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.money.plans import PlanLevels
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.model import TacticianSettings
    from trader_cli.settings.room_options import ManagementOptions

    Floats = NDArray[np.float64]

_FEW = 3
"""Ticks."""


@dataclass(frozen=True)
class BarBook:
    """A `BookMaker`. `limits` are the tactician's, of which only those of a plan's levels count."""

    management: ManagementOptions
    limits: TacticianSettings

    def __call__(self, bars: BarSeries, timeframe: Timeframe, said: Forecasts) -> FilledTrades:
        """The trades. A row is entered at the price behind its close: the next open."""
        market = WalkedBars.of(bars, timeframe, said)
        rules, found = exit_rules(self.management, timeframe), list[OpenTrade]()
        wanted, free = said.rows[said.wanted], 0
        sides, barriers = said.side[said.wanted], said.barrier[said.wanted]
        at = 0
        while at < len(wanted):
            trade = self._entered(market, int(wanted[at]), int(sides[at]), float(barriers[at]), said.horizon_bars)
            if trade is None:
                at += 1
                continue
            found.append(trade)
            free = Walk(market, rules, trade).walked()
            at = max(at + 1, int(np.searchsorted(wanted, free)))
        return _filled(found)

    def _entered(self, market: WalkedBars, row: int, sign: int, barrier: float, horizon: int) -> OpenTrade | None:
        """What a signal becomes; None where the price has moved too far by then, or the bars end."""
        if row + 1 >= len(market.opened) or market.opened[row + 1] != market.opened[row] + market.bar_ms:
            return None
        close, price = market.close[row], market.way[row + 1][0]
        above, below = close * math.exp(barrier), close * math.exp(-barrier)
        barriers, side = ((below, above), LONG) if sign > 0 else ((above, below), SHORT)
        drift, entry = most_drift(close, barriers[0], self.limits.max_price_drift), exact(price)
        if abs(entry - Decimal(str(close))) > drift:
            return None
        levels = plan_levels(side, entry, barriers, market.rules, self.limits.backstop_distance, drift)
        if _is_coarse(levels, market.rules) and senseless(market.rules, levels):
            return None
        if min(levels.backstop_price, levels.take_profit_price) <= 0:
            return None
        exit_by = market.opened[row] + (1 + horizon) * market.bar_ms
        return OpenTrade(row, sign, entry, levels.stop_price, levels.take_profit_price, exit_by)


def _is_coarse(levels: PlanLevels, rules: SymbolRules) -> bool:
    """Whether levels lie so few ticks apart that rounding may have put one on the wrong side of another."""
    apart = levels.stop_price - levels.price, levels.stop_price - levels.backstop_price, levels.max_drift
    return min(*map(abs, apart), abs(levels.take_profit_price - levels.price)) < _FEW * rules.tick


def _filled(trades: list[OpenTrade]) -> FilledTrades:
    fills = [(number, *fill) for number, trade in enumerate(trades) for fill in trade.fills]
    of, row, price, share, at_open = zip(*fills, strict=True) if fills else ((), (), (), (), ())
    return FilledTrades(
        np.array([trade.start for trade in trades], dtype=np.int64),
        np.array([trade.sign for trade in trades], dtype=np.int8),
        np.array([float(trade.entry) for trade in trades], dtype=np.float64),
        np.array(of, dtype=np.int64),
        np.array(row, dtype=np.int64),
        np.array(price, dtype=np.float64),
        np.array(share, dtype=np.float64),
        np.array(at_open, dtype=np.bool_),
    )
