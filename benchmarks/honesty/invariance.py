"""`python -m benchmarks.honesty.invariance --seeds 0:5 --budget 300`: what is told of a bar, told with any future.

Bars with gaps, quiet and wild stretches are cut, redrawn and crashed behind each of 16 cuts. Regimes, the regime that
holds, fitted columns, health and levels of all rows before the cut must be the same to the bit, and so must what is
fitted on them. It ends with 1 where anything moved.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.honesty.seeded import seeds_within
from trader_cli.analyst.fitted_families import FittedFamilies, fit_families
from trader_cli.analyst.health import HEALTH_COLUMNS, from_bars_by_row
from trader_cli.analyst.price_levels import price_levels
from trader_cli.analyst.sigma_uncertainty import measured_uncertainty
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import build_features
from trader_cli.features.certification_tape import certification_frame, crashed, redrawn, spliced
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import INPUT_NAMES
from trader_cli.features.registry import make_spec
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_FRAME = Timeframe.parse("15m")
_ROWS, _FITTED_UNTIL, _LEVEL_BARS = 3000, 1500, 720
_INPUTS = tuple(name for kind in ("funding", "mark", "index", "open_interest") for name in INPUT_NAMES[kind])


def main() -> None:
    """One line a seed: what moved, and how many comparisons there were."""
    moved: set[str] = set()
    for seed in seeds_within(__doc__, "0:5", 300.0):
        frame, count = _tape(seed), 0
        whole, fitted = _Told(frame), _fitted(frame, seed)
        for cut in _cuts(seed):
            for other in (
                frame[:cut],
                spliced(frame, redrawn(frame, seed + 1), cut),
                spliced(frame, crashed(frame), cut),
            ):
                found = set(_moved(whole, fitted, other, cut, seed))
                moved, count = moved | found, count + 1
        print(f"{seed:4} {count} altered futures, moved: {', '.join(sorted(moved)) or 'nothing'}", flush=True)
    sys.exit(int(bool(moved)))


def _tape(seed: int) -> pl.DataFrame:
    """Certification bars with a short and a long gap."""
    frame = certification_frame(_FRAME, _INPUTS, rows=_ROWS, seed=seed)
    return frame.filter(~pl.int_range(pl.len()).is_between(1200, 1204) & ~pl.int_range(pl.len()).is_between(1900, 1930))


def _cuts(seed: int) -> list[int]:
    """Four within the warm-up, the others anywhere, none aligned."""
    rng = np.random.default_rng(seed)
    return sorted({*rng.integers(5, 500, 4).tolist(), *rng.integers(600, _ROWS - 60, 12).tolist()})


class _Told:
    """The bars, what is known beside them, and their features."""

    def __init__(self, frame: pl.DataFrame) -> None:
        spec = make_spec(FamilyOptions(_FRAME, inputs=frozenset((*PRICE_INPUTS, *_INPUTS))))
        features = build_features(frame, spec)
        beside = [name for name in HEALTH_COLUMNS.values() if name in features.columns]
        self.bars = BarSeries.of(frame.with_columns(features[name] for name in beside), (*PRICE_INPUTS, *beside))
        self.names = tuple(features.columns[2:])
        self.x = features.select(self.names).to_numpy().astype(np.float64)


def _fitted(frame: pl.DataFrame, seed: int) -> FittedFamilies:
    told = _Told(frame[:_FITTED_UNTIL])
    rows = np.arange(600, len(told.bars))
    options = as_settings({"seed": seed, "feature_engineering_orchestrator": {"enable_autoencoder_features": True}})
    return fit_families(told.bars, told.x[rows], told.names, rows, TrainingOptions.of(options), _FRAME)


def _moved(whole: _Told, fitted: FittedFamilies, frame: pl.DataFrame, cut: int, seed: int) -> Iterator[str]:
    """What of the rows before a cut is another with another future."""
    other, rows = _Told(frame), np.arange(cut)
    if other.x[:cut].tobytes() != whole.x[:cut].tobytes():
        yield "features"
    model = fitted.regimes
    assert model is not None
    for name, one, two in zip(
        ("regimes", "held regime"), model.followed(other.bars, _FRAME), model.followed(whole.bars, _FRAME), strict=True
    ):
        if one[:cut].tobytes() != two[:cut].tobytes():
            yield name
    if (
        fitted.columns(other.bars, other.x[:cut], rows).tobytes()
        != fitted.columns(whole.bars, whole.x[:cut], rows).tobytes()
    ):
        yield "fitted families"
    yield from _health_moved(whole, other, rows)
    since = max(0, cut - _LEVEL_BARS)
    if price_levels(other.bars.cut(since, cut)) != price_levels(whole.bars.cut(since, cut)):
        yield "levels"
    until = min(cut, _FITTED_UNTIL)
    if until > 900 and until == _FITTED_UNTIL and _fitted(frame, seed).digest != fitted.digest:
        yield "what is fitted"
    uncertain = [measured_uncertainty(one.bars.cut(0, cut), 4, 64, _FRAME.ms) for one in (whole, other)]
    if uncertain[0] != uncertain[1]:
        yield "uncertainty of sigma"


def _health_moved(whole: _Told, other: _Told, rows: Ints) -> Iterator[str]:
    ours, theirs = (from_bars_by_row(one.bars, rows, _LEVEL_BARS, _FRAME.ms) for one in (whole, other))
    for name, values in ours.items():
        if values.tobytes() != theirs[name].tobytes():
            yield f"health: {name}"


if __name__ == "__main__":
    main()
