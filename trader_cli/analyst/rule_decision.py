"""From a rule's word to a signal or a stated abstention: the same values that a model's opinion becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from trader_cli.analyst.outcomes import no_claim
from trader_cli.analyst.rule_trades import target_distance
from trader_cli.core.types import Abstention, Signal

if TYPE_CHECKING:
    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.analyst.trained_rule import TrainedRule
    from trader_cli.features.rule import BarSignals

Holding = Literal["long", "short", "nothing"]
_HELD: dict[int, Holding] = {1: "long", 0: "nothing", -1: "short"}


@dataclass(frozen=True)
class RuleWord:
    """What a rule would hold after the last closed bar and after the one before it; its stop and target, fractions."""

    side: int
    before: int
    stop: float
    target: float

    @classmethod
    def at(cls, said: BarSignals, row: int) -> RuleWord:
        """Of a series' signals, at a row."""
        before = int(said.side[row - 1]) if row else 0
        return cls(int(said.side[row]), before, float(said.stop[row]), float(said.target[row]))

    @property
    def held(self) -> Holding:
        """What it would hold, in words."""
        return _HELD[self.side]


def held_by(up: float, down: float) -> Holding | None:
    """What a rule would hold, by what a short (`up`) and a long (`down`) would lose by; NaN where it is not asked."""
    if np.isnan(up):
        return None
    return "nothing" if up and down else "long" if up else "short"


def rule_outcome(
    rule: TrainedRule,
    word: RuleWord,
    close: float,
    barrier: float,
    costs: TradeCosts,
    lapsed: Abstention | None = None,
    *,
    allow_unproven: bool,
) -> Signal | Abstention:
    """What comes of a word at a close. `barrier`: log distance of the target where the rule gives none of its own.

    `lapsed`: why its claim does not hold there, `None` where it does as far as it ever did.
    """
    if word.side == 0:
        return Abstention("no_word", f"The rule {rule.name} would hold nothing.")
    if word.side == word.before:
        return Abstention(
            "word_stands", f"The rule {rule.name} was {word.held} at the bar before, too; it opens where that changes."
        )
    if not np.isfinite(barrier):
        return Abstention("volatility_unknown", "The bars do not reach back far enough to tell the volatility.")
    unclaimed = no_claim(rule, lapsed)
    unproven = allow_unproven and unclaimed is not None
    target = word.target if np.isfinite(word.target) else target_distance(barrier, word.side)
    cost = float(costs.of(np.array([word.side], np.int8))[0])
    value_bps = (rule.win_share * (target + word.stop) - word.stop - cost) * 1e4
    if unclaimed is not None and not unproven:
        return unclaimed
    if not value_bps > 0 and not unproven:
        return Abstention("no_expected_value", f"A trade of this word is worth {value_bps:.1f} bps after costs.")
    return Signal(
        side="long" if word.side > 0 else "short",
        probability_act=rule.win_share,
        break_even_probability=(word.stop + cost) / (target + word.stop),
        expected_value_bps=value_bps,
        take_profit_price=close * (1 + word.side * target),
        stop_price=close * (1 - word.side * word.stop),
        horizon_bars=rule.horizon_bars,
        unproven=unproven,
        sigma_horizon=barrier / rule.barrier_width,
        sigma_uncertainty=rule.sigma_uncertainty,
    )
