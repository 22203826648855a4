"""Market health: components in [0, 1] (1 = healthy) combined so that one bad component vetoes.

What is missing or stale counts as unhealthy, never as fine. What was not told in the whole of the window (basis, open
interest and funding are stored where they are fetched) is no component: NaN until it is combined.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.labels import trailing_volatility
from trader_cli.core.types import Health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trader_cli.core.market.snapshot import MarketSnapshot
    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BAND = 10e-4
"""How far around the middle of a book depth is counted."""
HEALTH_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "basis": "derivatives_basis_1",
        "open_interest": "derivatives_oi_change_24",
        "funding_rank": "derivatives_funding_rate_8h",
    }
)
"""Features whose size is ranked among those of the bars before, by the component they make."""
_DAY_BARS = 96
_MISSING_BARS = 12.0
"""So many missing of the last 96 bars are half healthy."""
_SMOOTHED = 8
_SPREAD_BPS = 8.0
"""A spread that costs as much as two taker fees is half healthy."""
_FUNDING_BPS = 10.0
"""So is funding of ten times the usual basis point per interval."""


def market_health(
    bars: BarSeries, step_ms: int, snapshot: MarketSnapshot | None, book_age_s: float | None, max_book_age_s: float
) -> Health:
    """Health at the last of `bars`, with the stored market snapshot (ticker, book, premium) if there is one.

    Of the columns of `HEALTH_COLUMNS` those are looked at that lie beside the bars. The score is the geometric mean of
    the components, or 0 if any is 0; `binding` names the worst.
    """
    return health_of(_from_bars(bars, step_ms), snapshot, freshness(book_age_s, max_book_age_s))


def health_of(from_bars: Mapping[str, float], snapshot: MarketSnapshot | None, fresh: float) -> Health:
    """Health where what bars tell is known already."""
    return combined({**from_bars, **_from_snapshot(snapshot), "freshness": fresh})


def combined(components: dict[str, float]) -> Health:
    """Health from its components, in order; NaN is none."""
    components = {name: value for name, value in components.items() if not math.isnan(value)}
    worst = min(components, key=lambda name: (components[name], name))
    values = list(components.values())
    score = 0.0 if min(values) <= 0 else math.exp(sum(map(math.log, values)) / len(values))
    return Health(score=score, components=components, binding=worst)


def _from_bars(bars: BarSeries, step_ms: int) -> dict[str, float]:
    """Volatility, illiquidity and what lies beside the bars against their own trailing distribution: the share of past
    bars that were worse; and how many bars are missing."""
    span, rows = _span(len(bars)), np.array([len(bars) - 1])
    volatility = trailing_volatility(bars.close, span)
    told = {"volatility": _share_worse(volatility), "liquidity": _share_worse(_smoothed(_amihud(bars)))}
    beside = {name: np.abs(bars.extra[column]) for name, column in HEALTH_COLUMNS.items() if column in bars.extra}
    ranks = {name: _share_worse(x) if np.isfinite(x).any() else np.nan for name, x in beside.items()}
    return {**told, "gaps": float(_whole(bars.open_ms, rows, span, step_ms)[0]), **ranks}


def _whole(open_ms: Ints, rows: Ints, span: int, step_ms: int) -> Floats:
    """1 where none of the last `span` bars up to a row is missing, falling with how many are. (m,)."""
    first = np.maximum(rows - span, 0)
    missing = (open_ms[rows] - open_ms[first]) / step_ms - (rows - first)
    return np.asarray(1.0 / (1.0 + (missing / _MISSING_BARS) * (missing / _MISSING_BARS)))


def _span(bars: int) -> int:
    return min(_DAY_BARS, max(2, bars // 4))


def _amihud(bars: BarSeries) -> Floats:
    """The move of each bar over what traded in it, (n,); the first is NaN. Source: Amihud 2002."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.abs(np.diff(np.log(bars.close), prepend=np.nan)) / (bars.close * bars.volume))


def from_bars_by_row(bars: BarSeries, rows: Ints, window: int, step_ms: int) -> dict[str, Floats]:
    """What health tells from bars, at each row as the last of the newest `window` bars up to it. Each (m,)."""
    whole = rows[rows + 1 >= window]
    early = [_from_bars(bars.cut(0, row + 1), step_ms) for row in rows[rows + 1 < window].tolist()]
    span, smoothing = _span(window), _SMOOTHED
    shares = {
        "volatility": _ranks(trailing_volatility(bars.close, span), whole, window - span),
        "liquidity": _ranks(_smoothed(_amihud(bars)), whole, window - smoothing),
        "gaps": _whole(bars.open_ms, whole, span, step_ms),
    }
    for name, column in HEALTH_COLUMNS.items():
        if column in bars.extra:
            x = np.abs(bars.extra[column])
            known = np.concatenate([[0], np.cumsum(np.isfinite(x))])
            told = known[whole + 1] > known[whole + 1 - window]
            shares[name] = np.where(told, _ranks(x, whole, window), np.nan)
    return {name: np.concatenate([[one[name] for one in early], share]) for name, share in shares.items()}


