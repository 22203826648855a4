"""Worked examples of the act model's labels, the out-of-sample book, folds and the claim."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.act_model import worthwhile
from trader_cli.analyst.book import Book, Trades, one_at_a_time, traded_book
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.decision import Costs, TradeCosts
from trader_cli.analyst.statistics import expected_best_sharpe, probabilistic_sharpe, sharpe, smallest_found_sharpe
from trader_cli.analyst.walk_forward import Dataset, Learner, OutOfSample, make_folds
from trader_cli.core.types import Tries
from trader_cli.pipelines.verification.checks import Finding, at_least, equal, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.core.types import Claim
    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]


def _dataset(start: list[int], end: list[int], gains: tuple[Floats, Floats] | None = None) -> Dataset:
    n = len(start)
    long, short = gains or (np.zeros(n), np.zeros(n))
    rows = np.array(start, dtype=np.int64), np.array(end, dtype=np.int64)
    return Dataset(np.zeros((n, 1), np.float32), np.zeros(n, np.int8), *rows, np.ones(n), np.full(n, 0.01), long, short)


def act_labels_by_hand(lab: Lab) -> Iterator[Finding]:
    """Was the chosen side worth taking: gains on either side of a cost of 10 bps, of longs and of shorts."""
    gains = np.array([0.0021, 0.0009, -0.0021, 0.0021, -0.0009, -0.0021])
    data = _dataset(list(range(6)), list(range(1, 7)), (gains, -gains))
    learner = Learner(data, lab.config.analyst, TradeCosts(0.001, 0.001))
    out = replace(OutOfSample.nothing(6), side=np.array([1, 1, 1, -1, -1, -1], np.int8))
    yield equal("worth it: three longs, three shorts", [1, 0, 0, 0, 0, 1], worthwhile(learner, out).tolist())
    outcomes = replace(data, outcome=np.array([1, -1, 0, 1, 0, -1], dtype=np.int8))
    yield equal("what the side model learns: 1 where it rose", [1, 0, 0, 1, 0, 0], outcomes.rose.tolist())
    weights = outcomes.weights(np.ones(6, np.bool_)).tolist()
    yield equal("what it is learned from: not what ended flat", [1, 1, 0, 1, 0, 1], weights)


def book_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A long over bars 1 and 2, a short over bars 4 and 5 that ends at its barrier: what each bar returns."""
    close = np.array([100.0, 101.0, 103.0, 106.0, 105.0, 107.0, 150.0])
    gain = np.array([0.03, 0.02])
    trades = Trades(np.array([0, 3]), np.array([2, 5]), np.array([1, -1], np.int8), gain)
    book = traded_book(trades, close, (1, 5), Costs(0.001, 0.0001))
    barrier = 0.02 - 1 / 106
    wanted = (0.01 - 0.0011, 0.02 - 0.0011, 0.0, 1 / 106 - 0.0011, barrier - 0.0011)
    yield equal("held, bar by bar", [1.0, 1.0, 0.0, -1.0, -1.0], book.exposure.tolist())
    yield near("what the market did in the first bar", 0.01, float(book.market[0]), 1e-12)
    for bar, value in enumerate(wanted, start=1):
        yield near(f"gain of bar {bar} after costs", value, float(book.gains[bar - 1]), 1e-12)
    free = traded_book(trades, close, (1, 5), Costs(0.0, 0.0))
    yield near("without costs the bars sum to the trades", float(gain.sum()), float(free.gains.sum()), 1e-12)
    taken = (float((free.gains - book.gains).sum()), 4 * 0.001 + 4 * 0.0001)
    yield near("what costs take from the book", taken[1], taken[0], 1e-12)
    starts, ends = np.array([0, 1, 2, 5, 6]), np.array([2, 4, 5, 6, 9])
    entered = one_at_a_time(starts, ends, np.ones(5, np.bool_)).tolist()
    yield equal("entered one at a time, each at or after the end of the one before", [0, 2, 3, 4], entered)


def folds_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Two hundred labels of five bars, an embargo of two: what is learned from ends before what is predicted begins."""
    data = _dataset(list(range(200)), list(range(5, 205)))
    folds = make_folds(data, 3, 2)
    edges = [(24, 37), (37, 91), (91, 145), (145, 200)]
    yield equal("rows predicted", edges, [(f.test.start, f.test.stop) for f in folds])
    yield equal("a claim rests on", [False, True, True, True], [f.judged for f in folds])
    yield equal("rows learned from", [17, 30, 84, 138], [int(fold.before.sum()) for fold in folds])
    yield equal("the last row learned from", [16, 29, 83, 137], [int(np.flatnonzero(f.before)[-1]) for f in folds])


_LEVEL = 0.95


def _claimed(gains: Floats, exposure: Floats, market: Floats, doubled: Floats, trades: int, trials: int = 1) -> Claim:
    book = Book(gains, exposure, market, trades)
    return make_claim(book, replace(book, gains=doubled), Tries.alone([sharpe(gains)] * trials), _LEVEL)


def claim_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Forty bars of +3 % and −1 % by turns: Sharpe ratio 1/2 a bar; and the same book short of each thing it needs."""
    gains, none = np.tile([0.03, -0.01], 20), np.zeros(40)
    normal, faded = NormalDist(), np.tile([0.04, -0.01], 60)
    faded[80:] = np.tile([0.03, -0.035], 20)
    yield near("Sharpe ratio", 0.5, sharpe(gains), 1e-12)
    yield near("probability that it is above 0", normal.cdf(0.5 * math.sqrt(39)), probabilistic_sharpe(gains), 1e-9)
    euler = 0.5772156649015329
    best = (1 - euler) * normal.inv_cdf(0.9) + euler * normal.inv_cdf(1 - 1 / (10 * math.e))
    found = expected_best_sharpe(10, 40)
    yield near("the best of ten unskilled tries, by luck", best / math.sqrt(39), found, 1e-9)
    smallest = best / math.sqrt(39) + (normal.inv_cdf(0.95) + normal.inv_cdf(0.9)) / math.sqrt(39)
    yield near("found nine times in ten after ten tries", smallest, smallest_found_sharpe(10, 40, 0.95), 1e-9)
    cases = (
        ("all it needs", _claimed(gains, none, none, gains, 30), True),
        ("too few trades", _claimed(gains, none, none, gains, 29), False),
        ("nothing but holding", _claimed(gains, np.ones(40), gains, gains, 30), False),
        ("gone at doubled costs", _claimed(gains, none, none, -gains, 30), False),
        ("losses", _claimed(-gains, none, none, gains, 30), False),
        ("gone in its last third", _claimed(faded, np.zeros(120), np.zeros(120), faded, 30), False),
        ("the best of a thousand tries", _claimed(gains, none, none, gains, 30, 1000), False),
    )
    for what, claim, edge in cases:
        yield equal(f"edge claimed: {what}", edge, claim.edge)


def claims_pay_their_costs(lab: Lab) -> Iterator[Finding]:
    """The trained models' own claims: what the book returns, and at doubled costs."""
    for name, study in (("planted lead", lab.study), ("no lead", lab.null_study)):
        claim = study.trained.claim
        traded, dearer = claim.trades > 0, claim.doubled_cost_sharpe_per_bar < claim.sharpe_per_bar
        yield equal(f"doubled costs return less where anything is traded, {name}", traded, dearer)
    yield at_least("trades behind the claim, planted lead", 1, lab.study.trained.claim.trades)
