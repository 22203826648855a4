"""Analyst, worked examples: labels, costs, the book and the claim by numbers one can check by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.decision import Costs, Payoffs, TradeCosts, acts, choose_side
from trader_cli.analyst.funding_cost import funding_rates
from trader_cli.analyst.labels import average_uniqueness, triple_barrier
from trader_cli.analyst.training import make_dataset
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal, holds, near
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.pipelines.verification.worked_claims import (
    act_labels_by_hand,
    book_by_hand,
    claim_by_hand,
    claims_pay_their_costs,
    folds_by_hand,
)
from trader_cli.settings.load import shipped_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]

_START, _BAR = 1_704_067_200_000, TIMEFRAME.ms
_FIRST_ROW = np.zeros(1, np.int64)
_UP, _DOWN = 0.0201, 1 - 1 / 1.0201
"""Simple distances of the barriers below: closes go from 100 to 101 and back, so σ is ln 1.01; √4 bars double it."""


def _zigzag(n: int, wicks: dict[int, tuple[float, float]] | None = None) -> BarSeries:
    """n bars whose closes are 100, 101, 100 …, highs and lows theirs but for `wicks`: bar → (high, low)."""
    close = np.where(np.arange(n) % 2 == 0, 100.0, 101.0)
    high, low = close.copy(), close.copy()
    for bar, (top, bottom) in (wicks or {}).items():
        high[bar], low[bar] = top, bottom
    opened = _START + np.arange(n, dtype=np.int64) * _BAR
    return BarSeries(opened, close.copy(), high, low, close, np.full(n, 10.0))


_LABELS: tuple[tuple[str, dict[int, tuple[float, float]], tuple[int, int, float, float]], ...] = (
    ("nothing is touched", {}, (0, 8, 0.0, 0.0)),
    ("the upper barrier, two bars on", {6: (102.1, 100.0)}, (1, 6, _UP, -_UP)),
    ("the lower barrier, three bars on", {7: (101.0, 98.0)}, (-1, 7, -_DOWN, _DOWN)),
    ("both in one bar: a loss for either side", {6: (102.1, 98.0)}, (0, 6, -_DOWN, -_UP)),
    ("up first, then down", {6: (102.1, 100.0), 7: (101.0, 98.0)}, (1, 6, _UP, -_UP)),
    ("down first, then up", {5: (101.0, 98.0), 6: (102.1, 100.0)}, (-1, 5, -_DOWN, _DOWN)),
    ("the label's own bar reached both", {4: (110.0, 90.0)}, (0, 8, 0.0, 0.0)),
    ("the last bar of the horizon", {8: (102.1, 100.0)}, (1, 8, _UP, -_UP)),
    ("the bar after the horizon", {9: (110.0, 90.0)}, (0, 8, 0.0, 0.0)),
    ("not quite", {6: (102.0, 98.1)}, (0, 8, 0.0, 0.0)),
)
"""Of bar 4, at 100, over 4 bars: (outcome, row of its end, gain of a long, gain of a short)."""


def labels_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """One bar's label, in every way the bars after it can touch its barriers."""
    for what, wicks, (outcome, end, long, short) in _LABELS:
        found = triple_barrier(_zigzag(14, wicks), 4, 1.0, 2, _BAR)
        yield equal(f"{what}: outcome and end", (outcome, end), (int(found.outcome[4]), int(found.end[4])))
        yield near(f"{what}: gain of a long", long, float(found.gain_long[4]), 1e-12)
        yield near(f"{what}: gain of a short", short, float(found.gain_short[4]), 1e-12)
    risen = triple_barrier(_zigzag(14), 3, 1.0, 2, _BAR)
    ended = (float(risen.gain_long[4]), float(risen.gain_short[4]))
    yield near("out at the horizon, a per cent higher: gain of a long", 0.01, ended[0], 1e-12)
    yield near("out at the horizon, a per cent higher: gain of a short", -0.01, ended[1], 1e-12)
    yield equal("out at the horizon, a per cent higher: outcome", 1, int(risen.outcome[4]))
    near_barriers = triple_barrier(_zigzag(14), 1, 1.0, 2, _BAR).barrier[4]
    yield near("barriers over one bar: a bar's mean range away", math.log(1.01) * 1.5957691, float(near_barriers), 1e-8)
    valid = triple_barrier(_zigzag(14), 4, 1.0, 2, _BAR).valid
    yield equal(
        "bars that have a label: from the span to the horizon", list(range(2, 10)), np.flatnonzero(valid).tolist()
    )
    unique = average_uniqueness(np.array([0, 0, 2]), np.array([2, 4, 4]), 5)
    for row, share in enumerate((1 / 2, 1 / 2, 1 / 2)):
        yield near(f"share of label {row} that is its own", share, float(unique[row]), 1e-12)


