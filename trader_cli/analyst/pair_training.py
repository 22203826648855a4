"""Training a pair: a slow model that permits sides, a fast one that times entries inside, one claim of their book.

The fast model learns only from bars that out-of-fold slow models permit. Each slow learner with each fast one is a
trial; the pair with the best book is kept. What either half would claim alone licenses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import Book, traded_book
from trader_cli.analyst.claim import MIN_TRADES, make_claim
from trader_cli.analyst.decision import DOWN, UP, Costs
from trader_cli.analyst.permission import fast_bars_in
from trader_cli.analyst.permitted_entries import PermittedEntries
from trader_cli.analyst.statistics import independent_share, probability_of_overfitting, sharpe
from trader_cli.analyst.timing import FastWord, Timing, triggers
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.training import Contest, Fitting, final_model
from trader_cli.core.errors import TooFewBars
from trader_cli.core.ports import silent
from trader_cli.core.types import Claim, Tries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.analyst.claim import CountTries
    from trader_cli.analyst.permission import Standing
    from trader_cli.analyst.training import Contestant, TrainingInput
    from trader_cli.analyst.walk_forward import Fold, OutOfSample
    from trader_cli.core.ports import Progress
    from trader_cli.settings.room_options import TrainingOptions

    Flags = NDArray[np.bool_]

MOST_PAIRS = 6
"""Slow learners × fast learners that are tried at most: each is a trial."""
_FREE = Costs(0.0, 0.0)
"""What a fast model expects is told before costs: the trade pays them once."""
_UNSAID = "not judged alone: the claim is the pair's"


def train_pair(
    slow: TrainingInput,
    fast: TrainingInput,
    config: TrainingOptions,
    count_slow: CountTries,
    count_pairs: CountTries,
    progress: Progress = silent,
) -> TrainedPair:
    """Fit, judge and describe a pair of one symbol and market.

    `count_slow` counts what was tried of slow learners alone, `count_pairs` pairs. Raises `DataMissing` where there is
    too little for a slow model, `UsageError` for frames that do not fit. Where too little is permitted for a fast model
    there is none, and no edge.
    """
    fast_bars_in(slow.timeframe, fast.timeframe)
    fitting = Fitting.of(slow, config)
    costs, doubled = slow.costs(config.costs), slow.costs(config.costs, 2.0)
    contest = Contest.held(fitting, costs, progress)
    act = contest.act_tried(costs)
    alone = contest.claim(count_slow, doubled, act)
    tried = list(islice(_tried(contest, slow, fast, config, progress), MOST_PAIRS))
    best, claim = _judged(tried, count_pairs, config)
    chosen = contest.best if best is None else best.slow
    half = final_model(slow, fitting, chosen, alone, act if chosen is contest.best else None, progress)
    if best is None:
        return TrainedPair.of(half, None, None, fast.timeframe.name, claim, _figures(None))
    timer = final_model(fast, best.entries.fitting, best.fast, _silent(_UNSAID), None, progress)
    entries = best.entries
    timing = Timing.fit(entries.data, best.standing, best.score, best.fast.out.known)
    ends_ms = int(entries.fitting.bars.open_ms[entries.data.end.max()])
    made = TrainedPair.of(half, timer, timing, fast.timeframe.name, claim, _figures(best))
    return replace(made, last_ms=max(made.last_ms, ends_ms))


@dataclass(frozen=True)
class TriedPair:
    """A slow and a fast learner: what both expected at permitted entries (m,), and which were entered and judged.

    `standing` counts from the fast learner's own horizon on.
    """

    slow: Contestant
    fast: Contestant
    entries: PermittedEntries
    standing: Standing
    score: NDArray[np.float64]
    entered: Flags

    @classmethod
    def walked(cls, slow: Contestant, fast: Contestant, entries: PermittedEntries, folds: list[Fold]) -> TriedPair:
        """Entered as what was said of entries of earlier folds, that had ended an embargo before, lets it."""
        data, word = entries.data, word_of(fast.out)
        standing = entries.standing(fast.learner.options.longest_horizon)
        score, known = word.score(standing), fast.out.known
        ended, entered = data.end + entries.fitting.config.analyst.embargo, np.zeros(len(data), np.bool_)
        costs = entries.costs.of_trades(data.start, entries.horizon)
        for fold in folds:
            timing = Timing.fit(data, standing, score, known & (ended < data.start[fold.test.start]))
            if timing is None or not fold.judged:
                continue
            here = standing.at(np.arange(len(data))[fold.test])
            choice = timing.choose(here, score[fold.test], costs.at(fold.test))
            entered[fold.test] = triggers(word.at(fold.test), here, choice)
        return cls(slow, fast, entries, standing, score, entered)

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last fast bar that may be traded, of what is judged."""
        judged = self.entries.data.start[self.fast.out.judged]
        return (int(judged[0]) + 1, int(judged[-1]) + self.entries.horizon) if len(judged) else (0, -1)

    def book(self, span: tuple[int, int], costs: Costs) -> Book:
        """The one-position book of fast bars."""
        trades = self.entries.data.trades(self.standing.side, self.entered)
        return traded_book(trades, self.entries.fitting.bars.close, span, costs)


