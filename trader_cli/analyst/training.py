"""Training: labels, walk-forward, the claim, and the final models. Pure but for the models it fits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.boosting import fit_calibrated
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.claim_basis import PRODUCER, made_with
from trader_cli.analyst.decision import Costs
from trader_cli.analyst.fitted_families import FittedFamilies, fit_families
from trader_cli.analyst.funding_cost import funding_rates
from trader_cli.analyst.labels import average_uniqueness, triple_barrier
from trader_cli.analyst.sigma_uncertainty import measured_uncertainty
from trader_cli.analyst.statistics import probability_of_overfitting, sharpe
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.walk_forward import Dataset, OutOfSample, book_gains, fit_meta, make_folds, walk_forward
from trader_cli.core.errors import TooFewBars
from trader_cli.core.market.quality import unfit_bars
from trader_cli.core.market.schemas import FEATURE_KEYS, milliseconds
from trader_cli.core.ports import silent
from trader_cli.features.bar_arrays import BarSeries

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Claim
    from trader_cli.settings.model import AnalystSettings, CostSettings
    from trader_cli.settings.room_options import TrainingOptions

MIN_ROWS = 500
_KNOWN_SHARE = 0.9


@dataclass(frozen=True)
class TrainingInput:
    """What a training run starts from. `key` names all of it; `source` says whose market it is.

    `funding`: FUNDING of the contract, whose payments the trades are charged; `None` where it is not known.
    """

    key: str
    source: str
    symbol: str
    timeframe: Timeframe
    bars: pl.DataFrame
    features: pl.DataFrame
    inputs: dict[str, str]
    funding: pl.DataFrame | None = None

    def costs(self, costs: CostSettings, factor: float = 1.0) -> Costs:
        """Of trading these bars; `factor` 2 for the doubled costs of the claim rule."""
        rates = funding_rates(self.symbol, self.timeframe, milliseconds(self.bars["open_time"]), self.funding)
        return Costs.of(costs, self.timeframe, rates, factor)


def make_dataset(
    bars: BarSeries,
    features: pl.DataFrame,
    options: AnalystSettings,
    step_ms: int,
    unfit: NDArray[np.bool_] | None = None,
) -> tuple[Dataset, list[str]]:
    """(labelled rows, feature names): rows whose label is known and of whose features nine in ten are.

    `features` has one row per bar, in the same order. `unfit` (n,) marks bars that are not what was traded
    (`core.market.quality.unfit_bars`): a row on such a bar, or whose label ends on one, is left out. A row whose
    features only look back over one stays: windows reach back months, and one bar in them moves little. Raises
    `DataMissing` with fewer than 500 rows.
    """
    labels = triple_barrier(bars, options.horizon_bars, options.barrier_width, options.volatility_span, step_ms)
    names = [name for name in features.columns if name not in FEATURE_KEYS]
    x = features.select(names).to_numpy().astype(np.float64, copy=False)
    complete = labels.valid & (np.isfinite(x).mean(axis=1) >= _KNOWN_SHARE)
    resting = np.zeros(len(bars), dtype=bool) if unfit is None else unfit | unfit[labels.end]
    rows = np.flatnonzero(complete & ~resting)
    if len(rows) < MIN_ROWS:
        raise TooFewBars(
            f"Too few bars to train: {len(rows)} complete labelled rows of {len(bars)} bars; {MIN_ROWS} are needed.",
            MIN_ROWS - len(rows),
            len(bars),
        )
    uniqueness = average_uniqueness(rows, labels.end[rows], len(bars))
    cut = (labels.barrier[rows], labels.gain_long[rows], labels.gain_short[rows])
    left_out = int((complete & resting).sum())
    return Dataset(x[rows], labels.outcome[rows], rows, labels.end[rows], uniqueness, *cut, left_out), names


def train(
    given: TrainingInput,
    config: TrainingOptions,
    count_trials: Callable[[list[float]], list[float]],
    progress: Progress = silent,
) -> TrainedModel:
    """Fit, judge and describe a model.

    Several learners are tried; the one whose out-of-sample book has the best Sharpe ratio is kept, and all of them
    count against it: `count_trials` records their Sharpe ratios in the trial ledger and returns those of every trial on
    the same lineage of data, these included. Raises `DataMissing` where there is too little to learn from.
    """
    bars = BarSeries.of(given.bars)
    unfit = unfit_bars(given.bars, given.timeframe).to_numpy()
    data, names = make_dataset(bars, given.features, config.analyst, given.timeframe.ms, unfit)
    fitting = _Fitting(bars, data, tuple(names), config, given.timeframe)
    costs, doubled = given.costs(config.costs), given.costs(config.costs, 2.0)
    best, claim = _contest(fitting, costs, doubled, count_trials, progress)
    options = best.options
    everything = np.ones(len(data), dtype=bool)
    fitted = fitting.on(everything)
    wide = data.widened(fitting.columns(fitted))
    side = fit_calibrated(wide.side_rows(), 3, options, config.seed)
    if side is None:
        raise TooFewBars("The training rows hold too few ups, downs or flats to learn from.", len(bars), len(bars))
    meta = None
    if options.enable_dual_model_system:
        of_trades = costs.of_trades(data.start, options.horizon_bars)
        meta = fit_meta(wide, best.out, everything, options, of_trades, config.seed)
    progress("final models", 1, 1)
    return TrainedModel(
        key=given.key,
        source=given.source,
        symbol=given.symbol,
        timeframe=given.timeframe.name,
        features=(*names, *fitted.names),
        side=side,
        meta=meta,
        fitted=fitted,
        claim=claim,
        horizon_bars=options.horizon_bars,
        barrier_width=options.barrier_width,
        volatility_span=options.volatility_span,
        first_ms=int(bars.open_ms[data.start[0]]),
        last_ms=int(bars.open_ms[data.end[-1]]),
        inputs=given.inputs,
        metrics=_metrics(data, best.out),
        seed=config.seed,
        made_with=made_with(config),
        producer=PRODUCER,
        sigma_uncertainty=measured_uncertainty(bars, options.horizon_bars, options.volatility_span, given.timeframe.ms),
    )


@dataclass(frozen=True)
class _Fitting:
    """What feature families are fitted on: labelled rows of bars, and the names of their base features."""

    bars: BarSeries
    data: Dataset
    names: tuple[str, ...]
    config: TrainingOptions
    timeframe: Timeframe

    def on(self, rows: NDArray[np.bool_]) -> FittedFamilies:
        """The families fitted on these rows (n,) only."""
        x, start = self.data.x[rows], self.data.start[rows]
        return fit_families(self.bars, x, self.names, start, self.config, self.timeframe)

    def columns(self, fitted: FittedFamilies) -> NDArray[np.float64]:
        """What they say of every row, (n, e)."""
        return fitted.columns(self.bars, self.data.x, self.data.start)

    def fold(self, before: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Both: what families fitted on the rows before say of every row."""
        return self.columns(self.on(before))


