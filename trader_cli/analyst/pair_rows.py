"""What `pair_analysis.decide_pair` says at many fast closes of a series, at once: equal at each, to the last digit."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import Choice
from trader_cli.analyst.decisions_by_row import AT_ONCE, DecidedRows, costs_of_rows, joined, vetoes_of
from trader_cli.analyst.labels import trailing_volatility
from trader_cli.analyst.model_age import expired
from trader_cli.analyst.outcomes import Assessed
from trader_cli.analyst.pair_decision import FAST_ABSENT, PairSaid, pair_outcomes
from trader_cli.analyst.permission import COSTLESS
from trader_cli.analyst.trained_pair import TrainedPair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.decisions_by_row import SeriesRows
    from trader_cli.core.types import Abstention, Signal
    from trader_cli.settings.room_options import AnalysisOptions

    Ints = NDArray[np.int64]


def decide_pair_rows(slow: SeriesRows, fast: SeriesRows, config: AnalysisOptions) -> DecidedRows:
    """As `decide_pair` at each row of `fast`; those of `slow` (m,) are the last that had closed by then.

    Probabilities are those of the slow half, NaN but at its own closes; they are `spoken` whatever the fast half says.
    """
    pair = slow.model
    assert isinstance(pair, TrainedPair)
    of_slow, missing = _assessed(slow)
    vetoes = vetoes_of(slow, config, missing)
    at_slow_closes = _closed(fast) == _closed(slow)
    p = np.where(at_slow_closes[:, None], of_slow.p, np.nan)
    spoken = np.array([veto is None for veto in vetoes.found], dtype=np.bool_)
    if pair.fast is None or pair.timing is None:
        absent: list[Signal | Abstention] = [FAST_ABSENT] * len(fast.rows)
        found = DecidedRows.of(absent, p, missing, vetoes)
        return replace(found, spoken=spoken, permissions=[None] * len(absent))
    of_fast, missing_fast = _assessed(fast)
    beside = vetoes_of(fast, config, missing_fast, asks_health=False)
    vetoes = replace(vetoes, found=[one or other for one, other in zip(vetoes.found, beside.found, strict=True)])
    said = PairSaid(
        pair=pair,
        timing=pair.timing,
        slow=of_slow,
        since_ms=_closed(slow),
        fast=of_fast,
        at_ms=_closed(fast),
        costs=costs_of_rows(fast, config, slice(0, len(fast.rows)), pair.fast_horizon),
        allow_unproven=config.analyst.allow_unproven,
        lapsed=expired(pair, _closed(fast).tolist(), config.analyst),
    )
    outcomes = pair_outcomes(said, fast.bars.close[fast.rows].tolist())
    permissions = [said.permission(at) if veto is None else None for at, veto in enumerate(vetoes.found)]
    return replace(DecidedRows.of(outcomes, p, missing, vetoes), spoken=spoken, permissions=permissions)


def _closed(given: SeriesRows) -> Ints:
    """When the rows closed, UTC ms."""
    return np.asarray(given.bars.open_ms[given.rows] + given.timeframe.ms)


def _assessed(given: SeriesRows) -> tuple[Assessed, Ints]:
    """What a half says of its rows (m,), before costs, and how many of its features each lacks; rows that repeat are
    read once."""
    half = given.half
    assert half is not None  # whoever gives a pair names the half
    rows, which = np.unique(given.rows, return_inverse=True)
    sigma = trailing_volatility(given.bars.close, half.volatility_span)
    missing, parts = np.empty(len(rows), dtype=np.int64), []
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        base, missing[part] = given.matrix(rows[part])
        p, of_bar = half.side.predict(half.widened(given.bars, base, rows[part])), sigma[rows[part]]
        choice = half.side.choose(p, of_bar * np.sqrt(half.horizon_bars), COSTLESS)
        parts.append(Assessed(half, p, choice, None, of_bar, [None] * len(p)))
    told = joined(parts)
    choice = Choice(*(getattr(told.choice, each.name)[which] for each in fields(Choice)))
    return Assessed(half, told.p[which], choice, None, told.sigma[which], [None] * len(which)), missing[which]
