"""The bars families are certified on, and what they are altered into: other futures, as valid as the first.

Altered bars obey every rule of BARS and change every input in every row, so that nothing that is read can stay the
same by chance: a mere re-ordering would leave a whole-sample mean where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import BARS, TIME
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.build import TILE, history_start

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import Floats
    from trader_cli.features.feature_spec import FeatureSpec

_BEGINNING_MS = 1_677_628_800_000  # 1 March 2023: two longer months follow, as long a history as any row has
_LONGEST_MS = 31 * DAY_MS
_YEAR_MS = 365 * DAY_MS
_VOLATILITY = 0.7  # per year
_REGIMES = (0.3, 1.0, 2.5)
_REGIME_BARS = 120
_GAP_BARS = 3
_STUCK_BARS = 24
_SIGNED = ("rate", "mean", "basis", "premium", "imbalance", "delta", "net", "change", "distance")
_PRICES = ("price", "close", "vwap", "mark", "index")
_SHARES = ("share", "large", "same", "ratio")


def rows_needed(spec: FeatureSpec) -> int:
    """Bars on which every column of `spec` is known over one block of every frame, with a gap before them; and over as
    many rows as a finite family of one's own is ever evaluated on."""
    base = spec.timeframe
    last_ms = _BEGINNING_MS + _LONGEST_MS - base.ms
    history = (last_ms - history_start(spec, last_ms)) // base.ms + 1
    longest = max((family.frame(base).ms for family in spec.families), default=base.ms)
    blocks_ms = DAY_MS if longest * 6 <= DAY_MS else _LONGEST_MS
    lengths = [TILE + 256 for family in spec.families if family.finite and family.source]
    after = max(blocks_ms // base.ms, 4 * longest // base.ms, 160, *lengths)
    return int((history + after) * 9 // 8 + 64)


def certification_frame(timeframe: Timeframe, inputs: Iterable[str], *, rows: int, seed: int) -> pl.DataFrame:
    """BARS made up from a seed, shape (rows, …), with a column for every other name in `inputs`.

    Quiet and wild stretches, bars that open away from the last close, bars without body or shadow, one gap after an
    eighth of the rows (a few extra inputs are null behind it), and a stretch where nothing is traded.
    """
    rng = np.random.default_rng(seed)
    opened = _BEGINNING_MS // timeframe.ms * timeframe.ms + np.arange(rows, dtype=np.int64) * timeframe.ms
    gap, stuck = rows // 8, slice(rows * 7 // 8, min(rows * 7 // 8 + _STUCK_BARS, rows))
    opened[gap:] += _GAP_BARS * timeframe.ms
    regimes = rng.choice(_REGIMES, rows // _REGIME_BARS + 1).repeat(_REGIME_BARS)[:rows]
    sigma = _VOLATILITY * np.sqrt(timeframe.ms / _YEAR_MS) * regimes
    moves = rng.standard_t(4, rows) * sigma / np.sqrt(2.0)
    moves[stuck] = 0.0
    prices = _candles(2000.0 * np.exp(np.cumsum(moves)), sigma, rng)
    volume = rng.lognormal(5.0, 0.6, rows) * regimes
    for column in prices.values():
        column[stuck] = prices["close"][stuck.start - 1]
    volume[stuck] = 0.0
    bars = pl.DataFrame({"open_time": pl.Series(opened).cast(TIME), **prices, "volume": volume})
    bars = with_close_time(bars.with_columns(_of_volume(prices["close"], volume, rng)), timeframe)
    others = [name for name in dict.fromkeys(inputs) if name not in bars.columns]
    return bars.with_columns(_extra(name, prices["close"], gap, rng) for name in others)


def _candles(close: Floats, sigma: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    n = len(close)
    opened = np.concatenate([close[:1], close[:-1]]) * np.exp(
        sigma * rng.choice((0.0, 0.0, 1.0), n) * rng.normal(size=n)
    )
    opened = np.where(rng.random(n) < 0.05, close, opened)
    shadows = np.abs(rng.normal(0.0, 0.6, (2, n))) * sigma * (rng.random((2, n)) < 0.85)
    return {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(shadows[0]),
        "low": np.minimum(opened, close) * np.exp(-shadows[1]),
        "close": close.copy(),
    }


def _of_volume(close: Floats, volume: Floats, rng: np.random.Generator) -> list[pl.Series]:
    """The nullable columns of BARS, in keeping with the volume."""
    share, paid = rng.uniform(0.2, 0.8, len(close)), volume * close * np.exp(rng.normal(0.0, 1e-4, len(close)))
    return [
        pl.Series("quote_volume", paid),
        pl.Series("trades", np.ceil(volume * rng.uniform(0.5, 2.0, len(close))).astype(np.int64)),
        pl.Series("taker_buy_base", volume * share),
        pl.Series("taker_buy_quote", paid * share),
    ]


def _extra(name: str, close: Floats, gap: int, rng: np.random.Generator) -> pl.Series:
    """What an input of this name may look like: signed, a price, a share, or any positive quantity."""
    wave, noise = (
        np.convolve(rng.normal(size=len(close) + 31), np.full(32, 32**-0.5), "valid"),
        rng.normal(size=len(close)),
    )
    if any(word in name for word in _SIGNED):
        values = 1e-4 * (wave + 0.3 * noise)
    elif any(word in name for word in _PRICES):
        values = close * np.exp(5e-4 * (wave + 0.3 * noise))
    elif any(word in name for word in _SHARES):
        values = 1.0 / (1.0 + np.exp(-wave - 0.3 * noise))
    else:
        values = 1e3 * np.exp(0.3 * wave + 0.2 * noise)
    values[gap : gap + 2 * _GAP_BARS] = np.nan
    return pl.Series(name, values, nan_to_null=True)


def redrawn(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Another market in the same times: returns, volumes and every other input shuffled, scaled and with noise."""
    rng = np.random.default_rng(seed)
    n, order = frame.height, rng.permutation(frame.height)
    close = frame["close"].to_numpy()
    moves = np.diff(np.log(close), prepend=np.log(close[:1]))
    spread = float(moves.std()) or 1e-3
    sigma = np.full(n, spread)
    prices = _candles(
        close[0] * 1.1 * np.exp(np.cumsum(1.5 * moves[order] + rng.normal(0.0, 0.3 * spread, n))), sigma, rng
    )
    volume = (frame["volume"].to_numpy()[order] + (frame["volume"].to_numpy().max() or 1.0) * 1e-3) * rng.lognormal(
        0.3, 0.4, n
    )
    own = [pl.Series(name, values) for name, values in prices.items()]
    nullable = {series.name: series for series in _of_volume(prices["close"], volume, rng)}
    known = [nullable[name].set(frame[name].is_null(), None) for name in nullable]
    others = [_shuffled(frame[name], order, rng) for name in frame.columns if name not in BARS.columns]
    return frame.with_columns(*own, pl.Series("volume", volume), *known, *others)


def _shuffled(
    values: pl.Series, order: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator
) -> pl.Series:
    given = values.cast(pl.Float64).to_numpy()
    mixed, known = given[order], given[np.isfinite(given)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    noise = rng.lognormal(0.3, 0.3, len(given))
    if low < 0.0:
        found = -1.5 * mixed + noise * (high - low) * 0.1
    elif high <= 1.0:
        found = 1.0 - mixed / (1.0 + noise)
    else:
        found = (mixed + 1e-3 * high) * noise
    return pl.Series(values.name, found, nan_to_null=True)


def crashed(frame: pl.DataFrame) -> pl.DataFrame:
    """The same market at three tenths of its price and twenty times its volume; what was not known is known."""
    scaled = [pl.col(name) * 0.3 for name in ("open", "high", "low", "close")]
    volumes = [(pl.col(name) * 20 + 1).cast(BARS.columns[name]) for name in ("volume", *_nullable(frame))]
    others = [
        (pl.col(name).cast(pl.Float64).fill_nan(None).fill_null(0.5) * 0.7 + 1e-6).alias(name)
        for name in frame.columns
        if name not in BARS.columns
    ]
    return frame.with_columns(*scaled, *volumes, *others)


def _nullable(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name in BARS.nullable]


def spliced(frame: pl.DataFrame, other: pl.DataFrame, cut: int) -> pl.DataFrame:
    """`frame` up to row `cut`, `other` from there on."""
    return pl.concat([frame[:cut], other[cut:]])


def frame_inputs(spec: FeatureSpec) -> tuple[str, ...]:
    """The inputs of `spec` that bars alone do not have."""
    return tuple(name for name in spec.inputs if name not in PRICE_INPUTS)