def word_of(out: OutOfSample) -> FastWord:
    """What a fast learner said out of sample; its expected values are before costs."""
    of_side, base = (np.where(out.side > 0, p[:, UP], p[:, DOWN]) for p in (out.probabilities, out.base_rates))
    return FastWord(out.side, of_side > base, out.expected_value)


def _tried(
    contest: Contest,
    slow: TrainingInput,
    fast: TrainingInput,
    config: TrainingOptions,
    progress: Progress,
) -> Iterator[TriedPair | None]:
    """Each slow learner with each fast one, always in the same order; None where the slow one permits too little."""
    for one in contest.tried:
        try:
            entries = PermittedEntries.of(one, contest, fast, slow.timeframe, config)
        except TooFewBars:
            yield from [None] * len(config.analyst.fast_horizon_bars)
            continue
        timers = Contest.held(entries.fitting, _FREE, progress)
        for timer in timers.tried:
            yield TriedPair.walked(one, timer, entries, timers.folds)


def _books(pairs: list[TriedPair], *, doubled: bool = False) -> list[Book]:
    """Of the same bars for all."""
    spans = [pair.span for pair in pairs]
    span = min(first for first, _ in spans), max(last for _, last in spans)
    return [pair.book(span, pair.entries.doubled if doubled else pair.entries.costs) for pair in pairs]


def _judged(
    tried: list[TriedPair | None], count_pairs: CountTries, config: TrainingOptions
) -> tuple[TriedPair | None, Claim]:
    """The pair of the best Sharpe ratio, a book of a few trades shows none; and its claim, all of them counted.

    What permits too little was tried as well: it counts in its place, as a book without a trade.
    """
    pairs = [pair for pair in tried if pair is not None]
    if not pairs:
        tries = count_pairs([0.0] * len(tried), 1.0)
        return None, _silent("the slow model permits too little for a fast one to learn from", tries)
    books = _books(pairs)
    at = int(np.argmax([(book.trades >= MIN_TRADES) * sharpe(book.gains) for book in books]))
    table = np.column_stack([book.gains for book in books])
    sharpes = iter([sharpe(book.gains) for book in books])
    tries = count_pairs([0.0 if pair is None else next(sharpes) for pair in tried], independent_share(table))
    dearer, level = _books(pairs, doubled=True)[at], config.analyst.claim_probability
    return pairs[at], make_claim(books[at], dearer, tries, level, probability_of_overfitting(table))


def _silent(reason: str, tries: Tries | None = None) -> Claim:
    """No claim, of no book."""
    return Claim(
        edge=False,
        reason=reason,
        deflated_sharpe_probability=0.0,
        excess_sharpe_probability=0.0,
        sharpe_per_bar=0.0,
        doubled_cost_sharpe_per_bar=0.0,
        trials=tries.number if tries else 0.0,
        bars=0,
        trades=0,
        overfitting_probability=1.0,
    )


def _figures(best: TriedPair | None) -> dict[str, float]:
    """What became of permissions that were judged: how many, how many were entered, how many lapsed."""
    if best is None:
        return {"permissions": 0.0, "permissions_entered": 0.0, "permissions_lapsed": 0.0}
    since, judged = best.standing.since, best.fast.out.judged
    told, entered = len(np.unique(since[judged])), len(np.unique(since[best.entered]))
    return {
        "permissions": float(told),
        "permissions_entered": float(entered),
        "permissions_lapsed": float(told - entered),
        "permitted_bars": float(len(since)),
    }
