"""Made-up bars and signals, as odd as bars can be: gaps, jumps, coarse ticks, funding of both signs."""

from __future__ import annotations

import numpy as np

from trader_cli.backtest.bar_values import Bars, BarTerms
from trader_cli.features.rule import BarSignals

MINUTE_MS = 60_000


def odd_bars(rng: np.random.Generator, count: int) -> Bars:
    """Bars of a walk that may jump; `high` and `low` hold the open and the close."""
    volatility = 10 ** rng.uniform(-3.5, -1.7)
    steps = rng.standard_normal(4 * count) * volatility
    if rng.random() < 0.5:
        steps += (rng.random(4 * count) < 0.002) * rng.standard_normal(4 * count) * 0.05
    tick = float(rng.choice([0.01, 0.1]))
    prices = np.maximum(np.round(100 * np.exp(np.cumsum(steps)).reshape(count, 4) / tick) * tick, tick)
    opened = prices[:, 0] if rng.random() < 0.5 else np.concatenate([[100.0], prices[:-1, 3]])
    rates, every = np.zeros(count), int(rng.integers(3, 40))
    rates[::every] = rng.standard_normal(len(rates[::every])) * 1e-3 * float(rng.choice([1, 30]))
    return Bars(
        np.arange(count) * MINUTE_MS,
        opened,
        np.maximum(prices.max(axis=1), opened),
        np.minimum(prices.min(axis=1), opened),
        prices[:, 3],
        rates,
    )


def odd_signals(rng: np.random.Generator, count: int) -> BarSignals:
    """Sides that last for some bars, stops and targets near and far."""
    side = np.repeat(rng.integers(-1, 2, count), rng.integers(1, 20))[:count].astype(np.int8)
    stop = np.full(count, rng.choice([0.005, 0.02, 0.3, np.inf])) * rng.uniform(0.5, 1, count)
    target = np.full(count, rng.choice([0.005, 0.02, np.inf])) * rng.uniform(0.5, 1, count)
    return BarSignals(side, stop, target)


def odd_terms(rng: np.random.Generator) -> BarTerms:
    """Accounts small and large, careful and reckless."""
    return BarTerms(
        wallet=float(rng.choice([1000, 50])),
        share=float(rng.choice([0.1, 1])),
        leverage=float(rng.choice([1, 3, 10, 50])),
        step=float(rng.choice([0.001, 1])),
        slippage=float(rng.choice([0, 0.0005])),
    )
