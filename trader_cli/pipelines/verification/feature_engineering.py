"""Feature engineering with wavelet transforms: values recomputed another way, and no look into the future."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.certificate_store import make_certificate
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.market.schemas import FEATURE_KEYS
from trader_cli.features.family import Family
from trader_cli.features.inputs import known_inputs
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal, holds, near
from trader_cli.pipelines.verification.lab import TIMEFRAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]

_TOLERANCE = 1e-9
_ROWS_BACK = (1, 2, 58, 97, 311)
"""Which rows are recomputed, counted from the end: blocks of several days, and not at their edges."""
_CUT = 37
"""Bars left off the end for the prefix: no multiple of an hour or a day."""


def _equivalent_filters(wavelet: str, levels: int) -> list[tuple[str, Floats]]:
    """(band, taps) of the MODWT as one filter per band: PyWavelets' taps over √2, upsampled and convolved."""
    import pywt

    taps = pywt.Wavelet(wavelet)
    low, high = np.array(taps.dec_lo) / np.sqrt(2), np.array(taps.dec_hi) / np.sqrt(2)
    bands, passed = [], np.array([1.0])
    for level in range(1, levels + 1):
        spread = np.zeros((2, (len(low) - 1) * 2 ** (level - 1) + 1))
        spread[0, :: 2 ** (level - 1)], spread[1, :: 2 ** (level - 1)] = low, high
        bands.append((f"d{level}", np.convolve(passed, spread[1])))
        passed = np.convolve(passed, spread[0])
    return [*bands, (f"a{levels}", passed)]


def _energy(returns: Floats, row: int, taps: Floats, window: int) -> float:
    """Mean square of the band's coefficients over the window that ends at `row`, each a sum over past returns."""
    ends = range(row - window + 1, row + 1)
    coefficients = [float(np.dot(taps, returns[end - len(taps) + 1 : end + 1][::-1])) for end in ends]
    return float(np.mean(np.square(coefficients)))


def _recomputed(close: Floats, row: int, wavelet: str, levels: int, window: int) -> dict[str, float]:
    """Every wavelet column of one row by its definition."""
    returns = np.concatenate([[np.nan], np.diff(np.log(close))])
    energies = {band: _energy(returns, row, taps, window) for band, taps in _equivalent_filters(wavelet, levels)}
    shares = {band: energy / sum(energies.values()) for band, energy in energies.items()}
    entropy = -sum(share * np.log(share) for share in shares.values()) / np.log(len(shares))
    return {
        **{f"wavelet_energy_{band}_{wavelet}": float(np.log(energy)) for band, energy in energies.items()},
        **{f"wavelet_relative_{band}_{wavelet}": share for band, share in shares.items()},
        f"wavelet_entropy_{wavelet}": float(entropy),
    }


def wavelets_recomputed(lab: Lab) -> Iterator[Finding]:
    """Every wavelet column of a few rows; the furthest of each kind is told."""
    study, options = lab.study, lab.study.settings.feature_engineering_orchestrator
    close = study.bars["close"].to_numpy()
    for wavelet in options.wavelets:
        for back in _ROWS_BACK:
            row = study.features.row(-back, named=True)
            wanted = _recomputed(close, len(close) - back, wavelet, options.wavelet_levels, options.wavelet_window)
            worst = max(wanted, key=lambda name: abs(wanted[name] - (row[name] if row[name] is not None else np.inf)))
            yield near(f"{worst}, {back} rows from the end", wanted[worst], _number(row[worst]), _TOLERANCE)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def wavelet_columns_as_declared(lab: Lab) -> Iterator[Finding]:
    """Names and number, by the settings."""
    options = lab.study.settings.feature_engineering_orchestrator
    bands = [*(f"d{level}" for level in range(1, options.wavelet_levels + 1)), f"a{options.wavelet_levels}"]
    declared = {
        name
        for wavelet in options.wavelets
        for name in (
            *(f"wavelet_{kind}_{band}_{wavelet}" for kind in ("energy", "relative") for band in bands),
            *(f"wavelet_ratio_{near}{far}_{wavelet}" for near, far in pairwise(bands)),
            f"wavelet_entropy_{wavelet}",
            "wavelet_denoised_gap_haar",
        )
    }
    found = {name for name in lab.study.features.columns if "wavelet" in name}
    yield equal("number of wavelet columns", len(declared), len(found))
    yield equal("wavelet columns missing or not declared", set(), declared ^ found)


def _built(lab: Lab, bars: pl.DataFrame, since_ms: int | None = None, *, cached: bool = False) -> pl.DataFrame:
    settings = lab.study.settings
    options = settings.feature_engineering_orchestrator
    cache = options.wavelet_cache.model_copy(update={"cache_enabled": cached})
    orchestrator = FeatureEngineeringOrchestrator(
        settings.model_copy(
            update={"feature_engineering_orchestrator": options.model_copy(update={"wavelet_cache": cache})}
        )
    )
    try:
        return orchestrator.build(bars, TIMEFRAME, since_ms)
    finally:
        orchestrator.close()


