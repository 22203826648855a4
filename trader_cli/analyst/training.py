"""Training: labels, walk-forward, the claim, and the final models. Pure but for the models it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.act_model import ActModel, ActRecord
from trader_cli.analyst.book import Book, Forecasts, filled_book, traded_book
from trader_cli.analyst.boosting import BinnedRows
from trader_cli.analyst.claim import MIN_TRADES, make_claim
from trader_cli.analyst.claim_basis import PRODUCER, made_with
from trader_cli.analyst.decision import Costs
from trader_cli.analyst.feature_bins import FeatureBins
from trader_cli.analyst.fitted_families import FittedFamilies, fit_families
from trader_cli.analyst.fold_models import KeptFolds
from trader_cli.analyst.forecast_quality import promises, quality, reliability
from trader_cli.analyst.funding_cost import funding_rates
from trader_cli.analyst.labels import average_uniqueness, barrier_distance, trailing_volatility, triple_barrier
from trader_cli.analyst.learner_shapes import shapes
from trader_cli.analyst.read_features import as_read, beside, read_complete
from trader_cli.analyst.return_interval import coverage, measured_interval
from trader_cli.analyst.side_by_side import threads_within
from trader_cli.analyst.sigma_uncertainty import measured_uncertainty
from trader_cli.analyst.statistics import independent_share, probability_of_overfitting, sharpe
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.walk_forward import Dataset, Learner, fit_side, make_folds, walk_forward
from trader_cli.core.errors import TooFewBars
from trader_cli.core.market.quality import unfit_bars
from trader_cli.core.market.schemas import FEATURE_KEYS, milliseconds
from trader_cli.core.ports import silent
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings.analyst_section import MOST_LEARNERS
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.analyst.act_model import ActVerdict
    from trader_cli.analyst.book import BookMaker
    from trader_cli.analyst.claim import CountTries
    from trader_cli.analyst.labels import Labels
    from trader_cli.analyst.walk_forward import Fold, OutOfSample
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Claim
    from trader_cli.settings.analyst_section import AnalystSettings
    from trader_cli.settings.model import CostSettings
    from trader_cli.settings.room_options import TrainingOptions

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]

BookAt = Callable[[Costs], Book]
"""What is traded, as a book at certain costs."""
MIN_ROWS = 500
KNOWN_SHARE = 0.9


@dataclass(frozen=True)
class TrainingInput:
    """What a training run starts from. `key` names all of it; `source` says whose market it is.

    `features`: FEATURES, a row per bar; stored ones are read once and let go of. `funding`: FUNDING of the contract,
    whose payments the trades are charged; `None` where it is not known. `maker` trades what models say, for the claim;
    `None`: trades are those of the labels.
    """

    key: str
    source: str
    symbol: str
    timeframe: Timeframe
    bars: pl.DataFrame
    features: pl.DataFrame | StoredColumns
    inputs: dict[str, str]
    funding: pl.DataFrame | None = None
    maker: BookMaker | None = None

    def dataset(
        self, bars: BarSeries, options: AnalystSettings, among: NDArray[np.bool_] | None = None
    ) -> tuple[Dataset, list[str]]:
        """`make_dataset` of these bars and features."""
        unfit = unfit_bars(self.bars, self.timeframe).to_numpy()
        if not isinstance(self.features, StoredColumns):
            return make_dataset(bars, self.features, options, self.timeframe.ms, unfit, among)
        try:
            return make_dataset(bars, self.features.frame(), options, self.timeframe.ms, unfit, among)
        finally:
            self.features.let_go()

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
    among: NDArray[np.bool_] | None = None,
) -> tuple[Dataset, list[str]]:
    """(rows labelled over the longest horizon, feature names): the label is known, and nine in ten features are.

    `features` has one row per bar, in the same order. `unfit` (n,) marks bars that are not what was traded
    (`core.market.quality.unfit_bars`): a row on such a bar, or whose label ends on one, is left out. A row whose
    features only look back over one stays: windows reach back months, and one bar in them moves little. `among` (n,):
    the only bars that count. Raises `DataMissing` with fewer than 500 rows.
    """
    labels = _labels(bars, options.longest_horizon, options, step_ms)
    names = sorted(name for name in features.columns if name not in FEATURE_KEYS)
    looked = labels.valid if among is None else labels.valid & among
    resting = np.zeros(len(bars), dtype=bool) if unfit is None else unfit | unfit[labels.end]
    x, complete = read_complete(features, names, looked & ~resting, looked, KNOWN_SHARE)
    rows = np.flatnonzero(complete & ~resting)
    if len(rows) < MIN_ROWS:
        raise TooFewBars(
            f"Too few bars to train: {len(rows)} complete labelled rows of {len(bars)} bars; {MIN_ROWS} are needed.",
            MIN_ROWS - len(rows),
            len(bars),
        )
    left_out = int((complete & resting).sum())
    return labelled(x, rows, labels, left_out), names


def _labels(bars: BarSeries, horizon: int, options: AnalystSettings, step_ms: int) -> Labels:
    return triple_barrier(bars, horizon, options.barrier_width, options.volatility_span, step_ms)


def labelled(x: Singles, rows: Ints, labels: Labels, left_out: int) -> Dataset:
    """Features x (m, f) at rows (m,) of the bars, with what became of them."""
    uniqueness = average_uniqueness(rows, labels.end[rows], len(labels.end))
    cut = (labels.sigma[rows], labels.gain_long[rows], labels.gain_short[rows])
    return Dataset(x, labels.outcome[rows], rows, labels.end[rows], uniqueness, *cut, left_out)


def train(
    given: TrainingInput, config: TrainingOptions, count_tries: CountTries, progress: Progress = silent
) -> TrainedModel:
    """Fit, judge and describe a model.

    Several learners are tried, one for each horizon and shape of trees; the one whose out-of-sample book has the best
    Sharpe ratio is kept, and all of them count against it: `count_tries` records their Sharpe ratios in the trial
    ledger and returns all that were tried on the same lineage of data. Raises `DataMissing` where there is too little
    to learn from.
    """
    fitting = Fitting.of(given, config)
    costs, doubled = given.costs(config.costs), given.costs(config.costs, 2.0)
    contest = Contest.held(fitting, costs, progress)
    tried_act = contest.act_tried(costs) if config.analyst.enable_dual_model_system else None
    claim, best = contest.claim(count_tries, doubled, tried_act), contest.best
    made = final_model(given, fitting, best, claim, tried_act, progress)
    return replace(made, folds=contest.kept_folds(best, tried_act).as_file())


def final_model(
    given: TrainingInput,
    fitting: Fitting,
    chosen: Contestant,
    claim: Claim,
    tried_act: _ActTried | None = None,
    progress: Progress = silent,
) -> TrainedModel:
    """The model of a learner that learns from all rows. Raises `DataMissing` where they hold one outcome only."""
    bars, data, names, config = fitting.bars, fitting.data, fitting.names, fitting.config
    learner, out, options = chosen.learner, chosen.out, chosen.learner.options
    everything = np.ones(len(data), dtype=bool)
    fitted = fitting.on(everything, shown=True)
    further = as_read(fitting.columns(fitted, len(data)))
    binned = BinnedRows.of(beside(data.x, further))
    side = fit_side(binned, learner, out, everything, config.seed)
    if side is None:
        raise TooFewBars("The training rows hold too few ups or downs to learn from.", len(bars), len(bars))
    act = tried_act.model(binned, learner, out, config.seed) if tried_act else None
    progress("final models", 1, 1)
    looked_ahead = bars, options.longest_horizon, options.volatility_span, given.timeframe.ms
    return TrainedModel(
        key=given.key,
        source=given.source,
        symbol=given.symbol,
        timeframe=given.timeframe.name,
        features=(*names, *fitted.names),
        side=side,
        act=act,
        fitted=fitted,
        bins=FeatureBins.of((*names, *fitted.names), side.booster.gains, data.x, further),
        claim=claim,
        horizon_bars=options.longest_horizon,
        barrier_width=options.barrier_width,
        volatility_span=options.volatility_span,
        first_ms=int(bars.open_ms[data.start[0]]),
        last_ms=int(bars.open_ms[learner.data.end[-1]]),
        inputs=given.inputs,
        metrics={
            **quality(learner.data, out, options.longest_horizon),
            **promises(learner, out),
            **coverage(*looked_ahead),
        },
        reliability=reliability(learner.data, out),
        seed=config.seed,
        made_with=made_with(config),
        producer=PRODUCER,
        sigma_uncertainty=measured_uncertainty(*looked_ahead),
        interval=measured_interval(*looked_ahead),
    )


@dataclass(frozen=True)
class Fitting:
    """What feature families are fitted on: labelled rows of bars, and the names of their base features."""

    bars: BarSeries
    data: Dataset
    names: tuple[str, ...]
    config: TrainingOptions
    timeframe: Timeframe
    maker: BookMaker | None = None

    @classmethod
    def of(cls, given: TrainingInput, config: TrainingOptions, among: NDArray[np.bool_] | None = None) -> Fitting:
        """Of all rows, of those `among` them (n,), that can be learned from. Raises `DataMissing` for too few."""
        bars = BarSeries.of(given.bars)
        data, names = given.dataset(bars, config.analyst, among)
        return cls(bars, data, tuple(names), config, given.timeframe, given.maker)

    @property
    def threads(self) -> int:
        """How many folds are worked on at once: as configured, but no more than there is memory for their features."""
        return threads_within(self.config.analyst.threads, self.data.x.nbytes)

    def on(self, rows: NDArray[np.bool_], *, shown: bool) -> FittedFamilies:
        """The families fitted on these rows (n,) only; `shown`: those as well that are no columns."""
        x, start = self.data.x[rows], self.data.start[rows]
        return fit_families(self.bars, x, self.names, start, self.config, self.timeframe, shown=shown)

    def columns(self, fitted: FittedFamilies, rows: int) -> Floats:
        """What they say of the first `rows` rows, (rows, e)."""
        return fitted.columns(self.bars, self.data.x[:rows], self.data.start[:rows])

    def labelled(self, horizon: int) -> Dataset:
        """The same rows, labelled over another horizon."""
        options, data = self.config.analyst, self.data
        labels = _labels(self.bars, horizon, options, self.timeframe.ms)
        return labelled(data.x, data.start, labels, data.left_out)

    def book(self, learner: Learner, out: OutOfSample, acted: NDArray[np.bool_]) -> BookAt:
        """That is traded by the sides at rows that are acted on; of the same bars whatever the horizon."""
        judged, close = self.data.start[out.judged], self.bars.close
        if not len(judged):
            return lambda _: Book.empty()
        span = int(judged[0]) + 1, int(judged[-1]) + self.config.analyst.longest_horizon
        if self.maker is None:
            return partial(traded_book, learner.data.trades(out.side, acted), close, span)
        trades = self.maker(self.bars, self.timeframe, self.forecasts(learner.options, out, acted))
        return partial(filled_book, trades, close, span)

    def forecasts(self, options: AnalystSettings, out: OutOfSample, acted: NDArray[np.bool_]) -> Forecasts:
        """What a learner of these options said of the rows, and which of its sides are traded."""
        rows, horizon = self.data.start, options.longest_horizon
        sigma = trailing_volatility(self.bars.close, options.volatility_span)[rows]
        barrier = barrier_distance(sigma, options.barrier_width, horizon)
        return Forecasts(rows, out.probabilities, out.side, acted, barrier, horizon)

    def learners(self, costs: Costs) -> list[Learner]:
        """One for each shape of trees and horizon, `MOST_LEARNERS` at most."""
        options = self.config.analyst
        by_horizon = {horizon: self.labelled(horizon) for horizon in options.horizon_bars}
        found = [
            Learner.of(
                data, shape.model_copy(update={"horizon_bars": (horizon,), "embargo_bars": options.embargo}), costs
            )
            for shape in shapes(options)
            for horizon, data in by_horizon.items()
        ]
        return found[:MOST_LEARNERS]


@dataclass(frozen=True)
class Contestant:
    """A learner, its out-of-sample predictions and the book that is traded by them, also at other costs."""

    learner: Learner
    out: OutOfSample
    book: Book
    book_at: BookAt

    @classmethod
    def of(cls, fitting: Fitting, learner: Learner, out: OutOfSample, costs: Costs) -> Contestant:
        """What it trades at these costs."""
        book_at = fitting.book(learner, out, out.acted)
        return cls(learner, out, book_at(costs), book_at)


@dataclass(frozen=True)
class _ActTried:
    """The act model of the best learner out of sample: what it said, what became of that, its book."""

    record: ActRecord
    verdict: ActVerdict
    book: Book
    book_at: BookAt

    def model(self, binned: BinnedRows, learner: Learner, out: OutOfSample, seed: int) -> ActModel | None:
        """The one that learns from all that was predicted."""
        booster = self.record.fitted(binned, learner, out, np.ones(len(binned), np.bool_), seed)
        return None if booster is None else ActModel(booster, self.verdict)


@dataclass(frozen=True)
class Contest:
    """Learners that compete by the books that would have been traded: all of them count.

    `families`: as they were fitted on the rows before each fold, by the row that ends it.
    """

    fitting: Fitting
    folds: list[Fold]
    tried: list[Contestant]
    families: dict[int, FittedFamilies]

    @classmethod
    def held(cls, fitting: Fitting, costs: Costs, progress: Progress) -> Contest:
        """The walk-forward of every learner."""
        options, learners = fitting.config.analyst, fitting.learners(costs)
        count, threads = options.walk_forward_folds, fitting.threads
        families = dict[int, FittedFamilies]()

        def fit(before: NDArray[np.bool_], rows: int) -> Floats:
            families[rows] = fitting.on(before, shown=False)
            return fitting.columns(families[rows], rows)

        folds = make_folds(fitting.data, count, options.embargo, fit, progress, threads)
        found = walk_forward(learners, folds, fitting.config.seed, progress, threads)
        pairs = zip(learners, found, strict=True)
        return cls(fitting, folds, [Contestant.of(fitting, *pair, costs) for pair in pairs], families)

    @property
    def best(self) -> Contestant:
        """That of the best Sharpe ratio; a book of a few trades shows none."""
        return max(self.tried, key=lambda one: (one.book.trades >= MIN_TRADES) * sharpe(one.book.gains))

    def act_tried(self, costs: Costs) -> _ActTried:
        """The act model behind the best learner."""
        best = self.best
        record = ActRecord.of(best.learner, best.out, self.folds, self.fitting.config.seed, self.fitting.threads)
        book_at = self.fitting.book(best.learner, best.out, record.gated(best.out))
        book = book_at(costs)
        return _ActTried(record, record.verdict(best.learner, best.out, best.book, book), book, book_at)

    def kept_folds(self, chosen: Contestant, act: _ActTried | None) -> KeptFolds:
        """The models behind the claim, of which the act model's are kept where it decides."""
        fitting, decides = self.fitting, act is not None and act.verdict.dropped is None
        of_act = act.record.models if act and decides else []
        models = list(zip_longest(chosen.out.models, of_act))
        longest = fitting.config.analyst.longest_horizon
        return KeptFolds.of(fitting.bars, fitting.data, self.folds, self.families, models, longest)

    def claim(self, count_tries: CountTries, doubled: Costs, act: _ActTried | None) -> Claim:
        """What may be claimed for the best, with all of them counted."""
        best, level = self.best, self.fitting.config.analyst.claim_probability
        books = [one.book for one in self.tried] + ([act.book] if act else [])
        table = np.column_stack([book.gains for book in books])
        tries = count_tries([sharpe(book.gains) for book in books], independent_share(table))
        decides = act is not None and act.verdict.dropped is None
        traded = act if act and decides else best
        return make_claim(traded.book, traded.book_at(doubled), tries, level, probability_of_overfitting(table))