def _ranks(x: Floats, rows: Ints, count: int) -> Floats:
    """`_share_worse` of the newest `count` values up to each ascending row (m,)."""
    seen = np.where(np.isfinite(x), x, np.nan)
    last, known = seen[rows], np.concatenate([[0], np.cumsum(np.isfinite(seen))])
    above, equal = np.zeros(len(rows)), np.zeros(len(rows))
    for back in range(count):
        before = seen[rows - back]
        above += before > last
        equal += before == last
    shares = (above + 0.5 * equal) / np.maximum(known[rows + 1] - known[rows + 1 - count], 1)
    return np.where(np.isfinite(last), shares, 0.0)


def _smoothed(x: Floats) -> Floats:
    """Mean of the last eight values, so that one bar does not decide."""
    padded = np.concatenate([np.full(_SMOOTHED - 1, np.nan), x])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED)
    return np.asarray(windows.mean(axis=1))


def _share_worse(x: Floats) -> float:
    """Mid-rank share of the trailing values that are above the last one, in [0, 1]; 0 where the last is unknown."""
    known = x[np.isfinite(x)]
    if not len(known) or not np.isfinite(x[-1]):
        return 0.0
    above, equal = np.count_nonzero(known > x[-1]), np.count_nonzero(known == x[-1])
    return float((above + 0.5 * equal) / len(known))


def _from_snapshot(snapshot: MarketSnapshot | None) -> dict[str, float]:
    """Spread, depth within 10 bps against a minute's turnover, imbalance and funding; all 0 without a book."""
    if snapshot is None or not (snapshot.bids and snapshot.asks):
        return dict.fromkeys(("spread", "depth", "imbalance", "funding"), 0.0)
    bids, asks = snapshot.bids, snapshot.asks
    mid = (bids[0][0] + asks[0][0]) / 2
    bid_notional = sum(p * q for p, q in bids if p >= mid * (1 - BAND))
    ask_notional = sum(p * q for p, q in asks if p <= mid * (1 + BAND))
    return from_book(
        (bids[0][0], asks[0][0]), (bid_notional, ask_notional), snapshot.day_volume_quote, snapshot.funding_rate
    )


def from_book(
    best: tuple[float, float], near: tuple[float, float], day_volume_quote: float, funding_rate: float
) -> dict[str, float]:
    """Components of a book by its best (bid, ask), and notionals within `BAND` of their middle."""
    (bid, ask), (bid_notional, ask_notional), per_minute = best, near, day_volume_quote / 1440
    mid, both = (bid + ask) / 2, bid_notional + ask_notional
    imbalance = abs(bid_notional - ask_notional) / both if both > 0 else 1.0
    return {
        "spread": _falling((ask - bid) / mid * 1e4, middle=_SPREAD_BPS) if ask > bid else 0.0,
        "depth": both / (both + per_minute) if both > 0 else 0.0,
        "imbalance": max(0.0, 1.0 - imbalance**2),
        "funding": _falling(abs(funding_rate) * 1e4, middle=_FUNDING_BPS),
    }


def score_about(
    from_bars: Mapping[str, Floats],
    best: tuple[Floats, Floats],
    near: tuple[Floats, Floats],
    day_volume_quote: Floats,
    funding_rate: Floats,
) -> Floats:
    """The score of n fresh snapshots and what bars tell beside them, to a part in 10⁹ (`combined` is exact). (n,)."""
    (bid, ask), (bids, asks), per_minute = best, near, day_volume_quote / 1440
    both, spread_bps = bids + asks, (ask - bid) / (bid + ask) * 2e4
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            *from_bars.values(),
            np.where(spread_bps > 0, 1 / (1 + (spread_bps / _SPREAD_BPS) ** 2), 0.0),
            np.where(both > 0, both / (both + per_minute), 0.0),
            np.where(both > 0, 1 - ((bids - asks) / both) ** 2, 0.0),
            1 / (1 + (np.abs(funding_rate) * 1e4 / _FUNDING_BPS) ** 2),
            np.ones(len(bid)),
        ]
        told = ~np.isnan(parts)
        logs = np.where(told, np.log(np.maximum(parts, 0.0)), 0.0)
    return np.asarray(np.exp(logs.sum(axis=0) / told.sum(axis=0)))


def _falling(x: float, middle: float) -> float:
    """A logistic fall in ln x from 1 at 0 to ½ at `middle` and on to 0."""
    return 1.0 / (1.0 + (max(x, 0.0) / middle) ** 2)


def freshness(age_s: float | None, most_s: float) -> float:
    """1 or 0: a verdict rather than a slope, so that an analysis repeated a little later is the same analysis."""
    return 1.0 if age_s is not None and age_s <= most_s else 0.0