def rows_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A column that holds each bar's number tells which bar every training row is of; unfit bars are left out."""
    settings, n = shipped_settings(), 800
    bars = _zigzag(n)
    opened = pl.Series(bars.open_ms).cast(TIME)
    columns = {"open_time": opened, "decision_time": pl.Series(bars.open_ms + _BAR).cast(TIME)}
    features = pl.DataFrame({**columns, "number": np.arange(n, dtype=np.float64)})
    unfit = np.zeros(n, dtype=bool)
    unfit[300] = True
    data, names = make_dataset(bars, features, settings.analyst, _BAR, unfit)
    options = settings.analyst
    labels = triple_barrier(bars, options.longest_horizon, options.barrier_width, options.volatility_span, _BAR)
    yield equal("columns", ["number"], names)
    yield equal("rows whose features are of another bar", 0, int((data.x[:, 0] != data.start).sum()))
    for name in ("outcome", "end", "gain_long", "gain_short"):
        theirs, ours = getattr(labels, name)[data.start], getattr(data, name)
        yield equal(f"rows with another bar's {name}", 0, int((theirs != ours).sum()))
    yield equal("rows on the unfit bar, or that end on it", 0, int(((data.start == 300) | (data.end == 300)).sum()))
    yield equal("rows left out, and said", len(np.flatnonzero(labels.valid)) - len(data), data.left_out)
    yield holds("rows left out: some", data.left_out > 0)


def costs_by_hand(lab: Lab) -> Iterator[Finding]:
    """5 bps fee, 2 bps slippage, 1 bp funding per 8 hours; and what sides are worth after a cost of 10 and 14 bps."""
    told = {"taker_fee_bps": 5.0, "slippage_bps": 2.0, "funding_bps": 1.0}
    for factor in (1.0, 2.0):
        costs = Costs.of(lab.config.costs.model_copy(update=told), TIMEFRAME, factor=factor)
        day = costs.of_trades(_FIRST_ROW, 96)
        yield near(f"costs times {factor:g}: a side", 7e-4 * factor, costs.per_side, 1e-12)
        yield near(f"costs times {factor:g}: a bar held", 1e-4 / 32 * factor, costs.per_bar, 1e-12)
        for side, found in (("long", day.long), ("short", day.short)):
            wanted = (14e-4 + 3e-4) * factor
            yield near(f"costs times {factor:g}: in, out and a day {side}", wanted, float(np.asarray(found)[0]), 1e-12)
    long, short, pays = 0.001, 0.0014, Payoffs(1.0, 0.8, 1.1, 0.7)
    p, base, sigma = np.array([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.34, 0.33, 0.33]]), np.array([0.35, 0.35, 0.3]), 0.02
    choice = choose_side(p, base, pays, np.full(3, sigma), TradeCosts(long, short))
    worth = (
        0.5 * 1.0 * sigma - 0.5 * 0.8 * sigma - long,
        0.5 * 1.1 * sigma - 0.5 * 0.7 * sigma - short,
        0.33 * 1.1 * sigma - 0.67 * 0.7 * sigma - short,
    )
    even = tuple((loss + cost / sigma) / reach for loss, cost, reach in ((0.8, long, 1.8), *((0.7, short, 1.8),) * 2))
    yield equal("sides", [1, -1, -1], choice.side.tolist())
    for row in range(3):
        yield near(f"row {row}: expected value", worth[row], float(choice.expected_value[row]), 1e-12)
        yield near(f"row {row}: win rate that returns nothing", even[row], float(choice.break_even[row]), 1e-12)
    yield equal("worth acting on", [True, True, False], acts(choice).tolist())
    usual = choose_side(p, np.array([0.5, 0.3, 0.2]), pays, np.full(3, sigma), TradeCosts(long, short))
    yield equal("worth acting on, one no likelier than ever", [False, True, False], acts(usual).tolist())
    requested = acts(choice, np.array([even[0] + 0.01, even[1] - 0.01, 0.99]))
    yield equal("worth acting on, the act model asked", [True, False, False], requested.tolist())


