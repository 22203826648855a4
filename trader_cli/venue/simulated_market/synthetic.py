"""The synthetic market: minute bars with regime-switching volatility and, if asked, a planted lead. Always labelled.

The lead is a slow drift (AR(1) over quarter hours) that moves price for hours before it fades; price's own recent past
shows it. With strength 0 the log price is a martingale difference whatever the volatility does: there is no edge.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import MINUTE_MS, Timeframe
from trader_cli.settings.source_names import synthetic_source
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars, path_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
_MINUTES_A_YEAR = 365 * 1440
_REGIME_VOLATILITY = np.array([0.35, 0.7, 1.3])  # per year
_REGIME_STAY = 1.0 - 1.0 / np.array([2880.0, 1440.0, 480.0])  # per minute
_LEAD_MINUTES = 15
_LEAD_PERSISTENCE = 0.97
_PRICES = {
    "BTCUSDT": (40_000.0, 0.1, 0.001, 120.0),
    "ETHUSDT": (2_200.0, 0.01, 0.001, 900.0),
    "ETHBTC": (0.055, 0.00001, 0.001, 400.0),
}
_USUAL = (100.0, 0.01, 0.01, 5_000.0)
"""First price, tick, step, quantity traded per minute."""


def synthetic_tape(symbols: tuple[str, ...], days: int, planted_lead: float, seed: int) -> Tape:
    """A market of `days` × 1440 minute bars per symbol, made when they are asked for.

    `planted_lead` is the standard deviation of the drift in units of the quarter-hour volatility.
    """
    made = {symbol: _symbol(symbol, days * 1440, planted_lead, seed) for symbol in symbols}
    lead = f"planted lead {planted_lead:g}" if planted_lead else "no lead"
    return Tape(synthetic_source(symbols, days, planted_lead, seed), f"synthetic market, {lead}, seed {seed}", made)


def _symbol(symbol: str, minutes: int, planted_lead: float, seed: int) -> SymbolTape:
    tick, step = (10.0 ** -_decimals(size) for size in _kind(symbol)[1:3])
    end_ms, make = START_MS + minutes * MINUTE_MS, partial(_bars, symbol, minutes, planted_lead, seed)
    return SymbolTape(symbol, Timeframe.parse("1m"), path_seed(symbol, seed), tick, step, START_MS, end_ms, make)


def _kind(symbol: str) -> tuple[float, float, float, float]:
    return _PRICES.get(symbol, _USUAL)


def _decimals(size: float) -> int:
    """Decimals that write whole multiples of a tick or step."""
    return max(0, round(-math.log10(size)))


def _bars(symbol: str, minutes: int, planted_lead: float, seed: int) -> TapeBars:
    rng = np.random.default_rng(int(digest_value(["synthetic", symbol, seed])[:15], 16))
    sigma = _volatility(rng, minutes)
    drift = _drift(rng, minutes, planted_lead) * sigma
    shocks = rng.standard_t(5, size=minutes) * np.sqrt(3 / 5)
    close = _kind(symbol)[0] * np.exp(np.cumsum(drift + sigma * shocks - 0.5 * sigma**2))
    return _rounded(rng, close, sigma, symbol)


def _volatility(rng: np.random.Generator, minutes: int) -> Floats:
    """Per-minute σ: three regimes that switch at random, smoothed by a slow log AR(1)."""
    state, switch, pick = 1, rng.random(minutes), rng.random(minutes)
    states = np.empty(minutes, dtype=np.int64)
    at = 0
    while at < minutes:
        leaves = np.flatnonzero(switch[at:] > _REGIME_STAY[state])
        end = at + int(leaves[0]) + 1 if len(leaves) else minutes
        states[at:end] = state
        others = [s for s in range(3) if s != state]
        state = others[int(pick[end - 1] * 2)]
        at = end
    return np.asarray(_REGIME_VOLATILITY[states] / np.sqrt(_MINUTES_A_YEAR))


def _drift(rng: np.random.Generator, minutes: int, strength: float) -> Floats:
    """Drift per minute in units of σ per minute: AR(1) per quarter hour, of standard deviation `strength` there."""
    if not strength:
        return np.zeros(minutes)
    steps = minutes // _LEAD_MINUTES + 1
    noise = rng.standard_normal(steps) * np.sqrt(1 - _LEAD_PERSISTENCE**2)
    lead = np.empty(steps)
    value = float(rng.standard_normal())
    for i in range(steps):
        value = _LEAD_PERSISTENCE * value + float(noise[i])
        lead[i] = value
    return np.repeat(strength * lead / np.sqrt(_LEAD_MINUTES), _LEAD_MINUTES)[:minutes]


def _rounded(rng: np.random.Generator, close: Floats, sigma: Floats, symbol: str) -> TapeBars:
    """Bars around closing prices, in whole ticks and steps."""
    first, tick, step, per_minute = _kind(symbol)
    close = np.maximum(np.round(close / tick), 1) * tick
    opened = np.concatenate([[np.round(first / tick) * tick], close[:-1]])
    reach = np.abs(rng.normal(size=(2, len(close)))) * 0.5 * sigma * close
    high = np.maximum(opened, close) + np.round(reach[0] / tick) * tick
    low = np.maximum(np.minimum(opened, close) - np.round(reach[1] / tick) * tick, tick)
    hours = np.sin(2 * np.pi * np.arange(len(close)) / 1440) * 0.3
    volume = per_minute * np.exp(hours + 0.5 * rng.standard_normal(len(close))) * sigma / sigma.mean()
    volume = np.maximum(np.round(volume / step), 1) * step
    opened, high, low, close = (np.round(prices, _decimals(tick)) for prices in (opened, high, low, close))
    times = START_MS + np.arange(len(close), dtype=np.int64) * MINUTE_MS
    return TapeBars(times, opened, high, low, close, np.round(volume, 3))
