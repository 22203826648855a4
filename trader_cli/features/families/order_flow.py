"""Who trades: takers' imbalance, sizes and numbers of trades, what volume does to price.

From the bars' own taker columns (`orderflow_bars`), their quote volume and number of trades (`orderflow_size`), and
from the trades themselves (`orderflow_trades`, see `features.inputs`). Illiquidity: Amihud, *J. Financial Markets*
(2002); price impact of signed volume: Kyle, *Econometrica* (1985). All windows are trailing and all columns free of
scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.family import Family
from trader_cli.features.modwt import window_sum

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

SHORT, DAY, LONG = 8, 24, 240


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """The three families of order flow."""
    bars = (
        "orderflow_imbalance_1",
        "orderflow_imbalance_8",
        "orderflow_imbalance_24",
        "orderflow_imbalance_change_24",
        "orderflow_impact_96",
        "orderflow_agreement_24",
    )
    size = (
        "orderflow_size_gap_24",
        "orderflow_trades_gap_24",
        "orderflow_trades_gap_240",
        "orderflow_vwap_gap_1",
        "orderflow_vwap_gap_24",
        "orderflow_illiquidity_24_240",
    )
    trades = (
        "orderflow_flow_1",
        "orderflow_flow_8",
        "orderflow_flow_24",
        "orderflow_large_1",
        "orderflow_large_gap_24",
        "orderflow_same_1",
        "orderflow_same_24",
        "orderflow_flow_vwap_gap_1",
        "orderflow_flow_size_gap_24",
    )
    return (
        Family("orderflow_bars", bars, _of_bars, 96, ("close", "volume", "taker_buy_base"), finite=True),
        Family("orderflow_size", size, _of_size, LONG, ("close", "volume", "quote_volume", "trades"), finite=True),
        Family("orderflow_trades", trades, _of_trades, DAY, _FLOW, finite=True),
    )


_FLOW = ("close", "flow_buy", "flow_sell", "flow_trades", "flow_vwap", "flow_large", "flow_same")


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where below is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _log_ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above > 0) & (below > 0), np.log(above / below), np.nan)


def _returns(close: Floats) -> Floats:
    """ln(C_t / C_{t−1}), NaN in the first row."""
    out = np.full(len(close), np.nan)
    np.log(close[1:] / close[:-1], out=out[1:])
    return out


def _of_bars(bars: BarSeries) -> dict[str, Floats]:
    """Imbalance: (bought − sold) / volume by takers, in [−1, 1]. Impact: slope of returns on imbalance, Σ r·i / Σ i².
    Agreement: Σ r·i / √(Σ r² · Σ i²), in [−1, 1]."""
    volume, signed = bars.volume, 2.0 * bars["taker_buy_base"] - bars.volume
    now = _ratio(signed, volume)
    steady = np.where(volume > 0, now, 0.0)
    returns = _returns(bars.close)
    moved = returns * steady
    with np.errstate(divide="ignore", invalid="ignore"):
        short, day = (window_sum(signed, n) / window_sum(volume, n) for n in (SHORT, DAY))
        impact = window_sum(moved, 96) / window_sum(steady * steady, 96)
        spread = np.sqrt(window_sum(returns * returns, DAY) * window_sum(steady * steady, DAY))
        agreement = np.clip(window_sum(moved, DAY) / spread, -1.0, 1.0)
    return {
        "orderflow_imbalance_1": now,
        "orderflow_imbalance_8": short,
        "orderflow_imbalance_24": day,
        "orderflow_imbalance_change_24": short - day,
        "orderflow_impact_96": impact,
        "orderflow_agreement_24": agreement,
    }


def _of_size(bars: BarSeries) -> dict[str, Floats]:
    """Logarithms of ratios: mean trade size and number of trades to their trailing means, close to volume-weighted
    price, and Amihud's illiquidity Σ|r| / Σ quote volume of a day of bars to that of ten."""
    volume, quote, trades = bars.volume, bars["quote_volume"], bars["trades"]
    size = _ratio(volume, trades)
    day_volume, day_trades, day_quote = (window_sum(x, DAY) for x in (volume, trades, quote))
    moves = np.abs(_returns(bars.close))
    amihud = [_ratio(window_sum(moves, n), window_sum(quote, n)) for n in (DAY, LONG)]
    return {
        "orderflow_size_gap_24": _log_ratio(size, _ratio(day_volume, day_trades)),
        "orderflow_trades_gap_24": _log_ratio(trades, day_trades / DAY),
        "orderflow_trades_gap_240": _log_ratio(trades, window_sum(trades, LONG) / LONG),
        "orderflow_vwap_gap_1": _log_ratio(bars.close, _ratio(quote, volume)),
        "orderflow_vwap_gap_24": _log_ratio(bars.close, _ratio(day_quote, day_volume)),
        "orderflow_illiquidity_24_240": _log_ratio(*amihud),
    }


def _of_trades(bars: BarSeries) -> dict[str, Floats]:
    """The same imbalance from trades; the share of the largest trades and its distance from the day's mean; how often
    a trade is on the side of the one before; close to volume-weighted price; mean size to that of the day."""
    bought, sold, count = bars["flow_buy"], bars["flow_sell"], bars["flow_trades"]
    signed, quantity = bought - sold, bought + sold
    large, same = bars["flow_large"], bars["flow_same"]
    sums = {n: (window_sum(signed, n), window_sum(quantity, n)) for n in (SHORT, DAY)}
    return {
        "orderflow_flow_1": _ratio(signed, quantity),
        "orderflow_flow_8": _ratio(*sums[SHORT]),
        "orderflow_flow_24": _ratio(*sums[DAY]),
        "orderflow_large_1": large,
        "orderflow_large_gap_24": large - window_sum(large, DAY) / DAY,
        "orderflow_same_1": same,
        "orderflow_same_24": window_sum(same, DAY) / DAY,
        "orderflow_flow_vwap_gap_1": _log_ratio(bars.close, bars["flow_vwap"]),
        "orderflow_flow_size_gap_24": _log_ratio(_ratio(quantity, count), _ratio(sums[DAY][1], window_sum(count, DAY))),
    }
