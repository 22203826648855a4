"""A reference, not ours: features by pandas in the style of FreqAI's expansion, on the same bars.

Per time frame and period a few indicators on a pandas frame; higher frames resampled, merged and filled forward; then
every column shifted and joined. 98 columns, as in the measured original.
"""

from __future__ import annotations

from benchmarks.children import peak_bytes
from benchmarks.features import M1, bars
from benchmarks.timing import median_seconds

ROWS = 200_000
PERIODS = (10, 20, 50, 100)
FRAMES = (1, 5, 15, 60)


def freqai_style() -> dict[str, float]:
    """ns per row and column, TA-Lib's own beside it, and the memory taken."""
    import pandas as pd
    import talib

    frame = bars(ROWS)
    minutes = pd.DataFrame({name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")})
    minutes["date"] = pd.to_datetime(frame["open_time"].to_physical().to_numpy(), unit="ms")

    def expand() -> pd.DataFrame:
        joined = minutes.copy()
        for frame_minutes in FRAMES:
            own = _resampled(minutes, frame_minutes)
            for period in PERIODS:
                own[f"rsi-{period}_{frame_minutes}"] = talib.RSI(own["close"], period)
                own[f"adx-{period}_{frame_minutes}"] = talib.ADX(own["high"], own["low"], own["close"], period)
                own[f"roc-{period}_{frame_minutes}"] = talib.ROC(own["close"], period)
                own[f"vol-{period}_{frame_minutes}"] = own["volume"] / own["volume"].rolling(period).mean()
            made = [column for column in own.columns if column.endswith(f"_{frame_minutes}")]
            own["date"] += pd.Timedelta(minutes=frame_minutes - 1)
            joined = joined.merge(own[["date", *made]], on="date", how="left").ffill()
        made = [column for column in joined.columns if "-" in column]
        shifted = joined[made[:34]].shift(1).add_suffix("_shift-1")
        return pd.concat([joined[made], shifted], axis=1)

    before = peak_bytes()
    features = expand()
    output, columns = int(features.memory_usage().sum()), features.shape[1]
    after = peak_bytes()
    close = minutes["close"].to_numpy()
    ours, alone = median_seconds(expand, lambda: [talib.RSI(close, period) for period in range(5, 45)], runs=1)
    return {
        "columns": columns,
        "ns": ours / ROWS / columns * 1e9,
        "reference_ns": alone / ROWS / 40 * 1e9,
        "extra_bytes": after - before,
        "output_bytes": output,
        "minutes": M1.ms,
    }


def _resampled(minutes, frame_minutes):  # type: ignore[no-untyped-def]
    if frame_minutes == 1:
        return minutes.copy()
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return minutes.resample(f"{frame_minutes}min", on="date").agg(rule).reset_index()
