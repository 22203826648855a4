"""A rule over a series: the same word at a bar whether years are told at once, a day, or only the last bar.

It is evaluated from anchors, as feature families are (`features.build`), so that backtest, streaming and restart agree
to the bit; and it is certified as a family (`rule_family`), by the very trials that certify features.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import DataMissing
from trader_cli.core.market.schemas import milliseconds
from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.build import family_start, spans
from trader_cli.features.family import Family
from trader_cli.features.rule import NOTHING, BarSignals, RuleBars

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.rule import NamedRule

COLUMNS = ("side", "stop", "target")
OF_BARS = frozenset((*PRICE_INPUTS, "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"))
"""Inputs that bars have; whatever else a rule reads is a feature."""


def features_read(named: NamedRule) -> tuple[str, ...]:
    """The features a rule reads: those of its inputs that bars do not have."""
    return tuple(name for name in named.rule.inputs if name not in OF_BARS)


def beside_bars(bars: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """BARS with every column of FEATURES beside them, row for row."""
    return bars.hstack([column for column in features.iter_columns() if column.name not in bars.columns])


def rule_frame(named: NamedRule, bars: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """BARS with the features that a rule reads beside them, row for row. Raises `DataMissing` where one is absent."""
    absent = [name for name in features_read(named) if name not in features.columns]
    if absent:
        raise DataMissing(
            f"The rule {named.name} reads the feature {absent[0]!r}, which these features do not have.",
            hint="Fetch what it is made of, or set the feature settings so that it is made.",
        )
    return bars.with_columns(features[name] for name in features_read(named))


def rule_bars(frame: pl.DataFrame, inputs: tuple[str, ...]) -> RuleBars:
    """The inputs of a rule from BARS with the columns of its features beside them; null is NaN."""
    values = {name: frame[name].to_numpy().astype(np.float64) for name in inputs}
    for array in values.values():
        array.setflags(write=False)
    return RuleBars(milliseconds(frame["open_time"]), MappingProxyType(values))


def rule_signals(named: NamedRule, bars: RuleBars, timeframe: Timeframe, since_ms: int | None = None) -> BarSignals:
    """What a rule says after each bar; nothing at those before `since_ms`, in its warm-up, and behind gaps.

    Raises what the rule raises, and `DataInvalid` for signals that are none.
    """
    n = len(bars)
    side, stop, target = np.zeros(n, dtype=np.int8), np.zeros(n), np.full(n, NOTHING)
    begin = since_ms if since_ms is not None else int(bars.open_ms[0]) if n else 0
    for anchor, first, end in spans(rule_family(named), timeframe, bars.open_ms, begin):
        said, rows, new = named.said(bars.cut(anchor, end)), slice(first, end), slice(first - anchor, None)
        side[rows], stop[rows], target[rows] = said.side[new], said.stop[new], said.target[new]
    return BarSignals(side, stop, target)


def rule_start(named: NamedRule, timeframe: Timeframe, at_ms: int) -> int:
    """Opening time of the earliest bar that the word at the bar opening at `at_ms` depends on."""
    return family_start(rule_family(named), timeframe, at_ms)


def rule_family(named: NamedRule) -> Family:
    """The rule as a family of three columns, so that it is evaluated and certified as one.

    Where nothing is held, stop and target are 0; a target that is infinite is −1, so that no column hides a word.
    """
    rule = named.rule

    def compute(bars: BarSeries, **_given: object) -> Mapping[str, Floats]:
        seen = RuleBars(bars.open_ms, MappingProxyType({name: bars[name] for name in rule.inputs}))
        said = named.said(seen)
        held = said.side != 0
        return {
            f"{named.name}_side": said.side.astype(np.float64),
            f"{named.name}_stop": np.where(held, said.stop, 0.0),
            f"{named.name}_target": np.where(held, np.where(np.isfinite(said.target), said.target, -1.0), 0.0),
        }

    return Family(
        name=named.name,
        columns=tuple(f"{named.name}_{column}" for column in COLUMNS),
        compute=compute,
        warmup=rule.warmup,
        inputs=rule.inputs,
        parameters={"given": named.parameters},
        version=rule.version,
        finite=rule.finite,
        source=named.source,
    )
