"""Rules made of columns: long above a threshold, short below it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.certificates import Certificate
from trader_cli.features.certification_tape import certification_frame, rows_needed
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars
from trader_cli.features.rule_series import rule_family
from trader_cli.features.rule_trial import try_rule

M15 = Timeframe.parse("15m")
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def rule_of(
    column: Callable[[BarSeries], Floats], threshold: float = 0.0, warmup: int = 60, *, finite: bool = False
) -> NamedRule:
    """What is not known is nothing."""
    bars_needed, promise = warmup, finite

    class Mine(Rule):
        inputs = PRICE_INPUTS
        finite = promise
        warmup = bars_needed  # type: ignore[assignment]

        def signals(self, bars: RuleBars) -> BarSignals:
            values = column(BarSeries(bars.open_ms, *(bars[name] for name in PRICE_INPUTS)))
            return BarSignals.of(np.nan_to_num(np.sign(values - threshold)), 0.02)

    return NamedRule("mine", "of a test", Mine())


def certificate_of(named: NamedRule, **effort: int) -> Certificate:
    """Tried on a made-up tape of its own length."""
    spec = FeatureSpec(M15, (rule_family(named),))
    tape = certification_frame(M15, PRICE_INPUTS, rows=rows_needed(spec), seed=5)
    return try_rule(named, named, M15, {"synthetic": tape}, **effort)
