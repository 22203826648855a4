"""What `analysis.decide` says at many closed bars of a series, at once: equal at each, to the last digit.

Models read all rows together; what is said of each is the same function's word as of a single one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import Choice, Costs
from trader_cli.analyst.funding_cost import FUNDING_ROWS, RECENT, funding_rates
from trader_cli.analyst.health import combined, freshness, from_bars_by_row, from_book, score_about
from trader_cli.analyst.labels import barrier_distance, trailing_volatility
from trader_cli.analyst.model_age import expired
from trader_cli.analyst.outcomes import Assessed, InputState, assess, outcomes_of, veto_on_inputs
from trader_cli.analyst.rule_decision import RuleWord, rule_outcome
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_rule import TrainedRule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.types import Abstention, Health, Permission, Signal
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.features.rule import BarSignals
    from trader_cli.settings.room_options import AnalysisOptions

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

AT_ONCE = 4096
"""Rows that models read together."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SnapshotRows:
    """Market snapshots at m moments, each field (m,): UTC ms, the day's turnover, the best of the book, what lies near.

    `best` are (bid, ask), `near` the notionals within `health.BAND` of their middle; `funding_rate` is what a long pays
    next, at `next_funding_ms`.
    """

    time_ms: Ints
    day_volume_quote: Floats
    best: tuple[Floats, Floats]
    near: tuple[Floats, Floats]
    funding_rate: Floats
    next_funding_ms: Ints


@dataclass(frozen=True)
class SeriesRows:
    """A series, and the rows (m,) of its bars at which it is looked at, ascending, one model for all.

    `matrix` gives the base features of rows as (k, f), NaN where unknown, and how many are unknown, (k,). `doubts` by
    row; `funding` is FUNDING of the whole series, of which each row sees what was paid by its moment; `health_bars` are
    the newest bars that health is told from. `signals`: what a rule of one's own says of the series, where one decides.
    `half`: where `model` is a pair, the one that reads these bars; its rows may repeat. `drifted`: why the model's
    forecasts are not believed at each row, (m,); none: they are.
    """

    symbol: str
    timeframe: Timeframe
    bars: BarSeries
    rows: Ints
    model: Trained
    matrix: Callable[[Ints], tuple[Floats, Ints]]
    doubts: Mapping[int, Mapping[str, int]]
    funding: pl.DataFrame | None
    snapshots: SnapshotRows
    health_bars: int
    signals: BarSignals | None = None
    half: TrainedModel | None = None
    drifted: Sequence[Abstention | None] = ()


@dataclass(frozen=True)
class DecidedRows:
    """What is decided at each of m rows, and what it was decided from.

    `outcomes`: what models or the rule say (`told`), but for rows at which an input vetoes it, which are not `spoken`
    (m,). `probabilities` (m, 3) are of up, down and flat; of a rule they are what a short (the first) and a long (the
    second) would lose by: certain, or not at all. `missing` (m,) features; `from_bars`: what health is told from bars,
    each (m,). `permissions`: of a pair, what its slow half permits at each row.
    """

    outcomes: list[Signal | Abstention]
    told: list[Signal | Abstention]
    spoken: NDArray[np.bool_]
    probabilities: Floats
    missing: Ints
    from_bars: dict[str, Floats]
    permissions: list[Permission | None] | None = None

    @classmethod
    def of(cls, told: list[Signal | Abstention], probabilities: Floats, missing: Ints, vetoes: Vetoes) -> DecidedRows:
        """With the rows that are vetoed taken out."""
        outcomes = [veto or one for veto, one in zip(vetoes.found, told, strict=True)]
        spoken = np.array([veto is None for veto in vetoes.found], dtype=np.bool_)
        return cls(outcomes, told, spoken, probabilities, missing, vetoes.from_bars)


