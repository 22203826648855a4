"""Worked examples of the act model's labels, the out-of-sample book, folds and the claim."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.decision import Costs, TradeCosts, choose_side
from trader_cli.analyst.statistics import expected_best_sharpe, probabilistic_sharpe, sharpe
from trader_cli.analyst.walk_forward import Dataset, OutOfSample, book_gains, make_folds
from trader_cli.pipelines.verification.checks import Finding, at_least, equal, holds, near

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
    return Dataset(np.zeros((n, 1)), np.zeros(n, np.int8), *rows, np.ones(n), np.full(n, 0.01), long, short)


def act_labels_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Was the chosen side worth taking: gains on either side of a cost of 10 bps, of longs and of shorts."""
    gains = np.array([0.0021, 0.0009, -0.0021, 0.0021, -0.0009, -0.0021])
    data = _dataset(list(range(6)), list(range(1, 7)), (gains, -gains))
    p, costs = np.array([[0.6, 0.2, 0.2]] * 3 + [[0.2, 0.6, 0.2]] * 3), TradeCosts(0.001, 0.001)
    rows = data.meta_rows(p, choose_side(p, data.barrier, costs), costs)
    yield equal("worth it: three longs, three shorts", [1, 0, 0, 0, 0, 1], rows.classes.tolist())
    outcomes = replace(data, outcome=np.array([1, -1, 0, 1, 0, -1], dtype=np.int8))
    yield equal("classes of the side model: up, down, flat", [0, 1, 2, 0, 2, 1], outcomes.side_rows().classes.tolist())


def book_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A long over bars 1 and 2, a short over bars 4 and 5, half a unit each: what each bar returns after costs."""
    data, n = _dataset([0, 3], [2, 5]), 2
    out = OutOfSample(
        np.full((n, 3), 1 / 3),
        np.full(n, 0.9),
        np.array([1, -1], np.int8),
        np.ones(n, bool),
        np.ones(n, bool),
        np.zeros(n, np.int64),
    )
    market = np.array([0.0, 0.01, 0.02, 0.03, -0.01, 0.02, 0.5])
    gains, exposure, seen = book_gains(data, out, market, 2, Costs(0.001, 0.0001))
    wanted = (0.005 - 0.0005 - 0.00005, 0.01 - 0.00005, -0.0005, 0.005 - 0.0005 - 0.00005, -0.01 - 0.0005 - 0.00005)
    yield equal("held, bar by bar", [0.5, 0.5, 0.0, -0.5, -0.5], exposure.tolist())
    yield equal("what the market did in those bars", market[1:6].tolist(), seen.tolist())
    for bar, value in enumerate(wanted, start=1):
        yield near(f"gain of bar {bar} after costs", value, float(gains[bar - 1]), 1e-12)
    free = book_gains(data, out, market, 2, Costs(0.0, 0.0))[0]
    yield near("what costs take from the book", 4 * 0.5 * 0.001 + 4 * 0.5 * 0.0001, float((free - gains).sum()), 1e-12)


def folds_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A hundred labels of five bars: what is learned from ends before what is predicted begins."""
    data = _dataset(list(range(100)), list(range(5, 105)))
    folds = make_folds(data, 3)
    yield equal("rows predicted", [(25, 50), (50, 75), (75, 100)], [(f.test.start, f.test.stop) for f in folds])
    yield equal("rows learned from", [20, 45, 70], [int(fold.before.sum()) for fold in folds])
    yield equal("the last row learned from", [19, 44, 69], [int(np.flatnonzero(f.before)[-1]) for f in folds])


_LEVEL = 0.95


def _claimed(gains: Floats, exposure: Floats, market: Floats, doubled: Floats, trades: int, trials: int = 1) -> Claim:
    return make_claim((gains, exposure, market), doubled, trades, [sharpe(gains)] * trials, _LEVEL)


def claim_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Forty bars of +3 % and −1 % by turns: Sharpe ratio 1/2 a bar; and the same book short of each thing it needs."""
    gains, none = np.tile([0.03, -0.01], 20), np.zeros(40)
    normal = NormalDist()
    yield near("Sharpe ratio", 0.5, sharpe(gains), 1e-12)
    yield near("probability that it is above 0", normal.cdf(0.5 * math.sqrt(39)), probabilistic_sharpe(gains), 1e-9)
    euler = 0.5772156649015329
    best = (1 - euler) * normal.inv_cdf(0.9) + euler * normal.inv_cdf(1 - 1 / (10 * math.e))
    found = expected_best_sharpe([0.5] * 10, 40)
    yield near("the best of ten unskilled tries, by luck", best / math.sqrt(40), found, 1e-9)
    cases = (
        ("all it needs", _claimed(gains, none, none, gains, 30), True),
        ("too few trades", _claimed(gains, none, none, gains, 29), False),
        ("nothing but holding", _claimed(gains, np.ones(40), gains, gains, 30), False),
        ("gone at doubled costs", _claimed(gains, none, none, -gains, 30), False),
        ("losses", _claimed(-gains, none, none, gains, 30), False),
        ("the best of a thousand tries", _claimed(gains, none, none, gains, 30, 1000), False),
    )
    for what, claim, edge in cases:
        yield equal(f"edge claimed: {what}", edge, claim.edge)


def claims_pay_their_costs(lab: Lab) -> Iterator[Finding]:
    """The trained models' own claims: what the book returns, and at doubled costs."""
    for name, study in (("planted lead", lab.study), ("no lead", lab.null_study)):
        claim = study.trained.claim
        yield at_least(f"trades behind the claim, {name}", 1, claim.trades)
        yield holds(f"doubled costs return less, {name}", claim.doubled_cost_sharpe_per_bar < claim.sharpe_per_bar)
