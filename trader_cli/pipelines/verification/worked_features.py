"""Feature engineering, worked examples: what each bar knew, what each column is, in numbers to check by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.families import derivatives, order_flow
from trader_cli.features.inputs import INPUT_NAMES
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, near
from trader_cli.pipelines.verification.worked_inputs import (
    BAR_MS,
    OPEN_MS,
    inputs_by_their_time,
    number,
    unknown_inputs_are_empty,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]

_SETTLED = 900
"""Bars after which the start of a recursive indicator no longer shows."""
_ROWS_BACK = (1, 2, 63, 97)


# --- columns by their definitions ---


def _wilder(values: Floats, period: int) -> float:
    """Wilder's average at the last value, begun with a plain mean."""
    average = float(np.mean(values[:period]))
    for value in values[period:]:
        average += (float(value) - average) / period
    return average


def _rsi(close: Floats, period: int) -> float:
    moves = np.diff(close)
    up, down = _wilder(np.maximum(moves, 0), period), _wilder(np.maximum(-moves, 0), period)
    return 100 * up / (up + down)


def _ema(values: Floats, period: int) -> float:
    average = float(values[0])
    for value in values[1:]:
        average += 2 / (period + 1) * (float(value) - average)
    return average


def row_by_definition(bars: BarSeries, taker_buy: Floats | None) -> dict[str, float]:
    """Columns of the last bar, each by its definition."""
    o, h, l, c, v = (x[-_SETTLED:] for x in (bars.open, bars.high, bars.low, bars.close, bars.volume))  # noqa: E741
    minute = int(bars.open_ms[-1] // MINUTE_MS)
    top, bottom = float(h[-48:].max()), float(l[-48:].min())
    true_range = np.maximum(h[1:], c[:-1]) - np.minimum(l[1:], c[:-1])
    found = {
        "roc_1": c[-1] / c[-2] - 1,
        "roc_12": c[-1] / c[-13] - 1,
        "range_1": (h[-1] - l[-1]) / c[-1],
        "body_1": (c[-1] - o[-1]) / (h[-1] - l[-1]),
        "sma_100_gap": c[-1] / np.mean(c[-100:]) - 1,
        "ema_20_gap": c[-1] / _ema(c, 20) - 1,
        "rsi_14": _rsi(c, 14),
        "natr_14": 100 * _wilder(true_range, 14) / c[-1],
        "donchian_position_48": (c[-1] - bottom) / (top - bottom),
        "volume_gap_20": v[-1] / np.mean(v[-20:]) - 1,
        "session_day_sin": math.sin(2 * math.pi * (minute % 1440) / 1440),
        "session_day_cos": math.cos(2 * math.pi * (minute % 1440) / 1440),
        "session_week_cos": math.cos(2 * math.pi * ((minute + 3 * 1440) % 10080) / 10080),
    }
    if taker_buy is not None:
        found["orderflow_imbalance_1"] = (2 * taker_buy[-1] - v[-1]) / v[-1]
        found["orderflow_imbalance_8"] = (2 * taker_buy[-8:].sum() - v[-8:].sum()) / v[-8:].sum()
    return {name: float(value) for name, value in found.items()}


def higher_by_definition(bars: BarSeries, frame: Timeframe) -> dict[str, float]:
    """The last two bars of a higher frame that have closed with the last bar, by reshaping."""
    each, decided = frame.ms // BAR_MS, int(bars.open_ms[-1]) + BAR_MS
    behind = (decided - frame.floor(decided)) // BAR_MS
    closes = bars.close[: len(bars) - behind][-1::-each][:7]
    name = f"htf{frame.name}"
    return {f"{name}_roc_1": float(closes[0] / closes[1] - 1), f"{name}_roc_6": float(closes[0] / closes[6] - 1)}


def columns_by_definition(lab: Lab) -> Iterator[Finding]:
    """Columns of a few rows of the study, recomputed from its bars up to that row."""
    study = lab.study
    bars = BarSeries.of(study.bars)
    bought = study.bars["taker_buy_base"].to_numpy() if study.bars["taker_buy_base"].null_count() == 0 else None
    names = set(study.features.columns)
    higher = [
        Timeframe.parse(n.removeprefix("htf").removesuffix("_roc_1"))
        for n in sorted(names)
        if n.startswith("htf") and n.endswith("_roc_1")
    ]
    compared = 0
    for back in _ROWS_BACK:
        stop = len(bars) - back + 1
        upto, row = bars.cut(0, stop), study.features.row(-back, named=True)
        wanted = row_by_definition(upto, None if bought is None else bought[:stop])
        for frame in higher:
            wanted |= higher_by_definition(upto, frame) if frame.ms <= DAY_MS else {}
        for name in sorted(names.intersection(wanted)):
            compared += 1
            yield near(f"{name}, {back} rows from the end", wanted[name], number(row[name]), 1e-6)
    yield at_least("values compared", 10 * len(_ROWS_BACK), compared)


def futures_columns_by_definition(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Order flow, funding, basis and open interest of a hundred made-up bars."""
    n = 120
    t = np.arange(n, dtype=np.float64)
    close, volume = 100 + np.sin(t), 10 + np.cos(t)
    mark, index, interest = close + 0.25, close - 0.5, 1000 + 3 * t
    bought, sold = volume * 0.7, volume * 0.3
    extra = {
        "taker_buy_base": bought,
        "mark_close": mark,
        "index_close": index,
        "open_interest": interest,
        "funding_rate": np.full(n, -0.0002),
        "funding_age_ms": np.full(n, 1.0 * HOUR_MS),
        "funding_interval_ms": np.full(n, 4.0 * HOUR_MS),
        "funding_mean_3": np.full(n, 0.0001),
        "funding_mean_21": np.full(n, 0.0001),
        "flow_buy": bought,
        "flow_sell": sold,
        "flow_trades": np.full(n, 5.0),
        "flow_vwap": close - 1,
        "flow_large": np.full(n, 0.5),
        "flow_same": np.full(n, 0.5),
    }
    opened = OPEN_MS + np.arange(n, dtype=np.int64) * BAR_MS
    bars = BarSeries(opened, close, close + 1, close - 1, close, volume, extra)
    found: dict[str, Floats] = {}
    for family in (*derivatives.families(_NO_OPTIONS), *order_flow.families(_NO_OPTIONS)):
        if set(family.inputs) <= {*extra, *INPUT_NAMES["bars"][:5]}:
            found |= family.evaluate(bars)
    wanted = {
        "derivatives_funding_rate": -0.0002,
        "derivatives_funding_rate_8h": -0.0004,
        "derivatives_funding_gap_21": -0.0003,
        "derivatives_funding_phase": 0.25,
        "derivatives_basis_1": mark[-1] / index[-1] - 1,
        "derivatives_basis_change_1": mark[-1] / index[-1] - mark[-2] / index[-2],
        "derivatives_mark_gap_1": close[-1] / mark[-1] - 1,
        "derivatives_oi_change_1": math.log(interest[-1] / interest[-2]),
        "derivatives_oi_change_24": math.log(interest[-1] / interest[-25]),
        "orderflow_imbalance_1": 0.4,
        "orderflow_imbalance_24": 0.4,
        "orderflow_flow_1": 0.4,
        "orderflow_flow_24": 0.4,
        "orderflow_flow_vwap_gap_1": math.log(close[-1] / (close[-1] - 1)),
    }
    for name, value in wanted.items():
        yield near(name, float(value), float(found[name][-1]), 1e-9)


_NO_OPTIONS: Any = None
"""These families have none."""
_HINT = "Install the locked versions (requirements.lock), then run `trader features` again; do not trade meanwhile."
CHECKS = (
    Check(
        "inputs_by_their_time",
        LINES[1],
        "a bar knows what was known at its close, and nothing a bar early or late",
        _HINT,
        inputs_by_their_time,
    ),
    Check(
        "unknown_inputs_are_empty",
        LINES[1],
        "what is old, in part or without its pair is unknown, not carried on",
        _HINT,
        unknown_inputs_are_empty,
    ),
    Check(
        "columns_by_definition",
        LINES[1],
        "columns are what their definitions say, at their own bar",
        _HINT,
        columns_by_definition,
    ),
    Check(
        "futures_columns_by_definition",
        LINES[1],
        "order flow, funding, basis and open interest have their signs",
        _HINT,
        futures_columns_by_definition,
    ),
)