def funding_by_hand(lab: Lab) -> Iterator[Finding]:
    """Stamps at 08:00 (10 bps), 16:00 (−20 bps), 17:00 (8 bps): hourly since then. Bars of 15 minutes from 07:00."""
    stamps, rates = np.array([8, 16, 17]) * HOUR_MS, [1e-3, -2e-3, 8e-4]
    paid = pl.DataFrame(
        {"time": pl.Series(stamps + 12).cast(TIME), "funding_rate": rates, "mark_price": [None, None, None]}
    )
    opened = 7 * HOUR_MS + TIMEFRAME.ms * np.arange(45, dtype=np.int64)
    found = funding_rates(SYMBOL, TIMEFRAME, opened, paid)
    due = {row: float(found.due[row]) for row in range(3, 44) if found.due[row]}
    yield equal("falls due in the bars that close at 08:00, 16:00, 17:00", {3: 1e-3, 35: -2e-3, 39: 8e-4}, due)
    yield holds("nothing is known before the first payment", bool(np.isnan(found.due[:3]).all()))
    told = {"taker_fee_bps": 0.0, "slippage_bps": 0.0, "funding_bps": 1.0}
    for factor in (1.0, 2.0):
        costs = Costs.of(lab.config.costs.model_copy(update=told), TIMEFRAME, found, factor)
        held = costs.of_holding(np.where(np.arange(45) == 35, 0.5, -1.0))
        wanted = (-1e-3, 0.5 * -2e-3, -8e-4)
        for row, value in zip((3, 35, 39), wanted, strict=True):
            yield near(f"costs times {factor:g}: received in bar {row}", value, float(held[row]), 1e-15)
        yield near(f"costs times {factor:g}: assumed before the first", 1e-4 / 32 * factor, float(held[0]), 1e-15)
        rows = np.array([4, 40])
        six = costs.of_trades(rows, 48)
        per_hour = (1e-3 / 8 - 2e-3 / 8 + 8e-4) / 3
        longs, shorts = np.asarray(six.long), np.asarray(six.short)
        ahead = (("08:15, one stamp", 1e-3), ("17:15, twelve stamps", 12 * per_hour))
        for (what, rate), cost in zip(ahead, longs, strict=True):
            yield near(f"costs times {factor:g}: long from {what}", rate * factor, float(cost), 1e-15)
        yield equal(f"costs times {factor:g}: what shorts would receive is not counted", [0.0, 0.0], shorts.tolist())
    payment = 20 * HOUR_MS, -0.01
    upcoming = funding_rates(SYMBOL, TIMEFRAME, opened[-1:], paid, payment)
    yield near("the next payment by the exchange's word", -0.01, float(upcoming.ahead(_FIRST_ROW, 8)[0]), 1e-15)


_HINT = "Install the locked versions (requirements.lock), then run `trader train` again; do not trade meanwhile."
CHECKS = (
    Check(
        "labels_by_hand",
        LINES[2],
        "a label is what the bars after its own do first, and both at once is a loss",
        _HINT,
        labels_by_hand,
    ),
    Check(
        "rows_by_hand",
        LINES[2],
        "a training row holds the features and the label of one and the same bar",
        _HINT,
        rows_by_hand,
    ),
    Check("costs_by_hand", LINES[2], "fees, slippage and funding lower what a side is worth", _HINT, costs_by_hand),
    Check(
        "funding_by_hand",
        LINES[2],
        "funding is charged at the symbol's own stamps, at its own rates",
        _HINT,
        funding_by_hand,
    ),
    Check(
        "act_labels_by_hand", LINES[2], "the act model learns what was worth it after costs", _HINT, act_labels_by_hand
    ),
    Check(
        "book_by_hand",
        LINES[2],
        "the claim's book pays fees on what it turns and funding on what it holds",
        _HINT,
        book_by_hand,
    ),
    Check("folds_by_hand", LINES[2], "no row is predicted by a model that knew its future", _HINT, folds_by_hand),
    Check(
        "claim_by_hand",
        LINES[2],
        "a claim needs trades, skill beyond luck and holding, and doubled costs",
        _HINT,
        claim_by_hand,
    ),
    Check(
        "claims_pay_their_costs",
        LINES[2],
        "a trained model's claim is after costs, and worse at doubled ones",
        _HINT,
        claims_pay_their_costs,
    ),
)
