"""What to do with a position: pure rules, price first, then the model's opinion. A stop only ever tightens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trader_cli.core.types import Side

Kind = Literal["stay", "tighten", "scale_down", "take_profit", "close"]


@dataclass(frozen=True)
class ExitRules:
    """From the settings. Distances of the trail are in units of R, the distance from entry to the first stop.

    `high_risk` and `medium_risk` are calibrated loss probabilities; `half_life_ms` is how fast confidence without news
    goes back to one half; `dwell_ms` is the least time between two acts of opinion.
    """

    trail_distance: float
    trail_step: float
    high_risk: float
    medium_risk: float
    half_life_ms: int
    dwell_ms: int


@dataclass(frozen=True)
class OpenPosition:
    """A position as it is: its plan's levels, what rests at the exchange, and the best price seen since entry.

    `exit_by_ms` is the plan's time exit; `leave_by_ms` when it must be over because the symbol is delisted, if it is.
    """

    side: Side
    quantity: Decimal
    entry_price: Decimal
    first_stop: Decimal
    stop_price: Decimal
    take_profit_price: Decimal
    best_price: Decimal
    exit_by_ms: int
    opened_ms: int
    last_act_ms: int
    scaled_down: bool
    leave_by_ms: int | None = None

    @property
    def sign(self) -> int:
        """+1 long, −1 short."""
        return 1 if self.side == "long" else -1


@dataclass(frozen=True)
class Assessment:
    """The model's last word: P(the barrier on the losing side is hit first), and when it was given."""

    loss_probability: float
    at_ms: int

    def decayed(self, now_ms: int, half_life_ms: int) -> float:
        """Loss probability now: without news it goes back to one half, by half every half-life."""
        weight = math.exp2(-max(0, now_ms - self.at_ms) / half_life_ms)
        return 0.5 + (self.loss_probability - 0.5) * weight


@dataclass(frozen=True)
class Action:
    """What to do and why. `price` is the new stop of "tighten", `share` the part to close of "scale_down"."""

    kind: Kind
    reason: str
    price: Decimal | None = None
    share: Decimal | None = None


STAY = Action("stay", "nothing to do")


def assess(
    position: OpenPosition, mark: Decimal, assessment: Assessment | None, rules: ExitRules, now_ms: int
) -> Action:
    """The action for a position at this mark price. Price rules do not look at the opinion."""
    if (mark - position.stop_price) * position.sign <= 0:
        return Action("close", "stop_passed")
    if position.leave_by_ms is not None and now_ms >= position.leave_by_ms:
        return Action("close", "delisting")
    if now_ms >= position.exit_by_ms:
        return Action("close", "time")
    if (mark - position.take_profit_price) * position.sign >= 0:
        return Action("take_profit", "target_passed")
    by_assessment = _by_assessment(position, assessment, rules, now_ms)
    if by_assessment is not None:
        return by_assessment
    trailed = trailing_stop(position, rules)
    if (trailed - position.stop_price) * position.sign > 0 and (mark - trailed) * position.sign > 0:
        return Action("tighten", "trail", price=trailed)
    return STAY


def _by_assessment(
    position: OpenPosition, assessment: Assessment | None, rules: ExitRules, now_ms: int
) -> Action | None:
    if assessment is None or now_ms - position.last_act_ms < rules.dwell_ms:
        return None
    loss = assessment.decayed(now_ms, rules.half_life_ms)
    if loss >= rules.high_risk:
        return Action("close", "high_risk")
    if loss >= rules.medium_risk and not position.scaled_down:
        return Action("scale_down", "medium_risk", share=Decimal("0.5"))
    return None


def trailing_stop(position: OpenPosition, rules: ExitRules) -> Decimal:
    """The stop that follows the best price at its distance, in whole rungs; never looser than the stop there is."""
    best = position.best_price, position.sign
    return trailed(position.entry_price, position.first_stop, position.stop_price, best, rules)


def trailed(entry: Decimal, first_stop: Decimal, stop: Decimal, best: tuple[Decimal, int], rules: ExitRules) -> Decimal:
    """As `trailing_stop`; `best` is the best price and +1 for a long, -1 for a short."""
    (price, sign), unit = best, abs(entry - first_stop)
    if unit == 0:
        return stop
    rung = math.floor((float((price - entry) * sign / unit) + 1.0 - rules.trail_distance) / rules.trail_step)
    if rung < 1:
        return stop
    level = first_stop + sign * unit * Decimal(str(rules.trail_step)) * rung
    return max(level, stop) if sign > 0 else min(level, stop)
