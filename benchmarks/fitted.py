"""Fitted families, each on a line of its own: fitting and encoding, filtering and one served row."""

from __future__ import annotations

import numpy as np

from benchmarks.features import M1, bars
from benchmarks.timing import median_seconds, report
from trader_cli.features.autoencoder import fit_autoencoder
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.regimes import fit_regimes

ROWS, WIDTH = 10_000, 170


def run() -> None:
    """Check that a row alone equals the row in the batch, then time. References: a matrix product, an exponential."""
    rng = np.random.default_rng(0)
    x = np.tanh(rng.normal(size=(ROWS, 15)) @ rng.normal(size=(15, WIDTH))) + 0.3 * rng.normal(size=(ROWS, WIDTH))
    encoder = fit_autoencoder(x, bottleneck=6, seed=7)
    assert encoder.encode(x[77:78]).tobytes() == encoder.encode(x)[77:78].tobytes()
    fit, covariance = median_seconds(lambda: fit_autoencoder(x, bottleneck=6, seed=7), lambda: x.T @ x, runs=3)
    report(f"autoencoder fit, {ROWS} rows of {WIDTH}", fit * 1e3, covariance * 1e3, "ms", "under 2,000 ms")
    encode, product = median_seconds(lambda: encoder.encode(x), lambda: x @ encoder.inward @ encoder.outward, runs=5)
    report(f"autoencoder, a row of {WIDTH}", encode / ROWS * 1e6, product / ROWS * 1e6, "us/row", "under 3 us")
    series = BarSeries.of(bars(ROWS))
    model = fit_regimes(series, M1)
    assert model is not None
    whole = model.filtered(series, M1)
    assert model.filtered(series, M1, ROWS - 1).tobytes() == whole[-1:].tobytes()
    batch, one, exponential = median_seconds(
        lambda: model.filtered(series, M1), lambda: model.filtered(series, M1, ROWS - 1), lambda: np.exp(x), runs=5
    )
    report("regimes, filtered from anchors", batch / ROWS * 1e6, exponential / x.size * 1e6, "us/bar")
    report("regimes, one served bar at 1m", one * 1e3, 10.0, "ms", "under 10 ms with everything")
