"""Champion and challenger on the same decisions: the bars after both trainings, each traded one position at a time.

Both are traded as if their claims held; what is compared is the book, bar by bar, after costs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import Forecasts, Trades, filled_book, one_at_a_time, traded_book
from trader_cli.analyst.decision import acts
from trader_cli.analyst.forecast_quality import outcomes_of_three
from trader_cli.analyst.labels import triple_barrier
from trader_cli.analyst.statistics import resampled_means, sharpe
from trader_cli.analyst.training import KNOWN_SHARE
from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.market.quality import unfit_bars
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.book import Book
    from trader_cli.analyst.decision import Costs
    from trader_cli.analyst.labels import Labels
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.analyst.training import TrainingInput
    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings.room_options import TrainingOptions

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]

LEAST_BARS = 30
_LEVEL = 0.05


@dataclass(frozen=True)
class Contender:
    """What one model came to: trades one at a time, Sharpe ratio per bar, gain over all bars as a share of notional
    after costs; Brier score of its probabilities beside its own base rates."""

    trades: int
    sharpe_per_bar: float
    gain: float
    brier: float
    brier_base_rates: float


@dataclass(frozen=True)
class Comparison:
    """Two models over the closes first … last (UTC ms), so many bars.

    `alike`: share of bars at which both held the same. `mean_difference_bps`: what the challenger gained more a bar,
    with the 5 and 95 % points of paired block resamples; `chance_no_better`: share of them in which it gained no more.
    """

    first_ms: int
    last_ms: int
    bars: int
    champion: Contender
    challenger: Contender
    alike: float
    mean_difference_bps: float
    low_bps: float
    high_bps: float
    chance_no_better: float

    @property
    def better(self) -> bool:
        """Whether the challenger is the better one at the 5 % level."""
        return self.chance_no_better < _LEVEL

    def as_dict(self) -> JsonObject:
        """The JSON shape: the fields, and whether the challenger is better."""
        return {**asdict(self), "better": self.better}


def compare(
    champion: TrainedModel, challenger: TrainedModel, given: TrainingInput, config: TrainingOptions
) -> Comparison:
    """Both on the bars after what either has learned from. Raises `DataMissing` where there are hardly any."""
    for one in (champion, challenger):
        if (one.symbol, one.timeframe) != (given.symbol, given.timeframe.name):
            raise UsageError(f"Models of one series are compared; one is of {one.symbol} {one.timeframe}.")
    bars, learned_ms = BarSeries.of(given.bars), max(champion.last_ms, challenger.last_ms)
    first = int(np.searchsorted(bars.open_ms, learned_ms, side="right"))
    if len(bars) - first < LEAST_BARS:
        raise DataMissing(
            f"Only {len(bars) - first} bars of {given.symbol} {given.timeframe} are later than what both models learned"
            f" from; {LEAST_BARS} are needed.",
            hint=f"Run `trader fetch {given.symbol} --timeframe {given.timeframe}` and `trader features` later on.",
        )
    (ours, told), (theirs, said) = (_traded(one, given, config, bars, first) for one in (champion, challenger))
    differences, block = theirs.gains - ours.gains, max(champion.horizon_bars, challenger.horizon_bars)
    means = resampled_means(differences, block)
    low, high = np.quantile(means, (_LEVEL, 1 - _LEVEL)) if len(means) else (0.0, 0.0)
    return Comparison(
        first_ms=int(bars.open_ms[first]) + given.timeframe.ms,
        last_ms=int(bars.open_ms[-1]) + given.timeframe.ms,
        bars=len(differences),
        champion=_contender(ours, told),
        challenger=_contender(theirs, said),
        alike=float(np.mean(ours.exposure == theirs.exposure)),
        mean_difference_bps=float(differences.mean()) * 1e4,
        low_bps=float(low) * 1e4,
        high_bps=float(high) * 1e4,
        chance_no_better=float(np.mean(means <= 0)) if len(means) and differences.any() else 1.0,
    )


def _contender(book: Book, brier: tuple[float, float]) -> Contender:
    return Contender(book.trades, sharpe(book.gains), float(book.gains.sum()), *brier)


def _traded(
    model: TrainedModel, given: TrainingInput, config: TrainingOptions, bars: BarSeries, first: int
) -> tuple[Book, tuple[float, float]]:
    """The book from `first` on, and the Brier scores of probabilities and of base rates over the same rows."""
    labels = triple_barrier(bars, model.horizon_bars, model.barrier_width, model.volatility_span, given.timeframe.ms)
    rows, x = _rows(model, given, bars, labels, first)
    costs, sigma = given.costs(config.costs), labels.sigma[rows]
    p = model.side.predict(x) if len(rows) else np.empty((0, 3))
    choice = model.side.choose(p, sigma, costs.of_trades(rows, model.horizon_bars))
    acted = acts(choice, model.p_act(x, p, choice, config.analyst) if len(rows) else None)
    said = Forecasts(rows, p, choice.side, acted, labels.barrier[rows], model.horizon_bars)
    truth = outcomes_of_three(labels.outcome[rows])
    brier = tuple(float(((told - truth) ** 2).sum(axis=1).mean()) if len(rows) else 0.0 for told in (p, _base(model)))
    return _book(said, labels, given, bars, (first + 1, len(bars) - 1), costs), (brier[0], brier[1])


def _book(
    said: Forecasts, labels: Labels, given: TrainingInput, bars: BarSeries, span: tuple[int, int], costs: Costs
) -> Book:
    """As a claim's: by whoever trades for it, else by the labels."""
    if given.maker is not None:
        return filled_book(given.maker(bars, given.timeframe, said), bars.close, span, costs)
    rows, side = said.rows, said.side
    end, gain = labels.end[rows], np.where(side > 0, labels.gain_long[rows], labels.gain_short[rows])
    taken = one_at_a_time(rows, end, said.wanted)
    return traded_book(Trades(rows[taken], end[taken], side[taken], gain[taken]), bars.close, span, costs)


def _base(model: TrainedModel) -> Floats:
    return model.side.base_rates[None]


def _rows(
    model: TrainedModel, given: TrainingInput, bars: BarSeries, labels: Labels, first: int
) -> tuple[Ints, Singles]:
    """Rows that are decided, whose labels have ended, and what the model reads of them."""
    features = given.features.frame() if isinstance(given.features, StoredColumns) else given.features
    base = features.select(model.base_features).to_numpy().astype(np.float64, copy=False)
    unfit = unfit_bars(given.bars, given.timeframe).to_numpy()
    known = labels.valid & (np.isfinite(base).mean(axis=1) >= KNOWN_SHARE) & ~(unfit | unfit[labels.end])
    rows = first + np.flatnonzero(known[first:])
    return rows, model.widened(bars, base[rows], rows)