def decide_rows(given: SeriesRows, config: AnalysisOptions) -> DecidedRows:
    """As `analysis.decide` at each row."""
    if isinstance(given.model, TrainedRule):
        return _decided_by_rule(given, given.model, config)
    missing, said = np.empty(len(given.rows), dtype=np.int64), []
    for first in range(0, len(given.rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        x, missing[part] = given.matrix(given.rows[part])
        said.append(_said(given, config, part, x))
    together, closes = joined(said), given.bars.close[given.rows].tolist()
    told = outcomes_of(together, closes, allow_unproven=config.analyst.allow_unproven)
    return DecidedRows.of(told, together.p, missing, vetoes_of(given, config, missing))


def _decided_by_rule(given: SeriesRows, rule: TrainedRule, config: AnalysisOptions) -> DecidedRows:
    """The same where a rule of one's own decides."""
    everything, unproven, said = slice(0, len(given.rows)), config.analyst.allow_unproven, given.signals
    assert said is not None  # whoever gives a rule asks it
    costs, missing = costs_of_rows(given, config, everything), given.matrix(given.rows)[1]
    sigma = trailing_volatility(given.bars.close, rule.volatility_span)[given.rows]
    barriers = barrier_distance(sigma, rule.barrier_width, rule.horizon_bars).tolist()
    outcomes: list[Signal | Abstention] = []
    for at, (row, lapsed) in enumerate(zip(given.rows.tolist(), lapsed_of(given, config, everything), strict=True)):
        word, alone, close = RuleWord.at(said, row), costs.at(slice(at, at + 1)), float(given.bars.close[row])
        outcomes.append(rule_outcome(rule, word, close, barriers[at], alone, lapsed, allow_unproven=unproven))
    side = said.side[given.rows]
    losses = np.stack([side >= 0, side <= 0, np.zeros(len(side), np.bool_)], axis=1).astype(np.float64)
    return DecidedRows.of(outcomes, losses, missing, vetoes_of(given, config, missing))


def _said(given: SeriesRows, config: AnalysisOptions, part: slice, base: Floats) -> Assessed:
    """What the models say of some rows: `Assessed`, with so many rows."""
    model, rows = given.model, given.rows[part]
    assert isinstance(model, TrainedModel)
    x = model.widened(given.bars, base, rows)
    sigma = trailing_volatility(given.bars.close, model.volatility_span)[rows]
    return assess(model, x, sigma, costs_of_rows(given, config, part), lapsed_of(given, config, part), config.analyst)


def lapsed_of(given: SeriesRows, config: AnalysisOptions, part: slice) -> list[Abstention | None]:
    """Why the claim does not hold at each of some rows, as `analysis.decide` has it of one.

    What is known to be wrong comes before what is too old: the opinion of what is open goes on by age alone.
    """
    closes = (given.bars.open_ms[given.rows[part]] + given.timeframe.ms).tolist()
    drifted = given.drifted[part] if given.drifted else [None] * len(closes)
    return [one or other for one, other in zip(drifted, expired(given.model, closes, config.analyst), strict=True)]


def joined(parts: list[Assessed]) -> Assessed:
    """What was said of rows, one part after the other."""
    choices = [part.choice for part in parts]
    choice = Choice(*(np.concatenate([getattr(one, each.name) for one in choices]) for each in fields(Choice)))
    acts = [part.p_act for part in parts if part.p_act is not None]
    return Assessed(
        parts[0].model,
        np.concatenate([part.p for part in parts]),
        choice,
        np.concatenate(acts) if acts else None,
        np.concatenate([part.sigma for part in parts]),
        [one for part in parts for one in part.lapsed],
    )


def costs_of_rows(
    given: SeriesRows, config: AnalysisOptions, part: slice, horizon_bars: int | None = None
) -> TradeCosts:
    """Of trades opened at the rows, as `AnalysisInput.costs` has them of one; over the model's horizon, if none is
    named."""
    shown, opened, funding = given.snapshots, given.bars.open_ms[given.rows[part]], given.funding
    told = shown.next_funding_ms[part], shown.funding_rate[part]
    rates = funding_rates(given.symbol, given.timeframe, opened, funding, told)
    horizon, costs = horizon_bars or given.model.horizon_bars, Costs.of(config.costs, given.timeframe, rates)
    found = costs.of_trades(np.arange(len(opened)), horizon)
    if funding is None:
        return found
    long, short = np.array(found.long), np.array(found.short)
    for at, known in _first_payments(funding, shown.time_ms[part]):
        one = funding_rates(given.symbol, given.timeframe, opened[at : at + 1], known, (int(told[0][at]), told[1][at]))
        alone = Costs.of(config.costs, given.timeframe, one).of_trades(np.zeros(1, np.int64), horizon)
        long[at], short[at] = np.asarray(alone.long)[0], np.asarray(alone.short)[0]
    return type(found)(long, short)


def _first_payments(funding: pl.DataFrame, times: Ints) -> list[tuple[int, pl.DataFrame]]:
    """Moments at which so few payments were known that later ones would tell something of them, and what was known."""
    paid = funding.to_series(0).to_physical().to_numpy()
    known = np.searchsorted(paid, times, side="right")
    few = np.flatnonzero(known <= RECENT + 1).tolist()
    return [(at, funding[max(0, int(known[at]) - FUNDING_ROWS) : int(known[at])]) for at in few]


@dataclass(frozen=True)
class Vetoes:
    """Of m rows, and what health is told from bars at each."""

    found: list[Abstention | None]
    from_bars: dict[str, Floats]


def vetoes_of(given: SeriesRows, config: AnalysisOptions, missing: Ints, *, asks_health: bool = True) -> Vetoes:
    """Reasons to abstain before a model is asked, health among them where it is asked.

    Only rows of which anything may be amiss are asked about; what is said of them alike is one value.
    """
    rows, options = given.rows, config.analyst
    ages = given.snapshots.time_ms - given.bars.open_ms[rows] - given.timeframe.ms
    wants_health = options.enable_market_health_analysis and asks_health
    from_bars = from_bars_by_row(given.bars, rows, given.health_bars, given.timeframe.ms) if wants_health else {}
    amiss = (ages > options.max_bar_age * given.timeframe.ms) | (
        missing > len((given.half or given.model).base_features) // 10
    )
    amiss |= np.isin(rows, list(given.doubts))
    if wants_health:
        amiss |= ~(_score(given, config, from_bars) > options.min_market_health * (1 + _ROUNDING))
    if veto_on_inputs(InputState(given.symbol, given.timeframe, 0, {}, given.model, 0, given.half), options, None):
        amiss[:] = True
    found: list[Abstention | None] = [None] * len(rows)
    known: dict[Abstention, Abstention] = {}
    for at in np.flatnonzero(amiss).tolist():
        doubts, age, lacking = given.doubts.get(int(rows[at]), {}), int(ages[at]), int(missing[at])
        state = InputState(given.symbol, given.timeframe, age, doubts, given.model, lacking, given.half)
        veto = veto_on_inputs(state, options, _health(given, config, from_bars, at) if wants_health else None)
        found[at] = None if veto is None else known.setdefault(veto, veto)
    return Vetoes(found, from_bars)


def _score(given: SeriesRows, config: AnalysisOptions, from_bars: Mapping[str, Floats]) -> Floats:
    """About what health is at each row."""
    shown = given.snapshots
    about = score_about(from_bars, shown.best, shown.near, shown.day_volume_quote, shown.funding_rate)
    return about * freshness(0.0, config.analyst.max_book_age)


def _health(given: SeriesRows, config: AnalysisOptions, from_bars: Mapping[str, Floats], at: int) -> Health:
    """Health at one row."""
    shown = given.snapshots
    best, near = ((float(bids[at]), float(asks[at])) for bids, asks in (shown.best, shown.near))
    book = from_book(best, near, float(shown.day_volume_quote[at]), float(shown.funding_rate[at]))
    fresh = {"freshness": freshness(0.0, config.analyst.max_book_age)}
    return combined({**{name: float(told[at]) for name, told in from_bars.items()}, **book, **fresh})
