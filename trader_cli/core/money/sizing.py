"""How large, and with what leverage: the smallest of many caps, each a number one can read. Pure.

Sources: Kelly 1956 on the lower bound of the probability; volatility target (Moreira & Muir 2017); leverage as the
result of the probability to touch liquidation (method notes §1.11, §1.16). Notionals are in the contract's margin
asset, distances and costs fractions of price.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from trader_cli.core.money.liquidation import liquidation_price, touch_probability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.money.orders import LeverageBracket
    from trader_cli.core.types import Side

SIGMA_UNCERTAINTY = 0.6
"""Standard deviation of ln σ where it is not measured: that of 24 bars after 64, over 23 real series."""


@dataclass(frozen=True)
class SizingLimits:
    """What the settings allow. Fractions of equity unless said otherwise; None: no limit. `capital_cap` is dollars."""

    kelly_fraction: float
    confidence: float
    risk_per_trade: float
    target_volatility: float
    max_exposure: float
    max_same_side: float
    max_book_share: float
    max_volume_share: float
    max_leverage: int
    max_liquidation_probability: float
    margin_share: float
    capital_cap: float | None


@dataclass(frozen=True)
class SizingInputs:
    """The trade and the account it would be made in.

    `trades` is how many independent out-of-sample trades stand behind `probability`; `sigma_horizon` is the standard
    deviation of the log return over the trade's horizon, `sigma_year` over a year, `sigma_uncertainty` that of ln σ;
    `others` and `same_side` are notionals already held in the contract's margin asset, `elsewhere` dollars held in
    contracts of other margin assets, `dollar_price` what one of the margin asset is worth in them; `book_notional`
    rests on the side that would be taken, `bar_notional` trades in a mean bar, endless until they are looked at.
    `mean_win` and `mean_loss`: what such trades gain and lose on average before costs, fractions of price; `None`: at
    target and stop.
    """

    side: Side
    price: float
    stop_distance: float
    target_distance: float
    cost: float
    probability: float
    trades: int
    sigma_horizon: float
    sigma_year: float
    equity: float
    available: float
    others: float
    same_side: float
    max_market_notional: float
    brackets: Sequence[LeverageBracket]
    book_notional: float = math.inf
    bar_notional: float = math.inf
    elsewhere: float = 0.0
    dollar_price: float = 1.0
    sigma_uncertainty: float = SIGMA_UNCERTAINTY
    mean_win: float | None = None
    mean_loss: float | None = None


@dataclass(frozen=True)
class Leverage:
    """A leverage and the probability that mark touches liquidation within the horizon, the stop left out of account."""

    value: int
    probability: float


def lower_probability(probability: float, trades: int, confidence: float) -> float:
    """The one-sided lower confidence bound (Wilson 1927) of a win rate seen in so many trades; 0 without any.

    (p + z²/2n − s) / (1 + z²/n), written as p² / (p + z²/2n + s): nothing cancels where p is small.
    """
    if trades < 1 or probability <= 0:
        return 0.0
    z2 = NormalDist().inv_cdf(confidence) ** 2 / trades
    spread = math.sqrt(z2 * (probability * (1 - probability) + z2 / 4))
    return probability * (probability / (probability + z2 / 2 + spread))


def kelly_notional(setting: SizingInputs, limits: SizingLimits) -> float:
    """Fractional Kelly on the lower bound; exactly 0 where that is at or below break-even."""
    gain = setting.target_distance if setting.mean_win is None else setting.mean_win
    lost = setting.stop_distance if setting.mean_loss is None else setting.mean_loss
    win, loss = gain - setting.cost, lost + setting.cost
    if win <= 0 or loss <= 0:
        return 0.0
    p = lower_probability(setting.probability, setting.trades, limits.confidence)
    return max(0.0, p / loss - (1 - p) / win) * limits.kelly_fraction * setting.equity


def bracket_of(brackets: Sequence[LeverageBracket], notional: float) -> LeverageBracket:
    """The bracket a notional falls into; the last one beyond all."""
    return next((b for b in brackets if notional <= b.notional_cap), brackets[-1])


def liquidation_level(setting: SizingInputs, leverage: int, notional: float) -> float:
    """The liquidation price of an isolated position of this notional, entered now."""
    bracket = bracket_of(setting.brackets, notional)
    offset = float(bracket.offset) * setting.price / notional if notional > 0 else 0.0
    return liquidation_price(setting.price, leverage, setting.side, float(bracket.maintenance_rate), offset)


def liquidation_risk(setting: SizingInputs, leverage: int, notional: float) -> float:
    """P(mark touches the liquidation price of an isolated position within the horizon); 1 if it is there already."""
    level = liquidation_level(setting, leverage, notional)
    if level >= setting.price if setting.side == "long" else level <= setting.price:
        return 1.0
    return touch_probability(setting.price, level, setting.sigma_horizon, setting.sigma_uncertainty)


def highest_leverage(setting: SizingInputs, limits: SizingLimits, notional: float, most: int) -> int:
    """The highest leverage up to `most` whose liquidation risk is allowed and whose bracket allows it; 0 if none."""
    tried = range(1, min(most, bracket_of(setting.brackets, notional).max_leverage) + 1)
    return bisect_right(tried, limits.max_liquidation_probability, key=lambda n: liquidation_risk(setting, n, notional))


def caps(setting: SizingInputs, limits: SizingLimits, most_leverage: int, *, sized_by_edge: bool) -> dict[str, float]:
    """Every limit's notional, by name. `sized_by_edge` False leaves the edge's own caps out (Kelly)."""
    equity, loss = setting.equity, setting.stop_distance + setting.cost
    margin = setting.available * limits.margin_share
    trial = min(margin * most_leverage, float(setting.brackets[-1].notional_cap))
    found = {
        "kelly": kelly_notional(setting, limits),
        "volatility_target": equity * limits.target_volatility / setting.sigma_year if setting.sigma_year > 0 else 0.0,
        "risk_per_trade": equity * limits.risk_per_trade / loss,
        "exposure": equity * limits.max_exposure - setting.others,
        "correlation": equity * limits.max_same_side - setting.same_side,
        "liquidity": _liquidity(setting, limits),
        "bracket": _bracket_cap(setting.brackets, most_leverage),
        "liquidation_probability": margin * highest_leverage(setting, limits, trial, most_leverage),
    }
    if limits.capital_cap is not None:
        cap, elsewhere = (dollars / setting.dollar_price for dollars in (limits.capital_cap, setting.elsewhere))
        found["capital_cap"] = cap - setting.others - elsewhere
    if not sized_by_edge:
        del found["kelly"]
    return {name: _allowed(value) for name, value in found.items() if value != math.inf}


def with_depth(caps: dict[str, float], setting: SizingInputs, limits: SizingLimits) -> dict[str, float]:
    """Limits that were found before the depth of the market was looked at, and the one that hangs on it."""
    return {**caps, "liquidity": _allowed(_liquidity(setting, limits))}


def _liquidity(setting: SizingInputs, limits: SizingLimits) -> float:
    book, bar = setting.book_notional * limits.max_book_share, setting.bar_notional * limits.max_volume_share
    return min(book, bar, setting.max_market_notional)


def _allowed(value: float) -> float:
    return max(0.0, 0.0 if math.isnan(value) else value)


def _bracket_cap(brackets: Sequence[LeverageBracket], leverage: int) -> float:
    """The largest notional whose bracket still allows this leverage."""
    allowed = [float(b.notional_cap) for b in brackets if b.max_leverage >= leverage]
    return max(allowed, default=0.0)


def needed_leverage(setting: SizingInputs, limits: SizingLimits, notional: float) -> Leverage:
    """The lowest leverage that funds a notional from the margin that may be used, and its liquidation risk."""
    margin = setting.available * limits.margin_share
    value = max(1, math.ceil(notional / margin)) if margin > 0 else 1
    return Leverage(value, liquidation_risk(setting, value, notional))
