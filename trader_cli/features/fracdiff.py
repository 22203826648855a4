"""Fractional differencing of log price: stationary, and with as much memory as that allows.

(1 − B)^d = Σ_k w_k B^k with w_0 = 1, w_k = −w_{k−1} (d − k + 1) / k (Hosking 1981). The window is of fixed width
(López de Prado, *Advances in Financial Machine Learning*, 2018, ch. 5): weights below 1e-3 are dropped, which leaves a
memory of about 80 bars at most, and every row has the same. The order is the smallest at which the augmented
Dickey–Fuller test rejects a unit root, on the rows it is given and no others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.features.blocked_matmul import crossed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COLUMN = "fracdiff_close"
ORDERS = tuple(i / 10 for i in range(1, 11))
_SMALLEST_WEIGHT = 1e-3
_MOST_BARS = 2048
_CRITICAL = {
    0.01: (-3.43035, -6.5393, -16.786, -79.433),
    0.05: (-2.86154, -2.8903, -4.234, -40.040),
    0.10: (-2.56677, -1.5384, -2.809, 0.0),
}
"""MacKinnon (2010), table 2, constant and no trend, one series: β_∞ + β_1 / T + β_2 / T² + β_3 / T³."""


@lru_cache(maxsize=64)
def fracdiff_weights(order: float) -> Floats:
    """w_0 … w_K, shape (K + 1,), up to the last of at least 1e-3. Raises `UsageError` for an order outside [0, 2]."""
    if not 0 <= order <= 2:
        raise UsageError(f"An order of differencing lies in [0, 2]; {order:g} does not.")
    weights = [1.0]
    for k in range(1, _MOST_BARS):
        weights.append(-weights[-1] * (order - k + 1) / k)
    kept = np.flatnonzero(np.abs(weights) >= _SMALLEST_WEIGHT)
    found = np.array(weights[: kept[-1] + 1])
    found.setflags(write=False)
    return found


def fracdiff(log_price: Floats, order: float) -> Floats:
    """Σ_k w_k · log_price_{t−k}, shape (n,); NaN for the first K rows and where a NaN is in the window.

    Added in a fixed order, lag by lag: equal windows give equal bits wherever they lie.
    """
    weights = fracdiff_weights(order)
    reach = len(weights) - 1
    out = np.full(len(log_price), np.nan)
    if len(log_price) > reach:
        total = weights[0] * log_price[reach:]
        for lag, weight in enumerate(weights[1:], start=1):
            total += weight * log_price[reach - lag : len(log_price) - lag]
        out[reach:] = total
    return out


def smallest_stationary_order(log_price: Floats, grid: Sequence[float] = ORDERS, p: float = 0.05) -> float:
    """The first order of the ascending grid whose series has no unit root at level p; the last if none.

    Only `log_price` (n,) is looked at. Raises `DataMissing` where it is too short to test.
    """
    for order in grid:
        differenced = fracdiff(log_price, order)
        if is_stationary(differenced[np.isfinite(differenced)], p):
            return order
    return grid[-1]


def is_stationary(x: Floats, p: float = 0.05) -> bool:
    """Whether the augmented Dickey–Fuller test rejects a unit root in x (n,) at level p: 0.01, 0.05 or 0.10."""
    if p not in _CRITICAL:
        raise UsageError(f"Critical values are known at 0.01, 0.05 and 0.10; {p:g} was asked for.")
    statistic, used = dickey_fuller(x)
    return bool(statistic < sum(b / used**i for i, b in enumerate(_CRITICAL[p])))


def dickey_fuller(x: Floats) -> tuple[float, int]:
    """(t statistic of φ, observations) of Δx_t = c + φ x_{t−1} + Σ_i γ_i Δx_{t−i} + ε by least squares.

    ⌊4 (n / 100)^¼⌋ lags (Schwert 1989). x (n,) is finite. A constant is as stationary as can be: −∞. Raises
    `DataMissing` below 30 values.
    """
    if len(x) < 30:
        raise DataMissing(f"A test for a unit root needs 30 values; found {len(x)}.", hint="Fetch more bars.")
    lags = int(4 * (len(x) / 100) ** 0.25)
    steps = np.diff(x)
    if not steps.any():
        return -np.inf, len(steps)
    after = steps[lags:]
    lagged = [steps[lags - i : len(steps) - i] for i in range(1, lags + 1)]
    table = np.column_stack([x[lags:-1], *lagged, after])
    table -= table.mean(axis=0)
    products = crossed(table, table)
    inverse = np.linalg.pinv(products[:-1, :-1])
    slopes = inverse @ products[:-1, -1]
    unexplained = float(products[-1, -1] - slopes @ products[:-1, -1])
    variance = unexplained / (len(after) - len(slopes) - 1) * float(inverse[0, 0])
    return (float(slopes[0]) / variance**0.5 if variance > 0 else -np.inf), len(after)