def _whole(lab: Lab) -> pl.DataFrame:
    """All features of the study's bars, without the cache."""
    return lab.once("features without cache", lambda: _built(lab, lab.study.bars))


def _differing(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[str]:
    """Columns that are not equal to the bit."""
    return [name for name in ours.columns if not ours[name].equals(theirs[name])]


def no_look_ahead(lab: Lab) -> Iterator[Finding]:
    """With the last bars cut off, all rows before the cut stay what they were."""
    whole, shorter = _whole(lab), _built(lab, lab.study.bars.head(-_CUT))
    yield equal("rows before the cut", whole.height - _CUT, shorter.height)
    yield equal("columns that knew bars after the cut", [], _differing(shorter, whole.head(-_CUT)))


def streaming_equals_batch(lab: Lab) -> Iterator[Finding]:
    """The last rows made alone, bar by bar, are those made with all the others."""
    whole, bars = _whole(lab), lab.study.bars
    for back in (1, 3):
        upto = bars.head(bars.height - back + 1)
        alone = _built(lab, upto, int(upto["open_time"].to_physical()[-1]))
        row = whole.slice(whole.height - back, 1)
        yield equal(f"columns that differ, {back} from the end", [], _differing(alone, row))


def cache_changes_nothing(lab: Lab) -> Iterator[Finding]:
    """Stored features, a cold cache, a warm cache and none at all: the same bits."""
    whole, bars = _whole(lab), lab.study.bars
    yield equal("columns of the artifact that differ", [], _differing(whole, lab.study.features))
    yield equal("columns from the cache that differ", [], _differing(whole, _built(lab, bars, cached=True)))
    folder = lab.study.settings.wavelet_folder
    yield holds("whether the cache lies in the lab", folder.startswith(str(lab.root)))


def every_column_has_a_value(lab: Lab) -> Iterator[Finding]:
    """After the warm-up, at the last bar; energies move and shares add up."""
    study, options = lab.study, lab.study.settings.feature_engineering_orchestrator
    row = study.features.row(-1, named=True)
    yield equal("columns without a value at the last bar", [], [name for name, value in row.items() if value is None])
    for wavelet in options.wavelets:
        shares = [row[name] for name in row if name.startswith("wavelet_relative") and name.endswith(f"_{wavelet}")]
        yield near(f"sum of the relative energies, {wavelet}", 1.0, float(sum(shares)), _TOLERANCE)
    names = [name for name in study.features.columns if name not in FEATURE_KEYS]
    still = [name for name in names if "wavelet" in name and study.features[name].tail(200).n_unique() < 100]
    yield equal("wavelet columns that stand still", [], still)


def certificate_holds(lab: Lab) -> Iterator[Finding]:
    """Every column of the settings passes; a column that knows the next close is named with its reach."""
    orchestrator = FeatureEngineeringOrchestrator(lab.study.settings)
    spec, twin = (orchestrator.spec(TIMEFRAME, known_inputs(lab.study.bars)) for _ in range(2))
    found = make_certificate(spec, twin)
    yield equal("columns that failed", [], [column.name for column in found.failures])
    yield equal("columns certified", len(spec.columns), len(found.columns))
    ahead = Family("ahead", ("ahead_close_1",), lambda bars: {"ahead_close_1": np.append(bars.close[1:], np.nan)}, 1)
    caught = make_certificate(replace(spec, families=(ahead,))).failures
    reached = [(column.name, column.reach) for column in caught]
    yield equal("a column that knows the next close, and its reach", [("ahead_close_1", 1)], reached)


_HINT = "Empty wavelet_cache.cache_dir and run `trader features` again; check that PyWavelets is the locked version."
CHECKS = (
    Check(
        "wavelets_recomputed",
        LINES[1],
        "energies, shares and entropy follow from PyWavelets' filter taps to 1e-9",
        _HINT,
        wavelets_recomputed,
    ),
    Check(
        "wavelet_columns_as_declared",
        LINES[1],
        "the wavelet columns are those the settings declare",
        "Run `trader features` again; see feature_engineering_orchestrator.wavelets.",
        wavelet_columns_as_declared,
    ),
    Check(
        "no_look_ahead", LINES[1], "no column of any row changes when later bars are taken away", _HINT, no_look_ahead
    ),
    Check(
        "streaming_equals_batch",
        LINES[1],
        "one new bar gives the very bits the whole series gives",
        _HINT,
        streaming_equals_batch,
    ),
    Check(
        "cache_changes_nothing",
        LINES[1],
        "features from the cache are those computed without it",
        _HINT,
        cache_changes_nothing,
    ),
    Check(
        "certificate_holds",
        LINES[1],
        "every column is certified, and one that looks ahead is named",
        "Run `trader features --certify` to see which; do not trade on it.",
        certificate_holds,
    ),
    Check(
        "every_column_has_a_value",
        LINES[1],
        "after the warm-up every column has a value",
        "Fetch more history: see fetch.history_bars.",
        every_column_has_a_value,
    ),
)