@dataclass(frozen=True)
class _Contestant:
    """A learner's settings, its out-of-sample predictions and the per-bar gains of its book."""

    options: AnalystSettings
    out: OutOfSample
    gains: NDArray[np.float64]


def learners(options: AnalystSettings) -> list[AnalystSettings]:
    """The shapes of trees that are tried: as configured, finer, coarser."""
    finer = {"leaves": 2 * options.leaves, "trees": max(5, options.trees // 2)}
    coarser = {
        "leaves": max(2, options.leaves - 1),
        "trees": options.trees * 3 // 2,
        "learning_rate": options.learning_rate * 0.6,
    }
    return [options.model_copy(update=change) for change in ({}, finer, coarser)][: options.learners]


def _contest(
    given: _Fitting,
    costs: Costs,
    doubled: Costs,
    count_trials: Callable[[list[float]], list[float]],
    progress: Progress,
) -> tuple[_Contestant, Claim]:
    """The best learner, and what may be claimed for it with all of them counted."""
    data, bars, config = given.data, given.bars, given.config
    returns = np.zeros(len(bars))
    returns[1:] = bars.close[1:] / bars.close[:-1] - 1.0
    horizon = config.analyst.horizon_bars
    folds = make_folds(data, config.analyst.walk_forward_folds, given.fold, progress)
    tried = []
    for number, options in enumerate(learners(config.analyst), start=1):
        report = partial(_named, progress, f"walk-forward, learner {number}")
        out = walk_forward(data, options, costs, config.seed, report, folds)
        tried.append(_Contestant(options, out, book_gains(data, out, returns, horizon, costs)[0]))
    sharpes = [sharpe(one.gains) for one in tried]
    best = tried[int(np.argmax(sharpes))]
    book = book_gains(data, best.out, returns, horizon, costs)
    dearer, _, _ = book_gains(data, best.out, returns, horizon, doubled)
    level, overfitting = config.analyst.claim_probability, _overfitting([one.gains for one in tried])
    return best, make_claim(book, dearer, int(best.out.acted.sum()), count_trials(sharpes), level, overfitting)


def _named(progress: Progress, name: str, _what: str, done: int, total: int) -> None:
    progress(name, done, total)


def _overfitting(gains: list[NDArray[np.float64]]) -> float:
    """PBO among learners judged on the same bars; 1 where that cannot be told."""
    same = len({len(one) for one in gains}) == 1
    return probability_of_overfitting(np.column_stack(gains)) if same else 1.0


def _metrics(data: Dataset, out: OutOfSample) -> dict[str, float]:
    """Out-of-sample quality: rows, effective rows, Brier score of the side model against that of the base rates.

    `left_out_rows`: complete labelled rows that rest on bars which were not traded as they stand.
    """
    known = np.isfinite(out.probabilities[:, 0])
    truth = np.stack([data.outcome > 0, data.outcome < 0, data.outcome == 0], axis=1).astype(np.float64)
    metrics = {
        "rows": float(len(data)),
        "left_out_rows": float(data.left_out),
        "effective_rows": float(data.uniqueness.sum()),
    }
    if known.any():
        metrics["brier"] = float(((out.probabilities[known] - truth[known]) ** 2).sum(axis=1).mean())
        metrics["brier_base_rates"] = float(((truth[known].mean(axis=0) - truth[known]) ** 2).sum(axis=1).mean())
        metrics["acted_share"] = float(out.acted.sum() / max(int(out.judged.sum()), 1))
    return metrics
