"""Worked examples of the inputs of features: what is known at which bar's close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import MARK, TIME
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.inputs import align_inputs
from trader_cli.pipelines.verification.checks import Finding, equal, near
from trader_cli.pipelines.verification.lab import TIMEFRAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]


OPEN_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday."""


BAR_MS = TIMEFRAME.ms


def _times(*ms: int) -> pl.Series:
    return pl.Series(list(ms), dtype=pl.Int64).cast(TIME)


def _three_bars() -> pl.DataFrame:
    """Bars opening at 00:00, 00:15 and 00:30; closes 100, 102, 101; volumes 10, 4, 6."""
    close = [100.0, 102.0, 101.0]
    frame = pl.DataFrame(
        {
            "open_time": _times(*(OPEN_MS + n * BAR_MS for n in range(3))),
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": [10.0, 4.0, 6.0],
        }
    )
    return with_close_time(frame, TIMEFRAME)


def _marks(*closes: float) -> pl.DataFrame:
    """Klines of 15 minutes, the first opening at 00:00."""
    opened = [OPEN_MS + n * BAR_MS for n in range(len(closes))]
    prices = {name: list(closes) for name in ("open", "high", "low", "close")}
    return pl.DataFrame(
        {"open_time": _times(*opened), "close_time": _times(*(at + BAR_MS - 1 for at in opened)), **prices}
    ).select(list(MARK.columns))


def _given() -> dict[str, pl.DataFrame]:
    """What was known beside the three bars, each stamped on either side of a close."""
    trade_times = [OPEN_MS, OPEN_MS + BAR_MS - 1, OPEN_MS + BAR_MS, OPEN_MS + 2 * BAR_MS - 1, OPEN_MS + 2 * BAR_MS]
    trades = pl.DataFrame(
        {
            "time": _times(*trade_times),
            "trade_id": [1, 2, 3, 4, 5],
            "price": [99.0, 101.0, 102.0, 102.0, 101.0],
            "quantity": [7.0, 3.0, 1.0, 3.0, 6.0],
            "buyer_is_maker": [False, True, False, True, False],
        }
    )
    funding = pl.DataFrame(
        {
            "time": _times(OPEN_MS + BAR_MS - 8 * HOUR_MS, OPEN_MS + BAR_MS, OPEN_MS + 2 * BAR_MS + 20),
            "funding_rate": [0.0001, 0.0002, -0.0003],
            "mark_price": [100.0, 100.0, 100.0],
        }
    )
    interest = pl.DataFrame(
        {"time": _times(OPEN_MS + 10 * MINUTE_MS, OPEN_MS + 25 * MINUTE_MS + 1), "open_interest": [1000.0, 2000.0]}
    )
    levels = pl.DataFrame(
        {
            "known_time": _times(OPEN_MS, OPEN_MS + 2 * BAR_MS, OPEN_MS + 2 * BAR_MS + 1),
            "price": [90.0, 99.0, 100.5],
            "strength": [1.0, 2.0, 3.0],
        }
    )
    return {
        "trades": trades,
        "funding": funding,
        "mark": _marks(100.5, 102.5, 101.5),
        "levels": levels,
        "index": _marks(100.0, 101.0, 102.0),
        "open_interest": interest,
    }


_KNOWN = {
    "flow_buy": (7.0, 1.0, 6.0),
    "flow_sell": (3.0, 3.0, 0.0),
    "flow_trades": (2.0, 2.0, 1.0),
    "flow_vwap": (99.6, 102.0, 101.0),
    "funding_rate": (0.0002, 0.0002, -0.0003),
    "funding_age_ms": (0.0, float(BAR_MS), float(BAR_MS - 20)),
    "funding_interval_ms": (8.0 * HOUR_MS, 8.0 * HOUR_MS, float(BAR_MS + 20)),
    "mark_close": (100.5, 102.5, 101.5),
    "index_close": (100.0, 101.0, 102.0),
    "open_interest": (1000.0, 1000.0, 2000.0),
    "level_support": (90.0, 99.0, 100.5),
}
"""What the three bars knew at 00:15, 00:30 and 00:45."""


def inputs_by_their_time(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Trades, funding, mark and index prices and open interest stamped around three closes, also to the millisecond."""
    frame = align_inputs(_three_bars(), TIMEFRAME, **_given())
    for name, wanted in _KNOWN.items():
        for bar, (value, found) in enumerate(zip(wanted, frame[name].to_list(), strict=True)):
            yield near(f"{name} at the close of bar {bar}", value, number(found), 1e-9)
    inputs = BarSeries.of(frame, tuple(_KNOWN))
    for name in ("close", "volume", "mark_close"):
        yield near(f"{name} of the last bar, as families see it", number(frame[name][-1]), float(inputs[name][-1]), 0)


def unknown_inputs_are_empty(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """The same inputs two days later; trades that are not all of a bar; an index price without its mark price."""
    shift = pl.duration(days=2)
    late = _three_bars().with_columns(pl.col("open_time", "close_time") + shift)
    old = {kind: given for kind, given in _given().items() if kind not in {"trades", "levels"}}
    frame = align_inputs(late, TIMEFRAME, **old)
    names = [name for name in _KNOWN if name in frame.columns]
    yield equal("inputs of two days ago that are still known", [], [n for n in names if frame[n].null_count() < 3])
    for kept, missing in ((3.97, 0), (3.95, 1), (2.5, 1)):
        trades = _given()["trades"].with_columns(
            pl.when(pl.col("trade_id") == 4).then(kept - 1.0).otherwise(pl.col("quantity")).alias("quantity")
        )
        found = align_inputs(_three_bars(), TIMEFRAME, trades=trades)["flow_buy"].null_count()
        yield equal(f"bars without trades where those of one sum to {kept} of 4", missing, found)
    alone = align_inputs(_three_bars(), TIMEFRAME, mark=_marks(100.5, 102.5), index=_marks(100.0, 101.0, 102.0))
    for name, values in (("mark_close", [100.5, 102.5, None]), ("index_close", [100.0, 101.0, None])):
        yield equal(f"{name}, the last mark price missing", values, alone[name].to_list())


def number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
